"""Rows of a table that are no samples: totals, and notes below the last row, as spreadsheets of reports have them."""

import collections
import re

from core.dialects import Rejected
from utils import shortened

TOTAL = re.compile(
    r"(?:合\s*计|总\s*计|小\s*计|共\s*计|总数|总条数|(?:grand |sub)?total)s?\s*"
    r"[:：]?\s*(?:共\s*)?[\d,.]*\s*(?:条|个|行|项|件|次|rows?)?",
    re.IGNORECASE,
)
NOTE = re.compile(
    r"(?:注|备注|说明|附注|注释|数据来源|资料来源|来源|制表|制表人|制表时间|填表人|审核|审核人|导出时间|统计时间|更新时间|打印时间"
    r"|notes?|sources?|data source|prepared by|exported (?:on|at|by)|generated (?:on|at|by)|as of)\s*[:：].*",
    re.IGNORECASE | re.DOTALL,
)
# Notes below a table are few; more such rows are texts.
MOST_NOTES = 20
A_TOTAL, A_NOTE = "a total, not a sample", "a note below the table, not a sample"


class Footers:
    """Tells footers from samples.

    A text may say "total", too, so that a row is a footer only where its label is none of those that come again, and
    a note only where no sample is below it.

    Args:
        table (core.tables.Table): whose rows are read.
        roles (core.table_columns.Roles): of its columns.
        sample (list[tuple[int, list[str]]]): some of its rows.
        trust (bool): all rows are samples, whatever they look like.
    """

    def __init__(self, table, roles, sample, trust=False):
        # Texts in files of their own, and records, have none.
        self.is_looked_for = table.width > 1 and table.kind.startswith(("fields", "spreadsheet")) and not trust
        self.label, self.known = roles.label, frozenset()
        if roles.label is not None:
            counts = collections.Counter(row[roles.label] for _, row in sample if row[roles.label].strip())
            self.known = frozenset(label for label, count in counts.items() if count > 1)

    def kind(self, row):
        """Why a row is none of samples: A_TOTAL, A_NOTE or None."""
        first = next((cell for cell in map(str.strip, row) if cell), "")
        if TOTAL.fullmatch(first):
            return A_TOTAL
        return A_NOTE if NOTE.fullmatch(first) else None

    def samples_of(self, sample):
        """Some rows without the footers."""
        return [pair for pair in self.left_out(sample) if pair[1].__class__ is list]

    def left_out(self, rows):
        """Rows with a Rejected in the place of each footer, in the same order.

        Args:
            rows (Iterable[tuple[int, list[str] | Rejected]]): those of the table.
        """
        if not self.is_looked_for:
            yield from rows
            return
        known, label, held = self.known, self.label, []
        for number, row in rows:
            if held and _is_blank(row):
                held.append((number, row))
                continue
            is_sample = row.__class__ is not list or (label is not None and row[label] in known)
            kind = None if is_sample else self.kind(row)
            if kind is A_TOTAL and label is not None:
                row = _rejected(kind, row)
            if kind and len(held) < MOST_NOTES:
                held.append((number, row))
                continue
            yield from held
            held = []
            yield number, row
        for number, row in held:
            if row.__class__ is list and (kind := self.kind(row)):
                row = _rejected(kind, row)
            yield number, row


def _rejected(kind, row):
    return Rejected(kind, shortened("\t".join(row), 1000))


def _is_blank(row):
    return not any(map(str.strip, row)) if row.__class__ is list else row.reason == "blank line"
