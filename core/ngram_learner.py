"""Train the student of core/ngram_student.py on a teacher's probabilities: SciPy's L-BFGS over sparse n-grams.

The loss is the cross entropy with the teacher's probabilities (Hinton et al. 2015, arXiv 1503.02531), and an L2
penalty. Texts without labels, and made ones, are as good as others, since only the teacher's answers are learnt.
"""

import numpy as np
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
from scipy.special import log_softmax

from core.ngram_student import ORDERS, NgramStudent, ngram_buckets, read_characters
from core.progress import progress_bar
from utils import UsageError

BUCKETS = 2**20
# Buckets are kept that so many texts have.
MIN_TEXTS = 2
# Numbers of the table at most: 64 MB. With many classes fewer n-grams are kept, those of the most texts.
MAX_NUMBERS = 2**24

# How much the texts count against the penalty: that of these is taken whose answers to texts that are left out are
# nearest to the teacher's, in cross entropy. They must be new to the teacher too: what it was trained on it knows by
# heart, and its answers to texts like those of its own training make too weak a penalty look best.
STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0)
# Without that many new texts it is this one; the share of the new texts that is left out; the solver's steps at most.
MIN_NEW, USUAL_STRENGTH, LEFT_OUT, STEPS = 200, 30.0, 0.5, 100


