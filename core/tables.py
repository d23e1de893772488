"""Files of rows, whatever their format, as one thing: names of columns, and rows of texts.

Text formats (separated fields, JSON lines, fastText), Parquet and folders of texts are read row by row, so that memory
does not grow with the file; JSON lists and spreadsheets are read whole.
"""

import collections
import functools
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Optional, Union

from core.binary_tables import (
    EXCEL,
    PARQUET,
    choose_sheet,
    excel_table,
    parquet_table,
    sheet_table,
    sheets_wished,
)
from core.columns import (
    HEADER_LABELS,
    HEADER_OTHERS,
    HEADER_TEXTS,
    ID,
    NUMBER,
    looks_like_header,
    name_score,
    names_row,
)
from core.dialects import (
    SAMPLE_READ,
    Rejected,
    find_dialect,
    is_sampled,
    one_by_one,
    read_blocks,
    read_rows,
    refuse_open_quote,
    separator_of,
)
from core.encodings import shown_name, utf16_variant
from core.json_tables import flat, json_rows, record_names, refused, to_text
from core.lines import chunks_of, unclear_encoding
from core.markup_tables import charset_of, markup_kind, markup_sheets
from core.other_kinds import refuse_other_kinds
from core.sources import ZIP, refuse_no_table
from utils import UsageError, shortened

# Bytes of a file by which its format is found.
SAMPLE_BYTES = 1 << 20
FASTTEXT = "__label__"
FASTTEXT_WORD = re.compile(r"(?:^|\s)__label__\S")
# A line that names the separator for Excel.
EXCEL_SEPARATOR = re.compile(r"sep=(.)$", re.IGNORECASE)
# The columns of a well-known layout: toutiao-text-classfication-dataset.
LAYOUTS = {("_!_", 5): ["id", "code", "label_name", "title", "keywords"]}
# Characters that no text has, but for those that Hive writes between fields, and their share that a text may have.
CONTROL, MOST_CONTROL = re.compile("[\x00\x04-\x08\x0e-\x19\x1b\x7f]"), 0.01
# Rows with labels that a fastText file must have for one.
MOST = 0.9


@dataclass(frozen=True)
class Reading:
    """How files are to be read, where the user says so; None: to be found."""

    encoding: Optional[str] = None
    separator: Optional[str] = None
    header: Optional[bool] = None
    sheet: Union[str, Sequence[str], None] = None
    # One of core.folders.FOLDER_LABELS.
    folder_labels: str = "first"


DEFAULT = Reading()


def add_reading_flags(add):
    """The flags by which a user says how files are to be read, and what joins columns; add: of an argument parser."""
    add("--header", choices=("yes", "no"), help="whether the first line names the columns; default: to be found")
    add("--encoding", metavar="NAME", help="of what is not UTF-8, such as gb18030 or euc-kr; default: to be found")
    separator = "what stands between columns: characters, or tab, comma, semicolon, none; default: to be found"
    add("--separator", help=separator)
    sheet = "of spreadsheets with several: one or more names, or FILE=SHEET where each file has its own"
    add("--sheet", nargs="+", metavar="SHEET", help=sheet)
    add("--join", default=" ", help="what is put between joined columns (default: a space)")


@dataclass
class Table:
    """A file of rows.

    Args:
        name (str): for messages.
        kind (str): what it is, in words.
        names (list[str] | None): of its columns; None where it does not name them.
        width (int): fields of a row.
        rows (Callable): rows(is_row=None, skim=False) yields (number, list[str] of `width` fields or Rejected); is_row
            as in core.dialects.read_rows, `skim` where only the rows that is_sampled tells are wanted.
        label_names (dict[int, dict[str, str]]): of a column's number, the names of the ids in it, where the file
            itself has them.
        encodings (Counter): name -> lines that were in it, as far as rows were read.
        undecoded (set[int]): numbers of columns with bytes that are not UTF-8, as far as rows were read.
        records (Callable | None): of JSON: records() yields what rows() does, with the values as the file has them in
            the place of the texts.
        blocks (Callable | None): the rows, many at once where that is sooner done: blocks(is_row=None, skim=False)
            yields what core.dialects.read_blocks does.
    """

    name: str
    kind: str
    names: Optional[list]
    width: int
    rows: Callable
    label_names: dict = field(default_factory=dict)
    undecoded: set = field(default_factory=set)
    encodings: collections.Counter = field(default_factory=collections.Counter)
    records: Optional[Callable] = None
    blocks: Optional[Callable] = None

    def sample(self):
        """Rows that can be used, with their numbers: the first ones, and some of those behind, where labels differ."""
        found = []
        for count, (number, row) in enumerate(self.rows(skim=True)):
            place = number if isinstance(number, int) else count
            if is_sampled(place) and not isinstance(row, Rejected):
                found.append((number, row))
            if place > SAMPLE_READ:
                break
        return found


