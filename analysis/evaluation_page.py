"""What evaluate.py tells: lines for the terminal, the page and its pictures."""

import itertools

import numpy as np

from analysis.report import (
    escape,
    new_figure,
    set_font,
    show_legend,
    table,
    text_width,
    to_png,
    to_svg,
    write_page,
)
from analysis.scores import bootstrap, class_scores, compare, reliability
from utils import evaluation_report, shortened, staged_files, write_lines

BLUE, ORANGE = "#3b6ea8", "#e0883a"

# Samples that the page lists at most, and characters of each.
SHOWN_SAMPLES, SHOWN_CHARACTERS = 200, 200


def plot_confusion(matrix, labels):
    """The confusion matrix: colours by the share of the true class, numbers in the cells."""
    size = max(4.0, 0.42 * len(labels) + 1)
    margin = 0.1 + 0.075 * max(map(text_width, labels))
    figure, axes = new_figure(size + margin, size + margin)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(matrix > 0):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(matrix[row, column]), ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(labels)), labels, rotation=90)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    side = (margin + 0.35) / (size + margin)
    figure.subplots_adjust(left=side, bottom=side, right=0.99, top=0.99)
    return figure


def plot_reliability(before, after, truth):
    """Accuracy against confidence, before and after the temperature; the diagonal is what they should be."""
    figure, axes = new_figure(5, 4.2)
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=1, linestyle="--")
    for probabilities, colour, name in ((before, BLUE, "as it is"), (after, ORANGE, "with temperature")):
        counts, confidence, accuracy = reliability(probabilities, truth)
        axes.plot(confidence[counts > 0], accuracy[counts > 0], "o-", color=colour, markersize=4, label=name)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("confidence")
    axes.set_ylabel("accuracy")
    show_legend(axes)
    figure.subplots_adjust(left=0.12, right=0.97, bottom=0.13, top=0.9)
    return figure


def plot_coverage(curve):
    """Accuracy on the answered samples against the share that is answered."""
    figure, axes = new_figure(5, 4.2)
    axes.plot(curve[0], curve[1], color=BLUE)
    axes.set_xlim(0, 1)
    axes.set_xlabel("share of the samples that the model answers, most confident first")
    axes.set_ylabel("accuracy on them")
    figure.subplots_adjust(left=0.13, right=0.97, bottom=0.13, top=0.95)
    return figure


def plots(evaluation):
    """File name (without its end) -> title and figure."""
    calibration = plot_reliability(evaluation.probabilities, evaluation.calibrated, evaluation.truth)
    return {
        "confusion_matrix": ("Confusion matrix", plot_confusion(evaluation.matrix, evaluation.labels)),
        "reliability": ("Calibration", calibration),
        "coverage": ("Accuracy when unsure samples are left to a person", plot_coverage(evaluation.curve)),
    }


# ---------------------------------------------------------------------------------------------------------- tables


def percent(value):
    return f"{100 * value:.2f}"


def interval(bounds):
    return f"{percent(bounds[0])} – {percent(bounds[1])}"


def coverage_rows(evaluation):
    """Accuracy wanted, share of the samples that are answered, threshold: lists of strings."""
    return [
        [f"{accuracy:.0%}", *((percent(found[0]), f"{found[1]:.3f}") if found else ("none", ""))]
        for accuracy, found in evaluation.coverage.items()
    ]


def score_lines(evaluation):
    """Lines for the terminal: the report of train.py's debug evaluation, and what it has not."""
    yield from evaluation_report("dev", evaluation.labels, evaluation.truth, evaluation.predicted)
    for k, value in evaluation.top.items():
        yield f"Top-{k} accuracy in dev dataset: {value:.2%}"
    before, after = map(percent, evaluation.errors)
    yield f"Calibration error: {before} points; {after} with temperature {evaluation.temperature:.3f}"
    for accuracy, share, threshold in coverage_rows(evaluation):
        limit = f", confidence >= {threshold}" if threshold else ""
        yield f"Accuracy of at least {accuracy}: {share} % of the samples answered{limit}"


def summary(evaluation):
    """The figures in one line."""
    share = percent(np.trace(evaluation.matrix) / evaluation.matrix.sum())
    return f"Accuracy {share} %, macro F1 {percent(class_scores(evaluation.matrix)[:, 2].mean())}"


