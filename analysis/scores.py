"""Statistics of predictions: scores with intervals, calibration, what can be promised, the test between two models.

Nothing here needs memory for classes x classes, or for classes x draws: there may be ten thousand classes.
"""

import numpy as np
from scipy.stats import binomtest

from core.calibration import calibrated, calibration_error, confidences, coverage_curve, promise
from core.confusions import Confusions, bootstrap, class_scores  # noqa: F401
from core.label_paths import SEPARATOR, LabelPaths

# Accuracies for which the share of the samples that can be answered is told.
ACCURACIES = (0.8, 0.85, 0.9, 0.95, 0.99)


def top_k_accuracy(logits, truth, k):
    """The share of samples whose true class is among the k with the highest logits."""
    own = np.take_along_axis(logits, np.asarray(truth)[:, None], axis=1)
    return float(((logits > own).sum(axis=1) < k).mean())


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
    """All that is told of one model's predictions, with the probabilities that are served.

    These are the softmax of the logits, divided by the temperature that the model's export has in its graph.

    Args:
        labels (list[str]): in class order.
        texts (list[str]): the samples.
        truth (np.ndarray): int [samples], their class ids.
        logits (np.ndarray): float [samples, classes].
        seed (int): of the halves that calibration is done with.
        separator (str): between the parts of labels that are paths.
        served_temperature (float): of the export; 1.0 where it has none.

    Attributes:
        paths (LabelPaths): the levels of the labels.
        levels (list[dict]): see LabelPaths.scores; empty where no label is a path.
        predicted (np.ndarray): int [samples].
        confidence (np.ndarray): float64 [samples], the probability of the predicted class.
        right (np.ndarray): bool [samples].
        confusions (Confusions): samples by true and predicted class.
        top (dict[int, float]): k -> top-k accuracy.
        calibrated (np.ndarray): float64 [samples], confidences; with `temperature`, see calibrated: of what is
            served already. Nothing that is served has them.
        errors (tuple[float, float]): calibration error as it is served, and of `calibrated`.
        curve: see coverage_curve.
        promises (dict): accuracy of ACCURACIES -> see promise.
        wrong (list[int]): rows of the wrong predictions, the most confident mistake first.
    """

    def __init__(self, labels, texts, truth, logits, seed, separator=SEPARATOR, served_temperature=1.0):
        self.labels, self.texts, self.truth, self.served_temperature = labels, texts, truth, served_temperature
        logits = logits if served_temperature == 1.0 else logits / np.float32(served_temperature)
        self.predicted, self.confidence = logits.argmax(axis=1), confidences(logits)
        self.right = self.predicted == truth
        self.confusions = Confusions(truth, self.predicted, len(labels))
        self.paths = LabelPaths(labels, separator)
        self.levels = self.paths.scores(truth, self.predicted)
        self.top = {k: top_k_accuracy(logits, truth, k) for k in (2, 3) if k < len(labels)}
        self.calibrated, self.temperature = calibrated(logits, truth, seed)
        self.errors = tuple(calibration_error(values, self.right) for values in (self.confidence, self.calibrated))
        self.curve = coverage_curve(self.confidence, self.right)
        self.promises = {accuracy: promise(self.curve, accuracy) for accuracy in ACCURACIES}
        wrong = np.flatnonzero(~self.right)
        self.wrong = wrong[np.argsort(-self.confidence[wrong], kind="stable")].tolist()

    @property
    def bad_cases(self):
        """The wrong predictions: list of text, label, predicted label and its probability."""
        names = self.labels
        return [
            (self.texts[row], names[self.truth[row]], names[self.predicted[row]], self.confidence[row])
            for row in self.wrong
        ]
