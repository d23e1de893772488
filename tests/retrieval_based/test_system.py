"""retrieval_based/system.py with an index, an encoder and a classifier that are known."""

import numpy as np
import pytest

from retrieval_based import system
from retrieval_based.utils.config import Hit
from utils import UsageError


class Index:
    """Two hits for every text: the nearer one of a, the other of b."""

    is_durable = True
    is_shared = True

    def __init__(self, labels="ab"):
        self.labels, self.kept, self.done = set(labels), [], []

    def __len__(self):
        return len(self.labels)

    def search(self, vectors, top_k, labels=None):
        hits = [Hit("one", "a", 0.9, "1"), Hit("other", "b", 0.8, "2")]
        return [[hit for hit in hits if labels is None or hit.label in labels][:top_k] for _ in vectors]

    def has_label(self, label):
        return label in self.labels

    def present(self, labels):
        return self.labels & set(labels)

    def notes(self):
        return list(self.kept)

    def add_note(self, note):
        self.kept.append(note)

    def rename_label(self, old, new):
        self.done.append((old, new))
        count = len(self.labels & {old})
        self.labels = self.labels - {old} | {new}
        return count


class Encoder:
    def encode(self, texts):
        return np.ones((len(texts), 2), "float32")


class Classifier:
    labels = ["b", "gone", "a"]

    def probabilities(self, texts):
        return np.array([[0.5, 0.4, 0.1]] * len(texts))


def make(classifier=None, **settings):
    return system.System(Index(), Encoder(), {"temperature": 0.1, **settings}, classifier)


def with_notes(*notes, labels="ab", classifier=None):
    index = Index(labels)
    index.kept = list(notes)
    return system.System(index, Encoder(), {}, classifier)


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


def test_the_index_keeps_the_settings():
    fitted = {"set": {"k": 1, "threshold": 0.95}}
    assert with_notes(fitted).answer(["头疼"])[0]["label"] is None
    chosen = system.System(with_notes(fitted).index, Encoder(), {"threshold": 0.8})
    assert chosen.answer(["头疼"])[0]["score"] == 1 and chosen.settings["k"] == 1


def test_a_renaming_is_noted_done_and_confirmed():
    made = with_notes()
    assert made.rename_label("gone", "c") == 0 and made.index.kept == []
    assert made.rename_label("a", "c") == 1 and made.index.done == [("a", "c")] and not made.pending
    assert made.index.kept == [{"renaming": ["a", "c"]}, {"renamed": ["a", "c"]}]
    with pytest.raises(UsageError, match="the label has 0 bytes"):
        made.rename_label("b", "")
    assert len(made.index.kept) == 2


@pytest.mark.parametrize("labels", ["ab", "abc", "bc"])
def test_a_renaming_that_was_cut_off(labels):
    """Before any row was changed, after some, after all: the new name counts, and the same call completes it."""
    made = with_notes({"renaming": ["a", "c"]}, labels=labels, classifier=Classifier())
    assert made.pending == [("a", "c")] and made.settings["renamed"] == {"a": "c"}
    (answer,) = made.answer(["头疼"])
    assert answer["index"]["label"] == "c" and answer["evidence"][0]["label"] == "c"
    assert answer["classifier"] == {"label": "b", "score": pytest.approx(5 / 6)}
    assert [hit.label for hit in made.neighbours(["头疼"], 9, ["c"])[0]] == ["c"]
    assert made.rename_label("a", "c") == (1 if "a" in labels else 0)
    assert made.index.labels == {"b", "c"} and made.pending == []


def test_what_another_process_notes_is_followed(monkeypatch):
    made = with_notes(classifier=Classifier())
    made.index.rename_label("a", "c")
    made.index.kept = [{"renaming": ["a", "c"]}, {"renamed": ["a", "c"]}]
    made.follow()  # a moment ago it was read
    assert made.settings["renamed"] == {}
    monkeypatch.setattr(system.time, "monotonic", lambda: made._next_reading + 1)
    made.follow()
    assert made.settings["renamed"] == {"a": "c"} and made._alive == ["b", "c"]


def test_a_classifier_of_other_labels():
    with pytest.raises(UsageError, match="no label in common .the classifier's: b gone a.; give the classifier of"):
        with_notes(labels="xy", classifier=Classifier())
    assert make(Classifier()).not_in_index == ["gone"] and make().not_in_index == []
