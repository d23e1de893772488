"""What spreadsheets and databases put around all cells of a column: ="…", quotes, or an apostrophe before them."""

import re

# The share of cells that must have a mark.
MOST = 0.9
FORMULA = re.compile(r'=\s*"((?:[^"]|"")*)"')
APOSTROPHE = re.compile(r"'(.*)", re.DOTALL)
QUOTES = (re.compile(r"\s*'(.*)'\s*", re.DOTALL), re.compile(r'\s*"(.*)"\s*', re.DOTALL))
SHOWN = {FORMULA: '="…" around', QUOTES[0]: "'…' around", QUOTES[1]: '"…" around', APOSTROPHE: "an apostrophe before"}


def find_mark(cells, is_label=False):
    """What is around nearly all cells of a column.

    Args:
        cells (list[str]): some of them.
        is_label (bool): quotes around them are none of their own; a text may be a quotation.

    Returns:
        re.Pattern | None: its first group is the cell without it.
    """
    filled = [cell for cell in cells if cell.strip()]
    marks = (FORMULA, *(QUOTES if is_label else ()), APOSTROPHE)
    for mark in marks if filled else ():
        found = sum(mark.fullmatch(cell) is not None for cell in filled)
        if mark is APOSTROPHE and not is_label:
            # Quotations begin with one, too.
            found -= sum(QUOTES[0].fullmatch(cell) is not None for cell in filled)
        if found >= max(2, MOST * len(filled)):
            return mark
    return None


def find_marks(roles, sample):
    """The marks of the columns that are used.

    Args:
        roles (core.table_columns.Roles): of a table's columns.
        sample (list[tuple[int, list[str]]]): some of its rows.

    Returns:
        dict[int, re.Pattern]: by the number of the column, where it has one.
    """
    found = {}
    for index in (*roles.texts, roles.label):
        mark = None if index is None else find_mark([row[index] for _, row in sample], index == roles.label)
        if mark:
            found[index] = mark
    return found


def marks_told(table, marks):
    """What is taken off, in words."""
    for index, mark in marks.items():
        name = table.names[index] if table.names else index + 1
        yield f"{table.name}: {name} has {SHOWN[mark]} its cells: taken off"


def bare(cell, mark):
    """A cell (str) without a mark (re.Pattern); as it is where it has none."""
    match = mark.fullmatch(cell)
    if not match:
        return cell
    return match[1].replace('""', '"') if mark is FORMULA else match[1]


def take_off(row, marks):
    """Take the marks off the cells of a row, in place."""
    for index, mark in marks.items():
        row[index] = bare(row[index], mark)


def without_marks(rows):
    """Rows of which it is not known what their columns are, as if all of these held labels.

    Args:
        rows (list[list[str]]): of one table.

    Returns:
        list[list[str]]: new ones where there are marks.
    """
    marks = {index: mark for index, cells in enumerate(zip(*rows)) if (mark := find_mark(cells, True))}
    if not marks:
        return rows
    rows = list(map(list, rows))
    for row in rows:
        take_off(row, marks)
    return rows
