"""core/sources.py: files, patterns, folders, zip and gzip."""

import gzip
import io
import pickle
import tarfile
import zipfile

import pytest

from core.sources import find_sources, part_of, parts_by_folder, refuse_no_table
from tests.data import zoo
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


def test_parts_by_folder(tmp_path):
    for name in ("train/a.csv", "test/a.csv", "体育/1.csv", "财经/1.csv"):
        zoo.write(tmp_path / name, name)
    both = find_sources([tmp_path / "train", tmp_path / "体育"])
    assert parts_by_folder(both) is None  # below what the user gave
    sources = find_sources([tmp_path])
    parts = parts_by_folder(sources)
    wanted = {"test/a.csv": "test", "train/a.csv": "train", "体育/1.csv": None, "财经/1.csv": None}
    assert dict(zip(["/".join(source.parts) for source in sources], parts)) == wanted
    # A class that is called like a part.
    assert parts_by_folder([source for source in sources if "test" not in source.parts]) is None


def test_a_zip_in_a_zip(tmp_path):
    zoo.zipped(tmp_path)
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.write(tmp_path / "news.zip", "news.zip")
    with pytest.raises(UsageError, match="b.zip:news.zip: a zip inside a zip; unpack b.zip"):
        find_sources([tmp_path / "b.zip"])


def test_a_stream_of_arrow_is_no_table(tmp_path):
    import pyarrow

    with pyarrow.OSFile(str(tmp_path / "a.arrow"), "wb") as file:
        table = pyarrow.table({"text": ["好"]})
        with pyarrow.ipc.new_stream(file, table.schema) as writer:
            writer.write(table)
    [source] = find_sources([tmp_path / "a.arrow"])
    with pytest.raises(UsageError, match="an Arrow file; save it as Parquet"):
        refuse_no_table(source, source.head(512))


def test_documents_that_are_no_spreadsheets(tmp_path):
    for name, member, message in (
        ("a.docx", "word/document.xml", "a Word document; copy its table"),
        ("a.pptx", "ppt/presentation.xml", "a presentation"),
        ("a.numbers", "Index/Document.iwa", "a spreadsheet of Apple Numbers; export it as CSV"),
    ):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr(member, "")
            if not name.endswith("numbers"):
                archive.writestr("[Content_Types].xml", "")
        with pytest.raises(UsageError, match=f"{name}: {message}"):
            find_sources([tmp_path / name])
