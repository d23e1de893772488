"""core/folders.py: one folder a label."""

import pytest

from core.folders import Layout, folder_tables
from core.sources import find_sources
from core.tables import DEFAULT, Reading
from tests.data import zoo
from utils import UsageError


def is_folder_a_label(sources):
    return Layout(sources).is_folder_a_label()


def folder_table(sources, reading):
    [(_, table)] = folder_tables([(None, source) for source in sources], reading)
    return table


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


def labels(table):
    return {row[0] for _, row in table.rows()}


def nested(tmp_path, above=""):
    """News of a year in folders of their own, some beside these."""
    for number, (text, label) in enumerate(zoo.SAMPLES):
        zoo.write(tmp_path / above / label / ("", "2021", "2022")[number % 4 % 3] / f"{number}.txt", text)
    return find_sources([tmp_path])


@pytest.mark.parametrize("above", ["", "news", "a/b"])
def test_folders_in_folders(tmp_path, above):
    """The first one is the label, which is told; or all are, as --folder_labels says."""
    sources = nested(tmp_path, above)
    table = folder_table(sources, DEFAULT)
    assert labels(table) == set(zoo.NAMES) and len(list(table.rows())) == 60
    assert table.kind.startswith("3 folders, ") and "--folder_labels path: 体育##2021" in table.kind
    assert table.name == str(tmp_path / above)
    table = folder_table(sources, Reading(folder_labels="path"))
    assert labels(table) == {f"{name}{more}" for name in zoo.NAMES for more in ("", "##2021", "##2022")}
    assert "--folder_labels" not in table.kind and table.kind.startswith("9 folders")


def imdb(tmp_path):
    """What lies in aclImdb beside the texts, in small."""
    for part, folders in (("train", ("pos", "neg", "unsup")), ("test", ("pos", "neg"))):
        for folder in folders:
            for number in range(12):
                zoo.write(
                    tmp_path / part / folder / f"{number}_7.txt", f"Film {number} of {part} {folder}.<br />Seen."
                )
            zoo.write(tmp_path / part / f"urls_{folder}.txt", "http://example.org/1\n" * 12)
        zoo.write(tmp_path / part / "labeledBow.feat", "9 0:9 1:1\n" * 24)
    for name in ("imdb.vocab", "imdbEr.txt", "README"):
        zoo.write(tmp_path / name, "the\nand\n")
    return tmp_path


def test_files_beside_the_folders_are_told_and_not_read(tmp_path):
    sources = [(part, source) for source in find_sources([imdb(tmp_path)]) for part in [source.parts[0][:-4] or None]]
    tables = [table for _, table in folder_tables(sources, DEFAULT)]
    assert sum(table.kind.count("not read: imdb.vocab imdbEr.txt test/labeledBow.feat") for table in tables) == 1
    assert [row for table in tables for _, row in table.rows() if row[0] not in ("pos", "neg", "")] == []
    assert sum(len(list(table.rows())) for table in tables) == 60
    assert sum(row[0] == "" for table in tables for _, row in table.rows()) == 12  # unsup


def test_a_table_beside_the_folders_is_asked_about(tmp_path):
    nested(tmp_path)
    zoo.write(tmp_path / "all.csv", "text,label\n")
    with pytest.raises(UsageError, match="all.csv: a table beside folders of texts; give either it, or the folders"):
        folder_tables([(None, source) for source in find_sources([tmp_path])], DEFAULT)


def test_parts_above_and_inside_the_folders_of_labels(tmp_path):
    for number, (text, label) in enumerate(zoo.SAMPLES):
        part = "test" if number % 5 == 0 else "train"
        zoo.write(tmp_path / "a" / part / label / f"{number}.txt", text)
        zoo.write(tmp_path / "b" / label / part / f"{number}.txt", text)
    for folder in ("a", "b"):
        assert set(Layout(find_sources([tmp_path / folder])).paths) == {(name,) for name in zoo.NAMES}


def test_folders_with_many_files_beside_them_are_no_labels(tmp_path):
    nested(tmp_path)
    for number in range(20):
        zoo.write(tmp_path / f"{number}.txt", "text\n")
    assert not is_folder_a_label(find_sources([tmp_path]))
