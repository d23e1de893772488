"""answers.py: what is kept of the probabilities, and its JSON."""

import json

import numpy as np
import pytest

from deploy.simple_serving.answers import PIECE, Writer, most_probable


@pytest.mark.parametrize("top_k", [0, 1, 2, 10])
def test_the_most_probable_classes(top_k):
    rows = np.array([[0.2, 0.5, 0.3], [0.25, 0.25, 0.5], [1e-7, 0.0, 1.0]])
    entries = most_probable(rows, top_k)
    expected = [[1, 2, 0], [2, 0, 1], [2, 0, 1]]
    assert entries["id"].tolist() == [row[: min(top_k or 3, 3)] for row in expected]
    assert entries["millionths"][:, 0].tolist() == [500_000, 500_000, 1_000_000]


@pytest.mark.parametrize("texts, top_k", [(1, 1), (3, 5), (PIECE + 1, 1), (7, 1500)])
def test_the_json_is_that_of_the_whole_answer(texts, top_k):
    rows = np.random.default_rng(0).dirichlet(np.full(1500, 0.01), texts)
    labels = [f'"第{index}\n类' for index in range(1500)]
    pieces = list(Writer(labels).pieces(most_probable(rows, top_k), top_k != 1))
    result = json.loads(b"".join(pieces))["result"]
    order = np.argsort(-rows, axis=1, kind="stable")[:, :top_k]
    confidence = np.take_along_axis(rows, order, axis=1).round(6)
    assert result["label_id"] == order[:, 0].tolist() and result["confidence"] == confidence[:, 0].tolist()
    assert result["label"] == [labels[index] for index in order[:, 0]]
    assert ("top" in result) == (top_k != 1)
    for ids, values, top in zip(order.tolist(), confidence.tolist(), result.get("top", [])):
        assert top == [{"label": labels[i], "confidence": v, "label_id": i} for i, v in zip(ids, values)]
    assert max(map(len, pieces)) < 100 * PIECE
