"""Files of predictions: the input's columns, and what was found beside them, as CSV, TSV, JSON lines or Parquet."""

import csv
import io
import json
import math
import operator
import re
import shutil
from pathlib import Path

from core.arguments import require_packages
from core.binary_tables import BATCH_ROWS, TABLE_PACKAGES
from core.label_paths import UNKNOWN
from core.samples import can_be_written
from core.text_cleaning import SOME
from utils import UsageError

# The ending of a file -> what it is.
KINDS = {".csv": "csv", ".tsv": "tsv", ".txt": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet"}
# What stands between the fields of these.
SEPARATORS = {"csv": ",", "tsv": "\t"}
# Without it, Excel takes UTF-8 for the machine's own encoding; pandas and this repository's readers leave it out.
BOM = b"\xef\xbb\xbf"
# Which window of a long text decided: its number from 1, of how many, and the characters of the text, from 0, that it
# was made of; nothing where the text was read as a whole.
WINDOW_NAMES = ("window", "window_of", "window_start", "window_end")
# The labels among which the right one is, as often as --conformal says, the most probable one first: a list, and in a
# table of texts a JSON list.
SET_NAME = "label_set"


def _as_text(value):
    """A value that JSON has no word for: bytes as the text that they are, others as they are printed."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


AS_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_as_text)
# Before the names of what was found, where an input has such columns itself.
PREFIX = "predicted_"


def kind_of(path, flag="--output"):
    """csv, tsv, jsonl or parquet, by a file's ending.

    Raises:
        UsageError: another ending, or the package that writes Parquet is missing.
    """
    kind = KINDS.get(Path(path).suffix.lower())
    if kind is None:
        raise UsageError(f"{flag} {path}: end it with one of {' '.join(KINDS)}, which says what is written")
    if kind == "parquet":
        require_packages(f"{flag} {path}", "pyarrow", requirements=TABLE_PACKAGES)
    return kind


def added_names(top_k, is_limited, has_windows=False, has_sets=False):
    """The names of what is found: label and score; with a min_confidence the most probable label too; top_k pairs;
    with a conformal the set of labels; of a model that reads long texts in windows, which of them decided."""
    names = ["label", "score", *(["guess", "guess_score"] if is_limited else [])]
    for place in range(1, top_k + 1 if top_k > 1 else 1):
        names += [f"label_{place}", f"score_{place}"]
    return [*names, *([SET_NAME] if has_sets else []), *(WINDOW_NAMES if has_windows else ())]


def is_score(name):
    """Whether a column of added_names, whatever stands before the name, has probabilities."""
    return re.search(r"score(_\d+)?$", name) is not None


def is_of_window(name):
    """Whether a column of added_names, whatever stands before the name, has numbers of a window, or None."""
    return name.endswith(WINDOW_NAMES)


def is_set(name):
    """Whether a column of added_names, whatever stands before the name, has lists of labels."""
    return name.endswith(SET_NAME)


def arrow_type(name):
    """The pyarrow.DataType of a column of added_names."""
    import pyarrow

    if is_set(name):
        return pyarrow.list_(pyarrow.string())
    return pyarrow.float64() if is_score(name) else pyarrow.int32() if is_of_window(name) else pyarrow.string()


def answer_columns(found, names):
    """The values of the new columns.

    Args:
        found (tuple): see core.batch_answers.Answerer.__call__; the sets may be left out.
        names (tuple): see core.batch_answers.Answerer.names.

    Returns:
        list[list]: in the order of added_names: labels, probabilities, list[str] of sets, and of windows int or None.
    """
    best, scores, places, confidences, windows, *more = found
    labels, all_names, _ = names
    columns, units = [], scores / 1e6
    if places is not None:
        answers = [UNKNOWN if place < 0 else all_names[place] for place in places.tolist()]
        columns += [answers, (confidences / 1e6).tolist()]
    for place in (0, *range(best.shape[1] if best.shape[1] > 1 else 0)):
        columns += [list(map(labels.__getitem__, best[:, place].tolist())), units[:, place].tolist()]
    for sets in (one for one in more if one is not None):
        columns.append([[labels[place] for place in row if place >= 0] for row in sets.tolist()])
    if windows is not None:
        several = windows["of"] > 1
        for field, is_known in zip(("number", "of", "start", "end"), (several, several, *[windows["end"] >= 0] * 2)):
            values = zip(windows[field].tolist(), (several & is_known).tolist())
            columns.append([value if is_there else None for value, is_there in values])
    return columns


def name_added(names, added, prefix, kind):
    """The names of the new columns.

    Args:
        names (list[str]): of the input's columns.
        added (list[str]): of added_names.
        prefix (str | None): the user's word for what stands before those; None: nothing, or PREFIX.
        kind (str): of KINDS.

    Returns:
        list[str]: the names.

    Raises:
        UsageError: two columns would be called alike.
    """
    if kind in ("jsonl", "parquet") and len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"the input has two columns {twice!r}, which a .{kind} file cannot; write .csv or .tsv")
    for before in ("", PREFIX) if prefix is None else (prefix,):
        found = [before + name for name in added]
        if not set(found) & set(names):
            return found
    clash = " ".join(sorted(set(found) & set(names)))
    raise UsageError(f"the input has columns called {clash}; give another name to what is added: --prefix my_")


class Output:
    """A file of predictions that is written in parts.

    Args:
        kind (str): of KINDS.
        names (list[str]): of the input's columns.
        added (list[str]): of the new ones.
        schema (pyarrow.Schema | None): of the input's columns where it is Parquet, and Parquet is written.
    """

    def __init__(self, kind, names, added, schema=None):
        self.kind, self.names, self.added = kind, names, added
        if kind == "parquet":
            import pyarrow

            fields = list(schema or [pyarrow.field(name, pyarrow.string()) for name in names])
            self.schema = pyarrow.schema([*fields, *map(pyarrow.field, added, map(arrow_type, added))])

    def header(self):
        """What stands before the first part: bytes."""
        names = [*self.names, *self.added]
        if self.kind == "csv":
            return BOM + _csv_lines([names])
        return _tsv_line(names).encode() if self.kind == "tsv" else b""

    def problem(self, row):
        """Why a row (core.batch_input.Row) cannot be written as this kind, or None."""
        if self.kind == "jsonl":
            taken = row.record.keys() & set(self.added) if isinstance(row.record, dict) else ()
            return f"a field {min(taken)} as what is added; add --prefix" if taken else None
        why = "half a character (a surrogate), which only .jsonl can hold"
        return None if can_be_written("".join(row.cells)) else why

    def write(self, path, rows, values, arrow=None):
        """Write one part.

        Args:
            path (Path): its file.
            rows (core.batch_input.Part): of it.
            values (list[list]): of answer_columns.
            arrow (pyarrow.Table | None): the rows as a Parquet input has them.
        """
        if self.kind == "parquet":
            self._write_parquet(path, rows, values, arrow)
            return
        if self.kind == "jsonl":
            pairs = zip(rows.records, rows.cells)
            records = (record or dict(zip(self.names, cells)) for record, cells in pairs)
            records = arrow.to_pylist() if arrow is not None else records
            found = (dict(zip(self.added, one)) for one in zip(*values))
            path.write_bytes(b"".join(_json_line({**record, **new}) for record, new in zip(records, found)))
            return
        columns = [_cells(name, column) for name, column in zip(self.added, values)]
        with path.open("wb") as file:
            for start in range(0, len(rows.cells), SOME):
                some = slice(start, start + SOME)
                file.write(self._lines(rows.cells[some], [column[some] for column in columns]))

    def _lines(self, cells, columns):
        """The lines of some rows, bytes; where nothing in them must stand in quotes, they are only joined.

        Args:
            cells (list[list[str]]): of the input.
            columns (list[list[str]]): what is new.
        """
        mark = SEPARATORS[self.kind]
        whole = "".join(["".join(map("".join, cells)), *map("".join, map(set, columns))])
        if not any(map(whole.__contains__, (mark, '"', "\n", "\r"))):
            return "\n".join([*map(mark.join, zip(map(mark.join, cells), *columns)), ""]).encode("utf-8")
        lines = map(operator.add, cells, map(list, zip(*columns)))
        return _csv_lines(lines) if self.kind == "csv" else "".join(map(_tsv_line, lines)).encode("utf-8")

    def _write_parquet(self, path, rows, values, arrow):
        import pyarrow
        from pyarrow import parquet

        if arrow is not None:
            columns = list(arrow.columns)
        else:
            cells = zip(*rows.cells) if rows.cells else ([] for _ in self.names)
            columns = [pyarrow.array(list(column), pyarrow.string()) for column in cells]
        found = [pyarrow.array(column, kind.type) for column, kind in zip(values, list(self.schema)[-len(values) :])]
        parquet.write_table(pyarrow.Table.from_arrays([*columns, *found], schema=self.schema), path)

    def join(self, paths, target):
        """Write the whole file of its parts (list[Path])."""
        if self.kind == "parquet":
            from pyarrow import parquet

            with parquet.ParquetWriter(target, self.schema) as writer:
                for path in paths:
                    writer.write_table(parquet.read_table(path, schema=self.schema))
            return
        with target.open("wb") as file:
            file.write(self.header())
            for path in paths:
                with path.open("rb") as part:
                    shutil.copyfileobj(part, file, 1 << 20)


class ArrowRows:
    """Rows of Parquet files as these have them, forwards only.

    Args:
        sources (list[core.sources.Source]): the files, of one schema.
        names (list[str]): the columns wanted.

    Attributes:
        schema (pyarrow.Schema): of these, without what other programs keep in it; None where files differ.
    """

    def __init__(self, sources, names):
        from pyarrow import parquet

        self.sources, self.names, schemas = sources, names, []
        for source in sources:
            with source.open() as file:
                schema = parquet.ParquetFile(file).schema_arrow
            fields = [schema.field(name).remove_metadata() for name in names]
            schemas.append(_schema(fields))
        self.schema = schemas[0] if all(schema.equals(schemas[0]) for schema in schemas) else None
        self.batches, self.name, self.batch, self.first = iter(()), None, None, 1

    def take(self, rows):
        """The rows of a core.batch_input.Part: pyarrow.Table."""
        import pyarrow

        pieces, start = [], 0
        while start < len(rows.texts):
            self._go_to(rows.wheres[start], rows.numbers[start])
            end, places = start, []
            while end < len(rows.texts) and rows.wheres[end] == self.name:
                place = rows.numbers[end] - self.first
                if place >= len(self.batch):
                    break
                places.append(place)
                end += 1
            pieces.append(self.batch.take(pyarrow.array(places)))
            start = end
        return pyarrow.Table.from_batches([_with_schema(piece, self.schema) for piece in pieces], self.schema)

    def _go_to(self, where, number):
        """Read on until the batch that has a row of a file."""
        if self.name != where:
            source = next(source for source in self.sources if source.name == where)
            self.name, self.batches, self.first, self.batch = where, self._read(source), 1, ()
        while number - self.first >= len(self.batch):
            self.first += len(self.batch)
            self.batch = next(self.batches)

    def _read(self, source):
        from pyarrow import parquet

        with source.open() as file:
            content = parquet.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20)
            yield from content.iter_batches(BATCH_ROWS, columns=self.names, use_threads=False)


def _schema(fields):
    import pyarrow

    return pyarrow.schema(fields)


def _with_schema(batch, schema):
    return type(batch).from_arrays([batch.column(name) for name in schema.names], schema=schema)


def _cells(name, column):
    """What a table of texts has of a new column: list[str]."""
    if is_score(name):
        return scores_written(column)
    if is_set(name):
        return [json.dumps(value, ensure_ascii=False) for value in column]
    if is_of_window(name):
        return ["" if value is None else str(value) for value in column]
    return column


def scores_written(scores):
    """["{:.6f}".format(score) for score in scores] of whole millionths from 0 to 1, in a third of the time."""
    import numpy as np

    from core.millionths import millionths

    left = millionths(scores).astype("int32")
    digits = np.empty((len(left), 8), "uint8")
    digits[:, 1] = ord(".")
    for place in (7, 6, 5, 4, 3, 2, 0):
        digits[:, place] = left % 10 + ord("0")
        left //= 10
    return digits.view("S8").ravel().astype("U8").tolist()


def _csv_lines(rows):
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue().encode("utf-8")


def _tsv_line(cells):
    """A line with tabs between; in quotes, as Excel has them, only where it could not be read otherwise."""
    if any("\t" in cell or "\n" in cell or "\r" in cell or cell.startswith('"') for cell in cells):
        cells = [
            '"' + cell.replace('"', '""') + '"'
            if "\t" in cell or "\n" in cell or "\r" in cell or cell.startswith('"')
            else cell
            for cell in cells
        ]
    return "\t".join(cells) + "\n"


def _json_line(record):
    """A record as a line; what JSON has no word for as a text, and numbers that are none as null."""
    try:
        return AS_JSON.encode(record).encode("utf-8") + b"\n"
    except UnicodeEncodeError:  # half a character
        return json.dumps(record, default=_as_text).encode() + b"\n"
    except ValueError:
        return _json_line(_with_null(record))


def _with_null(value):
    """A value with null for numbers that are none, or infinite, wherever they are."""
    if isinstance(value, dict):
        return {name: _with_null(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_null(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
