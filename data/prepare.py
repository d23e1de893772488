"""Prepare KUAKE-QIC (CBLUE: medical search intent, 11 labels, 6,931 train and 1,955 dev texts) for train.py.

    python data/prepare.py kuake_qic                                   # downloads it -> data/kuake_qic
    python data/prepare.py kuake_qic --archive KUAKE_QIC.tar.gz        # no network: a .tar.gz, .tgz, .tar or .zip
    python data/prepare.py kuake_qic --archive ~/CBLUE/KUAKE-QIC       # the same, unpacked
    python data/prepare.py kuake_qic --save_dir data/qic --force       # elsewhere, replacing what is there

Anywhere in the archive or folder lie train.txt, dev.txt and, optional, label.txt and data.txt (<text>, a tab, <label>
a line, as PaddleNLP packs them); or CBLUE's own KUAKE-QIC_train.json, _dev.json and, optional, _test.json (a list of
{"query": …, "label": …}), which are taken where both are there. Written are train.txt, dev.txt, label.txt and, where
there are texts without a label, data.txt. White space inside a text becomes one space. Numbers of rows and labels are
checked first. Nothing of the archive is unpacked to disk: its paths are compared, never used.
"""

import argparse
import contextlib
import functools
import http.client
import io
import json
import re
import shlex
import sys
import tarfile
import urllib.request
import zipfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository's root
from core.arguments import parse_argv
from core.encodings import describe_encoding
from core.progress import progress_bar
from utils import UsageError, check_save_dir, exit_on_usage_error, write_lines

ROOT = Path(__file__).resolve().parents[1]
URL = "https://paddlenlp.bj.bcebos.com/datasets/KUAKE_QIC.tar.gz"
ROWS = {"train": 6931, "dev": 1955}
LABELS = "病情诊断 治疗方案 病因分析 指标解读 就医建议 疾病表述 后果表述 注意事项 功效作用 医疗费用 其他".split()
# Files of an archive, of either kind: what is written -> its name there. The first two must be there.
JSON_FILES = {"train": "KUAKE-QIC_train.json", "dev": "KUAKE-QIC_dev.json", "data": "KUAKE-QIC_test.json"}
TEXT_FILES = {"train": "train.txt", "dev": "dev.txt", "data": "data.txt"}
# Seconds without a byte after which a download is given up.
TIMEOUT = 30
# The real files are below 1 MB: whatever is larger than this is something else, or a decompression bomb.
MAX_BYTES = 100 << 20


def main(argv=None):
    flags = parse_flags(argv)
    written = prepare(flags.archive, flags.save_dir, flags.force)
    print(f"{flags.save_dir}: " + ", ".join(f"{name} {lines:,} lines" for name, lines in written.items()))
    if "data.txt" not in written:
        kept = "; the one that is there is kept" if (flags.save_dir / "data.txt").exists() else ""
        print(f"data.txt is not written: no texts without a label in the archive{kept}")
    # train.py is started in the root: the folder as seen from there.
    data_dir = flags.save_dir.resolve()
    with contextlib.suppress(ValueError):
        data_dir = data_dir.relative_to(ROOT)
    command = f"python train.py --do_train --do_eval --do_export --data_dir {shlex.quote(data_dir.as_posix())}"
    print(f"next: {command}")


def parse_flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", choices=["kuake_qic"], help="the data set to prepare")
    parser.add_argument("--archive", type=Path, metavar="FILE", help="an archive or folder; default: download")
    default_dir = ROOT / "data" / "kuake_qic"
    parser.add_argument("--save_dir", type=Path, default=default_dir, help="default: data/kuake_qic")
    parser.add_argument("--force", action="store_true", help="replace files that --save_dir already has")
    return parse_argv(parser, argv)


def prepare(archive, save_dir, force=False):
    """Read, check and write the data set: all files or none.

    Args:
        archive (Path | None): archive or folder; None downloads it.
        save_dir (Path): the folder for the files.
        force (bool): replace files that are there.

    Returns:
        dict[str, int]: file name -> lines written.

    Raises:
        UsageError: no download, no archive that can be read, not this data set, or files that are there.
    """
    check_save_dir(save_dir, (*TEXT_FILES.values(), "label.txt"), force)
    rows = read_rows(archive or URL, read_files(archive))
    lines = {f"{split}.txt": ["\t".join(row) for row in rows[split]] for split in ROWS}
    lines["label.txt"] = LABELS
    if rows["data"]:
        lines["data.txt"] = [text for text, _ in rows["data"]]
    write_lines(save_dir, lines)
    return {name: len(content) for name, content in lines.items()}


# -------------------------------------------------------------------------------------------------------------- files


def download():
    """The bytes behind URL."""
    data = bytearray()
    try:
        with urllib.request.urlopen(URL, timeout=TIMEOUT) as response:
            total = response.length
            with progress_bar(total=total, unit="B", unit_scale=True, desc=URL.rpartition("/")[2]) as bar:
                # read1, not read: what has arrived counts, however slow the line is.
                while chunk := response.read1(1 << 16):
                    data += chunk
                    bar.update(len(chunk))
                    if len(data) > MAX_BYTES:
                        raise ValueError(f"more than {MAX_BYTES:,} bytes")
        if total is not None and len(data) != total:
            raise ConnectionError(f"the connection was closed after {len(data):,} of {total:,} bytes")
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise UsageError(
            f"{URL}: cannot be downloaded ({str(error) or type(error).__name__}); check the network and try again, or "
            "fetch that address on another machine and give the file as --archive FILE (CBLUE's own zip does as well)"
        ) from None
    return bytes(data)


