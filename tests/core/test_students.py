"""students.py: features of both stages; the rest of it is tested on a real export in test_distill.py."""

from types import SimpleNamespace

import numpy as np
import pytest

from core.ngram_student import CHARACTERS
from core.students import BlendPredictor, CascadePredictor, model_key, ngram_folder
from utils import UsageError, write_json


class Fixed:
    """A predictor whose logits are read from the texts: 頭 for a sure first class, else an unsure second one."""

    folder = path = "fixed"
    labels, max_length, batch_size = ["a", "b"], 16, 32

    def __init__(self, format, sure):
        self.format, self.sure, self.content, self.calls = format, sure, {"weights": "w"}, []

    def encode(self, texts):
        return [{"input_ids": list(map(ord, text))} for text in texts]

    def logits(self, features):
        self.calls.append(len(features))
        return np.array([[self.sure, 0.0] if 0x982D in feature["input_ids"] else [0.0, 0.5] for feature in features])

    def rows(self, features):
        powers = np.exp(self.logits(features))
        return powers / powers.sum(axis=1, keepdims=True)

    def look(self, texts, features):
        pass

    def clone(self):
        return Fixed(self.format, self.sure)


def test_the_model_sees_only_what_the_student_is_not_sure_of():
    student, model = Fixed("onnx", 5.0), Fixed("onnx", 1.0)
    cascade = CascadePredictor(student, model, {"threshold": 0.9}, "cascade")
    rows = cascade.probabilities(["頭", "x", "頭痛", "y"])
    assert student.calls == [4] and model.calls == [2]
    assert rows[:, 0] == pytest.approx([1 / (1 + np.exp(-5)), 1 / (1 + np.exp(0.5))] * 2)
    assert cascade.probabilities(["頭"]).shape == (1, 2) and model.calls == [2]
    assert CHARACTERS not in cascade.encode(["頭"])[0]  # the student reads the model's own features


def test_features_of_a_student_of_ngrams_and_other_labels():
    student, model = Fixed("ngram", 5.0), Fixed("onnx", 1.0)
    blend = BlendPredictor(student, model, {"weight": 2.0, "temperature": 4.0}, "blend")
    (feature,) = blend.encode(["頭"])
    assert feature["input_ids"] == [0x982D] and len(feature[CHARACTERS]) == 3
    assert blend.probabilities(["頭"])[0, 0] == pytest.approx(1 / (1 + np.exp(-(1 + 2 * 5) / 4)))
    other = SimpleNamespace(labels=["a", "c"], folder="student", format="ngram")
    with pytest.raises(UsageError, match="labels are not those of the model"):
        BlendPredictor(other, model, {}, "blend")


def test_the_key_changes_with_what_decides_the_answers():
    content = {"weights": "w", "calibration": {"temperature": 1.5}, "max_length": 8, "files": {"a": 1, "b": 2}}
    key = model_key(content, "a")
    assert key == model_key({**content, "files": {"a": 1}, "metrics": {}}, "a")
    for change in ({"weights": "v"}, {"calibration": {"temperature": None}}, {"max_length": 9}, {"files": {"a": 3}}):
        assert key != model_key({**content, **change}, "a")


def test_where_the_student_of_ngrams_lies(tmp_path):
    place = tmp_path / "student"
    place.mkdir()
    assert ngram_folder(tmp_path) == tmp_path
    (place / "ngram_student.npz").touch()
    assert ngram_folder(tmp_path) == place == ngram_folder(place)
    write_json(tmp_path / "export.json", {"weights": "a"})
    with pytest.raises(UsageError, match="the student of another model"):
        ngram_folder(tmp_path)
    write_json(place / "export.json", {"weights": "a"})
    assert ngram_folder(tmp_path) == place
