"""How a text file is divided into fields: what stands between them, whether they are in quotes, what quotes mean.

A quote that is opened and never closed would take in all lines up to the next one. Rows are therefore read strictly: a
row that cannot be is told by its line, and reading goes on with the line behind it.
"""

import collections
import csv
import re
from dataclasses import dataclass

from core.quoting import is_quoted
from utils import UsageError, shortened

# What may stand between fields, the most telling first: commas are in texts, too.
SEPARATORS = ("\t", "_!_", "\x01", "|||", "||", "###", "::", "|", ";", ",", "^")
SHOWN = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "bars", " ": "spaces", "\x01": "characters U+0001"}
NAMES = {"tab": "\t", "comma": ",", "semicolon": ";", "space": " ", "none": "", "\\t": "\t", "\\x01": "\x01"}
# A semicolon at its end divides nothing.
ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][\da-fA-F]{1,6}|[A-Za-z]\w{1,30});")
# Rows that are looked at, and the share of them that must have as many fields as the others.
ROWS_LOOKED_AT, MOST = 2000, 0.9
# Rows by which the columns of a table are found. A file may be sorted by its labels: behind the first rows, of so many
# more each hundredth is looked at.
SAMPLE_ROWS, SAMPLE_STEP, SAMPLE_READ = 5_000, 100, 2_000_000
# Lines and characters of one cell in quotes, at most.
MAX_CELL_LINES, MAX_CELL = 500, 1 << 22
# Lines of a file with quotes that are divided together, where each of them is a row.
LINES_AT_ONCE = 1024


@dataclass(frozen=True)
class Dialect:
    r"""What divides the lines of a file.

    Args:
        separator (str): between fields; "" where a line is one field.
        is_quoted (bool): fields may be in quotes, with separators and line breaks inside.
        is_escaped (bool): a quote inside quotes is \", not "".
        is_spaced (bool): spaces behind a separator belong to it, so that a quote behind them is one of a field.
    """

    separator: str
    is_quoted: bool = False
    is_escaped: bool = False
    is_spaced: bool = False

    def __str__(self):
        between = SHOWN.get(self.separator, repr(self.separator)) + " and spaces" * self.is_spaced
        quotes = ' in quotes (\\" inside)' if self.is_escaped else " in quotes" if self.is_quoted else ""
        return f"fields{quotes} between {between}" if self.separator else "one field a line"


class Rejected:
    """What stands in the place of a row's fields where they cannot be used: why, and what is there."""

    __slots__ = ("content", "reason")

    def __init__(self, reason, content):
        self.reason, self.content = reason, content

    def __repr__(self):
        return f"Rejected({self.reason!r}, {self.content!r})"


def separator_of(name):
    r"""A separator as the user gives it: itself, or tab, \t, comma, semicolon, space; none: ""."""
    return NAMES.get(name, name)


def find_dialect(lines, separator=None, is_excel=False, is_csv=False):
    """The dialect of a file.

    Args:
        lines (list[str]): its beginning, without blank lines; the last ones may be cut.
        separator (str | None): the user's word for it.
        is_excel (bool): the file is in Excel's own encoding for text.
        is_csv (bool): the file is called so: one column may be in quotes.

    Returns:
        tuple[Dialect, int]: and the fields of a row. One field a line where nothing divides most lines alike.
    """
    lines = lines[:ROWS_LOOKED_AT]
    if separator == "":
        return Dialect(""), 1
    for mark in [separator] if separator else SEPARATORS:
        looked_at = [ENTITY.sub("", line) for line in lines] if mark == ";" else lines
        if not any(mark in line for line in looked_at):
            continue
        candidates = [Dialect(mark)]
        if mark == "\t":
            candidates = [Dialect(mark, is_quoted(lines, is_excel))]
        elif len(mark) == 1:
            candidates = [Dialect(mark, True), Dialect(mark, True, True), Dialect(mark)]
        found = [(*_consistency(looked_at, dialect), dialect) for dialect in candidates]
        if len(mark) == 1 and mark not in "\t " and _has_quotes_behind_spaces(looked_at, Dialect(mark, True)):
            spaced = Dialect(mark, True, is_spaced=True)
            share, width = _consistency(looked_at, spaced)
            if width > 1 and share >= max(other[0] for other in found):
                found = [(share, width, spaced)]
        # The first of those that divide most lines alike, else the one that divides the most.
        share, width, dialect = next((one for one in found if one[0] >= MOST), max(found, key=lambda one: one[0]))
        if width > 1 and (share >= MOST or separator):
            return dialect, width
    if is_csv and separator is None and any(line.startswith('"') for line in lines):
        share, width = _consistency(lines, Dialect(",", True))
        if width == 1 and share >= MOST:
            return Dialect(",", True), 1
    return Dialect(""), 1


