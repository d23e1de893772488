"""Files of any format as texts to predict, row by row, with all their columns; core/samples.py finds the text's."""

import hashlib
import operator
from collections import namedtuple
from pathlib import Path

from core.cell_marks import bare
from core.dialects import LINES_AT_ONCE, SAMPLE_ROWS
from core.samples import Samples, can_be_written, label_of, row_content
from core.sources import find_sources
from core.table_columns import names_of
from core.tables import SAMPLE_BYTES
from core.text_cleaning import cleaned
from utils import UsageError, shortened

# One row. number: its line, or its place in the file; reason: why there is nothing to predict, else None; truth: the
# label that the file gives it, where it gives one; record: what a JSON file has in its place.
Row = namedtuple("Row", "where number cells text truth reason content record")


class Block(namedtuple("Block", "where numbers cells texts truths characters")):
    """Rows of one file, all of which can be predicted and written, as lists; truths: None where none has any;
    characters (int): of all cells."""

    def rows(self, start=0):
        """The same as rows, from one on: yields Row."""
        for place in range(start, len(self.texts)):
            truth = self.truths[place] if self.truths else None
            yield Row(self.where, self.numbers[place], self.cells[place], self.texts[place], truth, None, "", None)


# So few rows are made one by one.
FEW = 32
# Cells whose labels are remembered, at most.
MOST_LABELS = 10_000
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
        for block in self.blocks(records):
            yield from block.rows() if block.__class__ is Block else block

    def blocks(self, records=False):
        """The same, many rows at once.

        Yields:
            Block | list[Row]: of one file.
        """
        for one in self.opened:
            reader, table = _Reader(self, one), one.table
            is_row = reader.is_row if reader.label is not None else None
            if records and table.records:
                for (number, cells), (_, record) in zip(table.rows(is_row), table.records()):
                    yield [reader.row(number, cells, record)]
            elif table.blocks is None:
                for some in _chunks(table.rows(is_row)):
                    yield from reader.blocks(*zip(*some))
            else:
                for numbers, rows in table.blocks(is_row):
                    if numbers is None:
                        numbers, rows = tuple(zip(*rows)) or ((), ())
                    yield from reader.blocks(numbers, rows)

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
        return [[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in self.paths()]

    def paths(self):
        """The files on the disk: list[Path]."""
        return list(dict.fromkeys(Path(source.opener.args[0]) for source in self.sources))


class _Reader:
    """What the rows of one table are made of.

    Args:
        source (Input): of which it is one.
        one (core.samples.Opened): the table.
    """

    def __init__(self, source, one):
        self.name, self.width, self.names = one.table.name, one.table.width, one.table.names
        self.label, self.texts = one.roles.label, one.roles.texts
        self.marks = one.marks  # are read as convert.py and train.py read them, and kept in what is written
        self.clean, self.join = source.samples.clean, source.samples.wishes.join
        self.known = source.samples.wishes.known_labels or set()
        self.truths = _Truths(source.samples.mapping, source.samples.no_values)
        there = names_of(one.table)
        self.order = None if there == source.columns else [there.index(name) for name in source.columns]

    def is_row(self, fields):
        """Whether fields are surely those of a row: see core.dialects.read_rows."""
        return len(fields) == self.width and fields[self.label] in self.known

    def cell(self, cells, index):
        """What is read of a cell."""
        return bare(cells[index], self.marks[index]) if index in self.marks else cells[index]

    def row(self, number, cells, record=None):
        """One row.

        Args:
            number (int): of it.
            cells (list[str] | core.dialects.Rejected): as the table gives them.
            record (dict | None): what a JSON file has in its place.
        """
        if cells.__class__ is not list:
            return Row(self.name, number, None, "", None, cells.reason, cells.content, None)
        parts = [self.clean(self.cell(cells, index)) for index in self.texts]
        text, reason = parts[0] if len(parts) == 1 else self.join.join(filter(None, parts)), None
        if not text:
            reason = "no text" if any(cells) else "blank line"
        elif cells == self.names:
            reason = "the names of the columns again"
        elif not text.isascii() and not can_be_written(text):
            reason = "half a character (a surrogate)"
        truth = None if self.label is None else self.truths[self.cell(cells, self.label)]
        content = row_content(cells) if reason else ""
        cells = cells if self.order is None else [cells[index] for index in self.order]
        return Row(self.name, number, cells, text, truth, reason, content, record)

    def blocks(self, numbers, rows):
        """Some rows, as Input.blocks yields them: what is the same of all is done with all of them at once."""
        if block := self._block(numbers, rows):
            yield block
        elif self.marks or len(rows) <= FEW:
            yield list(map(self.row, numbers, rows))
        else:
            half = len(rows) // 2
            yield from self.blocks(numbers[:half], rows[:half])
            yield from self.blocks(numbers[half:], rows[half:])

    def _block(self, numbers, rows):
        """The rows as a Block, where each of them has something to predict; else None."""
        if self.marks or set(map(type, rows)) != {list} or (self.names is not None and self.names in rows):
            return None
        whole = "".join(map("".join, rows))
        columns = [cleaned(list(map(operator.itemgetter(index), rows)), self.clean) for index in self.texts]
        if not all(map(all, columns)) or not (whole.isascii() or can_be_written(whole)):
            return None
        texts = columns[0] if len(columns) == 1 else list(map(self.join.join, zip(*columns)))
        truths = None
        if self.label is not None:
            truths = [self.truths[row[self.label]] for row in rows]
        if self.order is not None:
            rows = [[row[index] for index in self.order] for row in rows]
        return Block(self.name, numbers, rows, texts, truths, len(whole))


class _Truths(dict):
    """The labels of cells, each of which is looked up once."""

    def __init__(self, mapping, no_values):
        super().__init__()
        self.mapping, self.no_values = mapping, no_values

    def __missing__(self, cell):
        found = label_of(cell, self.mapping, self.no_values)
        if len(self) < MOST_LABELS:
            self[cell] = found
        return found


def _chunks(rows):
    """What a table's rows() yields, some at a time: list; large ones are fewer."""
    some, characters = [], 0
    for number, cells in rows:
        some.append((number, cells))
        characters += sum(map(len, cells)) if cells.__class__ is list else 0
        if len(some) == LINES_AT_ONCE or characters > PART_CHARACTERS // 4:
            yield some
            some, characters = [], 0
    if some:
        yield some


class Part:
    """Rows that are predicted and written together.

    Attributes:
        wheres, numbers, cells, texts, truths, records (list): of the rows that are predicted, what Row says of them.
        rejected (list[list[str]]): the others: file, line, reason, content.
        characters (int): of all of them.
    """

    def __init__(self):
        self.wheres, self.numbers, self.cells, self.texts, self.truths, self.records = ([] for _ in range(6))
        self.rejected, self.characters = [], 0

    def __len__(self):
        return len(self.texts) + len(self.rejected)

    def add(self, row, problem=None):
        """Add a Row; problem: why it cannot be written."""
        self.characters += sum(map(len, row.cells)) if row.cells else len(row.content)
        if reason := row.reason or problem:
            content = row.content or shortened("\t".join(row.cells or ()), 1000)
            self.rejected.append([row.where, str(row.number), reason, content])
            return
        self.wheres.append(row.where)
        self.numbers.append(row.number)
        self.cells.append(row.cells)
        self.texts.append(row.text)
        self.truths.append(row.truth)
        self.records.append(row.record)

    def extend(self, block, start, end):
        """Add rows of a Block, from one to another."""
        count, whole = end - start, len(block.texts)
        cells = block.cells[start:end]
        self.characters += block.characters if count == whole else len("".join(map("".join, cells)))
        self.wheres += [block.where] * count
        self.numbers += block.numbers[start:end]
        self.cells += cells
        self.texts += block.texts[start:end]
        self.truths += block.truths[start:end] if block.truths else [None] * count
        self.records += [None] * count


def parts_of(blocks, size, problem=lambda row: None):
    """Rows in parts, which are the same however often they are read, and in whatever blocks.

    Args:
        blocks (Iterable[Block | list[Row]]): in order.
        size (int): rows of a part at most.
        problem (Callable[[Row], str | None]): why a row of a list cannot be written; those of a Block can.

    Yields:
        Part: not empty.
    """
    part = Part()
    for block in blocks:
        rows, start = block, 0
        if block.__class__ is Block:
            count = len(block.texts)
            while start < count and part.characters + block.characters < PART_CHARACTERS:
                end = min(count, start + size - len(part))
                part.extend(block, start, end)
                start = end
                if len(part) == size:
                    yield part
                    part = Part()
            rows = block.rows(start)
        for row in rows:
            part.add(row, row.reason or problem(row))
            if len(part) == size or part.characters >= PART_CHARACTERS:
                yield part
                part = Part()
    if len(part):
        yield part
