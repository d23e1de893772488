"""answers.py: what is kept of the probabilities, and its JSON."""

import json

import numpy as np
import pytest

from core.label_paths import LabelPaths
from deploy.simple_serving.answers import PIECE, Writer, most_probable, sure_enough


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


def answered(labels, rows, top_k, limit):
    paths = LabelPaths(labels)
    entries = sure_enough(np.array(rows), top_k, paths, limit)
    return json.loads(b"".join(Writer(labels, paths).pieces(entries, top_k != 1, is_limited=True)))["result"]


def test_with_a_limit_the_answer_is_the_deepest_level_that_is_sure_enough():
    labels = ["病##感冒", "病##肺炎", "药"]
    rows = [[0.7, 0.2, 0.1], [0.45, 0.4, 0.15], [0.3, 0.25, 0.45], [0.1, 0.1, 0.8]]
    assert answered(labels, rows, 1, 0.7) == {
        "label": ["病##感冒", "病", "unknown", "药"],
        "confidence": [0.7, 0.85, 0.55, 0.8],
        "label_id": [0, None, None, 2],
        "guess": ["病##感冒", "病##感冒", "药", "药"],
        "guess_confidence": [0.7, 0.45, 0.45, 0.8],
        "guess_id": [0, 0, 2, 2],
    }
    top = answered(labels, rows, 2, 0.7)["top"]
    assert top[1] == [
        {"label": "病##感冒", "confidence": 0.45, "label_id": 0},
        {"label": "病##肺炎", "confidence": 0.4, "label_id": 1},
    ]


def test_what_is_written_as_the_limit_reaches_it():
    """0.7999996 is written as 0.8."""
    assert answered(["甲", "乙"], [[0.7999996, 0.2000004], [0.799999, 0.200001]], 1, 0.8)["label"] == ["甲", "unknown"]


def test_another_name_for_what_is_unknown_is_told():
    labels, rows = ['"甲', "unknown"], np.array([[0.6, 0.4], [0.1, 0.9]])
    paths = LabelPaths(labels)
    pieces = Writer(labels, paths).pieces(sure_enough(rows, 1, paths, 0.8), False, is_limited=True, unknown='说"不准')
    result = json.loads(b"".join(pieces))["result"]
    assert result["label"] == ['说"不准', "unknown"] and result["unknown"] == '说"不准'
    assert result["label_id"] == [None, 1]


def test_limits_of_zero_and_a_piece_more():
    rows = np.random.default_rng(0).dirichlet(np.full(3, 0.5), PIECE + 1)
    found = answered(["a##b", "a##c", "d"], rows, 1, 0)
    assert found["label"] == found["guess"] and found["label_id"] == rows.argmax(axis=1).tolist()
    assert found["confidence"] == found["guess_confidence"] and len(found["label"]) == PIECE + 1