def _has_quotes_behind_spaces(lines, dialect):
    """Whether fields begin with spaces and a quote, or lines cannot be divided for these."""
    lines = [line for line in lines if f'{dialect.separator} "' in line]
    for _, row in read_rows([(1, lines)], dialect):
        if isinstance(row, Rejected) or any(cell.lstrip(" ")[:1] == '"' != cell[:1] for cell in row):
            return True
    return False


def _consistency(lines, dialect):
    """The share of rows with as many fields as most, and that number; 0 where most quotes are no quotes."""
    rows = [fields for _, fields in read_rows([(1, lines)], dialect)]
    if rows and isinstance(rows[-1], Rejected):
        rows.pop()  # cut
    total = sum(row != [""] for row in rows)
    widths = collections.Counter(len(row) for row in rows if isinstance(row, list) and row != [""])
    begin = re.compile(f'(?:^|{re.escape(dialect.separator)}){" *" * dialect.is_spaced}"')
    quotes = sum(begin.search(line) is not None for line in lines)
    if not widths or 2 * (total - sum(widths.values())) > quotes:
        return 0.0, 1
    width, count = max(widths.items(), key=lambda item: (item[1], item[0]))
    return round(count / total, 2), width


def is_sampled(number):
    """Whether the row of a number is one by which the columns are found."""
    return number <= SAMPLE_ROWS or number % SAMPLE_STEP == 0


# --------------------------------------------------------------------------------------------------------------- rows


def read_rows(chunks, dialect, is_row=None, skim=False):
    """Divide lines into rows.

    Args:
        chunks (Iterable[tuple[int, list[str]]]): the number of the first line, and lines, as core/lines.py gives them.
        dialect (Dialect): how.
        is_row (Callable[[list[str]], bool] | None): whether fields are surely those of a row: then a cell in quotes
            that has such a line inside is one whose quote was never closed.
        skim (bool): only the rows that is_sampled tells are wanted; others may be left out.

    Yields:
        tuple[int, list[str] | Rejected]: the number of the row's first line, and its fields. Blank lines are [""].
    """
    yield from one_by_one(read_blocks, chunks, dialect, is_row, skim)


def one_by_one(read, *args, **options):
    """The rows of what read(*args, **options) yields, which is what read_blocks yields."""
    for numbers, rows in read(*args, **options):
        yield from rows if numbers is None else zip(numbers, rows)


def read_blocks(chunks, dialect, is_row=None, skim=False):
    """The same, many rows at once where each line is a row.

    Yields:
        tuple[Sequence[int], list[list[str]]] | tuple[None, Iterator]: numbers and fields; or what read_rows yields,
        which must be taken before the next block is.
    """
    if dialect.is_quoted:
        yield from _quoted_blocks(_Feed(chunks), dialect, is_row, skim)
        return
    for first, lines in chunks:
        for number, some in _wanted(first, lines, skim):
            for start in range(0, len(some), LINES_AT_ONCE):
                part = some[start : start + LINES_AT_ONCE]
                rows = (
                    [line.split(dialect.separator) for line in part]
                    if dialect.separator
                    else [[line] for line in part]
                )
                yield number[start : start + LINES_AT_ONCE], rows


