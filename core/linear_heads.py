"""Linear heads on the vectors of texts, the vectors of their n-grams, and weights of several heads: numpy alone."""

import warnings

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.decomposition import TruncatedSVD
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from core import ngrams

UNLABELLED_ROUNDS = 10
# With thousands of texts the covariance needs less of a crutch than with a few hundred.
UNLABELLED_SHRINKAGE = 0.5
# Of cosines between texts and label words.
WORD_TEMPERATURE = 0.1
# Random halves of the texts by which a fit without labels is judged; parts of the training data left out in turn.
SPLITS, FOLDS = 3, 10
# The highest probability that a head gets which was not calibrated on texts of its own.
SUREST = 0.999
NGRAM_DIMENSIONS = 256

# -------------------------------------------------------------------------------------------------------------- heads


def fit_head(vectors, label_ids, num_labels, shrinkage):
    """Linear discriminant analysis with a covariance that is drawn towards a multiple of the identity.

    Args:
        vectors (np.ndarray): float [samples, hidden].
        label_ids (np.ndarray): class ids [samples]; every class is there.
        num_labels (int): 2 or more.
        shrinkage (float): 0: the covariance as it is, 1: the identity's multiple alone.

    Returns:
        tuple[np.ndarray, np.ndarray]: weight [hidden, num_labels] and bias [num_labels]; the softmax of
            vectors @ weight + bias are the classes' probabilities.
    """
    # Every class is as likely as any other: the numbers of samples are the annotator's choice.
    priors = np.full(num_labels, 1 / num_labels)
    with warnings.catch_warnings():
        # A class of one sample has no spread of its own, and the others' will do.
        warnings.filterwarnings("ignore", "Only one sample available")
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage, priors=priors).fit(vectors, label_ids)
    if num_labels > 2:
        return model.coef_.T, model.intercept_
    # Of two classes scikit-learn keeps the difference.
    zeros = np.zeros_like(model.coef_[0])
    return np.stack([zeros, model.coef_[0]], axis=1), np.array([0.0, model.intercept_[0]])


def fit_head_with_unlabelled(vectors, label_ids, unlabelled, num_labels, shrinkage, weight):
    """The same with texts that have no labels, by expectation maximisation: they take the classes' probabilities as
    labels, means and covariance are fitted to all texts, and so on (Nigam et al., 2000,
    https://doi.org/10.1023/A:1007692713085, section 5.3.1, here with Gaussians of one covariance).

    Args:
        vectors, label_ids, num_labels, shrinkage: as in `fit_head`, whose head is the start.
        unlabelled (np.ndarray): float [texts, hidden].
        weight (float): of an unlabelled text against a labelled one.

    Returns:
        tuple[np.ndarray, np.ndarray]: as in `fit_head`.
    """
    head, bias = fit_head(vectors, label_ids, num_labels, shrinkage)
    shares = softmax(unlabelled @ head + bias, axis=1)
    return refine_head(unlabelled, shares, vectors, np.eye(num_labels)[label_ids], weight)


def fit_head_from_words(words, unlabelled):
    """The same without any labelled text: each unlabelled text begins with the labels whose words are near it.

    Args:
        words (np.ndarray): the label words' vectors, float [num_labels, hidden].
        unlabelled (np.ndarray): float [texts, hidden].

    Returns:
        tuple[np.ndarray, np.ndarray]: as in `fit_head`.
    """
    return refine_head(unlabelled, word_shares(words, unlabelled))


def word_shares(words, texts):
    """The probabilities that the label words alone give texts: [texts, num_labels]; arguments as in
    `fit_head_from_words`."""
    # Words and texts lie apart, as short and long texts do; around their own centers they can be compared.
    near, far = (rows - rows.mean(axis=0) for rows in (texts, words))
    near, far = (rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(min=1e-9) for rows in (near, far))
    return softmax(near @ far.T / WORD_TEMPERATURE, axis=1)


