"""analysis/confident_learning.py: each text is judged by a model that has not seen it."""

import numpy as np
import pytest

from analysis.confident_learning import confident_learning, estimated_errors, out_of_fold
from utils import UsageError

TEXTS = [f"{word}第{number}次" for word in ("头疼", "发烧") for number in range(10)]
IDS = np.repeat([0, 1], 10)


def test_a_flipped_label_is_the_most_suspicious():
    ids = IDS.copy()
    ids[3] = 1
    suspicion, probabilities = confident_learning(TEXTS, ids, 3, seed=0)
    assert suspicion.argmax() == 3 and probabilities[3].argmax() == 0
    assert probabilities.sum(axis=1) == pytest.approx(1) and (probabilities[:, 2] == 0).all()
    assert estimated_errors(ids, probabilities[:, :2]) == 1


def test_the_own_label_is_not_seen():
    """A text that is there once, with a label of its own, cannot be told from its own fold."""
    ids = IDS.copy()
    ids[0] = 2
    assert out_of_fold(TEXTS, ids, 3, seed=0)[0, 2] == 0


def test_too_little_is_refused():
    with pytest.raises(UsageError, match="2 samples of 2 labels: too few"):
        out_of_fold(TEXTS[:2], np.array([0, 1]), 2, seed=0)
