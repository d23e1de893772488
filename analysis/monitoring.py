"""What monitor.py finds out: shifts, the estimated accuracy, texts to label; as lines, JSON and gauges."""

import argparse
import collections
import time
from dataclasses import dataclass, field
from typing import Optional

import numpy as np

from analysis.estimated_accuracy import Estimate, calibration_problem, estimate_accuracy
from analysis.shift_tests import (
    TABLE_DRAWS,
    VECTOR_DRAWS,
    adjust,
    embedding_shift,
    label_shift,
    n_gram_rows,
    unit_length,
    value_shift,
    vocabulary_shift,
)
from analysis.traffic import OPEN_KEY, vocabularies
from core.calibration import MIN_SAMPLES
from core.checkpoints import EXPORT_FILE, trained_labels
from core.hashed_ngrams import BUCKETS, buckets_of, make_bucket
from utils import UsageError, read_json

# Texts among which those to label are chosen: the least sure and least usual ones.
CANDIDATES = 20_000


@dataclass
class Outcome:
    """What was found.

    Attributes:
        shifts (list[Shift]): the tests, adjusted for each other.
        alpha (float): the limit of their p-values.
        estimate (Estimate | None): of the accuracy.
        why_none (str | None): why there is no estimate.
        not_tested (dict[str, str]): name of a test -> why it was not done, a key of WHY.
        alarms (list[str]): names of the tests, and accuracy.
    """

    shifts: list
    alpha: float
    estimate: Optional[Estimate] = None
    why_none: Optional[str] = None
    not_tested: dict = field(default_factory=dict)
    alarms: list = field(default_factory=list)

    @property
    def doubt(self):
        """Why the estimate is off by more than its interval says: a key of DOUBTS, or None.

        Of texts that no label fits it cannot know that they are answered wrongly; and where the labels' shares change,
        a confidence means something else than before.
        """
        if not {"vocabulary", "embedding"}.isdisjoint(self.alarms):
            return "other_texts"
        return None if {"labels", "confidence"}.isdisjoint(self.alarms) else "other_shares"


def watch(reference, log, flags):
    """Compare the two and estimate the accuracy: an Outcome.

    Args:
        reference, log (Traffic): the two.
        flags: with key_file, export_dir, alpha, least_accuracy and seed.

    Raises:
        UsageError: the key of the log is missing, or --least_accuracy cannot be judged.
    """
    random = np.random.default_rng(flags.seed)
    shifts, missing = find_shifts(reference, log, vocabularies(reference, log, flags.key_file), random)
    outcome = Outcome(shifts, flags.alpha, not_tested=missing)
    outcome.estimate, outcome.why_none = _estimate(reference, log, flags.export_dir, random)
    outcome.alarms = [shift.name for shift in outcome.shifts if shift.adjusted <= flags.alpha]
    if flags.least_accuracy is not None:
        if outcome.estimate is None:
            raise UsageError(f"--least_accuracy {flags.least_accuracy}: the accuracy is not known: {outcome.why_none}")
        if outcome.estimate.interval[1] < flags.least_accuracy:
            outcome.alarms.append("accuracy")
    return outcome


def find_shifts(reference, log, buckets, random, draws=(TABLE_DRAWS, VECTOR_DRAWS)):
    """All tests that the two allow.

    Args:
        buckets (tuple[list, list] | None): see analysis.traffic.vocabularies.
        random (np.random.Generator): source of the draws.
        draws (tuple[int, int]): of the tests on counts, and of those on vectors.

    Returns:
        tuple[list[Shift], dict[str, str]]: the tests, adjusted; and what could not be tested -> a key of WHY.
    """
    shifts, missing = [label_shift(reference.labels, log.labels, random, draws[0])], {}
    # Files of predictions have 4 decimals: more of one side alone would be a difference.
    sure = np.round(reference.confidence, 4), np.round(log.confidence, 4)
    shifts.append(value_shift("confidence", *sure, random, draws[0]))
    if reference.lengths is None or log.lengths is None:
        missing["length"] = "no_text"
    else:
        shifts.append(value_shift("length", reference.lengths, log.lengths, random, draws[0]))
    if buckets is not None:
        rows = [n_gram_rows(some, BUCKETS) for some in buckets]
        shifts.append(vocabulary_shift(*rows, random, draws[1]))
    else:
        missing["vocabulary"] = "no_text"
    if reference.embedding is None or log.embedding is None:
        missing["embedding"] = "no_embedding"
    elif reference.embedding.shape[1] != log.embedding.shape[1]:
        sizes = f"{reference.embedding.shape[1]} and {log.embedding.shape[1]}"
        raise UsageError(f"{log.name}: vectors of {sizes} units cannot be compared; take both of one model")
    else:
        shifts.append(embedding_shift(reference.embedding, log.embedding, random, draws[1]))
    return adjust(shifts), missing


