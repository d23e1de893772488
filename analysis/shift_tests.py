"""Whether two sets of texts come from the same source: permutation tests, which hold their rate of false alarms.

Every test draws what it would see if the texts were dealt out to the two sets by chance. Its p-value, (1 + draws at
least as far apart) / (1 + draws), is valid whatever the distribution, for small sets and many ties too (Phipson and
Smyth 2010, doi:10.2202/1544-6115.1585). They suppose that texts are independent: one text a hundred times is not.
"""

from dataclasses import dataclass
from typing import Optional

import numpy as np
from scipy.sparse import csr_matrix, diags, vstack
from scipy.stats import ks_2samp

# Draws of the tests on counts, and of those on vectors, which cost more.
TABLE_DRAWS, VECTOR_DRAWS = 4999, 999

# Values that the Kolmogorov-Smirnov statistic tells apart, and texts of a set that vectors are compared of.
BINS, MOST_VECTORS = 100, 2000

# Draws that are held at a time.
BLOCK = 250


@dataclass
class Shift:
    """The outcome of one test.

    Attributes:
        name (str): labels, confidence, length, vocabulary or embedding.
        p_value (float): of this test alone.
        distance (float): how far apart the sets are; what it is of is said where the test is.
        texts (tuple[int, int]): of the reference and of the traffic that the test saw.
        adjusted (float | None): the p-value for all tests together (see adjust).
    """

    name: str
    p_value: float
    distance: float
    texts: tuple
    adjusted: Optional[float] = None


def p_value(observed, draws):
    """That of a statistic which is large where sets are far apart; `draws` are float [n]."""
    return float((1 + (draws >= observed - slack(observed)).sum()) / (1 + len(draws)))


def slack(values):
    """Differences that are rounding's, for sums of float32: draws of equal worth count as at least as far apart."""
    return 1e-6 * np.maximum(1.0, np.abs(values))


def adjust(shifts):
    """Give the tests p-values of all together: below alpha, they are false in alpha of all runs at most (Holm 1979).

    Args:
        shifts (list[Shift]): the tests of one run; `adjusted` is set.
    """
    largest = 0.0
    for rank, shift in enumerate(sorted(shifts, key=lambda shift: shift.p_value)):
        largest = max(largest, min(1.0, shift.p_value * (len(shifts) - rank)))
        shift.adjusted = largest
    return shifts


# --------------------------------------------------------------------------------------------------------- of counts


def chi_squared(counts, total, size):
    """Pearson's statistic of tables [n, 2, k], by their first rows.

    Args:
        counts (np.ndarray): int [n, k], how the `size` texts of the first set are spread.
        total (np.ndarray): int [k], how those of both sets are; none is 0.
        size (int): texts of the first set.
    """
    whole = total.sum()
    expected = total * size / whole
    return ((counts - expected) ** 2 / expected * whole / (whole - size)).sum(axis=-1)


def largest_gap(counts, total, size):
    """Kolmogorov's and Smirnov's statistic, the largest distance of the two shares up to a value; see chi_squared."""
    first, second = counts.cumsum(axis=-1), (total - counts).cumsum(axis=-1)
    return np.abs(first / size - second / (total.sum() - size)).max(axis=-1)


def table_test(first, second, statistic, draws, random):
    """Compare two sets of counts.

    Args:
        first, second (np.ndarray): int [k], texts of each set by their value.
        statistic (Callable): chi_squared or largest_gap.
        draws (int): of the permutation.
        random (np.random.Generator): source of the draws.

    Returns:
        tuple[float, float]: statistic and p-value.
    """
    total, size = first + second, int(first.sum())
    first, total = first[total > 0], total[total > 0]
    observed = float(statistic(first, total, size))
    found = random.multivariate_hypergeometric(total, size, size=draws, method="marginals")
    return observed, p_value(observed, statistic(found, total, size))


def label_shift(first, second, random, draws=TABLE_DRAWS):
    """Compare labels; the distance is that of their shares in total variation, from 0 to 1.

    Args:
        first, second (Sequence[str]): the label of each text.
    """
    names, ids = np.unique([*first, *second], return_inverse=True)
    one, two = (np.bincount(part, minlength=len(names)) for part in (ids[: len(first)], ids[len(first) :]))
    _, value = table_test(one, two, chi_squared, draws, random)
    distance = float(np.abs(one / len(first) - two / len(second)).sum() / 2)
    return Shift("labels", value, distance, (len(first), len(second)))


def value_shift(name, first, second, random, draws=TABLE_DRAWS):
    """Compare numbers, such as confidences; the distance is the largest one of the two shares up to a value.

    Args:
        name (str): of the numbers.
        first, second (np.ndarray): float, the number of each text.
    """
    values = np.concatenate([first, second])
    edges = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1], method="inverted_cdf"))
    places = np.searchsorted(edges, values)
    one, two = (np.bincount(part, minlength=len(edges) + 1) for part in (places[: len(first)], places[len(first) :]))
    distance, value = table_test(one, two, largest_gap, draws, random)
    return Shift(name, value, distance, (len(first), len(second)))


