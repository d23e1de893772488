"""durable.py: a file is whole, or is the one that was there."""

import os

import pytest

from core.durable import write_durably


def test_what_is_written_is_whole_and_on_the_disk(tmp_path, monkeypatch):
    target, synced, replace = tmp_path / "file", [], os.replace
    monkeypatch.setattr("os.fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    monkeypatch.setattr("os.replace", lambda *names: replace(*names) if synced else pytest.fail("renamed first"))
    write_durably(target, lambda path: path.write_text("one"))
    write_durably(str(target), lambda path: path.write_text("other"), f".{os.getpid()}")
    assert synced == [3, 5] and target.read_text() == "other"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_write_that_fails_changes_nothing(tmp_path):
    target, names = tmp_path / "file", []
    target.write_text("old")

    def fails(path):
        names.append(path.name)
        path.write_text("ne")
        raise OSError("no space")

    for mark in ("", ".7"):
        with pytest.raises(OSError, match="no space"):
            write_durably(target, fails, mark)
    assert target.read_text() == "old" and names == ["file.writing", "file.7.writing"]
