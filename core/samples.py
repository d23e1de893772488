"""Texts and labels out of any files: tables are opened, their columns found, ids become names, texts are cleaned.

What is found is told before anything is done with it (Samples.description), and what cannot be told is asked.
"""

import ast
import collections
import json
from dataclasses import dataclass, field
from typing import Optional

from core.cell_marks import find_marks, marks_told, take_off, without_marks
from core.columns import HEADER_LABELS, name_score
from core.dialects import Rejected
from core.folders import folder_tables
from core.footers import Footers
from core.label_names import given_names, integer, names_beside, several_in_one, spellings
from core.table_columns import (
    NO_LABEL,
    Roles,
    Unsure,
    find_known_labels,
    find_roles,
    names_of,
    refuse_bytes,
)
from core.table_names import file_a_label
from core.table_outline import ROWS_SHOWN, column_lines
from core.tables import Reading, Table, open_tables
from core.text_cleaning import clean_text, one_line
from utils import UsageError, shortened

PARTS = ("train", "dev", "test")
# A class id that means none, in the test parts of public data.
HIDDEN_LABELS = {"-1", "-100"}
# What programs write for a cell without a value. None and NA are left alone: they may be labels.
NO_VALUES = {"nan", "NaN", "NULL", "null", "\\N", "<NA>", "#N/A", "NaT"}
# And for one that they could not compute.
NO_VALUES |= {"#REF!", "#DIV/0!", "#VALUE!", "#NAME?", "#NUM!", "#NULL!"}
CLEANING = {"html": clean_text, "none": one_line}
# Names of a class in one cell that are more than one.
LIST_STARTS = ("[", "(")


@dataclass
class Wishes:
    """What a user says of the files, beside core.tables.Reading; None: to be found."""

    reading: Reading = field(default_factory=Reading)
    text_columns: Optional[list] = None
    label_column: Optional[str] = None
    label_names: Optional[list] = None
    join: str = " "
    clean: str = "html"
    trust_columns: bool = False
    # Where texts are predicted: the model's labels. The column that has them is the label's; none has to be there.
    known_labels: Optional[frozenset] = None


@dataclass
class Opened:
    """A table whose columns are known.

    Args:
        table (core.tables.Table): the table.
        part (str | None): train, dev or test, where that is given.
        roles (core.table_columns.Roles | None): of its columns.
        sample (list[tuple[int, list[str]]]): rows of it.
        footers (core.footers.Footers | None): tells its totals and notes; None where its columns are not known.
        marks (dict[int, re.Pattern]): of a column's number, what is around all of its cells.
    """

    table: Table
    part: Optional[str]
    roles: Optional[Roles] = None
    sample: list = field(default_factory=list)
    footers: Optional[Footers] = None
    marks: dict = field(default_factory=dict)

    def shape(self):
        """What tables that are read alike have in common."""
        return frozenset(self.table.names) if self.table.names else self.table.width


