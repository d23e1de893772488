"""What evaluate.py tells: lines for the terminal, and the page with its pictures."""

import numpy as np

from analysis.evaluation_plots import MATRIX_CLASSES, most_mistaken, plots
from analysis.evaluation_words import WORDS
from analysis.report import chart, escape, set_font, table, to_png, to_svg, write_page
from analysis.scores import Confusions, bootstrap, class_scores, compare
from core.calibration import samples_needed
from core.checkpoints import trained_max_length
from core.label_paths import with_levels
from utils import evaluation_report, shortened, staged_files, write_json, write_lines

# Samples that the page lists at most, and characters of each.
SHOWN_SAMPLES, SHOWN_CHARACTERS = 200, 200

# Classes and pairs of classes that the page lists at most.
SHOWN_CLASSES, SHOWN_PAIRS = 100, 20

SCORES = ("precision", "recall", "f1")


def percent(value):
    return f"{100 * value:.2f}"


def interval(bounds):
    return f"{percent(bounds[0])} – {percent(bounds[1])}"


def p_value(result):
    """Of what scores.compare gives: "= 0.0512", or "< 0.0001"."""
    return f"= {result['p_value']:.4f}" if result["p_value"] >= 1e-4 else "< 0.0001"


def say(words, name, **values):
    """HTML of a sentence: the words with the values, all of it escaped."""
    return escape(
        words[name].format(**{key: f"{own:,}" if isinstance(own, int) else own for key, own in values.items()})
    )


def score_lines(evaluation):
    """Lines for the terminal: the report of train.py's debug evaluation, and what it has not."""
    report = evaluation_report("dev", evaluation.labels, evaluation.truth, evaluation.predicted)
    yield from with_levels(report, "dev", evaluation.levels)
    for k, value in evaluation.top.items():
        yield f"Top-{k} accuracy in dev dataset: {value:.2%}"
    before, after = map(percent, evaluation.errors)
    yield f"Calibration error: {before} points; {after} with temperature {evaluation.temperature:.3f}"
    own = evaluation.served_temperature
    served = "No temperature is applied to what is served, nor below"
    if own != 1.0:
        served = f"Logits are divided by {own:.4g}, as in the export that is served, above and below"
    yield f"{served}: these thresholds are for the served scores."
    total = len(evaluation.texts)
    for wanted, found in evaluation.promises.items():
        said = f"Accuracy of at least {wanted:.0%}"
        if found:
            yield f"{said}: {percent(found.share)} % of the samples answered, confidence >= {found.threshold:.4f}"
        elif total < samples_needed(wanted):
            yield f"{said}: cannot be shown with {total:,} samples; it takes {samples_needed(wanted):,}"
        else:
            yield f"{said}: no threshold reaches it"


def summary(evaluation):
    """The figures in one line."""
    confusions = evaluation.confusions
    scores = class_scores(confusions.right, confusions.predicted, confusions.true)
    return f"Accuracy {percent(confusions.accuracy)} %, macro F1 {percent(scores[:, 2].mean())}"


def length_warning(flags):
    """Lengths (given, trained) where the model is read with another one than it is served with, else None."""
    given, trained = flags.max_seq_length, trained_max_length(flags.params_path)
    return (given, trained) if given and trained and given != trained else None


# ------------------------------------------------------------------------------------------------------------ the page


def scaled(evaluation):
    """The ending of sentences about scores that are served with a temperature, else nothing."""
    return "_scaled" if evaluation.served_temperature != 1.0 else ""


def own_temperature(evaluation):
    return f"{evaluation.served_temperature:.4g}"


def overall_table(evaluation, scores, macro, accuracy, words):
    rows = [[words["accuracy"], (percent(evaluation.confusions.accuracy), interval(accuracy))]]
    rows += [[words["top"].format(k=k), percent(value)] for k, value in evaluation.top.items()]
    for column, name in enumerate(SCORES):
        value = percent(scores[:, column].mean()), interval(macro[:, column])
        rows.append([words["macro"].format(name=words[name]), value])
    rows.append([words["calibration_error"], percent(evaluation.errors[0])])
    return table(["", words["value"]], rows, numbers=(1,))