def _wanted(first, lines, skim):
    """The numbers (range) and lines (list) of those that are wanted of some that follow each other; first: the number
    of the first. Yields one pair or two."""
    behind = first + len(lines)
    if not skim or first <= SAMPLE_ROWS:
        size = min(len(lines), SAMPLE_ROWS + 1 - first) if skim else len(lines)
        yield range(first, first + size), lines[:size]
        first += size
    start = -(-first // SAMPLE_STEP) * SAMPLE_STEP
    if start < behind:
        yield range(start, behind, SAMPLE_STEP), lines[start - behind :: SAMPLE_STEP]


class _TooLong(csv.Error):
    """A row of more lines than a cell may have."""


class _Feed:
    """Lines one by one, of which those since the last row can be had again."""

    def __init__(self, chunks):
        self.chunks, self.number = iter(chunks), 1
        self.waiting, self.position, self.taken, self.size = [], 0, 0, 0

    def __iter__(self):
        return self

    def __next__(self):
        while self.position + self.taken >= len(self.waiting):
            first, lines = next(self.chunks)
            if not self.waiting:
                self.number = first
            self.waiting = self.waiting[self.position :] + lines
            self.position = 0
        line = self.waiting[self.position + self.taken]
        self.taken += 1
        self.size += len(line)
        if self.taken > MAX_CELL_LINES:
            raise _TooLong("it is not closed within 500 lines")
        if self.size > MAX_CELL:
            raise _TooLong(f"more than {MAX_CELL:,} characters")
        return line + "\n"

    def ahead(self):
        """The next lines, LINES_AT_ONCE at most, none of which is taken; none are left where there are none."""
        if self.position >= len(self.waiting):
            first, self.waiting = next(self.chunks, (self.number, []))
            self.number, self.position = first, 0
        return self.waiting[self.position : self.position + LINES_AT_ONCE]

    def lines(self):
        """Those taken since the last row."""
        return self.waiting[self.position : self.position + self.taken]

    def accept(self, count):
        """So many lines were a row."""
        self.position += count
        self.number += count
        self.taken = self.size = 0


def _quoted_blocks(feed, dialect, is_row, skim):
    quotes = {"doublequote": False, "escapechar": "\\"} if dialect.is_escaped else {}
    options = {"delimiter": dialect.separator, "strict": True, "skipinitialspace": dialect.is_spaced, **quotes}
    csv.field_size_limit(2 * MAX_CELL)
    while lines := feed.ahead():
        first = feed.number
        rows = _rows_of_lines(first, lines, options, skim)
        if rows is None:
            yield None, _rows_one_by_one(feed, first + len(lines), options, is_row)
        else:
            feed.accept(len(lines))
            yield rows


def _rows_of_lines(first, lines, options, skim):
    """The rows of some lines, with their numbers, where each line is a row of its own, as nearly always; else None.

    It takes a fifth of the time that they take one by one.
    """
    if len(max(lines, key=len)) > MAX_CELL:
        return None
    text = "".join(lines)
    is_plain = (
        "escapechar" not in options and not options["skipinitialspace"] and '"' not in text and "\0" not in text
    )  # which old csv modules refuse
    if skim and is_plain:
        found = [pair for numbers, some in _wanted(first, lines, skim) for pair in zip(numbers, some)]
        numbers, lines = [number for number, _ in found], [line for _, line in found]
    else:
        numbers = range(first, first + len(lines))
    if is_plain:
        return numbers, [line.split(options["delimiter"]) for line in lines]
    try:
        # A quote that is open at the end of a line takes in the next one, and then there are fewer rows than lines.
        rows = [fields or [""] for fields in csv.reader(lines, **options)]
    except csv.Error:
        return None
    return (numbers, rows) if len(rows) == len(lines) else None


def _rows_one_by_one(feed, end, options, is_row):
    """The rows that begin before the line of number `end`."""
    while feed.number < end:
        reader, problem = csv.reader(feed, **options), None
        try:
            for fields in reader:
                taken, number = feed.taken, feed.number
                if taken > 1 and is_row is not None and _swallows(feed.lines(), options, is_row):
                    problem = "a quote that is not closed: a line inside is a row of its own"
                    break
                feed.accept(taken)
                yield number, fields or [""]
                if feed.number >= end:
                    return
            else:
                return
        except csv.Error as error:
            problem = f"a quote that is not closed, or not doubled inside quotes ({error})"
            if feed.size > MAX_CELL:
                problem = f"{'a quote that is not closed, or ' * (feed.taken > 1)}{error}"
        number, line = feed.number, feed.lines()[:1]
        feed.accept(1)
        yield number, Rejected(problem, shortened("".join(line), 1000))


def _swallows(lines, options, is_row):
    """Whether a line of a row, but for the last one, is a row of its own."""
    first = lines[0].split(options["delimiter"])
    # Where the last field of a row is what goes on in the next lines, the lines behind it tell.
    is_last = first[-1].lstrip(" ").startswith('"') and "".join(first[:-1]).count('"') % 2 == 0
    if not is_last and is_row([field.strip(' "' if options["skipinitialspace"] else '"') for field in first]):
        return True
    for line in lines[1:-1]:
        try:
            if any(is_row(fields) for fields in csv.reader([line], **options)):
                return True
        except csv.Error:
            pass
    return False


def refuse_open_quote(name, lines):
    """Raise UsageError where a file (name, lines) is no table for a quote that is open over many lines."""
    for number, row in read_rows([(1, lines)], Dialect(",", True)):
        if isinstance(row, Rejected) and len(lines) - number > MAX_CELL_LINES:
            raise UsageError(
                f"{name}:{number}: a quote is not closed within {MAX_CELL_LINES} lines; close it, or take the "
                "row out: all lines behind it are one cell as it stands"
            )
