"""What a user names as data, opened: files, patterns, folders, and what lies in zip and gzip archives.

Nothing is unpacked to disk: paths inside an archive are names, never used.
"""

import contextlib
import functools
import glob
import gzip
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.encodings import codec_of, likely_encodings
from utils import UsageError

GZIP, ZIP = b"\x1f\x8b", b"PK\x03\x04"
# How a file begins that holds others, or that no table is read from -> what to do with it.
NO_TABLE = {
    b"%PDF": "a PDF; copy its table to a spreadsheet, and save that as CSV",
    b"Rar!": "a RAR archive; unpack it, and give the folder",
    b"7z\xbc\xaf": "a 7z archive; unpack it, and give the folder",
    b"BZh": "compressed by bzip2; unpack it first (bunzip2)",
    b"\xfd7zXZ": "compressed by xz; unpack it first (unxz)",
    b"\x28\xb5\x2f\xfd": "compressed by zstd; unpack it first (unzstd)",
    **dict.fromkeys((b"ARROW1", b"\xff\xff\xff\xff"), "an Arrow file; save it as Parquet (datasets: to_parquet)"),
    b"SQLite format 3\x00": "a SQLite database; export its table as CSV (sqlite3: .mode csv)",
    b"\x93NUMPY": "an array of NumPy; save its texts and labels as CSV (pandas: to_csv)",
    **dict.fromkeys(
        (b"\x80\x02", b"\x80\x03", b"\x80\x04\x95", b"\x80\x05\x95"),
        "a pickle of Python; load it there, and save it as CSV (pandas: to_csv)",
    ),
    **dict.fromkeys((b"\x89PNG", b"\xff\xd8\xff", b"GIF8"), "a picture; give a file of texts"),
    b"\x7fELF": "a program; give a file of texts",
}
# What a zip holds that is a document of an office, but no spreadsheet.
NO_BOOK = {
    "word/document.xml": "a Word document; copy its table to a spreadsheet, and save that",
    "ppt/presentation.xml": "a presentation; give a table, such as CSV or .xlsx",
}
# The first word of a file's name that tells which part of the data it is.
PART_WORDS = {
    **dict.fromkeys(("train", "training", "训练集", "训练"), "train"),
    **dict.fromkeys(("dev", "valid", "validation", "val", "eval", "验证集", "开发集", "验证"), "dev"),
    **dict.fromkeys(("test", "testing", "测试集", "测试"), "test"),
}
# Names of files beside data that hold the names of labels.
LABEL_FILES = re.compile(
    r"(class|classes|class_names|label|labels|label_names|label_map|id2label|label2id|categories)\.(txt|json|csv|tsv)",
    re.IGNORECASE,
)
# In a folder these are no data.
NO_DATA = re.compile(
    r"\.|_|~\$|dataset_infos?\.json$|dataset_dict\.json$|thumbs\.db$|desktop\.ini$|readme|licen[cs]e|changelog|makefile"
    r"|.*\.(md|py|ipynb|sh|pdf|docx?|html?|png|jpe?g|gif|ya?ml|toml|lock|bat|log|pkl|npy|npz|bin|pt)$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Source:
    """One file, or one member of an archive.

    Args:
        name (str): for messages: a path, or path:member.
        parts (tuple[str, ...]): its folders and its name below what the user gave.
        opener (Callable[[], BinaryIO]): opens it anew, at its beginning.
        folder (Path): the folder on the disk that it, or its archive, lies in.
    """

    name: str
    parts: tuple
    opener: Callable
    folder: Path

    @contextlib.contextmanager
    def open(self):
        """A binary file, unpacked where it is compressed.

        Raises:
            UsageError: it cannot be read, or the archive is damaged.
        """
        try:
            with self.opener() as file:
                yield file
        except OSError as error:
            reason = error.strerror or str(error)
            raise UsageError(f"{self.name}: cannot be read ({reason}); give the path of a readable file") from None
        except (EOFError, zipfile.BadZipFile, ValueError, RuntimeError) as error:
            if isinstance(error, UnicodeError):
                raise
            raise UsageError(f"{self.name}: damaged or locked ({error}); fetch or pack it again") from None

    def head(self, size):
        """Its first bytes."""
        with self.open() as file:
            return file.read(size)

    @property
    def part(self):
        """train, dev or test where its name says so (train.csv, dev_0.json, validation-00000-of-00001.parquet)."""
        return part_of(self.parts[-1])


def part_of(name):
    """Which part of the data a file or folder holds, by the first word of its name that tells it; None for none."""
    words = re.split(r"[^a-z\u4e00-\u9fff]+", name.lower())
    return next((PART_WORDS[word] for word in words if word in PART_WORDS), None)


def parts_by_folder(sources):
    """Which part of the data each file is by the folder that it lies in, None for others.

    Returns:
        list[str | None] | None: None where there is no training part beside another one.
    """
    found = [
        next((PART_WORDS[name.lower()] for name in source.parts[:-1] if name.lower() in PART_WORDS), None)
        for source in sources
    ]
    return found if "train" in found and len(set(found) - {None}) > 1 else None


def find_sources(patterns):
    """The files behind what a user gave.

    Args:
        patterns (Iterable[str | Path]): files, folders, or patterns such as data/*.csv and data/**/*.json.

    Returns:
        list[Source]: in the order given, files of a folder in the order of their names.

    Raises:
        UsageError: nothing is there, or an archive cannot be read.
    """
    found = []
    for pattern in map(str, patterns):
        path = Path(pattern)
        if path.exists():
            paths = [path]
        else:
            paths = [Path(name) for name in sorted(glob.glob(pattern, recursive=True)) if Path(name).is_file()]
        if not paths:
            raise UsageError(f"{pattern}: no such file; give the path of a file or folder, or a pattern in quotes")
        for path in paths:
            found += _in_folder(path) if path.is_dir() else _of_file(path, (path.name,))
    return found


def _in_folder(folder):
    """The sources of all files of a folder that may be data."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    found = []
    for path in paths:
        parts = path.relative_to(folder).parts
        if not any(is_no_data(part) for part in parts):
            found += _of_file(path, parts)
    if not found:
        raise UsageError(f"{folder}: no file in it that may be data; give another folder, or the file itself")
    return found


def is_no_data(name):
    """Whether a file or folder of a folder is left aside: hidden ones, texts about the data, programs, pictures."""
    return bool(NO_DATA.match(name))


def _of_file(path, parts):
    """The sources of one file of the disk: itself, or the members of a zip."""
    opener = functools.partial(open, path, "rb")
    plain = Source(str(path), parts, opener, path.parent)
    head = plain.head(512)
    if head.startswith(GZIP):
        name = parts[-1].removesuffix(".gz")
        packed = Source(str(path), (*parts[:-1], name), functools.partial(gzip.open, path, "rb"), path.parent)
        if packed.head(512)[257:262] == b"ustar":
            raise UsageError(f"{path}: a tar archive; unpack it (tar -xzf), and give the folder")
        return [packed]
    if head.startswith(ZIP):
        return _of_zip(plain, path, parts)
    if head[257:262] == b"ustar":
        raise UsageError(f"{path}: a tar archive; unpack it (tar -xf), and give the folder")
    return [plain]


def _of_zip(plain, path, parts):
    """The members of a zip; the zip itself where it is a spreadsheet."""
    with plain.open() as file, zipfile.ZipFile(file) as archive:
        infos = [info for info in archive.infolist() if not info.is_dir()]
    names = {info.filename for info in infos}
    if "[Content_Types].xml" in names or "mimetype" in names:
        inside = next((what for name, what in NO_BOOK.items() if name in names), None)
        if inside:
            raise UsageError(f"{path}: {inside}")
        return [plain]
    if any(name.endswith(".iwa") for name in names):
        raise UsageError(f"{path}: a spreadsheet of Apple Numbers; export it as CSV or Excel")
    found = []
    for info in infos:
        member = tuple(re.split(r"[/\\]", _member_name(info)))
        if not any(is_no_data(part) for part in member):
            opener = functools.partial(_open_member, path, info)
            source = Source(f"{path}:{'/'.join(member)}", (*parts[:-1], *member), opener, path.parent)
            if source.head(4) == ZIP and member[-1].lower().endswith(".zip"):
                raise UsageError(f"{source.name}: a zip inside a zip; unpack {path.name}, and give the folder")
            if source.head(2) == GZIP:
                opener = functools.partial(_open_member, path, info, True)
                source = Source(source.name, (*source.parts[:-1], member[-1].removesuffix(".gz")), opener, path.parent)
            found.append(source)
    if not found:
        raise UsageError(f"{path}: no file in it that may be data; give another archive")
    return found


@contextlib.contextmanager
def _open_member(path, info, is_packed=False):
    """A member of a zip as a binary file."""
    with zipfile.ZipFile(path) as archive, archive.open(info) as file:
        if is_packed:
            with gzip.open(file, "rb") as unpacked:
                yield unpacked
        else:
            yield file


def _member_name(info):
    """A member's name as it was written: programs on Chinese Windows write GBK and say nothing of it."""
    if info.flag_bits & 0x800:
        return info.filename
    try:
        data = info.filename.encode("cp437")
        return data.decode("utf-8")
    except UnicodeEncodeError:
        return info.filename
    except UnicodeDecodeError:
        names = likely_encodings(data)
        return data.decode(codec_of(names[0]) if names else "gb18030", "replace")


def refuse_no_table(source, head):
    """Raise UsageError where a file begins like something that no table is read from."""
    what = next((what for magic, what in NO_TABLE.items() if head.startswith(magic)), None)
    if what is None and re.match(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype html|html|table|meta)", head, re.IGNORECASE):
        what = "a web page; give a file of texts and labels, such as CSV or .xlsx"
    if what is None and re.match(rb"(?:\xef\xbb\xbf)?\s*<(?:\?xml|!doctype)", head, re.IGNORECASE):
        what = "XML; write its records as CSV, in pandas: pandas.read_xml(path).to_csv('texts.csv', index=False)"
    if what:
        raise UsageError(f"{source.name}: {what}")


def is_label_file(source):
    """Whether a file is named like one of label names."""
    return bool(LABEL_FILES.fullmatch(source.parts[-1]))


def is_unlabelled_folder(name):
    """Whether a folder among those of labels is called like one of texts without labels: unsup of IMDb."""
    return bool(re.fullmatch(r"unsup(ervised)?|unlabell?ed|未标注|无标签", name, re.IGNORECASE))


def is_unlabelled(source):
    """Whether a file is named like one of texts without labels."""
    return bool(re.match(r"data\.|unlabell?ed", source.parts[-1], re.IGNORECASE))
