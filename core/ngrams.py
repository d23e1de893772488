"""Hashed n-grams of token ids with tf-idf weights, and a logistic regression on them: numpy, SciPy, scikit-learn.

core/ngram_layer.py has the same as a layer of a graph. few-shot/ puts a truncated SVD on the n-grams instead of the
regression.
"""

from collections import Counter

import numpy as np
from scipy.sparse import csr_matrix
from scipy.special import log_softmax
from threadpoolctl import threadpool_limits

from core.progress import progress_bar
from utils import UsageError

# Pairs of tokens are counted in so many slots, by the remainder of first * NGRAM_FACTOR + second.
NGRAM_SLOTS, NGRAM_FACTOR = 2**18, 48271

# Inverse strengths of the regression's L2 penalty that are tried, from strong to weak, and the parts of train that are
# left out in turn.
STRENGTHS, FOLDS = (1.0, 3.0, 10.0, 30.0, 100.0), 5
# Texts among which the strength is chosen; more hardly change the choice, and every one of them takes time.
TEXTS_FOR_STRENGTH = 20_000
# Numbers of the regression, one a label and n-gram: 16 MB. Of more n-grams those of the most texts are kept.
MAX_NUMBERS = 2**22
MIN_TEXTS = 2

# What the regression's logits are multiplied with before the encoder's are added. The encoder learns as if it were
# alone, and the regression is added to what it answers. On 2,000 texts of KUAKE-QIC's train, judged on 2,000 others of
# it (6 layers, one seed; 4 epochs, --do_pretrain, R-Drop, 8 epochs, --do_pretrain with 8 epochs), accuracy was 76.5,
# 78.4, 77.3, 78.1 and 78.7 this way, and 76.6, 78.0, 76.9, 77.1 and 77.5 where the encoder learnt what the regression
# lacked (half of its logits); macro-F1 71.8, 74.2, 73.5, 77.4 and 76.4 against 74.2, 76.5, 76.0, 76.2 and 75.0. Shares
# of 0.5 to 2 were tried and hardly differ.
TOWER_SHARE = 1.0

# ------------------------------------------------------------------------------------------------------------ n-grams


def ngram_keys(ids):
    """Whole numbers for a text's tokens and pairs of neighbours: a pair's is a hash below NGRAM_SLOTS.

    Args:
        ids (list[int]): without padding.

    Returns:
        np.ndarray: int64, the pairs' first, then NGRAM_SLOTS + id of each token.
    """
    ids = np.asarray(ids, dtype=np.int64)
    return np.concatenate([(ids[:-1] * NGRAM_FACTOR + ids[1:]) % NGRAM_SLOTS, NGRAM_SLOTS + ids])


class Ngrams:
    """The n-grams that some texts share, and the idf of each (log((1 + texts) / (1 + texts with it)) + 1).

    Args:
        token_ids (list[list[int]]): of the texts, without padding.
        most (int | None): how many n-grams are kept, those of the most texts.

    Attributes:
        keys (np.ndarray): int64 [n-grams], sorted; n-grams of one text alone are left out.
        idf (np.ndarray): float64 [n-grams].
    """

    def __init__(self, token_ids, most=None):
        counts = Counter(key for ids in token_ids for key in set(ngram_keys(ids).tolist()))
        keys = sorted(key for key, count in counts.items() if count >= MIN_TEXTS)
        if most is not None and len(keys) > most:
            keys = sorted(sorted(keys, key=lambda key: -counts[key])[:most])
        self.keys = np.array(keys, dtype=np.int64)
        frequency = np.array([counts[key] for key in keys])
        self.idf = np.log((1 + len(token_ids)) / (1 + frequency)) + 1

    def places(self, ids):
        """For each n-gram of a text that is known, as often as it is there, its number among the keys: int64."""
        keys = ngram_keys(ids)
        if not len(self.keys):
            return keys[:0]
        places = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        return places[self.keys[places] == keys]

    def entries(self, token_ids):
        """An entry of 1 for each place of each text that has a known n-gram: sparse float64 [texts, n-grams]."""
        found = [self.places(ids) for ids in token_ids]
        ends = np.cumsum([0, *map(len, found)])
        columns = np.concatenate([*found, np.zeros(0, np.int64)])
        return csr_matrix((np.ones(len(columns)), columns, ends), shape=(len(found), len(self.keys)))

    def counts(self, token_ids):
        """How often each n-gram is in each text: sparse float64 [texts, n-grams]."""
        rows = self.entries(token_ids)
        rows.sum_duplicates()
        return rows

    def tf_idf(self, token_ids):
        """Rows of length 1, or 0 where no n-gram is known, as scikit-learn's TfidfTransformer gives them."""
        rows = self.counts(token_ids)
        rows.data *= self.idf[rows.indices]
        lengths = np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1)).ravel())
        rows.data /= np.repeat(lengths, np.diff(rows.indptr))
        return rows

    def table(self, weight):
        """What each n-gram adds to a text's logits before the division by the row's length.

        Args:
            weight (np.ndarray): [n-grams, classes].

        Returns:
            np.ndarray: float32 [1 + n-grams, classes + 1]; row 0 is for the unknown ones, and the last column the
                square of the idf.
        """
        numbers = np.hstack([self.idf[:, None] * weight, self.idf[:, None] ** 2])
        return np.vstack([np.zeros_like(numbers[:1]), numbers]).astype("float32")


def without_special(ids, special_ids):
    """Token ids without those that the tokenizer adds: list[int]."""
    return [token for token in ids if token not in special_ids]


