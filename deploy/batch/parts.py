"""Large files of texts as parts, each of which is read and written for itself: Parquet, CSV and JSON lines, on a disk,
a shared one, or any address that fsspec opens.

A part is named by where it lies in its file, so the same files always give the same parts, and a part that is written
twice is written alike.
"""

import csv
import io
import json
import operator
import os
import posixpath
from typing import NamedTuple

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.batch_output import arrow_type, is_set
from core.durable import write_durably
from core.samples import CLEANING, can_be_written
from utils import UsageError

KINDS = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl", ".json": "jsonl", ".ndjson": "jsonl"}
ENDINGS = {"parquet": ".parquet", "csv": ".csv", "jsonl": ".jsonl"}
CHUNK_BYTES = 1 << 23
BOM = b"\xef\xbb\xbf"
NEWLINE, QUOTE = 10, 34


class Part(NamedTuple):
    """Rows of a file that lie together.

    Args:
        path (str): of the file, an address perhaps.
        kind (str): parquet, csv or jsonl.
        name (str): of what is written of it, without ending.
        first (int): number of its first row in the file, from 1.
        rows (int): how many it has, blank lines included.
        start, end (int): bytes of the file; for Parquet rows of the row group.
        group (int): row group of a Parquet file.
        names (tuple[str, ...]): columns; empty for JSON lines, of which each has its own.
    """

    path: str
    kind: str
    name: str
    first: int
    rows: int
    start: int
    end: int
    group: int
    names: tuple


class Rows(NamedTuple):
    """The rows of a part.

    Args:
        texts (list[str]): of the rows that have one.
        kept (pa.Table | list): these rows with all their columns: a table for Parquet, else list[list[str]] or
            list[dict].
        rejected (list[tuple[int, str]]): numbers of the other rows in the file, and why they are left out.
    """

    texts: list
    kept: object
    rejected: list


# ------------------------------------------------------------------------------------------------------------ planning


def find_files(patterns):
    """The files behind paths, patterns, folders and addresses: list[str], sorted.

    Raises:
        UsageError: one names nothing, or files of more than one kind, or of one that cannot be read in parts.
    """
    found = []
    for pattern in patterns:
        try:
            system, path = fsspec.core.url_to_fs(pattern)
            if system.isdir(path):
                inside = [name for name in system.find(path) if not is_hidden(name, path) and kind_of(name)]
            else:
                inside = system.glob(path) if any(mark in path for mark in "*?[") else [path] * system.exists(path)
        except (ImportError, ValueError) as error:
            raise UsageError(f"--input {pattern}: cannot be opened ({error}); install what it names") from None
        if not inside:
            raise UsageError(
                f"--input {pattern}: no such file; give a file, a folder, an address or a pattern in quotes"
            )
        found += [system.unstrip_protocol(path) if "://" in pattern else path for path in inside]
    found = sorted(set(found))
    for path in found:
        if not kind_of(path):
            raise UsageError(
                f"{path}: not {', '.join(KINDS)}; only these are read in parts, and not compressed as a whole: "
                "unpack it, or use predict.py on one machine"
            )
    kinds = {kind_of(path) for path in found}
    if len(kinds) > 1:
        raise UsageError(f"--input: files of {' and '.join(sorted(kinds))}; give those of one kind")
    return found


def is_hidden(path, folder):
    """Whether a file of a folder is left out: what begins with a point or an underscore, and what lies below it."""
    return any(part.startswith((".", "_")) for part in posixpath.relpath(path, folder).split("/"))


def kind_of(path):
    """What a file is by its ending, or None."""
    return KINDS.get(posixpath.splitext(path)[1].lower())


def plan_file(path, number, part_rows, text_column):
    """The parts of a file.

    Args:
        path (str): one of find_files.
        number (int): of the file among all.
        part_rows (int): rows of a part at most.
        text_column (str): that it must have.

    Returns:
        list[Part] | str: in the order of the file; or what is wrong with it.
    """
    kind, stem = kind_of(path), posixpath.splitext(posixpath.basename(path))[0]
    try:
        with fsspec.open(path, "rb") as file:
            found = plan_parquet(file, part_rows) if kind == "parquet" else plan_lines(file, kind, part_rows)
    except (OSError, pa.ArrowInvalid) as error:
        return f"{path}: cannot be read ({error}); give the path of a readable file"
    except ValueError as error:
        return f"{path}: {error}"
    names = found[0][-1] if found else ()
    if names and text_column not in names:
        return f"{path}: no column {text_column!r}; give --text_column, one of {', '.join(names)}"
    return [Part(path, kind, f"{number:05d}-{stem}-{place:05d}", *where) for place, where in enumerate(found)]