def refine_head(unlabelled, shares, vectors=None, given=None, weight=1.0):
    """Fit Gaussians of one covariance to texts whose labels are shares, give them new shares, and so on.

    Args:
        unlabelled (np.ndarray): float [texts, hidden].
        shares (np.ndarray): the classes' probabilities to start with [texts, classes].
        vectors, given (np.ndarray | None): labelled texts [samples, hidden] and their shares, which stay.
        weight (float): of an unlabelled text against a labelled one.

    Returns:
        tuple[np.ndarray, np.ndarray]: as in `fit_head`.
    """
    if vectors is None:
        vectors, given = unlabelled[:0], shares[:0]
    everything = np.concatenate([vectors, unlabelled]).astype(np.float64)
    for _ in range(UNLABELLED_ROUNDS):
        both = np.concatenate([given, weight * shares])
        counts = both.sum(axis=0)
        means = both.T @ everything / counts[:, None]
        # The sum of share * (text - mean)(text - mean)' over texts and classes.
        scatter = (everything.T * both.sum(axis=1)) @ everything - (means.T * counts) @ means
        covariance = scatter / counts.sum()
        mean_variance = np.trace(covariance) / len(covariance)
        covariance *= 1 - UNLABELLED_SHRINKAGE
        covariance[np.diag_indices_from(covariance)] += UNLABELLED_SHRINKAGE * mean_variance
        head = np.linalg.solve(covariance, means.T)
        bias = -0.5 * (means.T * head).sum(axis=0)
        shares = softmax(unlabelled @ head + bias, axis=1)
    return head, bias


# ------------------------------------------------------------------------------------------------------------ n-grams


class Ngrams(ngrams.Ngrams):
    """Texts as latent semantic vectors of their tokens and pairs of tokens (tf-idf, then a truncated SVD).

    Args:
        token_ids (list[list[int]]): of the texts to fit on; n-grams of one text alone are left out. [CLS] and [SEP]
            are n-grams too, so some are always left.
        seed (int): of the SVD.
    """

    def __init__(self, token_ids, seed):
        super().__init__(token_ids)
        rows = self.rows(token_ids)
        size = min(NGRAM_DIMENSIONS, min(rows.shape) - 1)
        self.components = TruncatedSVD(size, random_state=seed).fit(rows).components_

    def rows(self, token_ids):
        """Sparse matrix [texts, n-grams]. The squares of the idf of a text's n-grams, each time it is there, add up
        to 1 after the division: a sum over places."""
        rows = self.entries(token_ids)
        values = self.idf[rows.indices]
        places = np.split(values, rows.indptr[1:-1])
        lengths = np.array([max((found**2).sum(), 1e-9) ** 0.5 for found in places])
        rows.data = values / np.repeat(lengths, np.diff(rows.indptr))
        return rows

    def vectors(self, token_ids):
        """Float [texts, NGRAM_DIMENSIONS at most]."""
        return self.rows(token_ids) @ self.components.T

    def table(self, head):
        """What each n-gram adds: float32 [1 + n-grams, classes + 1], see core.ngrams.Ngrams.table."""
        return super().table(self.components.T @ head)


# ------------------------------------------------------------------------------------------------------------ weights


def fit_weights(logits, truth, share=None):
    """Weights of several logits whose sum makes the true classes most likely.

    Args:
        logits (list[np.ndarray]): each [samples, classes].
        truth: class ids [samples].
        share (float | None): of the second against the first where it is given, so that only the scale is fitted.

    Returns:
        np.ndarray: as many weights as logits, none below 0.
    """
    if share is not None:
        logits = [logits[0] + share * logits[1]]

    def loss(weights):
        total = sum(weight * each for weight, each in zip(weights, logits))
        return -log_softmax(total, axis=1)[np.arange(len(truth)), truth].mean()

    result = minimize(loss, np.full(len(logits), 0.5), bounds=[(1e-3, 10)] * len(logits)).x
    return result if share is None else result[0] * np.array([1, share])


