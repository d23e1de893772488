"""How good a trained model is on dev, class by class, how far its probabilities can be trusted, and where it fails.

    cd analysis
    python evaluate.py --device gpu --dataset_dir ../data --params_path ../checkpoint/ --bad_case_file bad_case.txt
    python evaluate.py --dataset_dir ../data --params_path ../checkpoint/ --compare ../checkpoint_2

Printed: the report of train.py's debug evaluation, top-2 and top-3 accuracy, calibration, coverage. Written:
--bad_case_file into --dataset_dir, and into --report_dir evaluate.html, confusion_matrix.png, reliability.png,
coverage.png; with --compare also changed.txt, the samples that only one of the two models gets right.

- Intervals: 95 %, percentile bootstrap (Efron and Tibshirani 1993) over samples; --seed decides the draws.
- Calibration: expected calibration error in 15 bins (Naeini et al. 2015), before and after dividing the logits by a
  temperature (Guo et al. 2017). The error after it is that of each half of dev with the temperature of the other half.
- Comparison: exact McNemar test on the samples that only one model gets right (Dietterich 1998).
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from classifier import Classifier, make_parser, read_model_labels, softmax  # noqa: E402

from report import (  # noqa: E402
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
from utils import (  # noqa: E402
    evaluation_report,
    exit_on_usage_error,
    fit_temperature,
    read_examples,
    require_packages,
    shortened,
    staged_files,
    write_lines,
)

RESAMPLES = 2000
BINS = 15
BLUE, ORANGE = "#3b6ea8", "#e0883a"
ACCURACIES = (0.8, 0.85, 0.9, 0.95, 0.99)


# ------------------------------------------------------------------------------------------------------ statistics


def confusion_matrix(truth, predicted, num_classes):
    """int64 [classes, classes]: samples by true class (row) and predicted class (column)."""
    cells = np.asarray(truth) * num_classes + np.asarray(predicted)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)


def class_scores(matrix):
    """Precision, recall and F1 of each class; 0 where there is nothing to divide by.

    Args:
        matrix (np.ndarray): [..., classes, classes], confusion matrices.

    Returns:
        np.ndarray: float64 [..., classes, 3].
    """
    right = np.diagonal(matrix, axis1=-2, axis2=-1).astype(np.float64)
    predicted, true = matrix.sum(axis=-2), matrix.sum(axis=-1)
    return np.stack(
        [right / np.maximum(predicted, 1), right / np.maximum(true, 1), 2 * right / np.maximum(predicted + true, 1)],
        axis=-1,
    )


def bootstrap(matrix, seed):
    """95 % intervals of the scores, from RESAMPLES draws of as many samples with replacement.

    Drawing samples and counting them is drawing the counts of the confusion matrix from a multinomial distribution.

    Args:
        matrix (np.ndarray): int [classes, classes].
        seed (int): of the draws.

    Returns:
        tuple[np.ndarray, np.ndarray, np.ndarray]: lower and upper bounds of precision, recall and F1 of each class
        [2, classes, 3], of the macro averages [2, 3], and of the accuracy [2].
    """
    total = matrix.sum()
    random = np.random.RandomState(seed)
    draws = random.multinomial(total, matrix.reshape(-1) / total, size=RESAMPLES).reshape(-1, *matrix.shape)
    scores = class_scores(draws)
    accuracy = np.trace(draws, axis1=1, axis2=2) / total
    bounds = (2.5, 97.5)
    return tuple(np.percentile(values, bounds, axis=0) for values in (scores, scores.mean(axis=1), accuracy))


def top_k_accuracy(logits, truth, k):
    """The share of samples whose true class is among the k with the highest logits."""
    own = np.take_along_axis(logits, np.asarray(truth)[:, None], axis=1)
    return float(((logits > own).sum(axis=1) < k).mean())


def reliability(probabilities, truth):
    """Samples, mean confidence and accuracy in BINS equal bins of the highest probability.

    Returns:
        tuple[np.ndarray, np.ndarray, np.ndarray]: [BINS] each; 0 in empty bins.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    divisor = np.maximum(counts, 1)
    sums = (np.bincount(bins, weights=values, minlength=BINS) for values in (confidence, right))
    return (counts, *(values / divisor for values in sums))


def calibration_error(probabilities, truth):
    """Expected calibration error: the mean distance of confidence and accuracy, bins weighted by their samples."""
    counts, confidence, accuracy = reliability(probabilities, truth)
    return float((counts * np.abs(confidence - accuracy)).sum() / counts.sum())


def calibrated(logits, truth, seed):
    """Probabilities of each half of the samples with the temperature of the other half.

    Returns:
        tuple[np.ndarray, float]: float64 [n, classes], and the temperature of all samples, which is the one to use.
    """
    truth = np.asarray(truth)
    half = np.random.RandomState(seed).permutation(len(truth)) < len(truth) // 2
    result = np.empty(np.shape(logits), dtype=np.float64)
    for part in (half, ~half):
        result[part] = softmax(logits[part] / (fit_temperature(logits[~part], truth[~part]) if (~part).any() else 1))
    return result, fit_temperature(logits, truth)