def plan_parquet(file, part_rows):
    parquet = pq.ParquetFile(file)
    names, first, found = tuple(parquet.schema_arrow.names), 1, []
    for group in range(parquet.num_row_groups):
        rows = parquet.metadata.row_group(group).num_rows
        for start in range(0, rows, part_rows):
            end = min(rows, start + part_rows)
            found.append((first + start, end - start, start, end, group, names))
        first += rows
    return found


def plan_lines(file, kind, part_rows):
    """The parts of a file of records, one a line, in which quoted line breaks of CSV end none."""
    bounds, records = record_bounds(file, kind == "csv", part_rows, kind == "csv")
    names = ()
    if kind == "csv":
        file.seek(0)
        head = file.read(bounds[0]).removeprefix(BOM).decode("utf-8")
        names = tuple(next(csv.reader(io.StringIO(head, newline="")), ()))
        if len(set(names)) < len(names) or not names:
            raise ValueError("its first line must name the columns, each once; write them there")
    return [
        (1 + place * part_rows, min(part_rows, records - place * part_rows), start, end, 0, names)
        for place, (start, end) in enumerate(zip(bounds, bounds[1:]))
    ]


def record_bounds(file, is_quoted, every, has_header):
    """Where the records of a file begin, at each of `every`.

    Args:
        file (BinaryIO): at its beginning.
        is_quoted (bool): whether line breaks between quotation marks are part of a record.
        every (int): records.
        has_header (bool): whether the first record counts for nothing.

    Returns:
        tuple[list[int], int]: offsets of the first byte of each part, and the end; how many records there are.
    """
    offset, quotes, records, last = 0, 0, -1 if has_header else 0, NEWLINE
    bounds = [] if has_header else [0]
    while chunk := file.read(CHUNK_BYTES):
        data = np.frombuffer(chunk, np.uint8)
        ends = np.flatnonzero(data == NEWLINE)
        if is_quoted:
            marks = np.flatnonzero(data == QUOTE)
            ends = ends[(quotes + np.searchsorted(marks, ends)) % 2 == 0]
            quotes += len(marks)
        # The record that ends at ends[i] is number records + i + 1; a part begins behind each `every` of them.
        numbers = records + 1 + np.arange(len(ends))
        bounds += (offset + 1 + ends[numbers % every == 0]).tolist()
        records, offset, last = records + len(ends), offset + len(data), data[-1]
    if last != NEWLINE:
        records += 1
    if is_quoted and quotes % 2:
        raise ValueError("a quotation mark is never closed; correct it, or convert the file (data/convert.py)")
    if bounds[-1:] != [offset]:
        bounds.append(offset)
    return bounds, max(records, 0)


# ------------------------------------------------------------------------------------------------------------- reading


def first_names(path):
    """The fields of the first record of a file of JSON lines: list[str]; empty where it is none."""
    with fsspec.open(path, "rb") as file:
        try:
            return list(dict(json.loads(file.readline().removeprefix(BOM))))
        except (ValueError, TypeError, RecursionError):
            return []


def read_part(part, text_column, clean=None, added=()):
    """The rows of a part.

    Args:
        part (Part): of plan_file.
        text_column (str): whose values are classified.
        clean (str | None): of core.samples.CLEANING: what is done to these first; None: nothing.
        added (Collection[str]): names of what will be found, which no JSON record may have itself.

    Returns:
        Rows.
    """
    clean = CLEANING[clean] if clean else str
    with fsspec.open(part.path, "rb") as file:
        if part.kind == "parquet":
            return parquet_rows(pq.ParquetFile(file), part, text_column, clean)
        file.seek(part.start)
        data = file.read(part.end - part.start)
    data = data.removeprefix(BOM) if not part.start else data
    lines = data.decode("utf-8", "surrogateescape")
    if part.kind == "csv":
        return csv_rows(lines, part, text_column, clean)
    return json_rows(lines, part, text_column, clean, frozenset(added))


def parquet_rows(parquet, part, text_column, clean):
    table = parquet.read_row_group(part.group).slice(part.start, part.end - part.start)
    texts = [clean(text or "") for text in table.column(text_column).cast(pa.string()).to_pylist()]
    wrong = {place: "no text" for place, text in enumerate(texts) if not text.strip()}
    if wrong:
        table = table.filter(pa.array([place not in wrong for place in range(len(texts))]))
    kept = [text for place, text in enumerate(texts) if place not in wrong]
    return Rows(kept, table, [(part.first + place, why) for place, why in wrong.items()])


