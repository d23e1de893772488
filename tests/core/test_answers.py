"""answers.py: probabilities, labels and what is refused, without a model."""

import numpy as np
import pytest

from core.answers import Answers, read_label_names, softmax
from utils import UsageError, write_json


class Lengths(Answers):
    """As many classes as it has labels, the more likely the nearer to the text's length."""

    format, content, labels = "paddle", {}, ["一", "二", "三"]

    def encode(self, texts):
        return [{"input_ids": text} for text in texts]

    def logits(self, features):
        sizes = np.array([len(feature["input_ids"]) for feature in features])
        return -np.abs(sizes[:, None] - np.arange(1, 4)).astype("float32")


def test_softmax_and_answers():
    rows = softmax(np.array([[1e4, 0.0], [0.0, np.log(3)]], "float32"))
    assert rows.dtype == np.float64 and rows == pytest.approx(np.array([[1, 0], [0.25, 0.75]]))
    found = Lengths().classify(["xx", "x"])
    assert [label for label, _ in found] == ["二", "一"]
    assert found[0][1] == pytest.approx(1 / (1 + 2 / np.e))
    (answer,) = Lengths().classify("xx", min_confidence=0.9)
    assert (answer.label, answer.guess) == ("unknown", "二")


def test_what_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"texts\[1\]: nan is not a text"):
        Lengths().classify(["x", float("nan")])
    with pytest.raises(UsageError, match="conformal 2: give how often"):
        Lengths().label_sets(["x"], 2)
    with pytest.raises(UsageError, match="id2label.json: cannot be read"):
        read_label_names(tmp_path)
    write_json(tmp_path / "id2label.json", {"0": "b", "1": "a"})
    assert read_label_names(tmp_path) == ["b", "a"]
