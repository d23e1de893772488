"""Prepare KUAKE-QIC (CBLUE: medical search intent, 11 labels, 6,931 train and 1,955 dev texts) for train.py.

    python data/prepare.py kuake_qic                                   # downloads it -> data/kuake_qic
    python data/prepare.py kuake_qic --archive KUAKE_QIC.tar.gz        # no network: a .tar.gz, .tgz, .tar or .zip
    python data/prepare.py kuake_qic --archive ~/CBLUE/KUAKE-QIC       # the same, unpacked
    python data/prepare.py kuake_qic --save_dir data/qic --force       # elsewhere, replacing what is there

The files may lie anywhere in the archive or folder and be of either kind:

    KUAKE-QIC_train.json, KUAKE-QIC_dev.json; optional: KUAKE-QIC_test.json
        CBLUE's own: a JSON list of {"id": …, "query": …, "label": …}; the label is empty in the test file.
    train.txt, dev.txt; optional: label.txt and data.txt, or test.txt for want of data.txt
        <text>, a tab, <label> a line. Where both kinds are found, the JSON files are taken.

Written are train.txt, dev.txt, label.txt and, where the archive has test queries, data.txt (unlabelled, one text a
line). Runs of white space inside a text become one space. Numbers of rows and labels are checked first, then all
files are written at once. The archive is read in memory: nothing of it is unpacked to disk.
"""

import argparse
import contextlib
import functools
import gzip
import http.client
import io
import json
import os
import queue
import re
import shlex
import stat
import sys
import tarfile
import threading
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from core.encodings import describe_encoding
from utils import MAX_NAMES_IN_MESSAGE, UsageError, check_save_dir, exit_on_usage_error, write_lines

# Seconds without a byte, connecting included, after which a download is given up.
TIMEOUT = 30
# The real files are below 1 MB: whatever is larger than this is something else, or a decompression bomb.
MAX_BYTES = 100 * 1024 * 1024
OUTPUT_FILES = ("train.txt", "dev.txt", "label.txt", "data.txt")


@dataclass(frozen=True)
class Dataset:
    """What a data set is known to be: its address, the names of its JSON files, its rows and labels."""

    url: str
    json_prefix: str
    train_rows: int
    dev_rows: int
    labels: tuple


DATASETS = {
    "kuake_qic": Dataset(
        url="https://paddlenlp.bj.bcebos.com/datasets/KUAKE_QIC.tar.gz",
        json_prefix="KUAKE-QIC",
        train_rows=6931,
        dev_rows=1955,
        labels=tuple(
            "病情诊断 治疗方案 病因分析 指标解读 就医建议 疾病表述 后果表述 注意事项 功效作用 医疗费用 其他".split()
        ),
    ),
}


# ------------------------------------------------------------------------------------------------------ download


def download(url, timeout=TIMEOUT):
    """Return the bytes behind `url`, with a progress bar where stderr is a terminal.

    Args:
        url (str): http or https.
        timeout (float): seconds without any byte, looking up and connecting included, until it is given up.

    Raises:
        UsageError: no connection, an HTTP error, silence for `timeout` seconds, cut short, or over MAX_BYTES.
    """
    # A socket's timeout covers neither the name look-up nor a second address, so the wait is for the thread.
    items = queue.Queue(maxsize=64)
    threading.Thread(target=_fetch, args=(url, timeout, items), daemon=True).start()
    data = bytearray()
    try:
        total = _next_item(items, timeout)
        with tqdm(total=total, unit="B", unit_scale=True, desc=url.rpartition("/")[2], disable=None) as bar:
            while chunk := _next_item(items, timeout):
                data += chunk
                bar.update(len(chunk))
                if len(data) > MAX_BYTES:
                    raise ValueError(f"more than {MAX_BYTES:,} bytes")
        if total is not None and len(data) != total:
            raise ConnectionError(f"the connection was closed after {len(data):,} of {total:,} bytes")
    except (OSError, http.client.HTTPException, ValueError) as error:
        # HTTPError has the status in its text, URLError only its reason without decoration.
        reason = error if isinstance(error, urllib.error.HTTPError) else getattr(error, "reason", error)
        raise UsageError(
            f"{url}: cannot be downloaded ({str(reason) or type(error).__name__}); check the network and try again, "
            "or fetch that address on another machine and give the file as --archive FILE (CBLUE's own zip of the "
            "data set does as well)"
        ) from None
    return bytes(data)


