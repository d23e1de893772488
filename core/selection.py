"""Which texts are worth a label: those that a model is unsure of, and that differ from each other."""

import numpy as np


def smallest_margins(probabilities, number):
    """The rows whose two most likely classes are closest together."""
    two = np.sort(probabilities, axis=1)[:, -2:]
    return np.argsort(two[:, 1] - two[:, 0], kind="stable")[:number]


def badge(probabilities, features, number, seed):
    """Rows by k-means++ on the gradients that their most likely labels would have at the last layer.

    A gradient is (probabilities - one-hot of the likeliest class) times the features: long where the model is
    unsure, and of another direction where it is unsure of something else. Distances are computed from the two
    factors, never from the [classes x hidden] product.
    """
    random = np.random.RandomState(seed)
    error = probabilities.copy()
    error[np.arange(len(error)), error.argmax(axis=1)] -= 1
    features = features.astype(np.float64)
    length = (error**2).sum(axis=1) * (features**2).sum(axis=1)

    def distances(row):
        return np.maximum(length + length[row] - 2 * (error @ error[row]) * (features @ features[row]), 0)

    chosen = [int(length.argmax())]
    nearest_one = distances(chosen[0])
    while len(chosen) < min(number, len(features)):
        nearest_one[nearest_one < 1e-9 * length.max()] = 0  # copies, but for rounding
        if not nearest_one.any():
            break
        chosen.append(int(random.choice(len(features), p=nearest_one / nearest_one.sum())))
        nearest_one = np.minimum(nearest_one, distances(chosen[-1]))
    return np.array(chosen)
