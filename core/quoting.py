"""Fields in quotes, as Excel and CSV programs write them: `"one ""two"" three"` with tabs and line breaks inside.

A text may begin with a quote of its own, so that fields are taken out of quotes only where the whole file was written
by such a program: every quote at the start of a field is closed at the end of one, and quotes inside are doubled.
"""

import re
from dataclasses import dataclass

# A field and what ends it; fields that are not closed do not match.
FIELD = {
    delimiter: re.compile(rf'(?:"((?:[^"]|"")*)"|([^"{delimiter}\n][^{delimiter}\n]*|))({delimiter}|\n|\Z)')
    for delimiter in ("\t", ",", ";")
}
# Lines of one cell: a quote that was never closed would take in all lines up to the next one.
MAX_CELL_LINES = 30
# What a program puts quotes around for; they all do for the first three.
SURELY, MAYBE = re.compile('["\t\n]'), re.compile("^ | $|[,;]")


@dataclass
class Row:
    """One sample of a file: its first line's number, how many lines it takes, its fields, and how it stands there."""

    number: int
    lines: int
    fields: list
    raw: str


@dataclass
class Quoted:
    """What a file is that a program with quotes wrote: what stands between its fields, its samples and its lines."""

    delimiter: str
    samples: int
    lines: int


class _NotQuoted(Exception):
    """A quote that is not closed, or takes in too much."""


def find_rows(read, columns, is_excel=False):
    """Whether a program with quotes wrote a file, which may be of any size.

    Args:
        read (Callable[[], Iterable[list[str]]]): gives the lines of the file in blocks, from the first one on, as
            often as it is called.
        columns (int): fields of a sample.
        is_excel (bool): the file is in Excel's own encoding for text, so that a comma is enough for quotes.

    Returns:
        Quoted | None: None where no such program wrote it.
    """
    delimiter = delimiter_of(read(), columns)
    if delimiter is None:
        return None
    samples, lines, cells = 0, 0, _Cells()
    try:
        for row, *seen in _scan(read(), delimiter):
            samples, lines = samples + 1, lines + row.lines
            cells.add(*seen)
            if delimiter != "\t" and len(row.fields) != columns and row.raw.strip():
                return None
            if delimiter == "\t" and not cells.everywhere and not cells.needed:
                return None
    except _NotQuoted:
        return None
    return Quoted(delimiter, samples, lines) if delimiter != "\t" or cells.by_a_program(is_excel) else None


def rows_of(blocks, delimiter):
    """The samples of a file of which find_rows says that a program with quotes wrote it: yields Row.

    Args:
        blocks (Iterable[list[str]]): its lines, in blocks.
        delimiter (str): what find_rows found.
    """
    for row, *_ in _scan(blocks, delimiter):
        yield row


def read_rows(lines, columns, is_excel=False):
    """The same of lines that are in memory.

    Returns:
        list[Row] | None: None where no program with quotes wrote the file.
    """
    found = find_rows(lambda: [lines], columns, is_excel)
    return found and list(rows_of([lines], found.delimiter))


def is_quoted(lines, is_excel=False):
    """Whether the beginning of a file of several columns with tabs was written by a program with quotes.

    Args:
        lines (list[str]): the last ones may be cut.
        is_excel (bool): see find_rows.
    """
    if not any(line.startswith('"') or '\t"' in line for line in lines):
        return False
    # A cell with line breaks may be cut at the end.
    for end in range(len(lines), max(0, len(lines) - MAX_CELL_LINES), -1):
        cells = _Cells()
        try:
            for _, *seen in _scan([lines[:end]], "\t"):
                cells.add(*seen)
        except _NotQuoted:
            continue
        return cells.by_a_program(is_excel)
    return False


class _Cells:
    """What is known of the cells of a file.

    Attributes:
        everywhere (bool): all of them are in quotes, or empty.
        needed (bool): all that are in quotes may need them.
    """

    def __init__(self):
        self.everywhere = self.needed = True
        self.some = self.surely = False

    def add(self, quoted, has_plain):
        """Add a row: its cells in quotes (list[str]), and whether it has others."""
        self.everywhere = self.everywhere and not has_plain
        for cell in quoted:
            surely = SURELY.search(cell) is not None
            self.some, self.surely = True, self.surely or surely
            self.needed = self.needed and (surely or MAYBE.search(cell) is not None)

    def by_a_program(self, is_excel):
        """Whether all cells are in quotes, or those that need them; at least one says more than a text in quotes
        would."""
        return self.some and (self.everywhere or (self.needed and (is_excel or self.surely)))


def _joined(blocks):
    """Blocks of lines as text, and whether it is the last: yields tuple[str, bool]."""
    before = None
    for lines in filter(None, blocks):
        if before is not None:
            yield "\n".join(before) + "\n", False
        before = lines
    if before is not None:
        yield "\n".join(before), True


def _scan(blocks, delimiter):
    """The rows of a file: yields tuple[Row, list[str], bool], the cells in quotes, and whether there are others.

    Raises:
        _NotQuoted: a quote is not closed, or takes in too much.
    """
    text, position, number, fields, quoted, start, has_plain = "", 0, 1, [], [], 0, False
    for more, is_last in _joined(blocks):
        text, position, start = text[start:] + more, position - start, 0
        while position < len(text) or is_last:
            match = FIELD[delimiter].match(text, position)
            if match is None:
                if is_last or text.count("\n", position) > MAX_CELL_LINES:
                    raise _NotQuoted
                break  # the cell may end in the next block
            cell, plain, end = match.groups()
            if cell is None:
                has_plain = has_plain or bool(plain)
                fields.append(plain)
            else:
                if cell.count("\n") >= MAX_CELL_LINES or ("\n" in cell and delimiter in cell):
                    raise _NotQuoted
                quoted.append(cell)
                fields.append(cell.replace('""', '"'))
            position = match.end()
            if end != delimiter:
                raw = text[start : match.start(3)]
                count = raw.count("\n") + 1
                yield Row(number, count, fields, raw), quoted, has_plain
                number, fields, quoted, start, has_plain = number + count, [], [], position, False
                if not end:
                    return


def delimiter_of(blocks, columns):
    """The character that may stand between the fields of a file; None where nothing is worth a closer look.

    Args:
        blocks (Iterable[list[str]]): its lines, in blocks.
        columns (int): fields of a sample.
    """
    has_quotes, has_tabs, is_filled, marks = False, columns == 1, False, ",;"
    for lines in blocks:
        has_quotes = has_quotes or any(line.startswith('"') or '\t"' in line for line in lines)
        has_tabs = has_tabs or any("\t" in line for line in lines)
        if has_quotes and has_tabs:
            return "\t"
        if not has_tabs:
            filled = [line for line in lines if line.strip()]
            is_filled = is_filled or bool(filled)
            marks = "".join(mark for mark in marks if all(line.count(mark) == 1 for line in filled))
    if has_quotes:
        return ","
    return marks[0] if is_filled and marks and not has_tabs else None
