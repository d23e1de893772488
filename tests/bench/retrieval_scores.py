"""Figures of bench_retrieval.py: classifier beside index, known beside unknown texts."""

import numpy as np


def disagreement(probabilities, shares, truth=None):
    """How often classifier and index give other labels, and, where the truth is known, who is right there.

    Returns:
        dict[str, float]: `share` of the texts; with truth, the accuracy of the `classifier` and of the `index` on
            them and of both where they `agree` (0 where there is no such text).
    """
    one, other = np.argmax(probabilities, axis=1), np.argmax(shares, axis=1)
    differ = one != other
    result = {"share": float(differ.mean())}
    if truth is not None:
        truth = np.asarray(truth)
        result.update(
            classifier=_share((one == truth)[differ]),
            index=_share((other == truth)[differ]),
            agree=_share((one == truth)[~differ]),
        )
    return result


def _share(hits):
    return float(hits.mean()) if hits.size else 0.0


def auroc(known, unknown):
    """The chance that a known text has a higher score than an unknown one; equal scores count a half."""
    known, unknown = np.asarray(known, "float64"), np.sort(np.asarray(unknown, "float64"))
    below = np.searchsorted(unknown, known, "left") + np.searchsorted(unknown, known, "right")
    return float(below.mean() / 2 / len(unknown))
