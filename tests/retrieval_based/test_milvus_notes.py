"""retrieval_based/utils/milvus_notes.py: notes in Milvus Lite and on a real server."""

import time

import pytest

from retrieval_based.utils import milvus_notes
from retrieval_based.utils.milvus_util import MilvusIndex
from utils import UsageError

pytest.importorskip("pymilvus", reason="pymilvus is not installed")

ODD = {"renaming": ['a"b\\c\u2028', "标"]}


@pytest.fixture
def opened(request, tmp_path):
    """A function from a collection's name to an open index in the same file or on the same server."""
    kind = getattr(request, "param", "lite")
    uri = str(tmp_path / "milvus.db") if kind == "lite" else request.getfixturevalue("milvus").uri
    indexes, names = [], {}

    def opened(name, **options):
        name = names.setdefault(name, f"{name}_{time.monotonic_ns()}")
        indexes.append(MilvusIndex(uri, 4, "a", collection=name, **options))
        return indexes[-1]

    yield opened
    for name in names.values():
        for part in (name, f"{name}_notes"):
            indexes[0]._client.drop_collection(part, timeout=30)
    for index in indexes:
        index.close()


@pytest.mark.parametrize("opened", ["lite", "server"], indirect=True)
def test_two_collections_do_not_share(opened, monkeypatch):
    one, other = opened("one"), opened("other")
    assert one.notes() == [] == other.notes()
    one.add_note({"set": {"k": 3}})
    monkeypatch.setattr(time, "time_ns", lambda: 5)  # another machine, whose clock is behind
    one.add_note(ODD)
    other.add_note({"set": {"k": 7}})
    assert one.notes() == [{"set": {"k": 3}}, ODD] == opened("one").notes()
    assert other.notes() == [{"set": {"k": 7}}]
    # What another one has noted is seen.
    opened("one").add_note({"set": {"k": 4}})
    assert one.notes()[-1] == {"set": {"k": 4}}
    with pytest.raises(UsageError, match="a note of 7.... bytes"):
        one.add_note({"x": "y" * 70_000})


def test_notes_of_an_index_that_is_gone(opened):
    """The collection was dropped and made anew: its threshold and its renamings are not the new one's."""
    index = opened("dropped")
    index.add_note({"set": {"k": 3}})
    index._client.drop_collection(index.collection, timeout=30)
    again = opened("dropped")
    assert again.notes() == []
    again.add_note({"set": {"k": 4}})
    assert again.notes() == [{"set": {"k": 4}}]


def test_another_collection_of_that_name(opened):
    index = opened("taken")
    index._client.create_collection(f"{index.collection}_notes", dimension=4)
    with pytest.raises(UsageError, match="taken_.*_notes holds something else than this index's notes"):
        index.add_note({})


def test_making_the_collection_was_cut_off(opened, monkeypatch):
    index = opened("cut")

    def die(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(milvus_notes.MilvusNotes, "_make_ready", die)
        with pytest.raises(KeyboardInterrupt):
            index.add_note({"set": {"k": 3}})
    again = opened("cut")
    assert again.notes() == []
    again.add_note({"set": {"k": 4}})
    assert again.notes() == [{"set": {"k": 4}}]