class Samples:
    """The samples of some files.

    Args:
        sources (list[tuple[str | None, core.sources.Source]]): part (train, dev, test, or None) and file.
        wishes (Wishes): what the user says.

    Attributes:
        opened (list[Opened]): the tables.
        notes (list[str]): what a user should know of how they are read.
        names (core.label_names.LabelNames | None): of the labels.

    Raises:
        UsageError: a file is no table, its columns are unclear, or its labels have no names in the list given. Where
            columns are unclear, `description` of what was seen is in the error's `seen`.
    """

    def __init__(self, sources, wishes=None):
        self.wishes, self.notes, self.names, self.mapping = wishes or Wishes(), [], None, None
        self.clean, known = CLEANING[self.wishes.clean], self.wishes.known_labels
        # Those that the user, or a model, takes for labels are some.
        self.no_values = set() if known is None and self.wishes.trust_columns else NO_VALUES - (known or set())
        self.opened = [Opened(table, part) for part, table in _tables(sources, self.wishes.reading)]
        for one in self.opened:
            one.sample = one.table.sample()
            if not one.sample:
                problem = next((row for _, row in one.table.rows()), None)
                why = f" ({problem.reason})" if isinstance(problem, Rejected) else ""
                raise UsageError(f"{one.table.name}: no row that can be used{why}; give a file with samples")
        self._borrow_names()
        try:
            self._find_roles()
            self._find_names([source.folder for _, source in sources])
        except Unsure as error:
            error.seen = self.description()
            if hint := not self.wishes.label_column and file_a_label(
                [one.table for one in self.opened if not one.part]
            ):
                error.args = (f"{error}; {hint}",)
            raise

    # ------------------------------------------------------------------------------------------------------ columns

    def _borrow_names(self):
        """Give files without names of columns those of the first one: pieces of one file."""
        named = [one.table for one in self.opened if one.table.names]
        for one in self.opened:
            if not one.table.names and named and named[0].width == one.table.width:
                one.table.names = named[0].names

    def _find_roles(self):
        """Find the columns of all tables; those of one shape together."""
        groups = collections.defaultdict(list)
        for one in self.opened:
            groups[one.shape()].append(one)
        # The files of training first, and of these the ones with most columns: others may have no labels.
        ordered = sorted(
            groups.values(),
            key=lambda group: (min(PARTS.index(one.part or "train") for one in group), -group[0].table.width),
        )
        labelled, columns_before, texts_before = None, [], []
        for group in ordered:
            first, wishes = group[0], self.wishes
            columns = names_of(first.table)
            rows = [_in_order(row, one.table, columns) for one in group for _, row in one.sample]
            label = wishes.label_column
            if labelled and not _has(first.table, labelled, label):
                label = NO_LABEL
                others = [name for name in columns if name_score(name, HEADER_LABELS) and name not in columns_before]
                if first.table.names and others and not wishes.trust_columns:
                    raise Unsure(
                        f"{first.table.name}: no column {labelled}, which the files before it have, but {others[0]}; "
                        "rename the columns alike, convert the files one by one, or, where its texts have no labels, "
                        "add --trust_columns"
                    )
                self.notes.append(f"{first.table.name}: no labels, so its texts are for data.txt")
            texts = wishes.text_columns or (texts_before if set(texts_before) <= set(columns) else None)
            label = labelled if labelled in columns and label is None else label
            if wishes.known_labels is not None and label is None:
                label = find_known_labels(first.table, without_marks(rows), wishes.known_labels, texts)
                if label == NO_LABEL:
                    self.notes += _without_report(first.table, rows, wishes.known_labels)
            roles = find_roles(first.table, rows, texts, label, wishes.trust_columns)
            if roles.label is not None and not labelled:
                labelled, columns_before = columns[roles.label], columns
            texts_before = texts_before or [columns[index] for index in roles.texts]
            self.notes += [f"{first.table.name}: {note}" for note in roles.notes]
            for one in group:
                there = names_of(one.table)
                # Not by their names where these are in order: two columns may be called alike.
                places = list(range(len(columns))) if there == columns else [there.index(name) for name in columns]
                texts = [places[index] for index in roles.texts]
                one.roles = Roles(texts, None if roles.label is None else places[roles.label])
                refuse_bytes(one.table, one.roles)
                one.footers = Footers(one.table, one.roles, one.sample, wishes.trust_columns)
                one.sample = one.footers.samples_of(one.sample) or one.sample
                one.marks = find_marks(one.roles, one.sample)
                self.notes += marks_told(one.table, one.marks)
                for _, row in one.sample:
                    take_off(row, one.marks)
                self._hide(one)

    def _hide(self, one):
        """Take a test file whose labels all say that they are hidden for one without labels."""
        if one.part == "test" and one.roles.label is not None:
            labels = {row[one.roles.label].strip() for _, row in one.sample}
            if labels <= HIDDEN_LABELS:
                one.roles.label = None
                self.notes.append(f"{one.table.name}: its labels are hidden ({' '.join(labels)}); texts for data.txt")

    def _find_names(self, folders):
        """Find the names of class ids: the user's, the file's own, or those of a file beside it."""
        known = self.wishes.known_labels or set()
        labels = {
            label
            for one in self.opened
            if one.roles.label is not None
            for _, row in one.sample
            if (label := one_line(row[one.roles.label])) and label not in HIDDEN_LABELS
        }
        several = [] if self.wishes.trust_columns else sorted(several_in_one(labels) - known)
        if several:
            raise Unsure(
                f"{self.opened[0].table.name}: {len(several)} labels, such as {several[0]!r}, are several in one; a "
                "text has one label here: choose one for each of these texts, or add --trust_columns"
            )
        if self.wishes.label_names:
            self.names = given_names(self.wishes.label_names)
            self.no_values = self.no_values - set(self.names.order)
        if nothing := labels & self.no_values:
            labels -= nothing
            shown = f"{' '.join(sorted(nothing))} in the labels' place: taken for no label, as programs write none"
            self.notes.append(shown if known else f"{shown}; where it is a class, add --trust_columns")
        if self.names:
            self.mapping = self.names.mapping(labels)
            return
        for one in self.opened:
            if one.roles.label in one.table.label_names:
                found = one.table.label_names[one.roles.label]
                self.mapping = {**{name: name for name in found.values()}, **found}
                self.order = list(found.values())
                self.notes.append(f"{one.table.name}: the file names its class ids: {_listed(self.order)}")
                return
        alike = spellings(labels)
        if not known and len(labels) > len(alike) and alike.keys() <= {"true", "false"}:
            self.mapping = {label: lower for lower, same in alike.items() for label in same}
            self.notes.append(f"{_listed(sorted(labels))} are written as {_listed(alike)}")
            return
        for same in alike.values():
            if len(same) > 1 and not set(same) <= known:
                self.notes.append(f"{_listed(same)} are different labels; if they are one, make them so in the file")
        if labels <= known or any(integer(label) is None for label in labels):
            return
        for names in names_beside(folders):
            try:
                self.mapping, self.names = names.mapping(labels), names
            except UsageError as error:
                self.notes.append(f"{names.where} is not used: {str(error).partition(': ')[2]}")
            else:
                self.notes.append(f"labels are ids; their names come from {names.where}: {_listed(names.order)}")
                return
        if any(label != str(integer(label)) for label in labels) and (
            len(set(map(integer, labels))) < len(labels) or any("." in label for label in labels)
        ):
            self.mapping = _Integers()
            self.notes.append(f"labels such as {max(labels, key=len)!r} are written as whole numbers")
            labels = {str(integer(label)) for label in labels}
        self.notes.append(
            f"labels are ids ({_listed(sorted(labels, key=integer))}) without names; give them: --label_names FILE, "
            "or --label_names 0=… 1=…"
        )

    def label_order(self, labels):
        """The labels in the order of their class ids: that of their names, of numbers, or as they are given.

        Args:
            labels (Iterable[str]): those of the samples, in the order of their appearance.
        """
        order = getattr(self, "order", None) or (self.names and self.names.order)
        if order:
            return list(order)
        labels = list(labels)
        return sorted(labels, key=integer) if all(integer(label) is not None for label in labels) else labels

    # --------------------------------------------------------------------------------------------------------- rows

    def rows(self):
        """All samples.

        Yields:
            tuple[Opened, int, str, str | None | Rejected]: the table, the line or row, the text and the label; None
            where there is no label; a Rejected in the label's place where the row cannot be used.
        """
        labels = set()
        for one in self.opened:
            yield from self._rows_of(one, labels)

    def _rows_of(self, one, known):
        """The samples of one table; `known` are the labels seen so far."""
        roles, table, clean, mapping = one.roles, one.table, self.clean, self.mapping
        single, join, nothing = len(roles.texts) == 1, self.wishes.join, self.no_values
        ready = {}  # labels as they stand -> as they are written

        def is_row(fields):
            return len(fields) == table.width and fields[roles.label] in ready

        marks = one.marks
        for number, row in one.footers.left_out(table.rows(is_row if roles.label is not None else None)):
            if table.undecoded:
                refuse_bytes(table, roles)
            if row.__class__ is not list:
                yield one, number, "", row
                continue
            if marks:
                take_off(row, marks)
            cells = [clean(row[index]) for index in roles.texts]
            text = cells[0] if single else join.join(cell for cell in cells if cell and cell not in nothing)
            label = None
            if roles.label is not None:
                raw = row[roles.label]
                label = ready.get(raw)
                if label is None:
                    label = label_of(raw, mapping, nothing)
                    if label.__class__ is str:
                        ready[raw] = label
            if not text or text in nothing:
                label = Rejected("no text", row_content(row)) if any(row) else Rejected("blank line", "")
            elif label.__class__ is Rejected:
                label.content = row_content(row)
            elif row == table.names or (row[0][:1] == "\ufeff" and [row[0][1:], *row[1:]] == table.names):
                label = Rejected("the names of the columns again", row_content(row))
            elif not text.isascii() and not can_be_written(text):
                label = Rejected("half a character (a surrogate)", ascii(text))
            yield one, number, text, label

    # -------------------------------------------------------------------------------------------------- description

    def description(self):
        """What was seen, as lines that a terminal can show: the files, their columns and uses, three samples."""
        for line in self._described():
            yield line.encode("utf-8", "backslashreplace").decode("utf-8")  # half a character

    def _described(self):
        shown = set()
        for one in self.opened:
            count = sum(other.shape() == one.shape() and other.part == one.part for other in self.opened)
            if (one.shape(), one.part) in shown:
                if "; not read: " in one.table.kind:
                    yield f"{one.table.name}: {one.table.kind}"
                continue
            shown.add((one.shape(), one.part))
            more = f" (and {count - 1} more files like it)" if count > 1 else ""
            yield f"{one.table.name}: {one.table.kind}{more}" + (f" -> {one.part}" if one.part else "")
            yield from column_lines(one.table, [row for _, row in one.sample], one.roles)
            if one.roles:
                yield f"  the first {ROWS_SHOWN} samples, as they are written:"
                for _, _, text, label in _some(self._rows_of(one, set()), ROWS_SHOWN):
                    yield f"    {shortened(text, 60)}" + (f"\t{label}" if label is not None else "")
        yield from (f"note: {note}" for note in self.notes)


