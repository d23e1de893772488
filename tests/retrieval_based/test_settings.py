"""retrieval_based/settings.py: what the notes of an index come to, and the file of before."""

import json

import pytest

from retrieval_based import settings
from utils import UsageError


class Index:
    """One with the labels b and c."""

    def __init__(self, labels="bc"):
        self.labels, self.kept = labels, []

    def present(self, labels):
        return set(labels) & set(self.labels)

    def add_note(self, note):
        if self.kept is None:
            raise UsageError("read only")
        self.kept.append(note)


def test_notes():
    fits = [{"set": {"k": 3, "threshold": 0.5}}, {"set": {"threshold": None}}]
    assert settings.read_notes(fits) == ({"k": 3, "threshold": None, "renamed": {}}, [])
    cut_off = [{"renames": {"x": "a"}}, {"renaming": ["a", "b"]}]
    assert settings.read_notes(cut_off) == ({"renamed": {"x": "b", "a": "b"}}, [("a", "b")])
    assert settings.read_notes([*cut_off, {"renamed": ["a", "b"]}]) == ({"renamed": {"x": "b", "a": "b"}}, [])
    # Begun by two processes at once.
    assert settings.read_notes([*cut_off, {"renaming": ["a", "b"]}, *[{"renamed": ["a", "b"]}] * 2])[1] == []


def test_renamed_labels():
    assert settings.renamed_labels({"a": "b"}, "b", "c") == {"a": "c", "b": "c"}
    assert settings.renamed_labels({"a": "b"}, "b", "a") == {"b": "a"}
    # A new label a: what the classifier calls a is c still.
    assert settings.renamed_labels({"a": "c"}, "a", "d") == {"a": "c"}
    # Two labels exchange their names, and one of them is renamed again.
    swapped = {}
    for old, new in (("a", "t"), ("b", "a"), ("t", "b"), ("a", "z")):
        swapped = settings.renamed_labels(swapped, old, new)
    assert (swapped["a"], swapped["b"]) == ("b", "z")


def test_settings_of_another_model(tmp_path):
    path = tmp_path / "system.json"
    assert settings.read_settings(path, "a") == {}
    settings.write_settings(path, {"model_hash": "a", "k": 3})
    assert settings.read_settings(path, "a")["k"] == 3
    with pytest.raises(UsageError, match="fitted with another model"):
        settings.read_settings(path, "b")
    path.write_text("{", encoding="utf-8")
    with pytest.raises(UsageError, match="system.json: cannot be read as JSON"):
        settings.read_settings(path, "a")


STORED = {"model_hash": "m", "k": 3, "threshold": 0.5, "renamed": {"a": "b"}}


def test_the_file_of_before_is_moved_into_the_index(tmp_path):
    path, index, said = tmp_path / "system.json", Index(), []
    for count in range(1, 3):
        path.write_text(json.dumps(STORED), encoding="utf-8")
        assert settings.take_over(index, path, STORED, True, said.append) == []
        assert len(list(tmp_path.iterdir())) == count and not path.exists()  # an earlier one is kept
    assert index.kept[:2] == [{"set": {"k": 3, "threshold": 0.5}}, {"renames": {"a": "b"}}]
    assert "system.json: its settings are with the index from now on" in said[0]
    assert "For other indexes of this model run --fit_threshold" in said[1]


def test_a_file_that_the_user_names_stays(tmp_path):
    path, index, said = tmp_path / "mine.json", Index(), []
    path.write_text(json.dumps(STORED), encoding="utf-8")
    settings.take_over(index, path, STORED, False, said.append)
    assert index.kept == [{"renames": {"a": "b"}}] and path.exists() and len(said) == 1


def test_the_file_of_another_index(tmp_path):
    """This one has a label that the file calls renamed: so that was in another index."""
    path, index, said = tmp_path / "system.json", Index("ab"), []
    path.write_text(json.dumps(STORED), encoding="utf-8")
    assert settings.take_over(index, path, STORED, True, said.append) == []
    assert index.kept == [] and path.exists() and "it renames 'a', a label that this index has" in said[0]


def test_an_index_that_cannot_be_written(tmp_path):
    path, index, said = tmp_path / "system.json", Index(), []
    index.kept = None
    notes = settings.take_over(index, path, STORED, True, said.append)
    assert settings.read_notes(notes)[0] == {"k": 3, "threshold": 0.5, "renamed": {"a": "b"}}
    assert "counts, but could not be moved into the index (read only)" in said[0]
