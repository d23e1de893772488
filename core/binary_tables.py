"""Rows of Parquet files and of spreadsheets."""

import datetime
import decimal
import functools
import json
import re
import shlex
import uuid

from core.arguments import require_packages
from core.columns import looks_like_header, names_row
from core.dialects import is_sampled, one_by_one
from core.json_tables import flat, to_text
from utils import UsageError

PARQUET, EXCEL = b"PAR1", b"\xd0\xcf\x11\xe0"
# What the runtime without Paddle lacks for these.
TABLE_PACKAGES = "deploy/batch/requirements-tables.txt"
# Rows of a Parquet file that are in memory at a time.
BATCH_ROWS = 4096


def parquet_table(source):
    """What core.tables.Table needs of a Parquet file, but for its name: dict.

    Raises:
        UsageError: damaged.
    """
    require_packages(f"{source.name}: Parquet; reading it", "pyarrow", requirements=TABLE_PACKAGES)
    import pyarrow

    try:
        with source.open() as file:
            from pyarrow import parquet

            schema = parquet.ParquetFile(file).schema_arrow
    except pyarrow.ArrowException as error:
        raise UsageError(f"{source.name}: not readable as Parquet ({error}); write it again") from None
    names = [name for name in schema.names if not name.startswith("__index_level_")]
    label_names = {}
    for index, name in enumerate(names):
        found = _class_names(schema, name)
        if found:
            label_names[index] = {str(number): label for number, label in enumerate(found)}
    undecoded = set()
    blocks = functools.partial(_parquet_blocks, source, names, undecoded)
    rows = functools.partial(one_by_one, blocks)
    return {
        "kind": "Parquet",
        "names": names,
        "width": len(names),
        "rows": rows,
        "label_names": label_names,
        "undecoded": undecoded,
        "blocks": blocks,
    }


def _class_names(schema, name):
    """The names of a column's class ids, which the datasets library leaves in the file; None where it did not."""
    try:
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        found = features[name]["names"]
        return found if isinstance(found, list) and all(isinstance(label, str) for label in found) else None
    except (KeyError, TypeError, ValueError):
        return None


def _parquet_blocks(source, names, undecoded, is_row=None, skim=False):
    from pyarrow import parquet

    number = 1
    with source.open() as file:
        # Without buffers of whole row groups, memory is that of some pages.
        content = parquet.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20)
        for batch in content.iter_batches(BATCH_ROWS, columns=names, use_threads=False):
            numbers = range(number, number + len(batch))
            number += len(batch)
            if skim:
                numbers = [one for one in numbers if is_sampled(one)]
                if not numbers:
                    continue
                batch = batch.take([one - number + len(batch) for one in numbers])
            columns = []
            for index, name in enumerate(names):
                values = batch.column(name).to_pylist()
                if index not in undecoded and any(
                    value.__class__ is bytes and not _is_utf8(value) for value in values
                ):
                    undecoded.add(index)
                columns.append([value if value.__class__ is str else to_text(_plain(value)) for value in values])
            yield numbers, list(map(list, zip(*columns)))


def _is_utf8(value):
    """Whether bytes are a text."""
    try:
        value.decode("utf-8")
        return True
    except UnicodeDecodeError:
        return False