class NgramTable:
    """Buckets that some texts share, and the idf of each (log((1 + texts) / (1 + texts with it)) + 1).

    Args:
        counts (csr_matrix): [texts, BUCKETS], how often each bucket is in each text.
        classes (int): of which the table has a number a bucket.
    """

    def __init__(self, counts, classes):
        texts = np.bincount(counts.indices, minlength=counts.shape[1])
        keys = np.flatnonzero(texts >= MIN_TEXTS)
        most = max(1, MAX_NUMBERS // (classes + 1))
        if len(keys) > most:
            keys = np.sort(keys[np.argsort(-texts[keys], kind="stable")[:most]])
        self.keys, self.idf = keys, np.log((1 + counts.shape[0]) / (1 + texts[keys])) + 1

    def rows(self, counts):
        """Each text's n-grams times their idf, as rows of length 1: csr_matrix [texts, keys]."""
        rows = counts[:, self.keys]
        rows.data *= self.idf[rows.indices]
        lengths = np.sqrt(np.maximum(rows.multiply(rows).sum(axis=1), 1e-12)).A1
        rows.data /= np.repeat(lengths, np.diff(rows.indptr))
        return rows

    def student(self, weight, bias):
        """A NgramStudent with these weights [keys, classes] and bias [classes]."""
        table = np.zeros((len(self.keys) + 1, len(bias) + 1), np.float32)
        table[1:, :-1], table[1:, -1] = self.idf[:, None] * weight, self.idf**2
        rows = np.zeros(BUCKETS, np.int32)
        rows[self.keys] = np.arange(1, len(self.keys) + 1)
        return NgramStudent(rows, table, bias.astype(np.float32), ORDERS)


def count_ngrams(texts, max_length):
    """How often each bucket is in each text: csr_matrix float64 [texts, BUCKETS]."""
    parts, step = [], 20_000  # texts that are held as n-grams at a time
    for start in range(0, len(texts), step):
        characters = read_characters(texts[start : start + step], max_length)
        sizes = np.fromiter(map(len, characters), np.int64, len(characters))
        found, is_whole = ngram_buckets(np.concatenate(characters), sizes, ORDERS, BUCKETS)
        owner = np.broadcast_to(np.repeat(np.arange(len(sizes)), sizes), found.shape)[is_whole]
        parts.append((owner + start, found[is_whole]))
    owners, columns = (np.concatenate(column) for column in zip(*parts))
    counts = csr_matrix((np.ones(len(columns)), (owners, columns)), shape=(len(texts), BUCKETS))
    counts.sum_duplicates()
    return counts


def fit(rows, probabilities, strength, start=None):
    """The weights with the least strength · cross entropy + half the sum of squared weights.

    Args:
        rows (csr_matrix): [texts, n-grams].
        probabilities (np.ndarray): the teacher's [texts, classes].
        strength (float): see STRENGTHS.
        start (np.ndarray | None): weights to begin with; None means zeros.

    Returns:
        np.ndarray: float64 [n-grams + 1, classes]; the last row is the bias, which has no penalty.
    """
    shape, columns = (rows.shape[1] + 1, probabilities.shape[1]), rows.T.tocsr()

    def loss(flat):
        weight = flat.reshape(shape)
        found = log_softmax(rows @ weight[:-1] + weight[-1], axis=1)
        error = strength * (np.exp(found) - probabilities)
        gradient = np.vstack([columns @ error + weight[:-1], error.sum(axis=0)])
        return -strength * (probabilities * found).sum() + (weight[:-1] ** 2).sum() / 2, gradient.ravel()

    start = np.zeros(shape) if start is None else start
    result = minimize(loss, start.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": STEPS, "maxcor": 7})
    return result.x.reshape(shape)


def learn(texts, probabilities, max_length, seed, new=0, made=0):
    """Train a student.

    Args:
        texts (list[str]): any, each once.
        probabilities (np.ndarray): the teacher's for each, float64 [texts, classes].
        max_length (int): tokens that the teacher reads of a text.
        seed (int): of the part that is left out.
        new (int): so many of the texts that were not made, the last ones, were not in the teacher's training.
        made (int): so many of the texts, the last ones, were made from the others. They have no part in choosing the
            strength: some are made from the texts that are left out then.

    Returns:
        tuple[NgramStudent, dict]: the student, and what is known of its training: texts, made, ngrams, strength, and
            where that was chosen, of the texts that were left out meanwhile, agreement (with the teacher's labels)
            and cross_entropy, both without made texts.

    Raises:
        UsageError: no n-gram is in two of the texts.
    """
    counts, facts = count_ngrams(texts, max_length), {"strength": USUAL_STRENGTH}
    table = NgramTable(counts, probabilities.shape[1])
    if not len(table.keys):
        raise UsageError("--student ngram: no n-gram is in two of the training texts; give more texts")
    with progress_bar(total=len(STRENGTHS) + 1, desc="n-grams", unit="fit") as bar:
        if new >= MIN_NEW:
            real = len(texts) - made
            facts = choose_strength(counts[:real], probabilities[:real], new, seed, bar.update)
        weight = fit(table.rows(counts), probabilities, facts["strength"])
        bar.update(bar.total - bar.n)
    sizes = {"texts": len(texts), **({"made": made} if made else {}), "ngrams": len(table.keys)}
    return table.student(weight[:-1], weight[-1]), {**sizes, **facts}


def choose_strength(counts, probabilities, new, seed, on_fit):
    """The best of STRENGTHS: dict with strength, agreement and cross_entropy; arguments as of learn."""
    shuffled = len(probabilities) - new + np.random.RandomState(seed).permutation(new)
    out = np.sort(shuffled[: int(LEFT_OUT * new)])
    used = np.setdiff1d(np.arange(len(probabilities)), out)
    table, best, start = NgramTable(counts[used], probabilities.shape[1]), None, None
    rows, others = table.rows(counts[used]), table.rows(counts[out])
    for strength in STRENGTHS:
        start = fit(rows, probabilities[used], strength, start)
        found = log_softmax(others @ start[:-1] + start[-1], axis=1)
        entropy = round(float(-(probabilities[out] * found).sum(axis=1).mean()), 6)
        on_fit()
        if best is not None and entropy > best["cross_entropy"]:
            break  # weaker penalties only overfit more
        same = found.argmax(axis=1) == probabilities[out].argmax(axis=1)
        best = {"strength": strength, "agreement": round(float(same.mean()), 4), "cross_entropy": entropy}
    return best