def read_files(archive):
    """Pick the wanted files out of an archive or folder; None downloads it.

    Returns:
        dict[str, tuple[str, bytes]]: file name -> path in the archive, and content.
    """
    source, found = archive or URL, {}
    try:
        if archive is not None and archive.is_dir():
            members = _folder_members(archive)
        else:
            members = _archive_members(io.BytesIO(archive.read_bytes() if archive else download()))
        for path, size, read in members:
            name, shown = re.split(r"[/\\]", path)[-1], path if path.isprintable() else ascii(path)
            if name not in (*JSON_FILES.values(), *TEXT_FILES.values()):
                continue
            if size > MAX_BYTES:
                raise UsageError(f"{source}: {shown} is larger than {MAX_BYTES:,} bytes; give the real data set")
            if name in found:
                raise UsageError(f"{source}: more than one {name}: {found[name][0]} {shown}; give only one of them")
            found[name] = shown, read()
    except UsageError:
        raise
    except Exception as error:
        # Damaged archives raise a dozen types: TarError, BadZipFile, zlib.error, EOFError, struct.error, …
        why = "not a .tar.gz, .tgz, .tar or .zip archive that can be read, or cut short"
        reason = getattr(error, "strerror", None) or f"{why} ({error})"
        raise UsageError(f"{source}: {reason}; fetch {URL}, or give another one as --archive FILE") from None
    return found


def _folder_members(folder):
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path.stat().st_size, path.read_bytes


def _archive_members(stream):
    """Path and size of each plain file of an archive, and a function that reads it."""
    start = stream.read(2)
    stream.seek(0)
    if start == b"PK":
        with zipfile.ZipFile(stream) as archive:
            for info in archive.infolist():
                yield info.filename, info.file_size, functools.partial(archive.read, info)
        return
    with tarfile.open(fileobj=stream, mode="r:gz" if start == b"\x1f\x8b" else "r:") as archive:
        for member in archive:
            if member.isreg():  # no link is followed
                yield member.name, member.size, archive.extractfile(member).read
        # tarfile stops at its own end mark, before the checksum that gzip has behind it.
        while archive.fileobj.read(1 << 20):
            pass


# --------------------------------------------------------------------------------------------------------------- rows


def read_rows(source, found):
    """Turn the files of an archive into rows, and check them against what the data set is known to be.

    Args:
        source: path or address for messages.
        found (dict): see read_files.

    Returns:
        dict[str, list[tuple[str, str]]]: train, dev and data: texts and labels, "" in data.

    Raises:
        UsageError: files are missing, cannot be read, or have other rows or labels than expected.
    """
    names = next((names for names in (JSON_FILES, TEXT_FILES) if {names["train"], names["dev"]} <= set(found)), None)
    if names is None:
        missing = " nor ".join(f"{names['train']} and {names['dev']}" for names in (JSON_FILES, TEXT_FILES))
        has = " ".join(sorted(found)) or "none"
        raise UsageError(f"{source}: neither {missing} in it (of these: {has}); give an archive of KUAKE-QIC")
    rows = {
        split: parse(f"{source}:{found[name][0]}", found[name][1], split in ROWS) if name in found else []
        for split, name in names.items()
    }
    for split, expected in ROWS.items():
        number, labels = len(rows[split]), list(dict.fromkeys(label for _, label in rows[split]))
        # A label that dev alone lacks is no harm; one that it alone has is.
        wrong = set(LABELS).symmetric_difference(labels) if split == "train" else set(labels) - set(LABELS)
        if number != expected or wrong:
            has = f"found {number:,} rows, {len(labels)} labels ({' '.join(labels[:20])})"
            expected = f"expected {expected:,} rows, {len(LABELS)} labels ({' '.join(LABELS)})"
            raise UsageError(f"{source}: {split}: {has}, {expected}; take the whole, unchanged data set")
    return rows


def parse(where, data, labelled):
    """Texts and labels of a file; "" for the labels where it is not `labelled`.

    Raises:
        UsageError: not UTF-8, not CBLUE's JSON, or a labelled row without text or label.
    """
    try:
        content = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(describe_encoding(where, data, error.start)) from None
    is_json = where.endswith(".json")
    if is_json:
        try:
            pairs = [(item["query"].strip(), item.get("label", "").strip()) for item in json.loads(content)]
            "".join(text for text, _ in pairs).encode("utf-8")  # half a character (a surrogate) cannot be written
        except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
            problem = f'not a JSON list of {{"query": …, "label": …}} ({type(error).__name__}: {error})'
            raise UsageError(f"{where}: {problem}; take the file as CBLUE gives it") from None
    else:
        lines = content.rstrip().split("\n")
        pairs = [line.rpartition("\t")[::2] if labelled else (line, "") for line in lines]
    rows = [(" ".join(text.split()), label.strip() if labelled else "") for text, label in pairs]
    for number, row in enumerate(rows, 1):
        if labelled and not all(row):
            wrong = " item {} has an empty query or label" if is_json else "{}: expected <text>, a tab, <label>"
            raise UsageError(f"{where}:{wrong.format(number)}; mend it")
    return [row for row in rows if row[0]]


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