def level_parts(evaluation, seed, words):
    """HTML of the levels' scores; nothing where no label is a path."""
    if not evaluation.levels:
        return
    rows = []
    for index, level in enumerate(evaluation.levels):
        groups = (evaluation.paths.at_level(ids, index) for ids in (evaluation.truth, evaluation.predicted))
        _, macro, accuracy = bootstrap(Confusions(*groups, level["labels"]), seed)
        name = words["level_last" if index == evaluation.paths.depth - 1 else "level_name"].format(level=index + 1)
        values = (percent(level["accuracy"]), interval(accuracy)), (percent(level["macro_f1"]), interval(macro[:, 2]))
        rows.append([name, level["labels"], *values])
    yield f"<h2>{escape(words['levels'])}</h2>"
    yield f"<p>{say(words, 'levels_how', separator=evaluation.paths.separator)}</p>"
    header = [words["level"], words["level_labels"], words["accuracy"], words["macro"].format(name=words["f1"])]
    yield table(header, rows, numbers=range(1, 4))


def promise_parts(evaluation, words):
    """HTML of the thresholds and what they promise."""
    rows, total, example = [], len(evaluation.texts), 0.95
    for wanted, found in evaluation.promises.items():
        if found:
            example = found.threshold or example
            values = percent(found.threshold), percent(found.share), found.answered, percent(found.accuracy)
        else:
            needed = samples_needed(wanted)
            why = "needs" if total < needed else "not_reached"
            values = (("–", words[why].format(needed=f"{needed:,}", total=f"{total:,}")), "", "", "")
        rows.append([percent(wanted), *values])
    yield f"<h2>{escape(words['answer'])}</h2>"
    values = {"percent": percent(example), "score": f"{example:.4f}"}
    yield f"<p>{say(words, 'answer_how' + scaled(evaluation), temperature=own_temperature(evaluation), **values)}</p>"
    yield f"<p>{escape(words['answer_sure'])}</p>"
    header = [words[name] for name in ("wanted", "threshold", "share", "answered", "found")]
    yield table(header, rows, numbers=range(5))


def class_parts(evaluation, scores, per_class, path, words):
    """HTML of the classes' scores: all of them, or those with the most mistakes."""
    confusions, labels = evaluation.confusions, evaluation.labels
    shown = most_mistaken(confusions, SHOWN_CLASSES)
    if len(shown) < len(labels):
        yield f"<p>{say(words, 'classes_some', shown=len(shown), total=len(labels), path=path)}</p>"
    without = int((confusions.true == 0).sum())
    if without:
        yield f"<p>{say(words, 'classes_without', number=without)}</p>"
    rows = [
        [
            labels[index],
            int(confusions.true[index]),
            *((percent(scores[index, column]), interval(per_class[:, index, column])) for column in range(3)),
        ]
        for index in shown
    ]
    yield table([words["class"], words["samples"], *(words[name] for name in SCORES)], rows, numbers=range(1, 5))


def class_lines(evaluation, scores, per_class):
    """Lines of classes.tsv: every class with its scores and their intervals."""
    bounds = (f"{name}_{end}" for name in ("precision", "recall", "F1") for end in ("", "from", "to"))
    yield "\t".join(["class", "samples", *(name.rstrip("_") for name in bounds)])
    for index, (label, samples) in enumerate(zip(evaluation.labels, evaluation.confusions.true.tolist())):
        values = zip(scores[index], *per_class[:, index])
        yield "\t".join([label, str(samples), *(percent(value) for row in values for value in row)])


def confusion_parts(evaluation, svg, words):
    confusions, labels = evaluation.confusions, evaluation.labels
    yield f"<h2>{escape(words['matrix'])}</h2>"
    if len(labels) > MATRIX_CLASSES:
        yield f"<p>{say(words, 'matrix_some', shown=MATRIX_CLASSES, total=len(labels))}</p>"
    yield chart(svg, is_wide=True)
    if len(labels) > MATRIX_CLASSES:
        pairs = [(labels[true], labels[own], count) for true, own, count in confusions.most_confused(SHOWN_PAIRS)]
        yield f"<h2>{escape(words['confused'])}</h2>"
        yield table([words["true"], words["predicted"], words["samples"]], pairs, numbers=(2,))


def error_parts(evaluation, path, words):
    """HTML of the wrong predictions, folded."""
    bad_cases = evaluation.bad_cases
    rows = [
        (shortened(text, SHOWN_CHARACTERS), label, answer, percent(score))
        for text, label, answer, score in bad_cases[:SHOWN_SAMPLES]
    ]
    header = [words[name] for name in ("text", "label", "prediction", "score")]
    yield f"<details><summary>{say(words, 'wrong', number=len(bad_cases))}</summary>"
    yield table(header, rows, numbers=(3,), kind="texts")
    if len(bad_cases) > SHOWN_SAMPLES:
        yield f"<p>{say(words, 'all', path=path)}</p>"
    yield "</details>"