def _estimate(reference, log, export_dir, random):
    """(Estimate, None), or (None, why there is none)."""
    if reference.truth is None:
        return None, "the reference has no true labels; give dev.txt as --reference"
    content = read_json(export_dir / EXPORT_FILE)
    why = calibration_problem(content) if content else f"{export_dir} is no export; give it as --export_dir"
    if why:
        return None, why
    if len(reference) < MIN_SAMPLES:
        return None, f"{reference.name} has {len(reference)} lines; it takes {MIN_SAMPLES}"
    right = np.array(reference.labels) == np.array(reference.truth)
    return estimate_accuracy(log.confidence, reference.confidence, right, random), None


def add_features(flags, reference, log):
    """Give both sets the features of their texts by the checkpoint --params_path.

    Raises:
        UsageError: one of them has no texts, or it is no trained checkpoint.
    """
    for one in (reference, log):
        if one.texts is None:
            raise UsageError(f"--params_path: {one.name} has no texts to read; leave the flag out")
    try:
        labels = trained_labels(str(flags.params_path), None, None)
    except UsageError as error:
        raise UsageError(str(error).replace("--model_name_or_path", "--params_path")) from None

    from analysis.classifier import Classifier  # needs paddle, which takes seconds

    own = {"params_path": flags.params_path, "device": flags.device, "seed": flags.seed}
    classifier = Classifier(argparse.Namespace(**own, max_seq_length=None, batch_size=32), labels)
    for one in (reference, log):
        one.embedding = classifier.compute(one.texts, one.name)[1]


# ------------------------------------------------------------------------------------------------------ texts to label


def as_line(text):
    """A text on one line: line breaks and tabs would cut it in the file to label."""
    return " ".join(text.split())


def worth_labelling(reference, log, number, seed):
    """Texts of the log that are most worth a label, the first one the most; none where the log has no texts.

    A text weighs as much as its answer is unsure and its words are unusual in the reference, each by its rank among
    the texts; they are then drawn by k-means++ on the vectors of their words with that length (after Ash et al. 2020,
    arXiv:1906.03671), so that they differ from each other. Those of the reference are left out.

    Returns:
        list[str]: at most `number` of them.
    """
    if log.texts is None:
        return []
    known = set(map(as_line, reference.texts or ()))
    places = {as_line(text): place for place, text in enumerate(log.texts)}
    places = {text: place for text, place in places.items() if text and text not in known}
    texts, places = list(places), np.array(list(places.values()), dtype=np.int64)
    if not texts:
        return []
    rows = _rows(texts)
    weight = _ranks(-log.confidence[places])
    if reference.texts:
        counts = np.asarray(_rows(reference.texts).sum(axis=0)).ravel()
        words = np.maximum(np.asarray(rows.sum(axis=1)).ravel(), 1)
        weight = weight + _ranks(-(rows @ np.log((counts + 0.5) / len(reference))) / words)
    rows, weight = unit_length(rows).tocsr(), (weight / weight.max()) ** 2
    best = np.sort(np.argsort(-weight, kind="stable")[:CANDIDATES])
    chosen = best[_spread(rows[best], weight[best], number, np.random.default_rng(seed))]
    return [texts[place] for place in chosen.tolist()]


def _rows(texts):
    """The n-grams of texts, sparse float32 [texts, BUCKETS]."""
    bucket = make_bucket(OPEN_KEY)
    return n_gram_rows([buckets_of(text, bucket) for text in texts], BUCKETS)


def _ranks(values):
    """float64 [n] from near 0, the smallest, to 1."""
    return np.argsort(np.argsort(values, kind="stable"), kind="stable").astype(float) / len(values) + 1 / len(values)


def _spread(rows, weight, number, random):
    """Row numbers by k-means++ (Arthur and Vassilvitskii 2007) on sparse unit rows times their weights."""
    chosen, squares = [int(np.argmax(weight))], weight**2
    left = np.full(len(weight), np.inf)
    while True:
        last = chosen[-1]
        products = (rows @ rows[last].T).toarray().ravel()
        left = np.minimum(left, np.maximum(squares + squares[last] - 2 * weight * weight[last] * products, 0))
        left[chosen] = 0
        if len(chosen) == min(number, len(weight)) or left.sum() <= 0:
            return np.array(chosen)
        chosen.append(int(random.choice(len(weight), p=left / left.sum())))


# ------------------------------------------------------------------------------------------------------ what is told


def shares(labels):
    """label -> share."""
    counts = collections.Counter(labels)
    return {label: count / len(labels) for label, count in counts.items()}