# --------------------------------------------------------------------------------------------------------- regression


def fit_regression(rows, label_ids, num_labels, strength):
    """Logistic regression over all classes, with an L2 penalty.

    Args:
        rows (csr_matrix): [texts, n-grams].
        label_ids (np.ndarray): class ids [texts].
        num_labels (int): classes; some may have no text.
        strength (float): the inverse of the penalty's, scikit-learn's C.

    Returns:
        tuple[np.ndarray, np.ndarray]: weight [n-grams, classes] and bias [classes]; the softmax of rows @ weight +
            bias are scikit-learn's probabilities. A class without a text gets the lowest bias of the others.
    """
    from sklearn.linear_model import LogisticRegression

    weight, bias, present = np.zeros((rows.shape[1], num_labels)), np.zeros(num_labels), np.unique(label_ids)
    if len(present) < 2 or not rows.shape[1]:
        return weight, bias
    model = LogisticRegression(C=strength, tol=1e-3, max_iter=1000).fit(rows, label_ids)
    coefficients, offsets = model.coef_, model.intercept_
    if len(present) == 2:  # of which scikit-learn keeps the difference
        coefficients, offsets = (np.concatenate([-half / 2, half / 2]) for half in (coefficients, offsets))
    weight[:, present], bias[:] = coefficients.T, offsets.min()
    bias[present] = offsets
    return weight, bias


def left_out_logits(token_ids, label_ids, num_labels, strength, folds, most=None):
    """Logits of training texts from regressions that have not seen them, nor counted their n-grams.

    Args:
        token_ids (list[list[int]]): of the texts.
        label_ids (np.ndarray): class ids [texts].
        num_labels (int): classes.
        strength (float): as in `fit_regression`.
        folds (np.ndarray): which of FOLDS parts a text belongs to [texts].
        most (int | None): of n-grams.

    Yields:
        tuple[np.ndarray, np.ndarray]: the rows of a part, and their logits [texts of it, classes].
    """
    for fold in range(FOLDS):
        own, others = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        if len(own):
            ngrams = Ngrams([token_ids[row] for row in others], most)
            rows = ngrams.tf_idf([token_ids[row] for row in others])
            weight, bias = fit_regression(rows, label_ids[others], num_labels, strength)
            yield own, ngrams.tf_idf([token_ids[row] for row in own]) @ weight + bias


def stratified_folds(label_ids, seed):
    """Which of FOLDS parts each text belongs to, int64 [texts]: every class is spread over them."""
    order = np.random.RandomState(seed).permutation(len(label_ids))
    order = order[np.argsort(label_ids[order], kind="stable")]
    folds = np.empty(len(label_ids), np.int64)
    folds[order] = np.arange(len(order)) % FOLDS
    return folds


class Tower:
    """A logistic regression on the n-grams of the training texts.

    Args:
        token_ids (list[list[int]]): of the texts, special tokens left out.
        label_ids: class ids [texts].
        num_labels (int): classes.
        seed (int): of the parts that are left out.

    Attributes:
        ngrams (Ngrams): of all texts.
        weight, bias (np.ndarray): as `fit_regression` gives them.
        strength (float): the one of STRENGTHS whose left-out logits have the lowest loss.
        left_out (np.ndarray): float32 [texts, classes], each text's logits from a regression without it.

    Raises:
        UsageError: nothing can be learnt from the texts.
    """

    def __init__(self, token_ids, label_ids, num_labels, seed):
        label_ids, most = np.asarray(label_ids), MAX_NUMBERS // num_labels
        if len(np.unique(label_ids)) < 2:
            raise UsageError("--ngram_features: the training data has texts of one label alone; leave it out")
        self.ngrams = Ngrams(token_ids, most)
        if not len(self.ngrams.keys):
            raise UsageError("--ngram_features: no two training texts have a token in common; leave it out")
        folds = stratified_folds(label_ids, seed)
        some = np.sort(np.random.RandomState(seed).permutation(len(label_ids))[:TEXTS_FOR_STRENGTH])

        def logits_of(rows, strength):
            result = np.zeros((len(rows), num_labels), "float32")
            parts = left_out_logits(
                [token_ids[row] for row in rows], label_ids[rows], num_labels, strength, folds[rows]
            )
            for own, logits in parts:
                result[own] = logits
                bar.update()
            return result, -log_softmax(result.astype("float64"), axis=1)[np.arange(len(rows)), label_ids[rows]].mean()

        best = None
        # The fits are many and small: with several threads BLAS mostly waits, and the sums depend on their number.
        one_thread = threadpool_limits(1, "blas")
        with one_thread, progress_bar(total=FOLDS * len(STRENGTHS), desc="n-grams", unit="fit") as bar:
            for strength in STRENGTHS:
                logits, loss = logits_of(some, strength)
                if best is not None and loss > best[1]:
                    break  # weaker penalties only overfit more
                best = logits, loss, strength
            self.left_out, self.loss, self.strength = best
            if len(some) < len(label_ids):
                self.left_out, self.loss = logits_of(np.arange(len(label_ids)), self.strength)
            self.weight, self.bias = fit_regression(
                self.ngrams.tf_idf(token_ids), label_ids, num_labels, self.strength
            )
        self.accuracy = float((self.left_out.argmax(axis=1) == label_ids).mean())

    def logits(self, token_ids):
        """float64 [texts, classes]."""
        return self.ngrams.tf_idf(token_ids) @ self.weight + self.bias
