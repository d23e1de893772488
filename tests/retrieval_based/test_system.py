"""retrieval_based/system.py with an index, an encoder and a classifier that are known."""

import numpy as np
import pytest

from retrieval_based import system
from retrieval_based.utils.config import Hit
from utils import UsageError


class Index:
    """Two hits for every text: the nearer one of a, the other of b."""

    is_durable = True

    def search(self, vectors, top_k, labels=None):
        hits = [Hit("one", "a", 0.9, "1"), Hit("other", "b", 0.8, "2")]
        return [[hit for hit in hits if labels is None or hit.label in labels][:top_k] for _ in vectors]

    def has_label(self, label):
        return label in "ab"


class Encoder:
    def encode(self, texts):
        return np.ones((len(texts), 2), "float32")


class Classifier:
    labels = ["b", "gone", "a"]

    def probabilities(self, texts):
        return np.array([[0.5, 0.4, 0.1]] * len(texts))


def make(classifier=None, **settings):
    return system.System(Index(), Encoder(), {"temperature": 0.1, **settings}, classifier)


def test_the_index_alone():
    (answer,) = make().answer(["头疼"], top_k=1)
    assert answer["label"] == "a" and answer["score"] == pytest.approx(1 / (1 + np.exp(-1)))
    assert answer["evidence"] == [{"text": "one", "label": "a", "similarity": 0.9}]
    assert make().answer(["头疼"], labels=["b"])[0]["label"] == "b"
    assert [make(threshold=value).answer(["头疼"])[0]["label"] for value in (0.89, 0.91)] == ["a", None]


def test_with_a_classifier():
    """Of a label that the index has no longer, its probability goes to the others."""
    (answer,) = make(Classifier(), weight=1).answer(["头疼"])
    assert answer["classifier"] == {"label": "b", "score": pytest.approx(5 / 6)}
    assert (answer["label"], answer["score"]) == ("b", pytest.approx(5 / 6))
    assert answer["index"]["label"] == "a" and answer["disagree"]
    (answer,) = make(Classifier(), weight=0).answer(["头疼"])
    assert answer["label"] == "a"
    (answer,) = make(Classifier(), weight=1, renamed={"gone": "a"}).answer(["头疼"])
    assert answer["classifier"] == {"label": "b", "score": pytest.approx(0.5)}


def test_settings_of_another_model(tmp_path):
    path = tmp_path / "system.json"
    assert system.read_settings(path, "a") == {}
    system.write_settings(path, {"model_hash": "a", "k": 3})
    assert system.read_settings(path, "a")["k"] == 3
    with pytest.raises(UsageError, match="fitted with another model"):
        system.read_settings(path, "b")