def _fetch(url, timeout, items):
    """Put the length (or None), then the chunks, then b"" into `items`; an exception instead where one occurs."""
    try:
        with urllib.request.urlopen(url, timeout=timeout) as response:
            items.put(response.length)
            # read1, not read: what has arrived counts, however slow the line is.
            while chunk := response.read1(1 << 16):
                items.put(chunk)
        items.put(b"")
    except Exception as error:
        items.put(error)


def _next_item(items, timeout):
    try:
        item = items.get(timeout=timeout)
    except queue.Empty:
        raise TimeoutError(f"no data for {timeout:g} seconds") from None
    if isinstance(item, Exception):
        raise item
    return item


# ------------------------------------------------------------------------------------------------------- archives


def read_archive(stream, source, names):
    """Pick files out of a tar or zip archive, in memory.

    Args:
        stream: seekable binary file.
        source: path or address for messages.
        names (Iterable[str]): the file names wanted, without folders.

    Returns:
        dict[str, list]: name -> [(path inside the archive, bytes), …], the bytes of all but the first None.

    Raises:
        UsageError: not such an archive, damaged, cut short or encrypted.
    """
    try:
        start = stream.read(4)
        stream.seek(0)
        if start[:2] == b"PK":
            members = _zip_members(stream)
        else:
            members = _tar_members(gzip.GzipFile(fileobj=stream) if start[:2] == b"\x1f\x8b" else stream)
        return _pick(members, source, names)
    except Exception as error:
        # Damaged archives raise a dozen types: TarError, BadZipFile, zlib.error, EOFError, struct.error, …
        raise UsageError(
            f"{source}: not a .tar.gz, .tgz, .tar or .zip archive that can be read, or cut short ({error}); "
            "download it again, or give another one as --archive FILE"
        ) from None


def read_folder(folder, names):
    """Pick files out of a folder and its subfolders; otherwise as `read_archive`."""
    try:
        return _pick(_folder_members(Path(folder)), folder, names)
    except OSError as error:
        raise UsageError(f"{error.filename or folder}: cannot be read ({error.strerror}); make it readable") from None


# The paths inside an archive are compared and shown, never used: `../x` or `/x` cannot lead anywhere.


def _tar_members(stream):
    with tarfile.open(fileobj=stream, mode="r:") as archive:
        for member in archive:
            if not member.isdir():
                size = member.size if member.isreg() else None
                yield member.name, size, functools.partial(_read_tar_member, archive, member)
    # tarfile stops at its own end mark, before the checksum that gzip has behind it.
    while stream.read(1 << 20):
        pass


def _read_tar_member(archive, member):
    return archive.extractfile(member).read()


def _zip_members(stream):
    with zipfile.ZipFile(stream) as archive:
        for info in archive.infolist():
            if not info.is_dir():
                size = None if stat.S_ISLNK(info.external_attr >> 16) else info.file_size
                yield info.filename, size, functools.partial(archive.read, info)


def _folder_members(folder):
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path.stat().st_size, path.read_bytes


def _pick(members, source, names):
    """Read the wanted ones of (path, size or None for a link, function that reads it)."""
    found = {}
    for path, size, read in members:
        name = re.split(r"[/\\]", path)[-1]
        if name not in names:
            continue
        shown = path if path.isprintable() else ascii(path)
        if size is None or size > MAX_BYTES:
            why = "a link or no plain file" if size is None else f"larger than {MAX_BYTES:,} bytes"
            print(f"{source}: {shown} is left out: {why}", file=sys.stderr)
        else:
            files = found.setdefault(name, [])
            files.append((shown, None if files else read()))
    return found


# -------------------------------------------------------------------------------------------------------- content