def csv_rows(lines, part, text_column, clean):
    place, width, texts, kept, rejected = part.names.index(text_column), len(part.names), [], [], []
    is_clean = can_be_written(lines)  # as nearly always; then no row need be looked at
    for number, row in enumerate(csv.reader(io.StringIO(lines, newline="")), part.first):
        text, why = "", "blank line" if not row else f"{len(row)} fields, not {width}" if len(row) != width else None
        if why is None:
            text = clean(row[place])
            why = text_problem(text, "" if is_clean else "".join(row))
        if why:
            rejected.append((number, why))
        else:
            texts.append(text)
            kept.append(row)
    return Rows(texts, kept, rejected)


def json_rows(lines, part, text_column, clean, added):
    texts, kept, rejected, is_clean = [], [], [], can_be_written(lines)
    for number, line in enumerate(lines.removesuffix("\n").split("\n"), part.first):
        row, why = None, "blank line" if not line.strip() else None
        try:
            row = None if why else json.loads(line)
        except (ValueError, RecursionError):
            why = "not readable as JSON"
        if why is None and not isinstance(row, dict):
            why = "not a JSON object"
        if why is None:
            text = row.get(text_column)
            text = clean(text) if isinstance(text, str) else ""
            why = text_problem(text, "" if is_clean else line)
        if why is None and (taken := row.keys() & added):
            why = f"a field {min(taken)} as what is added; add --prefix"
        if why:
            rejected.append((number, why))
        else:
            texts.append(text)
            kept.append(row)
    return Rows(texts, kept, rejected)


def text_problem(text, whole):
    """What is wrong with a row's text, or None; `whole` is the row, with half characters for bytes that are none."""
    if not can_be_written(whole):
        return "not UTF-8"
    return None if text.strip() else "no text"


# ------------------------------------------------------------------------------------------------------------- writing


def encode_part(part, rows, results, kind):
    """The file of a part with what was found: bytes.

    Args:
        part (Part): of plan_file.
        rows (Rows): of read_part.
        results (dict[str, list]): new columns, a value a row that is kept.
        kind (str): of ENDINGS, what is written.
    """
    if kind == "parquet":
        return encode_parquet(part, rows, results)
    if kind == "csv":  # which has no lists
        results = {
            name: [json.dumps(value, ensure_ascii=False) for value in values] if is_set(name) else values
            for name, values in results.items()
        }
    if kind == part.kind == "csv":
        lines = map(operator.add, rows.kept, map(list, zip(*results.values())))
        return csv_bytes([[*part.names, *results]], lines)
    if part.kind == "parquet":
        dicts = rows.kept.to_pylist()
    else:
        dicts = [dict(zip(part.names, row)) for row in rows.kept] if part.kind == "csv" else rows.kept
    new = [dict(zip(results, values)) for values in zip(*results.values())]
    if kind == "jsonl":
        lines = (json.dumps({**old, **own}, ensure_ascii=False, default=str) for old, own in zip(dicts, new))
        return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass")
    names = [*(part.names or dict.fromkeys(name for row in dicts for name in row)), *results]
    return csv_bytes([names], ([{**old, **own}.get(name, "") for name in names] for old, own in zip(dicts, new)))


def csv_bytes(*tables):
    buffer = io.StringIO(newline="")
    for rows in tables:
        csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue().encode("utf-8")


def encode_parquet(part, rows, results):
    table = rows.kept
    if part.kind == "csv":
        columns = list(zip(*rows.kept)) or [()] * len(part.names)
        table = pa.table({name: pa.array(column, pa.string()) for name, column in zip(part.names, columns)})
    elif part.kind == "jsonl":
        table = pa.Table.from_pylist(rows.kept)
    for name, values in results.items():
        table = table.append_column(name, pa.array(values, arrow_type(name)))
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def is_there(path):
    """Whether a file of write_file is there."""
    system, inside = fsspec.core.url_to_fs(path)
    return system.exists(inside)


def write_file(path, content):
    """Write a file so that it is there whole or not at all."""
    system, inside = fsspec.core.url_to_fs(path)
    if type(system).__name__ != "LocalFileSystem":
        system.pipe_file(inside, content)  # an object store shows an object when all of it is there
        return
    os.makedirs(os.path.dirname(inside), exist_ok=True)
    write_durably(inside, lambda path: path.write_bytes(content), f".{os.getpid()}")
