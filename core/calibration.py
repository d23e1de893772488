"""Probabilities that are as sure as they are right, and what can be promised of their answers.

An export divides its logits by a temperature (Guo et al. 2017, arXiv:1706.04599) that is fitted on dev, in the graph
itself, so that whoever runs it gets calibrated probabilities. export.json says of it

    calibration    temperature, samples, the seed of the halves, and calibration error and log loss before and after
    thresholds     accuracy -> what has to be reached to answer so rightly, in all and by label
    conformal      share -> the least probability of the labels that hold the right one so often
    formats        the last two for formats that do not give the model's own answers, such as onnx_int8

All figures are out of fold: each half of dev has the temperature of the other half.
"""

import math
from collections import namedtuple

import numpy as np

from core.millionths import millionths, reaches

# How sure it is that an accuracy that is promised is reached.
SURE = 0.95

# Of the confidence, for calibration.
BINS = 15

# Numbers that are held at a time: 16 MB of them as float64.
BLOCK = 2_000_000

# Logits that a temperature is fitted on: of more, the rows are drawn.
MAX_FITTED = 4_000_000

# Thresholds are multiples of 1 / GRID, and confidences are compared as servers round them, to 6 decimals: what is told
# with 4 decimals then holds as it is written.
GRID = 10_000


# Accuracies that export.json has thresholds for, and shares that its conformal sets hold the right label so often.
ACCURACIES, SHARES = (0.95, 0.98, 0.99), (0.9, 0.95)

# Of fewer samples nothing is fitted or promised.
MIN_SAMPLES = 100


# ---------------------------------------------------------------------------------------------------- the temperature


def fit_temperature(logits, truth, one_more=True):
    """The number to divide logits by that makes the true classes most likely (Guo et al., 2017, arXiv:1706.04599).

    With one_more, a sample more is counted, of the class that comes second: where all samples are right, the
    likelihood would rise for ever, and no probability be sure enough (after Platt 1999, who moves the targets so).

    Args:
        logits (np.ndarray): [samples, classes].
        truth: class ids [samples].
        one_more (bool): see above.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    logits, rows = np.asarray(logits, dtype=np.float64), np.arange(len(truth))
    second = np.argpartition(logits, -2, axis=1)[:, -2]

    def loss(log_temperature):
        found = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -(found[rows, truth].sum() + (found[rows, second].mean() if one_more else 0))

    return float(np.exp(minimize_scalar(loss, bounds=(-5, 5), method="bounded").x))


def cross_fit(logits, truth, seed):
    """Temperatures that samples had no part in.

    Args:
        logits (np.ndarray): float [samples, classes].
        truth: class ids [samples].
        seed (int): of the halves.

    Returns:
        tuple[float, np.ndarray]: the temperature of all samples; float64 [samples], that of the half which a sample
        is not in.
    """
    truth, random = np.asarray(truth), np.random.RandomState(seed)
    half = random.permutation(len(truth)) < len(truth) // 2
    most = max(1, MAX_FITTED // logits.shape[1])

    def fit(rows):
        rows = np.sort(random.choice(rows, most, replace=False)) if len(rows) > most else rows
        return fit_temperature(logits[rows], truth[rows])

    temperatures = np.ones(len(truth))
    for part in (half, ~half):
        if (~part).any():
            temperatures[part] = fit(np.flatnonzero(~part))
    return fit(np.arange(len(truth))), temperatures


def calibrated(logits, truth, seed):
    """The confidences of each half of the samples with the temperature of the other half.

    Returns:
        tuple[np.ndarray, float]: float64 [samples], and the temperature of all samples.
    """
    temperature, temperatures = cross_fit(logits, truth, seed)
    return confidences(logits, temperatures), temperature


# ---------------------------------------------------------------------------------------------------------- confidence


def _scaled(logits, temperature):
    """Blocks of samples: their slice, and their logits less the highest, divided by the temperature, float64."""
    temperature, block = np.broadcast_to(temperature, len(logits)), max(1, BLOCK // logits.shape[1])
    for start in range(0, len(logits), block):
        some = slice(start, start + block)
        rows = logits[some].astype(np.float64)
        rows -= rows.max(axis=1, keepdims=True)
        rows /= temperature[some, None]
        yield some, rows


def confidences(logits, temperature=1.0):
    """float64 [samples]: the highest probability that softmax gives to the logits divided by the temperature.

    Args:
        logits (np.ndarray): float [samples, classes].
        temperature (float | np.ndarray): one, or one a sample.
    """
    found = np.empty(len(logits))
    for some, rows in _scaled(logits, temperature):
        found[some] = 1 / np.exp(rows).sum(axis=1)
    return found


def true_log_probabilities(logits, truth, temperature=1.0):
    """float64 [samples]: the logarithm of the true class's probability; arguments as of confidences."""
    found, truth = np.empty(len(logits)), np.asarray(truth)
    for some, rows in _scaled(logits, temperature):
        found[some] = np.take_along_axis(rows, truth[some, None], axis=1)[:, 0] - np.log(np.exp(rows).sum(axis=1))
    return found