def page_parts(evaluation, flags):
    """HTML of the tables."""
    matrix, bad_cases = evaluation.matrix, evaluation.bad_cases
    per_class, macro, accuracy = bootstrap(matrix, flags.seed)
    scores, total = class_scores(matrix), int(matrix.sum())
    lines = [["accuracy", percent(np.trace(matrix) / total), interval(accuracy)]]
    lines += [[f"top-{k} accuracy", percent(value), ""] for k, value in evaluation.top.items()]
    for column, name in enumerate(("precision", "recall", "F1")):
        lines.append([f"macro {name}", percent(scores[:, column].mean()), interval(macro[:, column])])
    before, after = evaluation.errors
    lines.append(["calibration error", percent(before), ""])
    lines.append([f"… with temperature {evaluation.temperature:.3f}", percent(after), ""])
    class_rows = []
    for index, (label, samples, row) in enumerate(zip(evaluation.labels, matrix.sum(axis=1), scores)):
        cells = [(percent(row[column]), interval(per_class[:, index, column])) for column in range(3)]
        class_rows.append([label, int(samples), *itertools.chain(*cells)])
    header = ["class", "samples", "precision", "95 %", "recall", "95 %", "F1", "95 %"]
    shown = [
        (shortened(text, SHOWN_CHARACTERS), label, answer, f"{score:.4f}")
        for text, label, answer, score in bad_cases[:SHOWN_SAMPLES]
    ]
    yield f"<p>{total:,} samples of {escape(flags.dataset_dir / flags.dev_file)}; all values in percent.</p>"
    yield table(["", "value", "95 %"], lines, numbers=(1, 2))
    yield "<h2>Classes</h2>"
    yield table(header, class_rows, numbers=range(1, 8))
    yield "<h2>Answer, or leave it to a person</h2>"
    yield "<p>Answer only when the confidence (with the temperature) is at least the threshold.</p>"
    columns = ["accuracy wanted", "samples answered, %", "threshold"]
    yield table(columns, coverage_rows(evaluation), numbers=(1, 2))
    yield f"<h2>Wrongly predicted samples ({len(bad_cases):,})</h2>"
    yield table(["text", "label", "prediction", "score"], shown)
    if len(bad_cases) > SHOWN_SAMPLES:
        yield f"<p>All of them: {escape(flags.dataset_dir / flags.bad_case_file)}</p>"


def comparison_parts(result, flags, changed):
    """HTML of the comparison with another model."""
    first, second = escape(flags.params_path), escape(flags.compare)
    yield f"<h2>Compared with {second}</h2>"
    low, high = (100 * bound for bound in result["interval"])
    yield (
        f"<p>Accuracy: {100 * result['difference']:+.2f} points (95 % interval {low:+.2f} to {high:+.2f}); McNemar "
        f"p = {result['p_value']:.4f}. Only {first} is right on {result['only_first']:,} samples, only {second} on "
        f"{result['only_second']:,}.</p>"
    )
    yield table(["text", "label", str(flags.params_path), str(flags.compare)], changed[:SHOWN_SAMPLES])


def compare_models(evaluation, other, flags):
    """Compare with another model on the same samples: print the result and write changed.txt.

    Args:
        evaluation (Evaluation): of the first model.
        other (np.ndarray): int [samples], the other model's predictions, as classes of the first one.
        flags: those of evaluate.py.

    Returns:
        list[str]: HTML.
    """
    texts, labels, truth, predicted = evaluation.texts, evaluation.labels, evaluation.truth, evaluation.predicted
    result = compare(predicted, other, truth)
    rows = np.flatnonzero((predicted == truth) != (other == truth)).tolist()
    changed = [(texts[row], labels[truth[row]], labels[predicted[row]], labels[other[row]]) for row in rows]
    header = ("Text", "Label", str(flags.params_path), str(flags.compare))
    write_lines(flags.report_dir, {"changed.txt": ["\t".join(row) for row in (header, *changed)]}, "--report_dir")
    low, high = (100 * bound for bound in result["interval"])
    points = f"{100 * result['difference']:+.2f} points ({low:+.2f} to {high:+.2f})"
    changes = f"{len(changed):,} samples changed sides: {flags.report_dir / 'changed.txt'}"
    print(f"{flags.compare}: {points}, McNemar p = {result['p_value']:.4f}; {changes}")
    return list(comparison_parts(result, flags, changed))


def write_report(evaluation, flags, more_parts):
    """Write the page and the pictures into --report_dir.

    Args:
        evaluation (Evaluation): of the model.
        flags: those of evaluate.py.
        more_parts (list[str]): HTML for the end of the page.

    Returns:
        Path: the page.
    """
    has_font, path = set_font(), flags.report_dir / "evaluate.html"
    parts, figures = list(page_parts(evaluation, flags)), plots(evaluation)
    for title, figure in figures.values():
        parts += [f"<h2>{title}</h2>", to_svg(figure)]
    if not has_font:
        print("No font with Chinese characters on this machine: the PNG files show boxes; evaluate.html does not.")
    with staged_files(flags.report_dir) as stage:
        for name, (_, figure) in figures.items():
            to_png(figure, stage / f"{name}.png")
    write_page(path, f"Evaluation of {flags.params_path}", [*parts, *more_parts])
    return path