def _listed(names):
    return shortened(" ".join(names), 120)


def _tables(sources, reading):
    """(part, Table) of files; texts in one folder a label are one table."""
    folders = folder_tables(sources, reading)
    if folders:
        yield from folders
        return
    for part, source in sources:
        yield from ((part, table) for table in open_tables(source, reading))


def _without_report(table, rows, known):
    """Notes on a column that is called as labels are, or holds some of the model's, but too few of these."""
    for index, name in enumerate(names_of(table)):
        filled = [cell for row in rows if (cell := one_line(row[index]))]
        share = sum(cell in known for cell in filled) / max(1, len(filled))
        if share >= 0.5 or (filled and name_score(name, HEADER_LABELS) == 3):
            yield (
                f"{table.name}: {share:.0%} of {name} are labels of the model, too few for a report; for one over "
                f"these, add --label_column {name} (ids get their names by --label_names of deploy/batch/predict.py)"
            )


def _has(table, name, wish):
    """Whether a table has the column that holds the labels of another one."""
    return name in names_of(table) or (wish is not None and wish.isdigit() and int(wish) <= table.width)


def _in_order(row, table, columns):
    """The fields of a row in the order of other columns of the same names."""
    names = names_of(table)
    return row if names == columns else [row[names.index(name)] for name in columns]