def open_tables(source, reading=DEFAULT):
    """The tables of a file: of a spreadsheet of which several sheets are wished one for each, else one.

    Raises:
        UsageError: as open_table.
    """
    wished, head = dict.fromkeys(sheets_wished(source, reading)), source.head(4096)
    read = excel_table if head.startswith((EXCEL, ZIP)) else _markup_table if markup_kind(head) else None
    if len(wished) < 2 or not read:
        return [open_table(source, reading)]
    return [Table(f"{source.name}:{sheet}", *read(source, reading, sheet)) for sheet in wished]


def open_table(source, reading=DEFAULT):
    """Find out what a file is.

    Args:
        source (core.sources.Source): the file.
        reading (Reading): what the user says of it.

    Returns:
        Table.

    Raises:
        UsageError: it is empty, is no table, or cannot be read without the user's word.
    """
    head = source.head(SAMPLE_BYTES + 1)
    if markup_kind(head):
        return Table(source.name, *_markup_table(source, reading))
    refuse_no_table(source, head)
    if head.startswith(PARQUET):
        return Table(source.name, **parquet_table(source))
    if head.startswith((EXCEL, ZIP)):
        return Table(source.name, *excel_table(source, reading))
    lines, encodings = _first_lines(source, head, reading.encoding)
    if not lines:
        raise UsageError(f"{source.name}: the file is empty; give one with samples")
    filled = [line for line in lines if line.strip()]
    if len(CONTROL.findall("".join(filled))) > MOST_CONTROL * sum(map(len, filled)):
        raise UsageError(f"{source.name}: a binary file, not one of texts; give a table, such as CSV or .xlsx")
    refuse_other_kinds(source.name, filled)
    kind = _json_kind(filled, head)
    words = [shown_name(name) for name in encodings] or ["UTF-8"]
    if kind == "whole":
        names, rows = json_rows(source, "".join(f"{line}\n" for line in _all_lines(source, reading)))
        records = functools.partial(rows, whole=True)
        return Table(source.name, f"JSON, {' and '.join(words)}", names, len(names), rows, records=records)
    if kind == "lines":
        names = record_names(filled, source.name)
        table = Table(source.name, f"JSON lines, {' and '.join(words)}", names, len(names), None)
        table.rows = functools.partial(_json_lines, source, table, reading)
        table.records = functools.partial(table.rows, whole=True)
        return table
    return _text_table(source, filled, words, reading)


# ---------------------------------------------------------------------------------------------------------- text files


def _first_lines(source, head, encoding):
    """The lines of a file's beginning that are whole, and their encodings.

    Raises:
        UsageError: the encoding is unclear.
    """
    is_cut = len(head) > SAMPLE_BYTES
    wide = utf16_variant(head)
    if is_cut and not wide:
        end = max(head.rfind(b"\n"), head.rfind(b"\r")) + 1
        head = head[: end or SAMPLE_BYTES]
    encodings = collections.Counter()
    lines = [
        line
        for _, some in chunks_of(io.BytesIO(head), on_bad_line(source.name, encodings, set()), encoding=encoding)
        for line in some
    ]
    if is_cut and wide:
        lines = lines[:-1]
    return lines, encodings


def on_bad_line(name, encodings, unreadable):
    """What chunks_of calls for a line that is not UTF-8: it counts encodings, and keeps what is unreadable.

    Raises:
        UsageError: the line may be in two encodings.
    """

    def note(number, names):
        if len(names) > 1:
            raise UsageError(unclear_encoding(f"{name}:{number}" if number else name, names))
        encodings.update(names)
        if not names:
            unreadable.add(number)

    return note


def _chunks(source, table, reading, unreadable):
    """The lines of a file, as chunks_of gives them."""
    with source.open() as file:
        yield from chunks_of(file, on_bad_line(source.name, table.encodings, unreadable), encoding=reading.encoding)


def _all_lines(source, reading):
    unreadable = set()
    with source.open() as file:
        note = on_bad_line(source.name, collections.Counter(), unreadable)
        lines = [line for _, some in chunks_of(file, note, encoding=reading.encoding) for line in some]
    if unreadable:
        raise UsageError(f"{source.name}:{min(unreadable)}: not in a known encoding; name it with --encoding")
    return lines


