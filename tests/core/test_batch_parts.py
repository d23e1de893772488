"""batch_parts.py: what is joined is whole, whenever the process ended."""

import json

import pytest

from core.batch_parts import Parts
from utils import UsageError


def join(paths, target):
    target.write_bytes(b"".join(path.read_bytes() for path in paths))


def begun(path, numbers=range(3)):
    parts = Parts(path)
    parts.check()
    parts.begin({"options": {"--x": 1}})
    for number in numbers:
        rejected = [["f", "1", "no text", ""]] * (number == 1)
        parts.add(number, lambda target, number=number: target.write_text(f"{number}\n"), {"rejected": rejected})
    return parts


def test_one_process_at_a_time(tmp_path):
    parts = begun(tmp_path / "out")
    with pytest.raises(UsageError, match="out.parts: process .* is writing there; wait for it"):
        begun(tmp_path / "out")
    parts.close()
    assert begun(tmp_path / "out", ()).done == {number: {"rejected": int(number == 1)} for number in range(3)}


def test_a_part_without_its_counts_is_none(tmp_path):
    parts = begun(tmp_path / "out")
    parts.close()
    (parts.folder / "part-0000001.json").unlink()
    (parts.folder / "part-0000002.json").write_text("{")
    again = begun(tmp_path / "out", ())
    assert list(again.done) == [0]
    again.close()


def test_killed_between_the_renames(tmp_path, monkeypatch):
    """The report and the rejected rows have their names, the output has not: the same command ends it."""
    import os

    parts, replace = begun(tmp_path / "out"), os.replace

    def dies(source, target):
        if target == tmp_path / "out":
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr("core.batch_parts.os.replace", dies)
    with pytest.raises(KeyboardInterrupt):
        parts.join(join, ["report"])
    parts.close()
    monkeypatch.undo()
    assert (tmp_path / "out.report.txt").exists() and not (tmp_path / "out").exists()
    again = begun(tmp_path / "out", ())
    assert again.join(join, ["report"]) == [
        tmp_path / "out",
        tmp_path / "out.rejected.csv",
        tmp_path / "out.report.txt",
    ]
    assert (tmp_path / "out").read_text() == "0\n1\n2\n" and not again.folder.exists()


def test_what_others_put_there_stays(tmp_path):
    parts = begun(tmp_path / "out")
    (parts.folder / "notes").write_text("mine")
    parts.join(join, None)
    assert [path.name for path in parts.folder.iterdir()] == ["notes"]


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path):
    parts = begun(tmp_path / "out")
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UsageError, match="out: is there already"):
        parts.join(join, None)
    assert (tmp_path / "out").read_text() == "mine"
    assert json.loads((parts.folder / "run.json").read_text())["options"] == {"--x": 1}
    parts.close()


def test_a_run_that_did_nothing_leaves_nothing(tmp_path):
    parts = begun(tmp_path / "out", ())
    assert parts.folder.exists()
    parts.close()
    assert not list(tmp_path.iterdir())