def parse_lines(where, data, labels=None):
    """Parse `<text>\\t<label>` lines.

    Args:
        where (str): the file, for messages.
        data (bytes): UTF-8, with or without BOM.
        labels (tuple[str] | None): None for labelled rows; for unlabelled ones the labels that a line may end with
            all the same, which are dropped.

    Returns:
        list: (text, label) pairs; texts alone when `labels` is given, without those that are empty.

    Raises:
        UsageError: not UTF-8, or a labelled line without text, tab or label.
    """
    lines = _decode(where, data).rstrip().split("\n")
    if labels is not None:
        # Tabs become spaces, so only a label has to be cut off.
        pairs = (line.rpartition("\t") for line in lines)
        texts = (_one_line(text if label.strip() in labels else text + tab + label) for text, tab, label in pairs)
        return [text for text in texts if text]
    rows = []
    for number, line in enumerate(lines, 1):
        text, _, label = line.rpartition("\t")
        if not text.strip() or not label.strip():
            raise UsageError(f"{where}:{number}: expected <text>, a tab, <label>; mend the line")
        rows.append((_one_line(text), label.strip()))
    return rows


def parse_json(where, data, labelled=True):
    """Parse CBLUE's JSON: a list of {"query": …, "label": …}.

    Returns:
        list: (text, label) pairs; texts alone when not `labelled`, without those that are empty.

    Raises:
        UsageError: not UTF-8, not JSON, JSON of another shape, or a labelled row without text or label.
    """
    try:
        items = json.loads(_decode(where, data))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: not JSON ({error}); take the file as CBLUE gives it") from None
    if not isinstance(items, list):
        raise UsageError(f'{where}: not a list of {{"query": …, "label": …}}; take the file as CBLUE gives it')
    rows = []
    for number, item in enumerate(items, 1):
        row = [item.get(key) for key in ("query", "label")] if isinstance(item, dict) else [None]
        if not all(isinstance(value, str) for value in row[: 2 if labelled else 1]):
            keys = '"query" and "label"' if labelled else '"query"'
            raise UsageError(f"{where}: item {number} is not an object with {keys} as texts; take CBLUE's file")
        text = _one_line(row[0])
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise UsageError(f"{where}: item {number} has half a character (a surrogate); mend its query") from None
        if not labelled:
            rows += [text] if text else []
        elif text and row[1].strip():
            rows.append((text, row[1].strip()))
        else:
            raise UsageError(f"{where}: item {number} has an empty query or label; fill it in")
    return rows


def _one_line(text):
    return " ".join(text.split())


def _decode(where, data):
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(describe_encoding(where, data, error.start)) from None


def file_names(dataset):
    """The names looked for in an archive, as (train, dev, unlabelled, …) of the JSON and of the text files."""
    json_names = tuple(f"{dataset.json_prefix}_{split}.json" for split in ("train", "dev", "test"))
    return json_names, ("train.txt", "dev.txt", "data.txt", "test.txt", "label.txt")


def parse_files(found, source, dataset):
    """Turn the files of an archive into rows, and check them against what the data set is known to be.

    Args:
        found (dict): from `read_archive` or `read_folder`.
        source: path or address for messages.
        dataset (Dataset): what to expect.

    Returns:
        dict[str, list]: train and dev: (text, label) pairs; data: texts.

    Raises:
        UsageError: files missing or there twice, not readable, or other rows or labels than expected.
    """
    json_names, text_names = file_names(dataset)
    is_json = all(name in found for name in json_names[:2])
    if not is_json and not all(name in found for name in text_names[:2]):
        raise UsageError(
            f"{source}: neither {' and '.join(json_names[:2])} nor {' and '.join(text_names[:2])} in it (of these: "
            f"{' '.join(sorted(found)) or 'none'}); give an archive or folder of {dataset.json_prefix}"
        )
    names = json_names if is_json else text_names
    for name in names:
        if len(found.get(name, ())) > 1:
            paths = " ".join(path for path, _ in found[name][:3]) + (" …" if len(found[name]) > 3 else "")
            raise UsageError(f"{source}: more than one {name}: {paths}; give an archive or folder with only one")

    def parse(name, function, *args):
        path, data = found[name][0]
        return function(f"{source}:{path}", data, *args)

    train, dev = (parse(name, parse_json if is_json else parse_lines) for name in names[:2])
    _check_rows(source, {"train": (len(train), dataset.train_rows), "dev": (len(dev), dataset.dev_rows)})
    _check_labels(f"{source}: train", [label for _, label in train], dataset.labels)
    # A label that dev alone lacks is no harm; one that it alone has is.
    _check_labels(f"{source}: dev", [*dataset.labels, *(label for _, label in dev)], dataset.labels)
    if not is_json and "label.txt" in found:
        lines = parse("label.txt", _decode).split("\n")
        path = found["label.txt"][0][0]
        _check_labels(f"{source}:{path}", [line.strip() for line in lines if line.strip()], dataset.labels)

    unlabelled = next((name for name in names[2:4] if name in found), None)
    data = []
    if unlabelled:
        data = parse(unlabelled, parse_json, False) if is_json else parse(unlabelled, parse_lines, dataset.labels)
    return {"train": train, "dev": dev, "data": data}


