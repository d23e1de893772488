"""How far annotators agree beyond chance: Cohen's and Fleiss' kappa, Krippendorff's alpha, with bootstrap intervals.

    Cohen's kappa         two annotators (Cohen 1960, doi:10.1177/001316446002000104)
    Fleiss' kappa         texts with the same number of labels (Fleiss 1971, doi:10.1037/h0031619)
    Krippendorff's alpha  any number of labels a text (Krippendorff 2011, "Computing Krippendorff's
                          Alpha-Reliability"), for names

1 is complete agreement, 0 what chance gives, below 0 less than that. Intervals: 95 %, percentile bootstrap over texts.
Where all labels are the same one, nothing can be told from chance: nan.
"""

import collections
import itertools
from dataclasses import dataclass

import numpy as np

# Draws of a bootstrap, and numbers of a block of them.
DRAWS, BLOCK = 1000, 4_000_000


@dataclass
class Measure:
    """A figure with its interval.

    Attributes:
        value (float): nan where it cannot be told.
        interval (tuple[float, float]): 95 %; nan likewise.
        texts (int): that it is of.
    """

    value: float
    interval: tuple
    texts: int


def count_labels(votes):
    """How many annotators gave a text a label.

    Args:
        votes (list[Vote]): at most one of an annotator for a text.

    Returns:
        tuple[list[str], list[str], np.ndarray]: texts with at least two votes; labels in the order of their names;
        int [texts, labels].
    """
    by_text = collections.defaultdict(list)
    for vote in votes:
        by_text[vote.text].append(vote.label)
    by_text = {text: labels for text, labels in by_text.items() if len(labels) > 1}
    names = sorted({label for labels in by_text.values() for label in labels})
    place, counts = {name: index for index, name in enumerate(names)}, np.zeros((len(by_text), len(names)), np.int64)
    for row, labels in enumerate(by_text.values()):
        for label in labels:
            counts[row, place[label]] += 1
    return list(by_text), names, counts


def _ratio(upper, lower):
    """upper / lower, nan where lower is 0."""
    lower = np.asarray(lower, dtype=float)
    return np.divide(upper, lower, out=np.full(lower.shape, np.nan), where=lower > 1e-12)


def alphas(counts, weights):
    """Krippendorff's alpha for names, one a row of weights.

    Args:
        counts (np.ndarray): int [texts, labels], at least 2 labels a text.
        weights (np.ndarray): [draws, texts].
    """
    number = counts.sum(axis=1)
    same = (counts * (counts - 1)).sum(axis=1) / (number - 1)
    totals = weights @ counts
    whole = totals.sum(axis=1)
    agreed, chance = weights @ same, whole**2 - (totals**2).sum(axis=1)
    return 1 - _ratio((whole - 1) * (whole - agreed), chance)


def fleiss_kappas(counts, weights):
    """Fleiss' kappa, one a row of weights; all texts have the same number of labels."""
    number, whole = counts[0].sum(), weights.sum(axis=1)
    same = ((counts**2).sum(axis=1) - number) / (number * (number - 1))
    observed, shares = weights @ same / whole, weights @ counts / (whole * number)[:, None]
    chance = (shares**2).sum(axis=1)
    return _ratio(observed - chance, 1 - chance)


def cohen_kappas(first, second, weights):
    """Cohen's kappa, one a row of weights.

    Args:
        first, second (np.ndarray): bool [texts, labels], which label each of the two gave.
        weights (np.ndarray): [draws, texts].
    """
    whole = weights.sum(axis=1)
    observed = weights @ (first & second).any(axis=1) / whole
    chance = ((weights @ first) * (weights @ second)).sum(axis=1) / whole**2
    return _ratio(observed - chance, 1 - chance)


def kappa_of(first, second):
    """Cohen's kappa of two annotators of the same texts: a float, nan where it cannot be told.

    Args:
        first, second (list): what each calls a text, such as class ids; None is no label, and agrees with nothing.
    """
    names = sorted({*first, *second} - {None})
    hot = (np.array([[label == name for name in names] for label in labels], bool) for labels in (first, second))
    return float(cohen_kappas(*hot, np.ones((1, len(first))))[0])


def specific(counts, weights):
    """Where one annotator gives the label, how often another one does too; [draws, labels].

    Args:
        counts, weights: as of alphas.
    """
    number = counts.sum(axis=1, keepdims=True)
    return _ratio(weights @ (counts * (counts - 1)), weights @ (counts * (number - 1)))


