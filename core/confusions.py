"""Samples by true and predicted class: the scores that follow from them, with intervals.

Nothing here needs memory for classes x classes, or for classes x draws: there may be ten thousand classes.
"""

import math

import numpy as np

from core.calibration import BLOCK

# Draws of the bootstrap.
RESAMPLES = 2000


class Confusions:
    """Samples by true and predicted class.

    Args:
        truth, predicted: int [samples], class ids.
        num_classes (int): how many there are.

    Attributes:
        rows, columns, counts (np.ndarray): int64 [pairs]: the true and the predicted class of each pair of classes
            that has samples, and their number.
        true, predicted, right (np.ndarray): int64 [classes]: samples of a class, predictions of it, right ones.
        total (int): samples.
    """

    def __init__(self, truth, predicted, num_classes):
        pairs = np.asarray(truth, dtype=np.int64) * num_classes + np.asarray(predicted)
        pairs, self.counts = np.unique(pairs, return_counts=True)
        self.rows, self.columns = pairs // num_classes, pairs % num_classes
        self.num_classes, self.total = num_classes, int(self.counts.sum())
        from scipy.sparse import csr_matrix

        # Rows of `right`, `predicted` and `true` below each other, for counts of the pairs in columns.
        own, pair = self.rows == self.columns, np.arange(len(pairs))
        sums = np.concatenate([self.rows[own], self.columns + num_classes, self.rows + 2 * num_classes])
        at = np.concatenate([pair[own], pair, pair])
        self._sums = csr_matrix((np.ones(len(at), dtype=np.int64), (sums, at)), shape=(3 * num_classes, len(pairs)))
        self.right, self.predicted, self.true = self.sums(self.counts)

    def sums(self, counts):
        """right, predicted and true for other counts of the pairs, [pairs, ...]: int64 [3, classes, ...]."""
        return (self._sums @ counts).reshape(3, self.num_classes, *counts.shape[1:])

    @property
    def accuracy(self):
        return self.right.sum() / self.total

    def most_confused(self, most):
        """The pairs of classes with the most mistakes: true class, predicted class, samples; at most `most` rows."""
        wrong = np.flatnonzero(self.rows != self.columns)
        wrong = wrong[np.argsort(-self.counts[wrong], kind="stable")][:most]
        return list(zip(self.rows[wrong].tolist(), self.columns[wrong].tolist(), self.counts[wrong].tolist()))

    def matrix(self, classes):
        """int64 [k, k]: the samples of some classes by true (row) and predicted (column) class."""
        found, place = np.zeros((len(classes), len(classes)), np.int64), {own: at for at, own in enumerate(classes)}
        for row, column, count in zip(self.rows.tolist(), self.columns.tolist(), self.counts.tolist()):
            if row in place and column in place:
                found[place[row], place[column]] = count
        return found


def class_scores(right, predicted, true):
    """Precision, recall and F1 of each class; 0 where there is nothing to divide by: float64 [..., 3]."""
    return np.stack(
        [right / np.maximum(predicted, 1), right / np.maximum(true, 1), 2 * right / np.maximum(predicted + true, 1)],
        axis=-1,
    )


def bootstrap(confusions, seed):
    """95 % intervals of the scores, from RESAMPLES draws of as many samples with replacement.

    Drawing samples and counting them is drawing the counts of the pairs of classes from a multinomial distribution.
    For a class alone, that is one of four numbers: right, only predicted, only true, neither.

    Args:
        confusions (Confusions): of the samples.
        seed (int): of the draws.

    Returns:
        tuple[np.ndarray, np.ndarray, np.ndarray]: lower and upper bounds of precision, recall and F1 of each class
        [2, classes, 3], of the macro averages [2, 3], and of the accuracy [2].
    """
    random, total, bounds = np.random.default_rng(seed), confusions.total, (2.5, 97.5)
    # Right, predicted and true have a row a class, so that they may be longer than the pairs.
    block = max(1, BLOCK // max(len(confusions.counts), 3 * confusions.num_classes))
    macro, accuracy = [], []
    for start in range(0, RESAMPLES, block):
        size = min(block, RESAMPLES - start)
        draws = confusions.sums(random.multinomial(total, confusions.counts / total, size=size).T)
        macro.append(class_scores(*draws).mean(axis=0))
        accuracy.append(draws[0].sum(axis=0) / total)
    # Of thousands of classes, most have a few samples: those with the same numbers have the same intervals.
    numbers = np.stack([confusions.right, confusions.predicted, confusions.true], axis=1)
    numbers, own = np.unique(numbers, axis=0, return_inverse=True)
    own, per_class, block = own.reshape(-1), [], max(1, BLOCK // (4 * RESAMPLES))
    for start in range(0, len(numbers), block):
        right, predicted, true = numbers[start : start + block].T
        parts = np.stack([right, predicted - right, true - right, total - predicted - true + right], axis=1) / total
        draws = random.multinomial(total, parts, size=(RESAMPLES, len(parts)))
        draws = draws[..., 0], draws[..., 0] + draws[..., 1], draws[..., 0] + draws[..., 2]
        per_class.append(np.percentile(class_scores(*draws), bounds, axis=0))
    # A class of few samples is missing in many draws, and counts 0 there: of many such classes all draws are too low.
    macro, accuracy = np.concatenate(macro), np.concatenate(accuracy)
    found = class_scores(confusions.right, confusions.predicted, confusions.true).mean(axis=0)
    macro = np.clip(np.percentile(macro, bounds, axis=0) + found - macro.mean(axis=0), 0, 1)
    return np.concatenate(per_class, axis=1)[:, own], macro, np.percentile(accuracy, bounds)


def wilson(right, total, z=1.959964):
    """The interval of a share (Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953): lower, upper bound.

    Args:
        right, total (int): how many of how many; total is at least 1.
        z (float): the normal distribution's quantile; the default is that of 95 %.
    """
    share, spread = right / total, z * z / total
    middle = share + spread / 2
    width = z * math.sqrt(share * (1 - share) / total + spread / (4 * total))
    return max(0.0, (middle - width) / (1 + spread)), min(1.0, (middle + width) / (1 + spread))