def reliability(confidence, right):
    """Samples, mean confidence and accuracy in BINS equal bins of the confidence.

    Args:
        confidence (np.ndarray): float [samples], the probability of what is predicted.
        right (np.ndarray): bool [samples].

    Returns:
        tuple[np.ndarray, np.ndarray, np.ndarray]: [BINS] each; 0 in empty bins.
    """
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    counts = np.bincount(bins, minlength=BINS)
    divisor = np.maximum(counts, 1)
    sums = (np.bincount(bins, weights=values, minlength=BINS) for values in (confidence, right))
    return (counts, *(values / divisor for values in sums))


def calibration_error(confidence, right):
    """Expected calibration error: the mean distance of confidence and accuracy, bins weighted by their samples."""
    counts, mean, accuracy = reliability(confidence, right)
    return float((counts * np.abs(mean - accuracy)).sum() / counts.sum())


# ------------------------------------------------------------------------------------------------ what can be promised


def coverage_curve(confidence, right):
    """Accuracy on the samples that are answered, when the least confident ones are left to a person.

    Returns:
        tuple[np.ndarray, np.ndarray, np.ndarray]: int samples answered, int right ones among them, and the threshold
        of the confidence, a multiple of 1 / GRID; [n] each, from the most confident samples to all. Samples that no
        such threshold tells apart are answered together.
    """
    steps = millionths(confidence).astype(np.int64) // (1_000_000 // GRID)
    order = np.argsort(-steps, kind="stable")
    steps, right = steps[order], np.asarray(right)[order]
    last = np.append(steps[1:] != steps[:-1], True)
    return np.arange(1, len(steps) + 1)[last], right.cumsum()[last], steps[last] / GRID


Promise = namedtuple("Promise", "threshold answered share accuracy")


def samples_needed(accuracy):
    """The least number of samples, all of them right, that shows an accuracy with the certainty SURE."""
    return math.ceil(math.log(1 - SURE) / math.log(accuracy))


def promise(curve, accuracy):
    """How many samples can be answered so that an accuracy is reached, not on these alone.

    On these samples the accuracy must be so high that the wanted one is the lower end of its one-sided interval
    (Clopper and Pearson 1934): a threshold that reached it just here would miss it on every other data set.

    Args:
        curve: see coverage_curve.
        accuracy (float): that is wanted.

    Returns:
        Promise | None: the threshold, the samples answered, their share of all, and the accuracy on them. The
        threshold is midway between the confidences it tells apart, and 0 where all are answered. None where no
        threshold does it.
    """
    from scipy.stats import beta

    answered, right, threshold = curve
    least = beta.ppf(1 - SURE, np.maximum(right, 1), answered - right + 1)
    enough = np.flatnonzero((least >= accuracy) & (right > 0))
    if not len(enough):
        return None
    place, midway = enough[-1], 0.0
    if place + 1 < len(answered):
        midway = math.ceil(GRID * (threshold[place] + threshold[place + 1]) / 2 - 1e-6) / GRID
    number = int(answered[place])
    return Promise(midway, number, number / int(answered[-1]), float(right[place]) / number)


def thresholds(logits, truth, paths, temperature):
    """What has to be reached so that answers are right as often as ACCURACIES say.

    Where labels are paths, a text that the whole label is not sure enough for may be answered with a part of it: such
    texts alone decide about the threshold of the level above.

    Args:
        logits (np.ndarray): float [samples, classes].
        truth (np.ndarray): int [samples], class ids.
        paths (core.label_paths.LabelPaths): the levels of the labels.
        temperature (float | np.ndarray): see confidences.

    Returns:
        dict[str, dict]: accuracy -> samples; levels, the first one first, each None or threshold, answered (samples),
        share (of all samples), accuracy (on those answered); labels, name -> the same with the samples that are
        predicted so. What cannot be promised (see promise) is not there.
    """
    best, confidence = np.empty((paths.depth, len(truth)), np.int64), np.empty((paths.depth, len(truth)))
    for some, rows in _scaled(logits, temperature):
        probabilities = np.exp(rows)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        for level in range(paths.depth):
            values = paths.sums(probabilities, level)
            best[level, some], confidence[level, some] = values.argmax(axis=1), values.max(axis=1)
    right = np.stack([best[level] == paths.at_level(truth, level) for level in range(paths.depth)])
    counts, found = np.bincount(best[-1], minlength=len(paths.labels)), {}

    def promised(level, rows, accuracy):
        if len(rows) < samples_needed(accuracy):
            return None
        return promise(coverage_curve(confidence[level, rows], right[level, rows]), accuracy)

    for accuracy in ACCURACIES:
        levels, open_rows, labels = [None] * paths.depth, np.arange(len(truth)), {}
        for level in reversed(range(paths.depth)):
            if own := promised(level, open_rows, accuracy):
                levels[level] = {**_facts(own), "share": round(own.answered / len(truth), 4)}
                open_rows = open_rows[~reaches(confidence[level, open_rows], own.threshold)]
        for class_id in np.flatnonzero(counts >= samples_needed(accuracy)).tolist():
            if own := promised(-1, np.flatnonzero(best[-1] == class_id), accuracy):
                labels[paths.labels[class_id]] = {**_facts(own), "samples": int(counts[class_id])}
        if any(levels) or labels:
            found[f"{accuracy:g}"] = {"samples": len(truth), "levels": levels, "labels": labels}
    return found