def coverage_curve(probabilities, truth):
    """Accuracy on the samples that are answered, when the least confident ones are left to a person.

    Returns:
        tuple[np.ndarray, np.ndarray, np.ndarray]: share answered, accuracy there, and the lowest confidence answered;
        [n] each, from one sample to all. Equal confidences are answered together.
    """
    confidence = probabilities.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    right = (probabilities.argmax(axis=1) == truth)[order]
    answered = np.arange(1, len(right) + 1)
    last = np.append(confidence[order][1:] != confidence[order][:-1], True)
    return (answered / len(right))[last], (right.cumsum() / answered)[last], confidence[order][last]


def coverage_at(curve, accuracy):
    """The largest share that can be answered with at least this accuracy, and its threshold; None for none."""
    coverage, found, threshold = curve
    enough = np.flatnonzero(found >= accuracy)
    return (float(coverage[enough[-1]]), float(threshold[enough[-1]])) if len(enough) else None


def compare(predicted, other, truth):
    """Exact McNemar test of two models on the same samples.

    Returns:
        dict: only_first, only_second (samples that only that model gets right), p_value (two-sided), difference of
        the accuracies (second minus first) and its 95 % interval (normal approximation for paired samples).
    """
    from scipy.stats import binomtest

    first, second = np.asarray(predicted) == truth, np.asarray(other) == truth
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    changed, total = only_first + only_second, len(first)
    difference = (only_second - only_first) / total
    error = 1.96 * np.sqrt(max(0, changed / total - difference**2) / total)
    return {
        "only_first": only_first, "only_second": only_second, "difference": difference,
        "p_value": float(binomtest(only_first, changed).pvalue) if changed else 1.0,
        "interval": (difference - error, difference + error),
    }  # fmt: skip


# ----------------------------------------------------------------------------------------------------------- plots


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


# ---------------------------------------------------------------------------------------------------------- report


def percent(value):
    return f"{100 * value:.2f}"


def interval(bounds):
    return f"{percent(bounds[0])} – {percent(bounds[1])}"


def bad_case_rows(texts, truth, probabilities, labels):
    """Wrongly predicted samples as (text, label, prediction, score), the most confident mistake first."""
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != truth)
    wrong = wrong[np.argsort(-probabilities[wrong, predicted[wrong]], kind="stable")]
    return [(texts[row], labels[truth[row]], labels[predicted[row]], f"{probabilities[row, predicted[row]]:.4f}")
            for row in wrong.tolist()]  # fmt: skip


def comparison_parts(result, args, changed):
    """HTML of the comparison with another model."""
    first, second = escape(args.params_path), escape(args.compare)
    yield f"<h2>Compared with {second}</h2>"
    low, high = (100 * bound for bound in result["interval"])
    yield (
        f"<p>Accuracy: {100 * result['difference']:+.2f} points (95 % interval {low:+.2f} to {high:+.2f}); McNemar "
        f"p = {result['p_value']:.4f}. Only {first} is right on {result['only_first']:,} samples, only {second} on "
        f"{result['only_second']:,}.</p>"
    )
    yield table(["text", "label", str(args.params_path), str(args.compare)], changed[:200])


def main(argv=None):
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--bad_case_file", default="bad_case.txt", help="written into --dataset_dir (default: bad_case.txt)")
    add("--report_dir", type=Path, default=Path("evaluate_report"), help="for the page and the pictures")
    add("--compare", type=Path, help="another trained model, to be compared on the same samples")
    args = parser.parse_args(argv)
    require_packages("evaluate.py", "matplotlib")
    has_font = set_font()
    labels = read_model_labels(args)
    texts, truth = read_examples(args.dataset_dir / args.dev_file, labels)
    truth = np.array(truth)
    classifier = Classifier(args, labels)
    logits, _ = classifier.run(texts, "dev")
    probabilities = softmax(logits)
    predicted = probabilities.argmax(axis=1)
    matrix = confusion_matrix(truth, predicted, len(labels))
    topk = {k: top_k_accuracy(logits, truth, k) for k in (2, 3) if k < len(labels)}
    print("\n".join(evaluation_report("dev", labels, truth, predicted)))
    for k, value in topk.items():
        print(f"Top-{k} accuracy in dev dataset: {value:.2%}")

    after, temperature = calibrated(logits, truth, args.seed)
    errors = [calibration_error(values, truth) for values in (probabilities, after)]
    print(f"Calibration error: {percent(errors[0])} points; {percent(errors[1])} with temperature {temperature:.3f}")
    curve = coverage_curve(after, truth)
    reached = {accuracy: coverage_at(curve, accuracy) for accuracy in ACCURACIES}
    coverage_rows = [
        [f"{accuracy:.0%}", *((percent(found[0]), f"{found[1]:.3f}") if found else ("none", ""))]
        for accuracy, found in reached.items()
    ]
    for accuracy, share, threshold in coverage_rows:
        print(f"Accuracy of at least {accuracy}: {share} % of the samples answered" + (f", confidence >= {threshold}"
              if threshold else ""))  # fmt: skip
    bad_cases = bad_case_rows(texts, truth, probabilities, labels)
    lines = ["\t".join(row) for row in (("Text", "Label", "Prediction", "Score"), *bad_cases)]
    write_lines(args.dataset_dir, {args.bad_case_file: lines}, "--dataset_dir")
    print(f"{len(bad_cases):,} wrongly predicted samples written to {args.dataset_dir / args.bad_case_file}")

    parts = page_parts(args, labels, matrix, topk, errors, temperature, coverage_rows, bad_cases)
    figures = {
        "confusion_matrix": ("Confusion matrix", plot_confusion(matrix, labels)),
        "reliability": ("Calibration", plot_reliability(probabilities, after, truth)),
        "coverage": ("Accuracy when unsure samples are left to a person", plot_coverage(curve)),
    }
    for title, figure in figures.values():
        parts += [f"<h2>{title}</h2>", to_svg(figure)]
    if args.compare:
        parts += compare_models(args, labels, texts, truth, predicted)
    if not has_font:
        print("No font with Chinese characters on this machine: the PNG files show boxes; evaluate.html does not.")
    with staged_files(args.report_dir) as stage:
        for name, (_, figure) in figures.items():
            to_png(figure, stage / f"{name}.png")
    write_page(args.report_dir / "evaluate.html", f"Evaluation of {args.params_path}", parts)
    print(f"Report: {args.report_dir / 'evaluate.html'}")


