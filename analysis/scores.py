"""Statistics of predictions: scores with intervals, calibration, coverage, and the test between two models."""

import numpy as np
from scipy.stats import binomtest

from analysis.vectors import softmax
from utils import fit_temperature

# Accuracies for which the share of the samples that can be answered is told.
ACCURACIES = (0.8, 0.85, 0.9, 0.95, 0.99)

# Draws of the bootstrap.
RESAMPLES = 2000

# Of the confidence, for calibration.
BINS = 15


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
    first, second = np.asarray(predicted) == truth, np.asarray(other) == truth
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    changed, total = only_first + only_second, len(first)
    difference = (only_second - only_first) / total
    error = 1.96 * np.sqrt(max(0, changed / total - difference**2) / total)
    return {
        "only_first": only_first,
        "only_second": only_second,
        "difference": difference,
        "p_value": float(binomtest(only_first, changed).pvalue) if changed else 1.0,
        "interval": (difference - error, difference + error),
    }


class Evaluation:
    """All that is told of one model's predictions.

    Args:
        labels (list[str]): in class order.
        texts (list[str]): the samples.
        truth (np.ndarray): int [samples], their class ids.
        logits (np.ndarray): float [samples, classes].
        seed (int): of the halves that calibration is done with.

    Attributes:
        probabilities (np.ndarray): float64 [samples, classes].
        predicted (np.ndarray): int [samples].
        matrix (np.ndarray): see confusion_matrix.
        top (dict[int, float]): k -> top-k accuracy.
        calibrated (np.ndarray): float64 [samples, classes]; with `temperature`, see calibrated.
        errors (tuple[float, float]): calibration error before and after.
        curve: see coverage_curve.
        coverage (dict): accuracy of ACCURACIES -> see coverage_at.
        wrong (list[int]): rows of the wrong predictions, the most confident mistake first.
    """

    def __init__(self, labels, texts, truth, logits, seed):
        self.labels, self.texts, self.truth = labels, texts, truth
        self.probabilities = softmax(logits)
        self.predicted = self.probabilities.argmax(axis=1)
        self.matrix = confusion_matrix(truth, self.predicted, len(labels))
        self.top = {k: top_k_accuracy(logits, truth, k) for k in (2, 3) if k < len(labels)}
        self.calibrated, self.temperature = calibrated(logits, truth, seed)
        self.errors = calibration_error(self.probabilities, truth), calibration_error(self.calibrated, truth)
        self.curve = coverage_curve(self.calibrated, truth)
        self.coverage = {accuracy: coverage_at(self.curve, accuracy) for accuracy in ACCURACIES}
        wrong = np.flatnonzero(self.predicted != truth)
        confidence = self.probabilities[wrong, self.predicted[wrong]]
        self.wrong = wrong[np.argsort(-confidence, kind="stable")].tolist()

    @property
    def bad_cases(self):
        """The wrong predictions: list of text, label, predicted label and its probability."""
        rows = [(row, self.predicted[row]) for row in self.wrong]
        names = self.labels
        return [
            (self.texts[row], names[self.truth[row]], names[own], self.probabilities[row, own]) for row, own in rows
        ]