def _markup_table(source, reading, sheet=None):
    """As core.binary_tables.excel_table, of HTML and XML Spreadsheet 2003."""
    head = source.head(SAMPLE_BYTES)
    kind, encoding = markup_kind(head), reading.encoding or charset_of(head)
    text = "\n".join(_all_lines(source, replace(reading, encoding=encoding)))
    sheets = markup_sheets(source.name, text, kind)
    chosen, others = choose_sheet(source, {name: len(rows) for name, rows in sheets.items()}, (), reading, sheet)
    return sheet_table(source, reading, f"spreadsheet ({kind}), sheet {chosen!r}", sheets[chosen], others)


def _json_kind(lines, head):
    """Whether lines are JSON: "lines", one value in the "whole" file, or None."""
    first = lines[0].lstrip()
    if first[:1] not in "{[":
        return None
    try:
        value = json.loads(first)
        if isinstance(value, dict) or (isinstance(value, list) and len(lines) > 1):
            return "lines" if len(lines) > 1 or isinstance(value, dict) and not _is_nested(value) else "whole"
        return "whole"
    except ValueError:
        pass
    if first[0] == "[" and not re.match(r'\[\s*(?:[{\["]|$)', first):
        return None  # a text that begins with a bracket
    if first[0] == "{" and not re.match(r'\{\s*(?:"|$)', first):
        return None
    return "whole" if re.match(rb'(?:\xef\xbb\xbf|\xff\xfe|\xfe\xff)?[\s\0]*[\[{][\s\0]*["\[{]', head) else None


def _is_nested(value):
    """Whether one object holds many: lists or objects of columns or records."""
    return any(isinstance(part, (list, dict)) and len(part) > 1 for part in value.values())


def _json_lines(source, table, reading, is_row=None, skim=False, whole=False):
    """The rows of a file of one JSON object (or list) a line; with `whole`, the objects themselves."""
    unreadable, names = set(), table.names
    for first, lines in _chunks(source, table, reading, unreadable):
        for number, line in enumerate(lines, first):
            if skim and not is_sampled(number):
                continue
            if not line or line.isspace():
                yield number, Rejected("blank line", "")
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                reason = "not in a known encoding" if number in unreadable else f"not readable as JSON ({error})"
                yield number, Rejected(reason, shortened(line, 1000))
                continue
            if isinstance(value, list):
                value = dict(zip(names, value))
            if not isinstance(value, dict):
                yield number, Rejected("not a JSON object", shortened(line, 1000))
            elif number in unreadable:
                yield number, Rejected("not in a known encoding", shortened(line, 1000))
            elif why := refused(value):
                yield number, why
            elif whole:
                yield number, value
            else:
                if dict in map(type, value.values()):
                    value = flat(value)
                yield number, [cell if cell.__class__ is str else to_text(cell) for cell in map(value.get, names)]


def _text_table(source, lines, words, reading):
    """A Table of separated fields, fastText, or plain lines."""
    encoding = " and ".join(words)
    separator = reading.separator if reading.separator is None else separator_of(reading.separator)
    mark = EXCEL_SEPARATOR.match(lines[0]) if len(lines) > 1 else None
    if mark:
        lines, separator = lines[1:], mark[1] if separator is None else separator
    if separator is None and sum(map(bool, map(FASTTEXT_WORD.search, lines))) >= MOST * len(lines):
        table = Table(source.name, f"fastText, {encoding}", ["label", "text"], 2, None)
        table.rows = functools.partial(_fasttext, source, table, reading)
        return table
    is_csv = source.parts[-1].lower().endswith(".csv")
    dialect, width = find_dialect(lines, separator, any(word.startswith("UTF-16") for word in words), is_csv)
    if is_csv and width == 1 and separator is None:
        refuse_open_quote(source.name, lines)
    if separator and not dialect.separator:
        raise UsageError(f"{source.name}: no line has {separator!r}; correct --separator, or leave it out")
    sample = [row for _, row in read_rows([(1, lines)], dialect) if isinstance(row, list)]
    names, has_header = LAYOUTS.get((dialect.separator, width)), False
    if not names or reading.header is not None:
        names, has_header = None, reading.header
        above = names_row(sample) if width > 1 and has_header is not False else None
        if above is None and width > 1:  # lines of another kind above the table
            above = next((place for place, row in enumerate(sample) if not _is_title(row)), 0)
        sample = sample[above or 0 :]
        if has_header is None:
            is_named = is_csv and bool(sample) and name_score(sample[0][0], HEADER_TEXTS) == 3
            has_header = looks_like_header(source.name, sample) if width > 1 else is_named
        if has_header:
            names = [name.strip() for name in sample[0]]
            # R gives the numbers of rows no name.
            if len(names) == width - 1:
                names = _one_more(source, names, sample[1:], dialect)
            width = len(names)
    has = f"{'' if has_header else 'no '}column names in the first line, " if width > 1 else ""
    table = Table(source.name, f"{dialect}, {has}{encoding}", names, width, None)
    header = sample[0] if has_header and reading.header is not False and sample else None
    table.blocks = functools.partial(_field_blocks, source, table, reading, dialect, bool(mark), header)
    table.rows = functools.partial(one_by_one, table.blocks)
    return table


