"""retrieval_based/scores.py: figures of hits against a count by hand."""

import numpy as np
import pytest

from retrieval_based import data, scores
from retrieval_based.utils.config import Hit

LABELS = ["a", "b"]
# Of each query: the hits' labels and scores, best first.
FOUND = ["b 0.9 a 0.89 a 0.88", "b 0.9 b 0.5", "a 0.9"]


def hits(text):
    words = text.split()
    return [Hit("", label, float(score), "") for label, score in zip(words[::2], words[1::2])]


@pytest.mark.parametrize("is_names, accuracy", [(True, 1 / 3), (False, 2 / 3)])
def test_training_metrics(is_names, accuracy):
    """The first hit answers where the corpus is names; else all vote, which two against one win."""
    metrics = scores.training_metrics(list(map(hits, FOUND)), [0, 1, 1], LABELS, is_names)
    assert metrics == pytest.approx(
        {"recall@1": 1 / 3, "recall@5": 2 / 3, "recall@10": 2 / 3, "recall@20": 2 / 3, "accuracy": accuracy}
    )


def test_recalled_arrays():
    recalled = data.Recalled(["x", "y"], ["b", "a"], [["a", "b"], ["a"]], [[0.9, 0.5], [0.25]])
    similarities, label_ids, truth = scores.recalled_arrays(recalled, ["b", "a"])
    np.testing.assert_array_equal(similarities, [[0.9, 0.5], [0.25, -1]])
    assert label_ids.tolist() == [[1, 0], [1, -1]] and truth.tolist() == [0, 1]