def out_of_fold(logits, truth, share, seed):
    """The sum of several logits, each half of the samples with the weights that the other half asks for.

    Args:
        logits, truth, share: as of fit_weights; at least two samples.
        seed (int): of the halves.

    Returns:
        np.ndarray: [samples, classes].
    """
    truth = np.asarray(truth)
    # Other halves than core.calibration's: what a sample's temperature is fitted on has not all seen it.
    half = np.random.RandomState([seed, 1]).permutation(len(truth)) < len(truth) // 2
    result = np.empty_like(logits[0], dtype=np.float64)
    for part in (half, ~half):
        weights = fit_weights([rows[~part] for rows in logits], truth[~part], share)
        result[part] = sum(weight * rows[part] for weight, rows in zip(weights, logits))
    return result


# --------------------------------------------------------------------------------------- how sure without a dev set


def temper(logits, expected):
    """The factor for logits at which the mean of the highest probabilities is the accuracy that is expected.

    No text has more than SUREST then, and where less than chance is expected, the mean is a little above that.

    Args:
        logits (np.ndarray): of texts that the head was not fitted on, [texts, classes].
        expected (float): accuracy, 0 to 1.
    """
    chance = 1 / logits.shape[1]
    expected = max(expected, chance + 0.05 * (1 - chance))
    low, high = -20.0, 5.0  # of the factor's logarithm
    for _ in range(60):
        middle = (low + high) / 2
        highest = softmax(np.exp(middle) * logits, axis=1).max(axis=1)
        too_sure = highest.mean() > expected or highest.max() > SUREST
        low, high = (low, middle) if too_sure else (middle, high)
    return float(np.exp(low))


def temper_without_labels(words, unlabelled, head, bias, seed):
    """How sure a head of `fit_head_from_words` may be, from the fit itself.

    The accuracy that is expected is the product of two shares: of texts to which the head gives the label of the
    nearest word (do the classes that were found mean what they are called?), and of texts to which the heads of two
    random halves give the same label (are they the texts' own?). On KUAKE-QIC and tnews, whole and with random
    selections of labels (50 tasks of 2 to 15 labels), it was off by 0.10 (root of the mean square).

    Args:
        words, unlabelled (np.ndarray): as in `fit_head_from_words`; at least two texts.
        head, bias: what it gave.
        seed (int): of the halves.

    Returns:
        tuple[float, float]: the factor for the logits, and the accuracy that is expected.
    """
    random, kept, agreements = np.random.RandomState(seed), [], []
    for _ in range(SPLITS):
        order = random.permutation(len(unlabelled))
        halves = order[::2], order[1::2]
        heads = [fit_head_from_words(words, unlabelled[half]) for half in halves]
        one, other = (unlabelled @ weight + offset for weight, offset in heads)
        agreements.append((one.argmax(axis=1) == other.argmax(axis=1)).mean())
        kept += [one[halves[1]], other[halves[0]]]  # the texts that each has not seen
    found = (unlabelled @ head + bias).argmax(axis=1)
    named = (word_shares(words, unlabelled).argmax(axis=1) == found).mean()
    expected = float(named * np.mean(agreements))
    return temper(np.concatenate(kept), expected), expected


def left_out_logits(fit, vectors, label_ids, count, seed):
    """Logits of training texts from heads that were fitted without them.

    Args:
        fit (Callable): from vectors and label_ids to a head, as `fit_head` gives it.
        vectors, label_ids: the training data; what follows the first `count` (the label words) is never left out.
        count (int): of texts, each of which is left out once.
        seed (int): of the FOLDS parts that are left out together.

    Returns:
        np.ndarray: [count, classes].
    """
    logits = []
    order = np.random.RandomState(seed).permutation(count)
    for part in np.array_split(order, min(FOLDS, count)):
        rest = np.setdiff1d(np.arange(len(vectors)), part)
        weight, bias = fit(vectors[rest], label_ids[rest])
        logits.append(vectors[part] @ weight + bias)
    return np.concatenate(logits)[np.argsort(order)]
