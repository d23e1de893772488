"""Files of any format as texts to predict, row by row, with all their columns; core/samples.py finds the text's."""

import functools
import hashlib
import itertools
from collections import namedtuple
from pathlib import Path

from core.dialects import SAMPLE_ROWS
from core.samples import Samples, can_be_written, label_of, row_content
from core.sources import find_sources
from core.table_columns import names_of
from core.tables import SAMPLE_BYTES
from utils import UsageError

# One row. number: its line, or its place in the file; reason: why there is nothing to predict, else None; truth: the
# label that the file gives it, where it gives one; record: what a JSON file has in its place.
Row = namedtuple("Row", "where number cells text truth reason content record")
# A part has so many characters at most, and one row.
PART_CHARACTERS = 4_000_000


class Input:
    """The rows of some files of one kind of columns.

    Args:
        patterns (list[str]): files, folders or patterns.
        wishes (core.samples.Wishes): what the user says of them, with known_labels.

    Attributes:
        samples (core.samples.Samples): how the files are read; its description tells the user.
        columns (list[str]): of the first file; of others the same in the same order.
        names (list[str]): what these are called in an output: text, label and column_3 where the files do not say.
        has_labels (bool): whether one of them has labels.

    Raises:
        UsageError: as Samples; files have other columns than the first one.
    """

    def __init__(self, patterns, wishes):
        self.sources = find_sources(patterns)
        self.samples = Samples([(None, source) for source in self.sources], wishes)
        self.opened = self.samples.opened
        first = self.opened[0]
        self.columns = names_of(first.table)
        for one in self.opened[1:]:
            if sorted(names_of(one.table)) != sorted(self.columns):
                raise UsageError(
                    f"{one.table.name}: has other columns than {first.table.name}; predict them one by one"
                )
        self.has_labels = any(one.roles.label is not None for one in self.opened)
        self.names = list(first.table.names or [f"column_{number}" for number in range(1, first.table.width + 1)])
        if not first.table.names:
            for count, index in enumerate(first.roles.texts, 1):
                self.names[index] = f"text_{count}" if len(first.roles.texts) > 1 else "text"
            if first.roles.label is not None:
                self.names[first.roles.label] = "label"

    @property
    def kind(self):
        """What the first file is, in words."""
        return self.opened[0].table.kind

    def rows(self, records=False):
        """All rows, in order.

        Args:
            records (bool): whether what JSON files have is wanted beside the texts of the fields.

        Yields:
            Row: cells are None where the row cannot be read at all.
        """
        known, clean = self.samples.wishes.known_labels or set(), self.samples.clean
        nothing = self.samples.no_values
        make_row = functools.partial(tuple.__new__, Row)  # which Row() calls in Python
        for one in self.opened:
            table, label, texts = one.table, one.roles.label, one.roles.texts
            only = texts[0] if len(texts) == 1 else None
            there = names_of(table)
            order = None if there == self.columns else [there.index(name) for name in self.columns]

            def is_row(fields, label=label, width=table.width):
                return len(fields) == width and fields[label] in known

            rows = table.rows(is_row if label is not None else None)
            wholes = table.records() if records and table.records else itertools.repeat((0, None))
            for (number, cells), (_, record) in zip(rows, wholes):
                if cells.__class__ is not list:
                    yield Row(table.name, number, None, "", None, cells.reason, cells.content, None)
                    continue
                text, reason = self._joined(texts, cells) if only is None else clean(cells[only]), None
                if not text:
                    reason = "no text" if any(cells) else "blank line"
                elif cells == table.names:
                    reason = "the names of the columns again"
                elif not text.isascii() and not can_be_written(text):
                    reason = "half a character (a surrogate)"
                truth = None if label is None else label_of(cells[label], self.samples.mapping, nothing)
                content = row_content(cells) if reason else ""
                cells = cells if order is None else [cells[index] for index in order]
                yield make_row((table.name, number, cells, text, truth, reason, content, record))

    def _joined(self, texts, cells):
        """What is predicted of a row with several columns of text."""
        clean = self.samples.clean
        return self.samples.wishes.join.join(filter(None, (clean(cells[index]) for index in texts)))

    def identity(self):
        """What the files hold, and about how many rows; they are read once for it.

        Returns:
            tuple[list[dict], int]: name, bytes and sha256 of each, unpacked; rows.
        """
        facts, lines = [], 0
        for source in self.sources:
            digest, size = hashlib.sha256(), 0
            with source.open() as file:
                while block := file.read(SAMPLE_BYTES):
                    digest.update(block)
                    size += len(block)
                    lines += block.count(b"\n")
                    last = block[-1:]
            lines += size > 0 and last != b"\n"
            facts.append({"name": source.parts[-1], "bytes": size, "sha256": digest.hexdigest()})
        return facts, self._about(lines)

    def _about(self, lines):
        """About how many rows there are, where the files have so many lines."""
        first = self.opened[0]
        if first.table.kind.startswith("Parquet"):
            from pyarrow import parquet

            total = 0
            for source in self.sources:
                with source.open() as file:
                    total += parquet.ParquetFile(file).metadata.num_rows
            return total
        if first.table.kind.startswith(("JSON,", "spreadsheet")) or len(self.opened) < len(self.sources):
            return sum(1 for one in self.opened for _ in one.table.rows())  # in memory, or a file each
        begun = [number for number, _ in first.sample if number <= SAMPLE_ROWS]
        return max(len(begun), round(lines * len(begun) / begun[-1]))

    def stamps(self):
        """Size and time of change of each file on the disk, by which a change under way is seen."""
        paths = dict.fromkeys(Path(source.opener.args[0]) for source in self.sources)
        return [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in paths]


def parts_of(rows, size):
    """Rows in parts, which are the same however often they are read.

    Args:
        rows (Iterable[Row]): in order.
        size (int): rows of a part at most.

    Yields:
        list[Row]: not empty.
    """
    part, characters = [], 0
    for row in rows:
        part.append(row)
        characters += sum(map(len, row.cells)) if row.cells else len(row.content)
        if len(part) == size or characters >= PART_CHARACTERS:
            yield part
            part, characters = [], 0
    if part:
        yield part