def _plain(value):
    """A value of a table as JSON knows it."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, (datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, uuid.UUID)):
        return str(value)
    return flat(value) if isinstance(value, dict) else value


def sheets_wished(source, reading):
    """The sheets of a spreadsheet that a user names: those for this file (FILE=SHEET), else those for all files.

    Args:
        source (core.sources.Source): the spreadsheet.
        reading (core.tables.Reading): with `sheet`, a name or several.

    Returns:
        list[str]: empty where none is named.
    """
    words = [reading.sheet] if isinstance(reading.sheet, str) else list(reading.sheet or ())
    files = {source.name, source.parts[-1], source.name.rpartition(":")[2]}
    pairs = [word.partition("=") for word in words]
    own = [sheet for file, _, sheet in pairs if sheet and file in files]
    return own or words


def _word(name):
    """A name as a shell takes it."""
    return name if re.fullmatch(r"[\w.=-]+", name) else shlex.quote(name)


def _choose(source, sheets, hidden, wished):
    """The name of the sheet that is read, the first of those that are wished."""
    filled = [name for name, sheet in sheets.items() if sheet.height > 1]
    for name in wished:
        if name not in sheets:
            own = _word(f"{source.parts[-1]}={next(iter(sheets), name)}")
            raise UsageError(
                f"{source.name}: no sheet {name!r}; give --sheet one of: {' '.join(map(_word, sheets))}; where each "
                f"file has its own, --sheet {own} …"
            )
    if wished or len(filled) == 1:
        return (wished or filled)[0]
    if not filled:
        raise UsageError(f"{source.name}: no sheet with rows; give another file")
    choices = [f"--sheet {_word(name)}{' (hidden)' * (name in hidden)}" for name in filled]
    raise UsageError(
        f"{source.name}: several sheets with rows; choose one: {' or '.join(choices)}; or read several: "
        f"--sheet {' '.join(map(_word, filled))}; of several files, name each: "
        f"--sheet {_word(f'{source.parts[-1]}={filled[0]}')} …"
    )


def excel_table(source, reading, sheet=None):
    """The same of a spreadsheet: .xlsx, .xls, .xlsb or .ods; `sheet`: which one of those that are wished.

    Raises:
        UsageError: the package that reads it is missing, the file is damaged or locked, no sheet or several have rows.
    """
    require_packages(
        f"{source.name}: a spreadsheet; reading it",
        "python-calamine",
        requirements="data/requirements-convert.txt, or save it as CSV",
    )
    import python_calamine

    try:
        with source.open() as file:
            book = python_calamine.CalamineWorkbook.from_filelike(_seekable(file))
            sheets = {name: book.get_sheet_by_name(name) for name in book.sheet_names}
            shown = python_calamine.SheetVisibleEnum.Visible
            hidden = {sheet.name for sheet in book.sheets_metadata if sheet.visible != shown}
    except python_calamine.CalamineError as error:
        raise UsageError(f"{source.name}: not readable as a spreadsheet ({error}); save it again, as CSV") from None
    wished = sheets_wished(source, reading)
    chosen = _choose(source, sheets, hidden, [sheet] if sheet in sheets else wished)
    rows = _sheet_rows(sheets[chosen])
    width, titles = max((len(row) for _, row in rows), default=0), 0
    if width > 1 and len(rows) > 2 and sum(map(bool, rows[0][1])) == 1 < sum(map(bool, rows[1][1])):
        titles, rows = titles + 1, rows[1:]
    names, has_header = None, reading.header
    if has_header is not False and (above := names_row([row for _, row in rows[:1000]])):
        titles, rows = titles + above, rows[above:]
    sample = [row for _, row in rows[:1000]]
    if has_header is None:
        has_header = looks_like_header(source.name, sample)
    if has_header:
        names, rows = [name.strip() for name in rows[0][1]], rows[1:]
    has = f"{'' if has_header else 'no '}column names in the first row"
    has += f" below {titles} of a title" if titles else ""
    others = [name for name, sheet in sheets.items() if sheet.height and name not in {chosen, *wished}]
    listed = ", ".join(
        f"{name!r}{' (hidden)' * (name in hidden)} of {sheets[name].height:,} row{'s' * (sheets[name].height > 1)}"
        for name in others
    )
    has += f"; not read: {listed}" if others else ""
    return f"spreadsheet, sheet {chosen!r}, {has}", names, width, lambda is_row=None, skim=False: iter(rows)


def _seekable(file):
    """The file, or its bytes where it cannot go back and forth as spreadsheets are read."""
    import io

    return io.BytesIO(file.read())


def _sheet_rows(sheet):
    """(row number as the program shows it, texts) of the rows of a sheet that are not empty; merged cells filled."""
    first = (sheet.start or (0, 0))[0] + 1
    rows = [[_cell(value) for value in row] for row in sheet.to_python(skip_empty_area=True)]
    row0, column0 = sheet.start or (0, 0)
    for (top, left), (bottom, right) in sheet.merged_cell_ranges or ():
        value = ""
        if 0 <= top - row0 < len(rows) and 0 <= left - column0 < len(rows[top - row0]):
            value = rows[top - row0][left - column0]
        # A title over all columns stays in one cell.
        for row in rows[top - row0 : bottom - row0 + 1] if left == right and value else ():
            row[left - column0] = value
    return [(number, row) for number, row in enumerate(rows, first) if any(row)]


def _cell(value):
    """The text that a cell shows."""
    if value.__class__ is str:
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))  # spreadsheets know no other numbers
    if isinstance(value, (datetime.date, datetime.time, datetime.datetime)):
        return value.isoformat(" ") if isinstance(value, datetime.datetime) else value.isoformat()
    return to_text(value) if isinstance(value, (int, float, bool)) else str(value)
