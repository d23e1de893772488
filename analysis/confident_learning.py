"""Confident learning (Northcutt et al. 2021): how suspicious a label is to models that have not seen the sample."""

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline

from utils import UsageError

FOLDS = 5


def out_of_fold(texts, ids, num_classes, seed):
    """Class probabilities of each text from a model that was trained on the other folds.

    Args:
        texts (list[str]): the samples.
        ids (np.ndarray): int [n], their class ids.
        num_classes (int): classes in all.
        seed (int): of the folds.

    Returns:
        np.ndarray: float64 [n, num_classes].

    Raises:
        UsageError: all samples have one label, or there are too few.
    """
    counts = np.bincount(ids)
    if (counts > 0).sum() < 2 or counts.max() < 2:
        raise UsageError(f"{len(ids)} samples of {(counts > 0).sum()} labels: too few to tell which label is wrong")
    result = np.zeros((len(ids), num_classes))
    folds = StratifiedKFold(min(FOLDS, int(counts.max())), shuffle=True, random_state=seed)
    for train, held_out in folds.split(texts, ids):
        model = make_pipeline(
            TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True),
            LogisticRegression(C=10, max_iter=1000),
        )
        model.fit([texts[row] for row in train], ids[train])
        found = model.predict_proba([texts[row] for row in held_out])
        result[np.ix_(held_out, model.classes_)] = found
    return result


def confident_learning(texts, ids, num_classes, seed):
    """Suspicion by out-of-fold probabilities: 1 minus cleanlab's self-confidence; and the probabilities."""
    probabilities = out_of_fold(texts, ids, num_classes, seed)
    return 1 - get_label_quality_scores(ids, probabilities, method="self_confidence"), probabilities


def estimated_errors(ids, probabilities):
    """How many labels cleanlab takes for wrong; None where it cannot tell (a class that is never predicted)."""
    try:
        return int(find_label_issues(ids, probabilities, n_jobs=1).sum())
    except (ValueError, IndexError):
        return None