def _check_rows(source, counts):
    if any(found != expected for found, expected in counts.values()):
        text = ", ".join(
            f"{split}: found {found:,} rows, expected {expected:,}" for split, (found, expected) in counts.items()
        )
        raise UsageError(f"{source}: {text}; take the whole, unchanged data set")


def _check_labels(where, labels, expected):
    found = list(dict.fromkeys(labels))
    if set(found) != set(expected):
        more = " …" if len(found) > MAX_NAMES_IN_MESSAGE else ""
        raise UsageError(
            f"{where}: found {len(found)} labels ({' '.join(found[:MAX_NAMES_IN_MESSAGE])}{more}), "
            f"expected {len(expected)} ({' '.join(expected)}); take the unchanged data set"
        )


# --------------------------------------------------------------------------------------------------------- output


def write_files(rows, labels, save_dir):
    """Write train.txt, dev.txt, label.txt and, unless it would be empty, data.txt: all of them or none.

    Args:
        rows (dict[str, list]): from `parse_files`.
        labels (Iterable[str]): in the order of their class ids.
        save_dir (Path): made when it is not there.

    Returns:
        dict[str, int]: file name -> lines written.

    Raises:
        UsageError: the folder cannot be written to.
    """
    lines = {f"{split}.txt": ["\t".join(row) for row in rows[split]] for split in ("train", "dev")}
    lines["label.txt"] = list(labels)
    if rows["data"]:
        lines["data.txt"] = rows["data"]
    write_lines(save_dir, lines)
    return {name: len(content) for name, content in lines.items()}


def prepare(name, archive, save_dir, force=False, timeout=TIMEOUT):
    """Read, check and write one data set.

    Args:
        name (str): key of DATASETS.
        archive (Path | None): archive or folder; None downloads it.
        save_dir (Path): the folder for the four files.
        force (bool): replace files that are there.
        timeout (float): see `download`.

    Returns:
        dict[str, int]: file name -> lines written.

    Raises:
        UsageError: see the functions above.
    """
    dataset = DATASETS[name]
    check_save_dir(save_dir, OUTPUT_FILES, force)
    names = {name for kind in file_names(dataset) for name in kind}
    source = archive or dataset.url
    if archive is None:
        found = read_archive(io.BytesIO(download(dataset.url, timeout)), source, names)
    elif os.path.isdir(archive):
        found = read_folder(archive, names)
    else:
        try:
            stream = archive.open("rb")
        except OSError as error:
            raise UsageError(
                f"{archive}: {error.strerror}; give the path of an archive or folder, or fetch {dataset.url}"
            ) from None
        with stream:
            found = read_archive(stream, source, names)
    return write_files(parse_files(found, source, dataset), dataset.labels, save_dir)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", choices=DATASETS, help="the data set to prepare")
    parser.add_argument("--archive", type=Path, metavar="FILE", help="an archive or folder; default: download")
    default_dir = ROOT / "data" / "kuake_qic"
    parser.add_argument("--save_dir", type=Path, default=default_dir, help="default: data/kuake_qic")
    parser.add_argument("--force", action="store_true", help="replace files that --save_dir already has")
    args = parser.parse_args(argv)
    written = prepare(args.dataset, args.archive, args.save_dir, args.force)
    print(f"{args.save_dir}: " + ", ".join(f"{name} {lines:,} lines" for name, lines in written.items()))
    if "data.txt" not in written:
        kept = "; the one that is there is kept" if (args.save_dir / "data.txt").exists() else ""
        print(f"data.txt is not written: no test queries in the archive{kept}")
    # train.py is started in the root: the folder as seen from there.
    data_dir = args.save_dir.resolve()
    with contextlib.suppress(ValueError):
        data_dir = data_dir.relative_to(ROOT)
    command = f"python train.py --do_train --do_eval --do_export --data_dir {shlex.quote(data_dir.as_posix())}"
    print(f"next: {command}")


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