def _facts(own):
    """A Promise as export.json has it."""
    return {**own._asdict(), "share": round(own.share, 4), "accuracy": round(own.accuracy, 4)}


def conformal_sets(logits, truth, temperature):
    """The least probability of the labels that, taken together, hold the right one as often as SHARES say.

    Split conformal prediction with the probability itself as the score (Sadinle, Lei and Wasserman 2019): of new
    texts like these, the set has the right label at least so often, on average over such sets of samples. The most
    probable label is always in it, so that none is empty.

    Args:
        logits, truth, temperature: as of thresholds.

    Returns:
        dict[str, dict]: share -> least_probability, in whole millionths; samples; mean_size (labels of a set), single
        (the share of sets with one label).
    """
    own = np.sort(millionths(np.exp(true_log_probabilities(logits, truth, temperature))))[::-1]
    found = {}
    for share in SHARES:
        place = math.ceil((len(own) + 1) * share - 1e-9)
        if place > len(own):
            continue
        least, sizes = own[place - 1], np.empty(len(own), np.int64)
        for some, rows in _scaled(logits, temperature):
            probabilities = np.exp(rows)
            probabilities /= probabilities.sum(axis=1, keepdims=True)
            sizes[some] = np.maximum(reaches(probabilities, least / 1e6).sum(axis=1), 1)
        found[f"{share:g}"] = {
            "least_probability": float(least) / 1e6,
            "samples": len(own),
            "mean_size": round(float(sizes.mean()), 4),
            "single": round(float((sizes == 1).mean()), 4),
        }
    return found


def promises(logits, truth, paths, temperature):
    """thresholds and conformal_sets by their names in export.json."""
    truth = np.asarray(truth)
    arguments = logits, truth, temperature
    return {"thresholds": thresholds(logits, truth, paths, temperature), "conformal": conformal_sets(*arguments)}


def quality(logits, truth, temperature=1.0):
    """calibration_error and log_loss of the probabilities; arguments as of confidences."""
    right = logits.argmax(axis=1) == np.asarray(truth)
    return {
        "calibration_error": round(calibration_error(confidences(logits, temperature), right), 6),
        "log_loss": round(float(-true_log_probabilities(logits, truth, temperature).mean()), 6),
    }


def export_facts(logits, truth, paths, seed, wanted=True):
    """What an export says of its probabilities: see the top of this file.

    Args:
        logits (np.ndarray): the model's own on dev, float [samples, classes].
        truth: class ids [samples].
        paths (core.label_paths.LabelPaths): the levels of the labels.
        seed (int): of the halves.
        wanted (bool): --calibrate; without it no temperature, the rest stays.

    Returns:
        dict: for export.json. calibration's temperature is None where there is none, and why says the reason.
    """
    truth = np.asarray(truth)
    if len(truth) < MIN_SAMPLES or len(np.unique(truth)) < 2:
        labels = len(np.unique(truth))
        many = f"{len(truth)} sample{'s' * (len(truth) != 1)} of {labels} label{'s' * (labels != 1)}"
        return without_calibration(f"dev has {many}; it takes {MIN_SAMPLES} of at least 2 labels")
    calibration = {"temperature": None, "samples": len(truth), "seed": seed}
    temperatures = 1.0
    if not wanted:
        calibration["why"] = "--calibrate False"
    else:
        temperature, found = cross_fit(logits, truth, seed)
        calibration["before"], calibration["after"] = quality(logits, truth), quality(logits, truth, found)
        if calibration["after"]["log_loss"] < calibration["before"]["log_loss"]:
            calibration["temperature"], temperatures = float(f"{temperature:.6g}"), found
        else:
            calibration["why"] = "on the half of dev that it was not fitted on, a temperature makes nothing better"
    return {"calibration": calibration, **promises(logits, truth, paths, temperatures)}


def without_calibration(why):
    """export_facts where there is no dev data for it."""
    return {"calibration": {"temperature": None, "why": why}}


def calibration_line(facts):
    """export_facts in one line of a log."""
    calibration = facts["calibration"]
    if calibration["temperature"] is None:
        return f"The export's probabilities are not calibrated: {calibration['why']}"
    before, after = calibration["before"], calibration["after"]
    error = f"calibration error {before['calibration_error']:.2%} -> {after['calibration_error']:.2%}"
    loss = f"log loss {before['log_loss']:.4f} -> {after['log_loss']:.4f}"
    said = f"calibrated on {calibration['samples']} samples of dev, temperature {calibration['temperature']:.4g}"
    return f"The export's probabilities are {said}: {error}, {loss}, out of fold"
