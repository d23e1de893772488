"""The page of monitor.py, and monitor.json beside it."""

import collections

import numpy as np

from analysis.monitor_words import WORDS
from analysis.monitoring import as_json, as_line, shares
from analysis.report import chart, escape, new_figure, show_legend, table, to_svg, write_page
from core.hashed_ngrams import ngrams_of
from utils import shortened, staged_files, write_json

BLUE, ORANGE = "#3b6ea8", "#e0883a"

# Labels, words and texts that the page lists at most, and characters of a text.
SHOWN_LABELS, SHOWN_WORDS, SHOWN_TEXTS, SHOWN_CHARACTERS = 40, 20, 50, 200

# Texts that must have a word before it is listed.
LEAST_WITH_WORD = 3

BINS = 20


def percent(value):
    return f"{100 * value:.2f}"


def say(words, name, **values):
    """HTML of a sentence: the words with the values, all of it escaped."""
    return escape(words[name].format(**{key: f"{v:,}" if isinstance(v, int) else v for key, v in values.items()}))


def test_parts(outcome, words):
    """HTML of the tests."""
    values = {"alpha": f"{outcome.alpha:.1%}", "limit": f"{outcome.alpha:g}"}
    yield f"<h2>{escape(words['tests'])}</h2><p>{say(words, 'tests_how', **values)}</p>"
    rows = []
    for shift in outcome.shifts:
        word = words["is_alarm" if shift.name in outcome.alarms else "is_quiet"]
        alone = words["alone"].format(p=f"{shift.p_value:.4f}")
        rows.append([words[shift.name], (f"{shift.adjusted:.4f}", alone), f"{shift.distance:.3f}", word])
    rows += [[words[name], words["not_tested"], "", words[why]] for name, why in outcome.not_tested.items()]
    yield table([words[name] for name in ("test", "p_value", "distance", "verdict")], rows, numbers=(1, 2))
    yield f"<p>{escape(words['distances_how'])}</p>"


def estimate_parts(outcome, words):
    """HTML of the estimated accuracy."""
    yield f"<h2>{escape(words['estimate'])}</h2>"
    estimate = outcome.estimate
    if estimate is None:
        yield f"<p>{say(words, 'estimate_none', why=outcome.why_none)}</p>"
        return
    low, high = map(percent, estimate.interval)
    values = {"estimate": percent(estimate.accuracy), "low": low, "high": high}
    own = {"samples": estimate.samples, "reference": percent(estimate.reference)}
    yield f"<p><strong>{say(words, 'estimate_is', **values, **own)}</strong></p>"
    if outcome.doubt:
        yield f'<p class="warning">{escape(words[outcome.doubt])}</p>'
    yield f"<p>{escape(words['estimate_how'])}</p>"


def label_parts(reference, log, words):
    """HTML of the labels' shares, those with the largest differences first."""
    before, now = shares(reference.labels), shares(log.labels)
    names = sorted({*before, *now}, key=lambda label: (-abs(now.get(label, 0) - before.get(label, 0)), label))
    yield f"<h2>{escape(words['labels'])}</h2>"
    if len(names) > SHOWN_LABELS:
        yield f"<p>{say(words, 'more_labels', shown=SHOWN_LABELS, total=len(names))}</p>"
    rows = []
    for label in names[:SHOWN_LABELS]:
        both = before.get(label, 0), now.get(label, 0)
        rows.append([label, *map(percent, both), f"{100 * (both[1] - both[0]):+.2f}"])
    header = [words[name] for name in ("label", "share_reference", "share_log", "difference")]
    yield table(header, rows, numbers=(1, 2, 3))


def plot_values(reference, log, axis, words, scale=1.0):
    """Two histograms of shares with the same bins: a figure; values beyond the 99th percentile are in the last bin."""
    whole = scale * np.concatenate([reference, log])
    top = max(float(np.percentile(whole, 99)), float(whole.min()) + 1e-6)
    edges = np.linspace(float(whole.min()), top, BINS + 1)
    figure, axes = new_figure(6, 2.8)
    for values, colour, name in ((reference, BLUE, "reference"), (log, ORANGE, "log")):
        counts = np.histogram(np.minimum(scale * values, top), edges)[0]
        axes.stairs(100 * counts / len(values), edges, color=colour, label=words[name], linewidth=1.5)
    axes.set_xlabel(words[axis])
    axes.set_ylabel(words["texts_axis"])
    show_legend(axes)
    figure.subplots_adjust(left=0.11, right=0.98, bottom=0.18, top=0.88)
    return figure