def _is_title(row):
    """Whether a line holds one thing alone that is no well-known name of a column."""
    filled = [cell for cell in row if cell.strip()]
    known = HEADER_TEXTS, HEADER_LABELS, HEADER_OTHERS
    return not filled or len(filled) == 1 and not any(name_score(filled[0], words) for words in known)


def _one_more(source, names, rows, dialect):
    """The names of columns where rows have one field more: R does not name those of row names."""
    rows = [row for row in rows if len(row) == len(names) + 1]
    if not any(row[-1].strip() for row in rows):
        return [*names, ""]
    # Short Chinese words before a comma are as different as names of rows: only numbers and ids are taken for these.
    if all(ID.fullmatch(row[0].strip()) or NUMBER.fullmatch(row[0].strip()) for row in rows):
        return ["", *names]
    raise UsageError(
        f"{source.name}: {len(names)} names of columns, but rows of {len(names) + 1} fields: is {dialect.separator!r} "
        "in the texts? Put such texts in quotes, or say how the rows are read with --header no and --text_column"
    )


def _field_blocks(source, table, reading, dialect, to_skip, header, is_row=None, skim=False):
    """The rows of a file of separated fields, but for the first `to_skip` that are not blank, and the `header`.

    What stands above the header is told as rows that cannot be used. Yields what core.dialects.read_blocks does.
    """
    unreadable, width, is_markdown = set(), table.width, dialect.separator == "|"

    def checked(rows):
        nonlocal to_skip, header
        for number, row in rows:
            if row.__class__ is list:
                if to_skip and row != [""]:
                    to_skip -= 1
                    continue
                if header is not None and row != [""]:
                    if row == header:
                        header = None
                        continue
                    content = shortened(dialect.separator.join(row), 1000)
                    yield number, Rejected("above the names of the columns", content)
                    continue
                if len(row) != width and any(row[width:]) or len(row) < width:
                    content = dialect.separator.join(row)
                    reason = (
                        f"{len(row)} field{'s' * (len(row) != 1)}, not {width}" if content.strip() else "blank line"
                    )
                    row = Rejected(reason, shortened(content, 1000))
                elif is_markdown and all(set(cell.strip()) <= set(":-") for cell in row):
                    row = Rejected("the rule of a Markdown table", "|".join(row))
                else:
                    del row[width:]
                    if unreadable and _is_unreadable(number, row, unreadable):
                        row = Rejected("not in a known encoding", shortened(dialect.separator.join(row), 1000))
            yield number, row

    for numbers, rows in read_blocks(_chunks(source, table, reading, unreadable), dialect, is_row, skim):
        is_odd = numbers is None or to_skip or header is not None or unreadable or is_markdown
        if is_odd or set(map(len, rows)) != {width}:
            yield None, checked(rows if numbers is None else zip(numbers, rows))
        else:
            yield numbers, rows


def _is_unreadable(number, row, unreadable):
    """Whether a row has a line that could not be read."""
    lines = 1 + sum(cell.count("\n") for cell in row)
    return any(line in unreadable for line in range(number, number + lines))


def _fasttext(source, table, reading, is_row=None, skim=False):
    """The rows of a file of texts with words such as __label__sports before or behind them."""
    unreadable = set()
    for first, lines in _chunks(source, table, reading, unreadable):
        for number, line in enumerate(lines, first):
            words = [word for word in line.split() if word.startswith(FASTTEXT)]
            labels = [label.rstrip(",;|") for word in words for label in word.split(FASTTEXT)[1:]]
            if number in unreadable:
                yield number, Rejected("not in a known encoding", shortened(line, 1000))
            elif len(labels) > 1:
                yield number, Rejected(f"{len(labels)} labels", shortened(line, 1000))
            elif not labels:
                yield number, ["", line] if line.strip() else Rejected("blank line", "")
            else:
                before, _, behind = line.partition(words[0])
                text = f"{before}{behind.lstrip(' ,')}"
                yield number, [labels[0], text]
