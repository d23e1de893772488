"""A classifier that is fitted in seconds on frozen vectors of texts: what few-shot/setfit.py --max_steps 0 does.

The heads are those of core/linear_heads.py, on the vectors of an encoder and on n-grams; nothing here needs paddle, so
that a model can be fitted while another one answers.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import softmax

from core import linear_heads as heads

SHRINKAGE, NGRAM_WEIGHT = 0.9, 0.5
# Parts of the labelled texts that are left out in turn where there is no dev set.
FOLDS = 5
# Labelled texts below which the label words alone say what a class is.
FEWEST = 10
# Texts without a label that have a part in the n-grams' idf and directions, and in a head from label words.
MOST_UNLABELLED = 2000


class Texts(NamedTuple):
    """Texts as a model sees them.

    Attributes:
        vectors (np.ndarray): float32 [texts, hidden].
        token_ids (list[list[int]]): of each text, without padding.
    """

    vectors: np.ndarray
    token_ids: list

    def take(self, rows):
        """Those of these row numbers."""
        rows = np.asarray(rows, dtype=np.int64)
        return Texts(self.vectors[rows], [self.token_ids[row] for row in rows.tolist()])

    def plus(self, other):
        """These and the others."""
        return Texts(np.concatenate([self.vectors, other.vectors]), [*self.token_ids, *other.token_ids])


class QuickModel:
    """Heads on vectors and n-grams, as `Fit.model` makes them.

    Args:
        center (np.ndarray): float [hidden], taken off all vectors.
        ngrams (core.linear_heads.Ngrams | None): of the second view; None where there is none.
        parts (list[tuple]): weight [dimensions, classes] and bias [classes] of each view, their scale in them.
    """

    def __init__(self, center, ngrams, parts):
        self.center, self.ngrams, self.parts = center, ngrams, parts

    def logits(self, texts):
        """float64 [texts, classes]; `texts` is a Texts."""
        return sum(rows @ weight + bias for rows, (weight, bias) in zip(self._views(texts), self.parts))

    def probabilities(self, texts):
        """float64 [texts, classes]; each row sums to 1."""
        return softmax(self.logits(texts), axis=1)

    def _views(self, texts):
        yield texts.vectors - self.center
        if len(self.parts) > 1:
            yield self.ngrams.vectors(texts.token_ids)


class Fit:
    """What models of some labelled texts share: views that know no label, so that any part of the texts can be fitted.

    Args:
        labelled (Texts): texts with a label; may be none.
        label_ids: their class ids.
        words (Texts): the label words, in class order; they are samples like others.
        unlabelled (Texts): others; the first MOST_UNLABELLED have a part.
        dev (tuple[Texts, list[int]] | None): texts and class ids to judge by, which give the views their weights.
        seed (int): of the n-grams' directions and the parts that are left out.
    """

    def __init__(self, labelled, label_ids, words, unlabelled, dev=None, seed=0):
        self.count, self.classes, self.seed = len(label_ids), len(words.token_ids), seed
        self.ids = np.concatenate([np.asarray(label_ids, dtype=np.int64), np.arange(self.classes)])
        samples = labelled.plus(words)
        others = unlabelled.take(range(min(len(unlabelled.token_ids), MOST_UNLABELLED)))
        self.center = samples.plus(others).vectors.mean(axis=0)
        self.ngrams = heads.Ngrams([*samples.token_ids, *others.token_ids], seed)
        self.samples = [samples.vectors - self.center, self.ngrams.vectors(samples.token_ids)]
        self.others = others.vectors - self.center
        self.dev, self.truth = None, None
        if dev is not None and len(dev[1]):
            self.dev = [dev[0].vectors - self.center, self.ngrams.vectors(dev[0].token_ids)]
            self.truth = np.asarray(dev[1])

    def from_words(self, rows):
        """Whether so few labelled texts say less than the label words do."""
        return len(rows) < max(FEWEST, self.classes)

    def heads(self, rows):
        """Weight and bias of each view, fitted on some of the labelled texts and all label words."""
        if self.from_words(rows):
            return [heads.fit_head_from_words(self.samples[0][self.count :], self.others)]
        rows = np.concatenate([np.asarray(rows, dtype=np.int64), np.arange(self.count, len(self.ids))])
        return [heads.fit_head(view[rows], self.ids[rows], self.classes, SHRINKAGE) for view in self.samples]

    def model(self, rows=None):
        """A QuickModel of some of the labelled texts, by default all, and what is known of its accuracy.

        Returns:
            tuple[QuickModel, np.ndarray | None]: the model; and for each text that it was judged by, whether it was
                right: those of dev, or else the labelled texts, each by heads that have not seen it. None where there
                is nothing to judge by. Weights of the views, which dev gives, are those that its other half asks for.
        """
        rows = np.arange(self.count) if rows is None else np.asarray(rows, dtype=np.int64)
        parts, right = self.heads(rows), None
        weights = np.array([1, NGRAM_WEIGHT])[: len(parts)]
        if self.dev is not None:
            logits = [view @ weight + bias for view, (weight, bias) in zip(self.dev, parts)]
            weights = heads.fit_weights(logits, self.truth)
            judged = heads.out_of_fold(logits, self.truth, None, self.seed) if len(self.truth) > 1 else logits[0]
            right = judged.argmax(axis=1) == self.truth
        elif len(rows) >= 2 * FOLDS and not self.from_words(rows):
            logits = self.left_out(rows)
            accuracy = float((logits.argmax(axis=1) == self.ids[rows]).mean())
            weights = weights * heads.temper(logits, accuracy)
            right = logits.argmax(axis=1) == self.ids[rows]
        else:
            logits = self.others @ parts[0][0] + parts[0][1]
            weights = weights * (heads.temper(logits, 1 / self.classes) if len(logits) else 1)
        scaled = [(scale * weight, scale * bias) for scale, (weight, bias) in zip(weights, parts)]
        return QuickModel(self.center, self.ngrams, scaled), right

    def left_out(self, rows, known=None):
        """Logits of labelled texts from heads that have not seen them: float64 [rows, classes].

        Args:
            rows (np.ndarray): of the labelled texts.
            known (np.ndarray | None): rows that may be fitted on; None: the same ones.
        """
        rows = np.asarray(rows, dtype=np.int64)
        known = rows if known is None else np.asarray(known, dtype=np.int64)
        order = np.random.RandomState(self.seed).permutation(len(rows))
        result = np.zeros((len(rows), self.classes))
        for part in np.array_split(order, min(FOLDS, len(rows))):
            result[part] = self.logits_of(rows[part], np.setdiff1d(known, rows[part]))
        return result

    def logits_of(self, rows, known):
        """Logits of labelled texts from heads of others (`known`), with fixed weights: float64 [rows, classes]."""
        parts = zip((1, NGRAM_WEIGHT), self.samples, self.heads(known))
        return sum(scale * (view[rows] @ weight + bias) for scale, view, (weight, bias) in parts)

    def right(self, rows, known):
        """Whether heads of some labelled texts (`known`) are right on others: bool [rows]."""
        return self.logits_of(rows, known).argmax(axis=1) == self.ids[rows]

    def accuracy_without(self, known):
        """The accuracy of a model of fewer labelled texts, judged by the same texts as that of all of them.

        Args:
            known (np.ndarray): the rows of the labelled texts that it may be fitted on.

        Returns:
            float: on dev, or else on all the labelled texts, each by heads that have not seen it.
        """
        if self.dev is not None:
            return float(self.model(known)[1].mean())
        logits = self.left_out(np.arange(self.count), known)
        return float((logits.argmax(axis=1) == self.ids[: self.count]).mean())