def page_parts(args, labels, matrix, topk, errors, temperature, coverage_rows, bad_cases):
    """HTML of the tables."""
    per_class, macro, accuracy = bootstrap(matrix, args.seed)
    scores, total = class_scores(matrix), int(matrix.sum())
    lines = [["accuracy", percent(np.trace(matrix) / total), interval(accuracy)]]
    lines += [[f"top-{k} accuracy", percent(value), ""] for k, value in topk.items()]
    for column, name in enumerate(("precision", "recall", "F1")):
        lines.append([f"macro {name}", percent(scores[:, column].mean()), interval(macro[:, column])])
    lines += [["calibration error", percent(errors[0]), ""],
              [f"… with temperature {temperature:.3f}", percent(errors[1]), ""]]  # fmt: skip
    class_rows = [
        [label, int(samples), *(value for column in range(3) for value in
                                (percent(row[column]), interval(per_class[:, index, column])))]
        for index, (label, samples, row) in enumerate(zip(labels, matrix.sum(axis=1), scores))
    ]  # fmt: skip
    shown = [(shortened(text, 200), *rest) for text, *rest in bad_cases[:200]]
    header = ["class", "samples", "precision", "95 %", "recall", "95 %", "F1", "95 %"]
    return [
        f"<p>{total:,} samples of {escape(args.dataset_dir / args.dev_file)}; all values in percent.</p>",
        table(["", "value", "95 %"], lines, numbers=(1, 2)),
        "<h2>Classes</h2>",
        table(header, class_rows, numbers=range(1, 8)),
        "<h2>Answer, or leave it to a person</h2>",
        "<p>Answer only when the confidence (with the temperature) is at least the threshold.</p>",
        table(["accuracy wanted", "samples answered, %", "threshold"], coverage_rows, numbers=(1, 2)),
        f"<h2>Wrongly predicted samples ({len(bad_cases):,})</h2>",
        table(["text", "label", "prediction", "score"], shown),
        f"<p>All of them: {escape(args.dataset_dir / args.bad_case_file)}</p>" if len(bad_cases) > 200 else "",
    ]


def compare_models(args, labels, texts, truth, predicted):
    """Run the other model on the same samples; print, write changed.txt, and give the HTML."""
    other_args = argparse.Namespace(**{**vars(args), "params_path": args.compare})
    other_labels = read_model_labels(other_args)
    other_logits, _ = Classifier(other_args, other_labels).run(texts, "dev, other model")
    other = np.array([labels.index(other_labels[class_id]) for class_id in other_logits.argmax(axis=1)])
    result = compare(predicted, other, truth)
    rows = np.flatnonzero((predicted == truth) != (other == truth)).tolist()
    changed = [(texts[row], labels[truth[row]], labels[predicted[row]], labels[other[row]]) for row in rows]
    header = ("Text", "Label", str(args.params_path), str(args.compare))
    lines = ["\t".join(row) for row in (header, *changed)]
    write_lines(args.report_dir, {"changed.txt": lines}, "--report_dir")
    low, high = (100 * bound for bound in result["interval"])
    points = f"{100 * result['difference']:+.2f} points ({low:+.2f} to {high:+.2f})"
    print(f"{args.compare}: {points}, McNemar p = {result['p_value']:.4f}; {len(changed):,} samples changed sides: "
          f"{args.report_dir / 'changed.txt'}")  # fmt: skip
    return list(comparison_parts(result, args, changed))


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