def new_words(reference, log):
    """Words and pairs of words that more of the log's texts have: list of (word, share before, share now).

    By the difference in units of its standard error; those of fewer than LEAST_WITH_WORD texts are left out.
    """
    counts = [collections.Counter(word for text in one.texts for word in ngrams_of(text)) for one in (reference, log)]
    sizes, found = (len(reference), len(log)), []
    for word, number in counts[1].items():
        before, now = counts[0][word] / sizes[0], number / sizes[1]
        if number >= LEAST_WITH_WORD and now > before:
            whole = (counts[0][word] + number) / sum(sizes)
            error = np.sqrt(whole * (1 - whole) * (1 / sizes[0] + 1 / sizes[1])) or 1
            found.append((float((now - before) / error), word, before, now))
    found.sort(key=lambda row: (-row[0], row[1]))
    return [row[1:] for row in found[:SHOWN_WORDS]]


def page_parts(outcome, reference, log, chosen, flags):
    """HTML of the page."""
    words = WORDS[flags.lang]
    names = ", ".join(words[name] for name in outcome.alarms)
    kind, verdict = ("error", say(words, "alarm", names=names)) if names else ("ok", escape(words["quiet"]))
    yield f'<p class="{kind}">{verdict}</p>'
    values = {"log": log.name, "log_texts": len(log), "reference": reference.name, "reference_texts": len(reference)}
    yield f"<p>{say(words, 'lead', **values)}</p>"
    for reason, number in log.left_out.items():
        yield f'<p class="warning">{say(words, f"left_out_{reason}", number=number)}</p>'
    yield from test_parts(outcome, words)
    yield from estimate_parts(outcome, words)
    yield from label_parts(reference, log, words)
    yield f"<h2>{escape(words['confidence'])}</h2>"
    figure = plot_values(reference.confidence, log.confidence, "confidence_axis", words, scale=100.0)
    yield chart(to_svg(figure))
    if reference.lengths is not None and log.lengths is not None:
        yield f"<h2>{escape(words['length'])}</h2>"
        yield chart(to_svg(plot_values(reference.lengths, log.lengths, "length_axis", words)))
    if reference.texts and log.texts and (found := new_words(reference, log)):
        rows = [(word, percent(before), percent(now)) for word, before, now in found]
        yield f"<h2>{escape(words['new_words'])}</h2>"
        yield table([words[name] for name in ("word", "share_reference", "share_log")], rows, numbers=(1, 2))
    if chosen:
        values = {"shown": min(SHOWN_TEXTS, len(chosen)), "total": len(chosen)}
        path = flags.report_dir / "to_label.txt"
        yield f"<h2>{escape(words['to_label'])}</h2><p>{say(words, 'to_label_how', path=path, **values)}</p>"
        answers = dict(zip(map(as_line, log.texts), zip(log.labels, log.confidence)))
        rows = []
        for text in chosen[:SHOWN_TEXTS]:
            label, confidence = answers[text]
            rows.append((shortened(text, SHOWN_CHARACTERS), label, percent(confidence)))
        header = [words[name] for name in ("text", "label", "confidence_axis")]
        yield table(header, rows, numbers=(2,), kind="texts")


def write_report(outcome, reference, log, chosen, flags):
    """Write monitor.html and monitor.json into --report_dir; the page's path."""
    path = flags.report_dir / "monitor.html"
    with staged_files(flags.report_dir) as stage:
        write_json(stage / "monitor.json", as_json(outcome, reference, log))
    parts = list(page_parts(outcome, reference, log, chosen, flags))
    write_page(path, WORDS[flags.lang]["title"].format(log=log.name), parts, flags.lang)
    return path
