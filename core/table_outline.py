"""What a table looks like, in a few lines for a terminal."""

from core.table_columns import names_of
from core.text_cleaning import one_line
from utils import shortened

ROWS_SHOWN, CELL_SHOWN = 3, 36


def column_lines(table, rows, roles=None):
    """The columns of a table, as lines: what each is used for, and what is in it.

    Args:
        table (core.tables.Table): the table.
        rows (list[list[str]]): some of its rows.
        roles (core.table_columns.Roles | None): of its columns; None where they are not known.
    """
    lines = [("column", "use", "filled", "different", "such as")]
    for index, name in enumerate(names_of(table)):
        cells = [row[index] for row in rows]
        filled = [cell for cell in cells if cell.strip()]
        use = "?" if roles is None else "-"
        if roles:
            use = "label" if index == roles.label else "text" if index in roles.texts else "-"
        example = " | ".join(shortened(one_line(cell), CELL_SHOWN) for cell in cells[:ROWS_SHOWN])
        lines.append((name, use, f"{len(filled) / len(cells):.0%}", f"{len(set(filled)):,}", example))
    widths = [max(_width(line[index]) for line in lines) for index in range(4)]
    for line in lines:
        yield "  " + "  ".join([*(_padded(cell, width) for cell, width in zip(line, widths)), line[4]]).rstrip()
    if len(rows) > ROWS_SHOWN:
        yield f"  (of {len(rows):,} rows that were looked at)"


def _width(text):
    """Columns of a terminal that a text takes."""
    return sum(2 if character >= "\u2e80" else 1 for character in text)


def _padded(text, width):
    return text + " " * (width - _width(text))