def comparison_parts(result, flags, changed):
    """HTML of the comparison with another model."""
    words, first, second = WORDS[flags.lang], str(flags.params_path), str(flags.compare)
    low, high = (f"{100 * bound:+.2f}" for bound in result["interval"])
    values = {
        "points": f"{100 * result['difference']:+.2f}",
        "low": low,
        "high": high,
        "p": p_value(result),
    }
    only = {name: result[name] for name in ("only_first", "only_second")}
    yield f"<h2>{say(words, 'compared', model=second)}</h2>"
    yield f"<p>{say(words, 'difference', first=first, second=second, **values, **only)}</p>"
    yield f"<details><summary>{say(words, 'changed', number=len(changed))}</summary>"
    rows = [(shortened(row[0], SHOWN_CHARACTERS), *row[1:]) for row in changed[:SHOWN_SAMPLES]]
    yield table([words["text"], words["label"], first, second], rows, kind="texts")
    if len(changed) > SHOWN_SAMPLES:
        yield f"<p>{say(words, 'all', path=flags.report_dir / 'changed.txt')}</p>"
    yield "</details>"


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
    print(f"{flags.compare}: {points}, McNemar p {p_value(result)}; {changes}")
    return list(comparison_parts(result, flags, changed))


def page_parts(evaluation, svgs, flags, more_parts):
    """HTML of the page, and the lines of classes.tsv, none where the page has all classes.

    Args:
        svgs (dict[str, str]): of the pictures, by their names.
        more_parts (list[str]): HTML that comes before the list of wrong predictions.

    Returns:
        tuple[list[str], list[str]]: parts and lines.
    """
    words, confusions = WORDS[flags.lang], evaluation.confusions
    per_class, macro, accuracy = bootstrap(confusions, flags.seed)
    scores = class_scores(confusions.right, confusions.predicted, confusions.true)
    parts = [f"<p>{say(words, 'lead', total=confusions.total, path=flags.dataset_dir / flags.dev_file)}</p>"]
    lengths = length_warning(flags)
    if lengths:
        parts.append(f'<p class="warning">{say(words, "other_length", given=lengths[0], trained=lengths[1])}</p>')
    parts += [overall_table(evaluation, scores, macro, accuracy, words), *level_parts(evaluation, flags.seed, words)]
    parts += [*promise_parts(evaluation, words), chart(svgs["coverage"])]
    before, after = map(percent, evaluation.errors)
    temperature = {"temperature": f"{evaluation.temperature:.3f}", "after": after, "own": own_temperature(evaluation)}
    parts += [f"<h2>{escape(words['calibration'])}</h2>", f"<p>{say(words, 'calibration_how', before=before)}</p>"]
    parts += [
        chart(svgs["reliability"]),
        f"<p>{say(words, 'temperature_how' + scaled(evaluation), **temperature)}</p>",
    ]
    parts.append(f"<h2>{escape(words['classes'])}</h2>")
    parts += class_parts(evaluation, scores, per_class, flags.report_dir / "classes.tsv", words)
    parts += confusion_parts(evaluation, svgs["confusion_matrix"], words)
    parts += [*more_parts, *error_parts(evaluation, flags.dataset_dir / flags.bad_case_file, words)]
    has_all = len(evaluation.labels) <= SHOWN_CLASSES
    return parts, [] if has_all else list(class_lines(evaluation, scores, per_class))


def write_report(evaluation, flags, more_parts):
    """Write the page and the pictures into --report_dir.

    Args:
        evaluation (Evaluation): of the model.
        flags: those of evaluate.py.
        more_parts (list[str]): HTML that comes before the list of wrong predictions.

    Returns:
        Path: the page.
    """
    has_font, path = set_font(), flags.report_dir / "evaluate.html"
    figures = plots(evaluation, WORDS[flags.lang])
    svgs = {name: to_svg(figure) for name, figure in figures.items()}
    parts, lines = page_parts(evaluation, svgs, flags, more_parts)
    if not has_font:
        print("No font with Chinese characters on this machine: the PNG files show boxes; evaluate.html does not.")
        figures = plots(evaluation, WORDS["en"])
    with staged_files(flags.report_dir) as stage:
        for name, figure in figures.items():
            to_png(figure, stage / f"{name}.png")
        if evaluation.levels:
            content = {"separator": evaluation.paths.separator, "levels": evaluation.levels}
            write_json(stage / "levels.json", content)
    if lines:
        write_lines(flags.report_dir, {"classes.tsv": lines}, "--report_dir")
    write_page(path, WORDS[flags.lang]["title"].format(model=flags.params_path), parts, flags.lang)
    return path