# -------------------------------------------------------------------------------------------------------- of vectors


def _signs(first, second, draws, random):
    """Blocks of columns: what texts weigh in the difference of two means; the first column is the real one.

    float32 [texts, up to BLOCK].
    """
    weights = np.concatenate([np.full(first, 1 / first), np.full(second, -1 / second)]).astype(np.float32)
    for start in range(0, draws, BLOCK):
        columns = np.tile(weights[:, None], (1, min(BLOCK, draws - start)))
        columns = random.permuted(columns, axis=0)
        yield np.column_stack([weights, columns]) if not start else columns


def few(rows, random):
    """At most MOST_VECTORS of the rows, drawn."""
    if rows.shape[0] <= MOST_VECTORS:
        return rows
    return rows[np.sort(random.choice(rows.shape[0], MOST_VECTORS, replace=False))]


def unit_length(rows):
    """Sparse rows divided by their length; empty ones stay."""
    length = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
    return diags((1 / np.where(length > 0, length, 1)).astype(np.float32)) @ rows


def usualness(rows):
    """How usual the n-grams of each text are in all the others: the mean logarithm of the share that has them.

    Args:
        rows (scipy.sparse.csr_matrix): [texts, buckets], 1 where a text has an n-gram.

    Returns:
        np.ndarray: float64 [texts]; of a text without n-grams the mean of the others.
    """
    number, counts = np.asarray(rows.sum(axis=1)).ravel(), np.asarray(rows.sum(axis=0)).ravel()
    logarithms = np.log((np.maximum(counts - 1, 0) + 0.5) / rows.shape[0])
    found = (rows @ logarithms) / np.maximum(number, 1)
    return np.where(number > 0, found, found[number > 0].mean() if (number > 0).any() else 0.0)


def smallest(statistics):
    """The smallest p-value of several statistics, as a statistic whose permutation is the same for all of them.

    Which of them sees a shift is not known beforehand; the draws of the smallest p-value have the same choice
    (Pesarin and Salmaso 2010, nonparametric combination).

    Args:
        statistics (list[np.ndarray]): float [1 + draws], the first one the real one.

    Returns:
        float: the p-value.
    """
    ranks = []
    for values in statistics:
        order = np.sort(values)
        ranks.append(len(values) - np.searchsorted(order, values - slack(values)))
    least = np.min(ranks, axis=0)
    return p_value(-least[0], -least[1:])


def vocabulary_shift(first, second, random, draws=VECTOR_DRAWS):
    """Compare which n-grams texts have.

    Two statistics in one test (see smallest): the length of the difference of the mean vectors, a maximum mean
    discrepancy with a linear kernel (Gretton et al. 2012, JMLR 13:723), sees other subjects; the difference of the
    mean usualness sees some texts that are like none. The distance is that of value_shift, of the usualness.

    Args:
        first, second (scipy.sparse.csr_matrix): float32 [texts, buckets], 1 where a text has an n-gram.
    """
    first, second = few(first, random), few(second, random)
    sizes, rows = (first.shape[0], second.shape[0]), vstack([first, second]).tocsr()
    usual, transposed = usualness(rows), unit_length(rows).T.tocsr()
    means, differences = [], []
    for columns in _signs(*sizes, draws, random):
        means.append(np.square(transposed @ columns).sum(axis=0))
        differences.append(np.abs(usual @ columns))
    value = smallest([np.concatenate(means), np.concatenate(differences)])
    gap = ks_2samp(usual[: sizes[0]], usual[sizes[0] :], method="asymp").statistic
    return Shift("vocabulary", value, float(gap), sizes)


def embedding_shift(first, second, random, draws=VECTOR_DRAWS):
    """Compare vectors of texts: maximum mean discrepancy with a Gaussian kernel, as wide as their median distance.

    The distance is the discrepancy (Gretton et al. 2012, JMLR 13:723), from 0 to about 1.

    Args:
        first, second (np.ndarray): float [texts, units].
    """
    first, second = few(first, random), few(second, random)
    sizes, rows = (len(first), len(second)), np.concatenate([first, second]).astype(np.float32)
    rows = rows - rows.mean(axis=0)
    lengths = np.square(rows).sum(axis=1)
    squares = np.maximum(lengths[:, None] + lengths[None, :] - 2 * rows @ rows.T, 0)
    width = float(np.median(squares[np.triu_indices(len(rows), 1)])) or 1.0
    kernel = np.exp(-squares / width)
    found = np.concatenate([(columns * (kernel @ columns)).sum(axis=0) for columns in _signs(*sizes, draws, random)])
    return Shift("embedding", p_value(found[0], found[1:]), float(np.sqrt(max(found[0], 0))), sizes)


def n_gram_rows(buckets, number):
    """The buckets of some texts (list[list[int]]) as a sparse float32 matrix [texts, number]."""
    ends = np.cumsum([0, *map(len, buckets)])
    places = np.fromiter((one for some in buckets for one in some), np.int64, ends[-1])
    return csr_matrix((np.ones(ends[-1], np.float32), places, ends), (len(buckets), number))