def measured(function, texts, seed):
    """A Measure of function(weights [draws, texts]) -> [draws], or a list of them of [draws, k].

    Args:
        function (Callable): one of the above.
        texts (int): how many.
        seed (int): of the draws.
    """
    value = function(np.ones((1, texts)))[0]
    random, step, found = np.random.default_rng(seed), max(1, BLOCK // texts), []
    for start in range(0, DRAWS, step):
        size = min(step, DRAWS - start)
        found.append(function(random.multinomial(texts, np.full(texts, 1 / texts), size).astype(float)))
    low, high = _percentiles(np.concatenate(found))
    if np.ndim(value) == 0:
        return Measure(float(value), (float(low), float(high)), texts)
    return [Measure(float(v), (float(a), float(b)), texts) for v, a, b in zip(value, low, high)]


def _percentiles(draws):
    """2.5 and 97.5 %, without the draws that cannot be told."""
    columns = draws.reshape(len(draws), -1)
    bounds = np.full((2, columns.shape[1]), np.nan)
    for index, column in enumerate(columns.T):
        known = column[~np.isnan(column)]
        if len(known):
            bounds[:, index] = np.percentile(known, (2.5, 97.5))
    return bounds.reshape(2, *draws.shape[1:])


# ----------------------------------------------------------------------------------------------------------- together


@dataclass
class Agreement:
    """All of it.

    Attributes:
        texts (list[str]): with at least two votes.
        labels (list[str]): sorted.
        alpha (Measure): of all.
        fleiss (Measure): of the texts with the most common number of labels.
        raters (int): that number.
        agreed (float): the share of the texts on which all agree.
        pairs (list[tuple]): two annotators, Measure of kappa, share of agreement.
        per_label (list[tuple]): label, votes for it, Measure of specific, Measure of the alpha of that label against
            all others.
        confused (list[tuple]): two labels, pairs of votes, texts; the most frequent first.
        disagreements (dict[str, dict[str, str]]): text -> annotator -> label.
    """

    texts: list
    labels: list
    alpha: Measure
    fleiss: Measure
    raters: int
    agreed: float
    pairs: list
    per_label: list
    confused: list
    disagreements: dict


def agreement_of(votes, seed):
    """An Agreement, or None where no text has two votes."""
    texts, labels, counts = count_labels(votes)
    if not texts:
        return None
    number = counts.sum(axis=1)
    raters = int(np.bincount(number).argmax())
    even = counts[number == raters]
    found = collections.defaultdict(dict)
    for vote in votes:
        found[vote.text][vote.annotator] = vote.label
    per_label = []
    shares = measured(lambda weights: specific(counts, weights), len(texts), seed)
    for index, label in enumerate(labels):
        own = np.stack([counts[:, index], number - counts[:, index]], axis=1)
        alpha = measured(lambda weights, own=own: alphas(own, weights), len(texts), seed)
        per_label.append((label, int(counts[:, index].sum()), shares[index], alpha))
    return Agreement(
        texts,
        labels,
        measured(lambda weights: alphas(counts, weights), len(texts), seed),
        measured(lambda weights: fleiss_kappas(even, weights), len(even), seed),
        raters,
        float((counts.max(axis=1) == number).mean()),
        _pairs(found, labels, seed),
        per_label,
        _confused(found),
        {text: given for text, given in found.items() if len(set(given.values())) > 1},
    )


def _pairs(found, labels, seed):
    """Rows of Agreement.pairs: each two annotators who have texts in common."""
    place, rows = {label: index for index, label in enumerate(labels)}, []
    annotators = sorted({annotator for given in found.values() for annotator in given})
    for first, second in itertools.combinations(annotators, 2):
        both = [(given[first], given[second]) for given in found.values() if first in given and second in given]
        if not both:
            continue
        ids = np.array([[place[label] for label in pair] for pair in both])
        one, two = (np.arange(len(labels)) == ids[:, [column]] for column in (0, 1))
        kappa = measured(lambda weights, one=one, two=two: cohen_kappas(one, two, weights), len(both), seed)
        rows.append((first, second, kappa, float((ids[:, 0] == ids[:, 1]).mean())))
    return rows


def _confused(found):
    """Rows of Agreement.confused."""
    counts, examples = collections.Counter(), collections.defaultdict(list)
    for text, given in found.items():
        for pair in itertools.combinations(given.values(), 2):
            if pair[0] != pair[1]:
                counts[tuple(sorted(pair))] += 1
                examples[tuple(sorted(pair))].append(text)
    order = sorted(counts, key=lambda pair: (-counts[pair], pair))
    return [(*pair, counts[pair], list(dict.fromkeys(examples[pair]))) for pair in order]
