"""core/sources.py: files, patterns, folders, zip and gzip."""

import gzip
import io
import pickle
import tarfile
import zipfile

import pytest

from core.sources import find_sources, part_of, refuse_no_table
from utils import UsageError


def names(tmp_path, *patterns):
    found = find_sources([str(tmp_path / pattern) for pattern in patterns])
    return ["/".join(source.parts) for source in found]


def read(source):
    with source.open() as file:
        return file.read()


def test_files_patterns_and_folders(tmp_path):
    for name in ("b.csv", "a.csv", "in/c.csv", "in/README.md", "in/.hidden", "in/__MACOSX/x.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    assert names(tmp_path, "b.csv", "*.csv") == ["b.csv", "a.csv", "b.csv"]
    assert names(tmp_path, "**/*.csv") == ["a.csv", "b.csv", "x.csv", "c.csv"]
    assert names(tmp_path, "in") == ["c.csv"]
    with pytest.raises(UsageError, match="nowhere: no such file"):
        names(tmp_path, "nowhere")


def test_gzip_and_zip(tmp_path):
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"one"))
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("news/体育/1.txt", "two")
        archive.writestr("news/c.csv.gz", gzip.compress(b"three"))
        archive.writestr("../../evil.txt", "four")
    one, two, three = find_sources([tmp_path / "a.csv.gz", tmp_path / "b.zip"])
    assert (one.parts, read(one)) == (("a.csv",), b"one")
    assert (two.parts, read(two)) == (("news", "体育", "1.txt"), b"two")
    assert (three.parts, read(three), three.head(2)) == (("news", "c.csv"), b"three", b"th")


def test_a_spreadsheet_is_one_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as archive:
        archive.writestr("[Content_Types].xml", "")
        archive.writestr("xl/workbook.xml", "")
    [source] = find_sources([tmp_path / "a.xlsx"])
    assert source.parts == ("a.xlsx",) and source.head(2) == b"PK"


OTHERS = (
    (pickle.dumps(["好"] * 9), "a pickle of Python"),
    (b"\x89PNG\r\n", "a picture"),
    (b"SQLite format 3\0", "a SQLite database"),
)


def test_what_cannot_be_opened(tmp_path):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a"), io.BytesIO())
    with pytest.raises(UsageError, match="a tar archive; unpack it"):
        find_sources([tmp_path / "a.tar.gz"])
    packed = gzip.compress(bytes(range(256)) * 999)
    (tmp_path / "cut.gz").write_bytes(packed[: len(packed) // 2])
    [source] = find_sources([tmp_path / "cut.gz"])
    with pytest.raises(UsageError, match=r"cut.gz: damaged or locked"):
        read(source)
    for head, message in ((b"%PDF-1.7", "a PDF"), (b"\n<html>", "a web page"), (b"Rar!", "RAR"), *OTHERS):
        with pytest.raises(UsageError, match=message):
            refuse_no_table(source, head)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("train.csv", "train"), ("validation-00000-of-00001.parquet", "dev"), ("KUAKE-QIC_dev.json", "dev"),
        ("cnews.val.txt", "dev"), ("TEST.tsv", "test"), ("测试集.xlsx", "test"), ("contest.csv", None),
        ("strain.txt", None), ("latest.json", None),
    ],
)  # fmt: skip
def test_parts_by_name(name, part):
    assert part_of(name) == part