def summary_lines(outcome, reference, log):
    """Lines for the terminal."""
    yield f"{len(log):,} answers of {log.name} against {len(reference):,} of {reference.name}"
    for reason, count in log.left_out.items():
        said = {"unreadable": "cannot be read", "other_export": "are of another export"}[reason]
        yield f"{count:,} lines of the log {said}, and are left out"
    for shift in outcome.shifts:
        word = "ALARM" if shift.name in outcome.alarms else "quiet"
        yield f"{shift.name:<12}{word}  p = {shift.adjusted:.4f} of all tests together, distance {shift.distance:.3f}"
    for name, why in outcome.not_tested.items():
        yield f"{name:<12}not tested: {WHY[why]}"
    if outcome.estimate:
        low, high = outcome.estimate.interval
        own = f"{outcome.estimate.accuracy:.2%} (95 %: {low:.2%} to {high:.2%})"
        yield f"Estimated accuracy on the log: {own}; measured on the reference: {outcome.estimate.reference:.2%}"
        if outcome.doubt:
            yield DOUBTS[outcome.doubt]
    else:
        yield f"The accuracy on the log is not estimated: {outcome.why_none}"
    if outcome.alarms:
        yield f"ALARM: {', '.join(outcome.alarms)}"
    else:
        yield f"No alarm (at most {outcome.alpha:.0%} of runs alarm where nothing has changed)"


DOUBTS = {
    "other_texts": "This estimate is probably too high, interval and all: texts of another kind have come",
    "other_shares": "This estimate may be some points off, more than its interval says: label shares have changed",
}

WHY = {
    "no_text": "one of the two has neither texts nor hashed words",
    "no_embedding": "vectors are not kept, and no --params_path reads both",
}


def as_json(outcome, reference, log):
    """All figures, for monitor.json."""
    estimate = outcome.estimate
    return {
        "alarms": outcome.alarms,
        "alpha": outcome.alpha,
        "texts": {"reference": len(reference), "log": len(log)},
        "left_out": dict(log.left_out),
        "tests": {
            shift.name: {
                "p_value": shift.p_value,
                "adjusted": shift.adjusted,
                "distance": shift.distance,
                "texts": list(shift.texts),
            }
            for shift in outcome.shifts
        },
        "not_tested": {name: WHY[why] for name, why in outcome.not_tested.items()},
        "estimated_accuracy": estimate
        and {
            "estimate": estimate.accuracy,
            "interval": list(estimate.interval),
            "reference": estimate.reference,
            "samples": estimate.samples,
        },
        "why_no_estimate": outcome.why_none,
        "label_shares": {"reference": shares(reference.labels), "log": shares(log.labels)},
    }


def metrics_lines(outcome, reference, log, flags):
    """Gauges in Prometheus' text format (https://prometheus.io/docs/instrumenting/exposition_formats/)."""
    own = {"model": flags.model or str(flags.export_dir)}
    sets = {"reference": reference, "log": log}
    names = sorted({*reference.labels, *log.labels})
    gauges = [
        ("alarm", "1 where a test of the last run alarmed.", [({}, int(bool(outcome.alarms)))]),
        ("run_timestamp_seconds", "When the last run ended.", [({}, round(time.time()))]),
        ("texts", "Answers compared.", [({"set": name}, len(one)) for name, one in sets.items()]),
        ("p_value", "Of a test, adjusted for all.", [({"test": s.name}, s.adjusted) for s in outcome.shifts]),
        ("distance", "How far log and reference are.", [({"test": s.name}, s.distance) for s in outcome.shifts]),
        ("confidence", "Mean.", [({"set": name}, one.confidence.mean()) for name, one in sets.items()]),
    ]
    found = {name: shares(one.labels) for name, one in sets.items()}
    rows = [({"set": name, "label": label}, found[name].get(label, 0)) for name in sets for label in names]
    gauges.append(("label_share", "Share of the answers.", rows))
    if outcome.estimate:
        low, high = outcome.estimate.interval
        values = {"low": low, "estimate": outcome.estimate.accuracy, "high": high}
        rows = [({"bound": name}, value) for name, value in values.items()]
        gauges.append(("estimated_accuracy", "On the log, by calibrated confidences; 95 %.", rows))
        gauges.append(("reference_accuracy", "Measured on the reference.", [({}, outcome.estimate.reference)]))
    for name, text, rows in gauges:
        yield f"# HELP text_monitor_{name} {text}"
        yield f"# TYPE text_monitor_{name} gauge"
        for labels, value in rows:
            inside = ",".join(f'{key}="{_quoted(text)}"' for key, text in {**own, **labels}.items())
            yield f"text_monitor_{name}{{{inside}}} {float(value):.10g}"


def _quoted(text):
    return str(text).replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