class _Integers(dict):
    """Whole numbers for other spellings of them, such as 3.0 and 03; other labels as they are."""

    def get(self, label, default=None):
        number = integer(label)
        return label if number is None else str(number)


def row_content(row):
    return shortened("\t".join(row), 1000)


def label_of(raw, mapping, no_values=frozenset()):
    """What a label is called; None for none, or one of no_values; a Rejected for several, or one without a name."""
    label = one_line(raw)
    if label[:1] in LIST_STARTS and label[-1:] in ("]", ")"):
        for read in (json.loads, ast.literal_eval):
            try:
                found = read(label)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                continue
            if isinstance(found, (list, tuple)):
                if len(found) > 1:
                    return Rejected(f"{len(found)} labels", "")
                label = one_line(str(found[0])) if found else ""
                break
    if label.startswith('{"') and label.endswith("}") and (mapping is None or label not in mapping):
        return Rejected("an object, not a label", "")  # {"choices": …} of Label Studio
    if not label or label in no_values:
        return None
    label = label.removeprefix("__label__") or label
    if mapping is None:
        return label if label.isascii() or can_be_written(label) else Rejected("half a character in the label", "")
    name = mapping.get(label) or mapping.get(str(integer(label)))
    return name or Rejected(f"no name of the label {shortened(label)!r}", "")


def can_be_written(text):
    try:
        text.encode("utf-8")
        return True
    except UnicodeEncodeError:
        return False


def _some(rows, count):
    """The first rows that can be used."""
    for row in rows:
        if row[3].__class__ is not Rejected:
            yield row
            count -= 1
            if not count:
                return
