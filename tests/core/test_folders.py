"""core/folders.py: one folder a label."""

import pytest

from core.folders import folder_table, is_folder_a_label
from core.sources import find_sources
from core.tables import DEFAULT
from tests.data import zoo


@pytest.mark.parametrize("make", [zoo.folders, zoo.zipped])
def test_folders(tmp_path, make):
    path, samples = make(tmp_path)
    sources = find_sources([path])
    assert is_folder_a_label(sources)
    table = folder_table(sources, DEFAULT)
    assert table.kind.startswith("3 folders, the names of labels, with 60 texts, ")
    rows = [(label, "".join(text.split())) for _, (label, text) in table.rows()]
    assert sorted(rows) == sorted((label, "".join(text.split())) for text, label in samples)
    assert all("/体育/" in name for name, row in table.rows() if row[0] == "体育")


def test_tables_in_folders_are_none(tmp_path):
    for name in ("a/train.txt", "a/dev.txt", "b/train.txt", "b/dev.txt"):
        zoo.write(tmp_path / name, "x\ty\n")
    assert not is_folder_a_label(find_sources([tmp_path]))
    assert not is_folder_a_label(find_sources([tmp_path / "a"]))


def test_a_text_in_no_encoding_is_rejected(tmp_path):
    path, samples = zoo.folders(tmp_path)
    (path / "体育" / "0.txt").write_bytes(b"\xff\xff\x81\x00\xfe")
    rows = list(folder_table(find_sources([path]), DEFAULT).rows())
    [(name, rejected)] = [(name, row) for name, row in rows if not isinstance(row, list)]
    assert name.endswith("0.txt") and rejected.reason == "not in a known encoding" and len(rows) == 60


def test_a_folder_of_texts_without_labels(tmp_path):
    """IMDb's unsup is no class."""
    for folder in ("pos", "neg", "unsup"):
        for number in range(3):
            zoo.write(tmp_path / "train" / folder / f"{number}.txt", f"text {number} of {folder}")
    table = folder_table(find_sources([tmp_path]), DEFAULT)
    assert table.kind.startswith("2 folders") and table.kind.endswith("those of unsup without a label")
    labels = [row[0] for _, row in table.rows()]
    assert sorted(labels) == ["", "", "", "neg", "neg", "neg", "pos", "pos", "pos"]
