"""From hits to labels: the vote of the nearest texts, together with a classifier, and what no label fits.

Plain numpy on arrays, for the evaluation, the running system and the benchmark. Wherever a number is to be chosen
(neighbours, temperature, weight, threshold), a function here chooses it on data that is not the test's.
"""

import numpy as np

KS = (1, 3, 5, 10, 20, 30, 50, 100)
# Similarities of one encoder lie close together: at 0.02, a text that is 0.05 nearer counts twelve times.
TEMPERATURES = (0.01, 0.02, 0.05, 0.1, 0.2, 1.0)


def vote(scores, label_ids, num_labels, k, temperature):
    """Every one of the k best hits votes for its label with the weight exp(score / temperature).

    Args:
        scores (np.ndarray): float [n, hits], similarities, best first.
        label_ids (np.ndarray): int [n, hits], the hits' labels; -1 where there are fewer hits.
        num_labels (int): columns of the result.
        k (int): hits that vote, at least 1; all where there are fewer.
        temperature (float): above 0; the smaller, the more the nearest count.

    Returns:
        np.ndarray: float64 [n, num_labels], the labels' shares of the votes; each row sums to 1, or is 0 where there
            is no hit.
    """
    scores, label_ids = np.asarray(scores, "float64")[:, :k], np.asarray(label_ids)[:, :k]
    shares = np.zeros((len(scores), num_labels))
    if not scores.size:
        return shares
    there = label_ids >= 0
    best = np.where(there, scores, -np.inf).max(axis=1, keepdims=True)
    weights = np.where(there, np.exp((scores - np.where(np.isfinite(best), best, 0)) / temperature), 0.0)
    rows = np.repeat(np.arange(len(scores)), scores.shape[1])
    np.add.at(shares, (rows, np.where(there, label_ids, 0).ravel()), weights.ravel())
    return shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-300)


def log_loss(shares, truth):
    """The mean of -log of the true label's share; a share of 0 counts as one in a thousand."""
    return -np.log(np.maximum(shares[np.arange(len(truth)), truth], 1e-3)).mean()


def accuracy(shares, truth):
    """The share of rows whose largest column is the true one."""
    return float((np.argmax(shares, axis=1) == np.asarray(truth)).mean())


def choose_vote(scores, label_ids, truth, num_labels, ks=KS, temperatures=TEMPERATURES):
    """The neighbours and the temperature that are best on these texts; of equally accurate ones the more certain.

    Args:
        scores, label_ids, num_labels: as for vote.
        truth: class ids [n].
        ks, temperatures: what is tried; more neighbours than there are hits are not.

    Returns:
        tuple[int, float]: k and temperature.
    """
    possible = [k for k in ks if k <= np.shape(scores)[1]] or [np.shape(scores)[1]]
    tried = {}
    for k in possible:
        for temperature in temperatures if k > 1 else temperatures[-1:]:
            shares = vote(scores, label_ids, num_labels, k, temperature)
            tried[k, temperature] = (accuracy(shares, truth), -log_loss(shares, truth))
    return max(tried, key=tried.get)


# ------------------------------------------------------------------------------------------- with a classifier


def widened(probabilities, known, shares):
    """A classifier's probabilities in the index's columns, which may be more: labels added since its training.

    Of a label that it does not know the classifier says nothing, so the index's share stands; its own
    probabilities divide what is left.

    Args:
        probabilities (np.ndarray): float [n, classifier's labels].
        known: the column of `shares` for each of the classifier's labels.
        shares (np.ndarray): float [n, num_labels], from vote.

    Returns:
        np.ndarray: float64 [n, num_labels].
    """
    result = np.array(shares, "float64")
    new = np.setdiff1d(np.arange(result.shape[1]), known)
    left = 1 - result[:, new].sum(axis=1, keepdims=True)
    result[:, known] = np.asarray(probabilities) * left
    return result


def blend(probabilities, shares, weight):
    """weight * probabilities + (1 - weight) * shares, each [n, num_labels]."""
    return weight * np.asarray(probabilities) + (1 - weight) * np.asarray(shares)


def choose_weight(probabilities, shares, truth, weights=None):
    """The classifier's weight for blend whose log loss is least on these texts.

    Not the most accurate one: on some hundred texts the accuracies of neighbouring weights differ by chance alone.

    Args:
        probabilities, shares (np.ndarray): [n, num_labels].
        truth: class ids [n].
        weights: what is tried; by default 0, 0.05, … 1.
    """
    weights = np.linspace(0, 1, 21) if weights is None else weights
    return min(map(float, weights), key=lambda weight: log_loss(blend(probabilities, shares, weight), truth))


def fall_back(probabilities, shares, threshold):
    """The classifier's row where its largest probability is at least the threshold, else the index's."""
    probabilities = np.asarray(probabilities)
    return np.where(probabilities.max(axis=1, keepdims=True) >= threshold, probabilities, shares)


def choose_fall_back(probabilities, shares, truth):
    """The threshold for fall_back that is best on these texts: 0 never asks the index, 1.01 always."""
    thresholds = [0.0, *np.linspace(0.3, 0.95, 14), 0.97, 0.98, 0.99, 0.995, 1.01]
    return float(max(thresholds, key=lambda value: accuracy(fall_back(probabilities, shares, value), truth)))


# ---------------------------------------------------------------------------------------------- unknown texts


def fit_threshold(known, unknown=None, keep=0.95):
    """The score below which a text is rejected as unknown.

    Args:
        known: scores [n] of texts that have one of the labels.
        unknown: scores [m] of texts that have none; with them, the threshold is where as many of the known are kept
            as possible and as many of the unknown rejected (the largest sum of the two shares).
        keep (float): without them, the share of the known that is kept.
    """
    known = np.sort(np.asarray(known, "float64"))
    if unknown is None or not len(unknown):
        # Rounded first: 0.2 of 25 is 4.999….
        return float(known[int(round((1 - keep) * len(known), 6))])
    unknown = np.sort(np.asarray(unknown, "float64"))
    # Between two neighbouring scores, so that rounding cannot move a text to the other side.
    values = np.unique(np.concatenate([known, unknown]))
    cuts = np.concatenate([values[:1], (values[1:] + values[:-1]) / 2, values[-1:] + 1e-6])
    kept = 1 - np.searchsorted(known, cuts) / len(known)
    rejected = np.searchsorted(unknown, cuts) / len(unknown)
    return float(cuts[np.argmax(kept + rejected)])
