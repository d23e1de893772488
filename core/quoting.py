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


def read_rows(lines, columns, is_excel=False):
    """Read the lines of a file as Excel or a CSV program reads them, where one wrote it.

    Args:
        lines (list[str]): all lines of the file.
        columns (int): fields of a sample.
        is_excel (bool): the file is in Excel's own encoding for text, so that a comma is enough for quotes.

    Returns:
        list[Row] | None: None where no program with quotes wrote the file.
    """
    delimiter = delimiter_of(lines, columns)
    scanned = delimiter and _scan(lines, delimiter)
    if not scanned:
        return None
    rows, quoted, everywhere = scanned
    if not (everywhere and quoted or _by_a_program(quoted, is_excel) or delimiter != "\t"):
        return None
    if delimiter != "\t" and any(len(row.fields) != columns for row in rows if row.raw.strip()):
        return None
    return rows


def is_quoted(lines, is_excel=False):
    """Whether the beginning of a file of several columns with tabs was written by a program with quotes.

    Args:
        lines (list[str]): the last ones may be cut.
        is_excel (bool): see read_rows.
    """
    if not any(line.startswith('"') or '\t"' in line for line in lines):
        return False
    # A cell with line breaks may be cut at the end.
    for end in range(len(lines), max(0, len(lines) - MAX_CELL_LINES), -1):
        if scanned := _scan(lines[:end], "\t"):
            _, quoted, everywhere = scanned
            return bool(everywhere and quoted) or _by_a_program(quoted, is_excel)
    return False


def _scan(lines, delimiter):
    """Rows, the cells in quotes, and whether all cells are; None where a quote is not closed, or takes in too much."""
    text = "\n".join(lines)
    rows, quoted, position, number, fields, start = [], [], 0, 1, [], 0
    everywhere = True
    while position <= len(text):
        match = FIELD[delimiter].match(text, position)
        if match is None or (not match[3] and match.end() < len(text)):
            return None
        cell, plain, end = match.groups()
        if cell is None:
            everywhere = everywhere and not plain
            fields.append(plain)
        else:
            if cell.count("\n") >= MAX_CELL_LINES or ("\n" in cell and delimiter in cell):
                return None
            quoted.append(cell)
            fields.append(cell.replace('""', '"'))
        position = match.end()
        if end != delimiter:
            raw = text[start : match.start(3)]
            count = raw.count("\n") + 1
            rows.append(Row(number, count, fields, raw))
            number, fields, start = number + count, [], position
            if not end:
                break
    return rows, quoted, everywhere


def delimiter_of(lines, columns):
    """The character that may stand between the fields of a file; None where nothing is worth a closer look."""
    if any(line.startswith('"') or '\t"' in line for line in lines):
        return "\t" if columns == 1 or any("\t" in line for line in lines) else ","
    if columns == 1 or any("\t" in line for line in lines):
        return None
    filled = [line for line in lines if line.strip()]
    return next((mark for mark in ",;" if filled and all(line.count(mark) == 1 for line in filled)), None)


def _by_a_program(quoted, is_excel):
    """Whether all cells in quotes need them, and at least one says more than a text in quotes would."""
    needed = all(SURELY.search(cell) or MAYBE.search(cell) for cell in quoted)
    return bool(quoted) and needed and (is_excel or any(SURELY.search(cell) for cell in quoted))
