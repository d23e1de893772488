"""Which columns of a table are the text and the label: by their names, else by what is in them.

Nothing is guessed where two would do: the user is asked, by a refusal that names the flags.
"""

import collections
import difflib
import re
import shlex
from dataclasses import dataclass, field

from core.columns import (
    HEADER_LABELS,
    HEADER_TEXTS,
    ID,
    MANY_LABELS,
    MIN_SAMPLES,
    NUMBER,
    SAMPLES_A_LABEL,
    Columns,
    name_score,
)
from core.other_kinds import A_PAIR, is_pair
from core.sources import PART_WORDS
from utils import UsageError, shortened

NO_LABEL = "none"
# Labels longer than this, in Chinese characters or their like, are texts.
LONGEST_LABEL = 40
# A text so many times as long as all others is the one that is meant.
LONGER, MUCH_LONGER = 2, 8
# The share of a column's values that must be labels of a model.
MOST_KNOWN = 0.9
DATE = re.compile(r"(?:\d{2,4}[-/.年]){1,2}\d{1,2}.{0,16}|\d{1,2}:\d{2}.*|(?:https?|ftp)://\S+")
# A list of two words or more, as core/json_tables.py writes it.
WORDS = re.compile(r'\["[^"]*", "')
FLAGS = {"0": 0, "1": 1, "0.0": 0, "1.0": 1, "false": 0, "true": 1, "False": 0, "True": 1, "FALSE": 0, "TRUE": 1}
CORRECT = "say which columns are which with --text_column and --label_column"


class Unsure(UsageError):
    """What a table is cannot be told without the user."""


@dataclass
class Roles:
    """What the columns of a table are.

    Args:
        texts (list[int]): numbers of the columns, from 0, that make up the text.
        label (int | None): that of the label; None where there is none.
        notes (list[str]): what a user should know of the choice.
    """

    texts: list
    label: int = None
    notes: list = field(default_factory=list)


class Column:
    """What is known of one column from some rows."""

    def __init__(self, index, name, cells):
        self.index, self.name = index, name
        filled = [cell.strip() for cell in cells if cell.strip()]
        self.cells, self.filled = cells, len(filled)
        self.share = len(filled) / max(1, len(cells))
        self.values = collections.Counter(filled)
        # In Chinese characters, or in as many Latin letters as weigh the same.
        self.size = len("".join(filled).encode("utf-8", "replace")) / 3 / max(1, len(filled))
        self.is_number = self._most(NUMBER)
        self.is_id = self._most(ID) and 2 * len(self.values) > len(filled)
        self.is_date = self._most(DATE)
        self.text_score = name_score(name, HEADER_TEXTS)
        self.label_score = name_score(name, HEADER_LABELS)

    def _most(self, pattern):
        return (
            self.filled > 0
            and sum(count for value, count in self.values.items() if pattern.fullmatch(value)) > 0.9 * self.filled
        )

    def is_copy_of(self, other):
        """Whether this is inputs.text beside text."""
        return self.cells == other.cells and self.name.rpartition(".")[2] == other.name.rpartition(".")[2]

    def may_be_label(self):
        """Whether its values come again and again."""
        different = len(self.values)
        if different < 2 or self.size > LONGEST_LABEL or self.is_date or self.share < 0.5:
            return False
        if self.filled < MIN_SAMPLES:
            return True
        return different * SAMPLES_A_LABEL <= self.filled or (
            different <= MANY_LABELS and 2 * different <= self.filled
        )

    def may_be_text(self):
        """Whether its values say something."""
        return len(self.values) > 1 and not (self.is_number or self.is_id or self.is_date) and self.share >= 0.5


def names_of(table):
    """What the columns of a table are called: by their names, else by their numbers from 1."""
    names = table.names or [""] * table.width
    return [name or str(number) for number, name in enumerate(names, 1)]


def find_roles(table, rows, text_columns=None, label_column=None, trust=False):
    """Find the columns of text and label.

    Args:
        table (core.tables.Table): the table.
        rows (list[list[str]]): some of its rows.
        text_columns (list[str] | None): the user's word for the text, names or numbers from 1.
        label_column (str | None): that for the label; NO_LABEL where there is none.
        trust (bool): they are what they are, whatever they look like.

    Returns:
        Roles.

    Raises:
        Unsure: two columns would do, or none.
        UsageError: a column that the user names is not there.
    """
    names = names_of(table)
    columns = [Column(index, name, [row[index] for row in rows]) for index, name in enumerate(names)]
    roles = Roles([_named(table, names, word) for word in text_columns or ()])
    if label_column is not None and label_column != NO_LABEL:
        roles.label = _named(table, names, label_column)
        if roles.label in roles.texts:
            raise UsageError(f"--label_column {label_column}: is the --text_column too; give another one")
    elif label_column is None:
        roles.label = _find_label(table, columns, roles)
    if not roles.texts and roles.label is None and table.width > 1 and not table.names:
        raise Unsure(
            f"{table.name}: {table.width} columns, of which one or more are the text; choose: --text_column 1, or, "
            "where a line is one text, --separator none"
        )
    if not roles.texts:
        roles.texts = [_find_text(table, columns, roles)]
    for column in columns:
        parts = {PART_WORDS.get(value.lower()) for value in column.values}
        if len(parts) > 1 and None not in parts and column.index not in [*roles.texts, roles.label] and not trust:
            raise Unsure(
                f"{table.name}: {column.name} says which rows are {' '.join(sorted(column.values))}; write these into "
                f"files of their own, in pandas: for part, rows in table.groupby({column.name!r}): "
                "rows.to_csv(f'{part}.csv', index=False), and give them with --train_path, --dev_path and "
                "--test_path; or add --trust_columns, and all rows are divided anew"
            )
    if not table.names and roles.label is not None and roles.label < min(roles.texts):
        roles.notes.append("the label stands before the text: put right")
    for index in roles.texts if not text_columns else ():
        cells = [cell for cell in columns[index].cells if cell.strip()]
        if cells and sum(WORDS.match(cell) is not None for cell in cells) > 0.9 * len(cells):
            name = columns[index].name
            raise Unsure(
                f"{table.name}: {name} holds lists of words, not texts; join them first, in pandas: table[{name!r}] = "
                f"table[{name!r}].str.join(''), or ' ' for words with spaces between; or name "
                f"it: --text_column {_word(table, columns[index])}"
            )
    if roles.label is not None and not trust:
        _refuse_objects(table, columns[roles.label])
        _suspect(table, columns, roles)
    roles.notes += _unnamed(table, columns, roles)
    return roles


def _refuse_objects(table, column):
    """Raise Unsure where labels are objects of JSON."""
    objects = [cell for cell in column.values if cell[:1] == "{" and cell[-1:] == "}" and ":" in cell]
    if objects and 2 * len(objects) >= len(column.values):
        raise Unsure(
            f"{table.name}: {column.name} holds objects, such as {shortened(objects[0], 60)}, and no labels; take the "
            f"label out of them first, or name another column: --label_column"
        )


def _unnamed(table, columns, roles):
    """Notes on columns without a name that a few rows have something in: the end of a text with commas, perhaps."""
    used = {*roles.texts, roles.label}
    for column in columns if table.names else ():
        if not table.names[column.index] and column.filled and column.share < 0.5 and column.index not in used:
            cell = shortened(next(iter(column.values)), 40)
            yield (
                f"column {column.name} has no name, and something in {column.filled:,} of {len(column.cells):,} rows, "
                f"such as {cell!r}: not read; if it is the end of a text, join it with --text_column"
            )


def refuse_bytes(table, roles):
    """Refuse texts and labels that are bytes in no known encoding.

    Args:
        table (core.tables.Table): whose rows were read, some at least.
        roles (Roles): of its columns.

    Raises:
        UsageError: naming the column.
    """
    for index in sorted(table.undecoded & {*roles.texts, roles.label}):
        name = names_of(table)[index]
        raise UsageError(
            f"{table.name}: {name} holds bytes that are not UTF-8; make texts of them, in pandas, by their encoding: "
            f"table[{name!r}] = table[{name!r}].str.decode('gb18030')"
        )


def find_known_labels(table, rows, known, texts=None):
    """The column with labels of a model, by what is in it.

    Args:
        table, rows: as for find_roles.
        known (set[str]): the model's labels.
        texts (list[str] | None): the user's word for the columns of the text.

    Returns:
        str: as find_roles takes it; NO_LABEL where no column has such labels.

    Raises:
        Unsure: two columns have some.
    """
    names, columns = names_of(table), []
    taken = {_named(table, names, word) for word in texts or ()}
    for index, name in enumerate(names if len(names) > 1 else ()):
        column, own = Column(index, name, [row[index] for row in rows]), table.label_names.get(index, {})
        found = sum(count for value, count in column.values.items() if own.get(value, value) in known)
        if index not in taken and found and found >= MOST_KNOWN * column.filled:
            columns.append(column)
    best = max((column.label_score for column in columns), default=0)
    columns = [column for column in columns if column.label_score == best]
    if len(columns) > 1:
        raise Unsure(
            f"{table.name}: {len(columns)} columns have labels of the model; choose those that answers are compared "
            f"with: {_flags(table, columns, '--label_column')}, or --label_column {NO_LABEL}"
        )
    if not columns:
        return NO_LABEL
    return columns[0].name if names.count(columns[0].name) == 1 else str(columns[0].index + 1)


def _named(table, names, word):
    """The number of the column that a user names."""
    for known in (names, [name.strip().lower() for name in names]):
        word = word if known is names else word.strip().lower()
        if known.count(word) == 1:
            return known.index(word)
    if word.isdigit() and 1 <= int(word) <= len(names):
        return int(word) - 1
    close = difflib.get_close_matches(word, names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    raise UsageError(f"{table.name}: no column {word!r}; {hint}it has: {_listed(names)}")


def _listed(names):
    shown = " ".join(shortened(name, 30) for name in names[:20])
    return shown if len(names) <= 20 else f"{shown} and {len(names) - 20} more"


def _flags(table, columns, flag):
    """Flags to choose from, as they may be copied."""
    return " or ".join(f"{flag} {_word(table, column)}" for column in columns[:4])


def _word(table, column):
    """What a user calls a column: its name, or its number where two have the name."""
    return _quoted(column.name) if names_of(table).count(column.name) == 1 else str(column.index + 1)


def _quoted(name):
    """A name as a shell takes it."""
    return name if re.fullmatch(r"[\w.-]+", name) else shlex.quote(name)


def _find_label(table, columns, roles):
    """The number of the label's column."""
    free = [column for column in columns if column.index not in roles.texts]
    if len(free) < 1 or table.width == 1:
        raise Unsure(
            f"{table.name}: no column of labels; name what stands between text and label with --separator, or, where "
            f"the texts have none, add --label_column {NO_LABEL}"
        )
    likely = [column for column in free if column.may_be_label()]
    named = [column for column in likely if column.label_score]
    # Flags such as multi_label have one value in a whole file.
    named = named or [
        column
        for column in free
        if column.label_score
        and not column.is_date
        and column.values
        and (column.label_score == 3 or not likely or len(column.values) > 1)
    ]
    if not likely + named:
        measures = [column for column in free if _is_measure(column)]
        if measures:
            name, different = measures[0].name, len(measures[0].values)
            raise Unsure(
                f"{table.name}: {name} holds {different:,} different numbers: a measure, and no classes; make some of "
                f"it, in pandas: table['label'] = pandas.cut(table[{name!r}], 3, labels=['low', 'middle', 'high']); "
                f"or name another column: --label_column, or --label_column {NO_LABEL} where the texts have no labels"
            )
        raise Unsure(
            f"{table.name}: no column has values that come again and again as labels do; {CORRECT}, or, where the "
            f"texts have no labels, add --label_column {NO_LABEL}"
        )
    chosen = named or likely
    if len(chosen) > 1 and not named and table.width == 2:
        few, many = sorted(chosen, key=lambda column: len(column.values))
        if 3 * len(few.values) <= len(many.values) and few.size <= many.size:
            chosen = [few]
    label = chosen[0]
    twins = [column for column in likely if column is not label and _same(label, column)]
    _refuse_one_hot(table, likely)
    if any(column is not label and column not in twins for column in chosen):
        raise Unsure(
            f"{table.name}: {len(chosen)} columns may be the label; choose one: "
            f"{_flags(table, chosen, '--label_column')}"
        )
    # An id and its name: the name is the label.
    words = [column for column in [label, *twins] if not column.is_number and not column.is_id]
    if label.is_number and words:
        best = max(column.label_score for column in words)
        words = [column for column in words if column.label_score == best]
        if len(words) > 1:
            raise Unsure(
                f"{table.name}: {len(words)} columns name the classes; choose one: "
                f"{_flags(table, words, '--label_column')}"
            )
        roles.notes.append(f"{label.name} holds the ids of {words[0].name}")
        label = words[0]
    elif len([column for column in chosen if column in words]) > 1:
        raise Unsure(
            f"{table.name}: {len(words)} columns name the classes; choose one: "
            f"{_flags(table, words, '--label_column')}"
        )
    return label.index


def _is_measure(column):
    """Whether a column holds numbers with fractions, most of them different."""
    return column.is_number and 2 * len(column.values) > column.filled and any("." in cell for cell in column.values)


def _refuse_one_hot(table, columns):
    """Raise Unsure where each label has a column of its own: in each row one is 1 and the others are 0."""
    is_one_hot = all(len(column.values) == 2 and column.values.keys() <= FLAGS.keys() for column in columns)
    rows = [sum(FLAGS.get(cell.strip(), 0) for cell in row) for row in zip(*(column.cells for column in columns))]
    if (
        len(columns) > 1
        and is_one_hot
        and all(column.share == 1 for column in columns)
        and rows.count(1) > MOST_KNOWN * len(rows)
    ):
        names = [column.name for column in columns]
        raise Unsure(
            f"{table.name}: {_listed(names)}: each label has a column of its own, with a 1 where a text has it; make "
            f"one column of them, and give that: in pandas, table['label'] = table[{names[:20]}].idxmax(axis=1); or "
            f"name one as the label: {_flags(table, columns, '--label_column')}"
        )


def _same(one, other):
    """Whether two columns say the same in other words: each value of one goes with one of the other."""
    pairs = {(a.strip(), b.strip()) for a, b in zip(one.cells, other.cells) if a.strip() and b.strip()}
    is_one_to_one = len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) > 1
    return is_one_to_one and 2 * len(pairs) <= len(one.cells)  # not where each row has its own


def _find_text(table, columns, roles):
    """The number of the text's column."""
    label = columns[roles.label] if roles.label is not None else None
    free = [column for column in columns if column is not label and not (label and _same(label, column))]
    likely = [column for column in free if column.may_be_text()]
    if table.width == 1:
        return 0
    if table.width == 2 and len(free) == 1 and free[0].values:
        return free[0].index
    named = [column for column in likely if column.text_score]
    if named:
        size = max(column.size for column in named)
        rivals = [column for column in likely if column not in named and column.size >= LONGER * size]
        candidates = named + [column for column in rivals if not column.may_be_label()]
    else:
        candidates = [column for column in likely if not column.may_be_label()] or likely
    if len(candidates) > 1 and not named:
        longest = max(candidates, key=lambda column: column.size)
        whole = [column for column in candidates if column.share == 1]
        if all(longest.size >= MUCH_LONGER * column.size for column in candidates if column is not longest):
            candidates = [longest]
        elif len(whole) == 1 and all(column.share < 0.95 for column in candidates if column not in whole):
            candidates = whole
    # Exports of Argilla have a text twice.
    candidates = [
        column
        for place, column in enumerate(candidates)
        if not any(column.is_copy_of(other) for other in candidates[:place])
    ]
    if not candidates:  # one row, perhaps
        candidates = [column for column in free if column.text_score == 3 and column.values]
    if not candidates:
        raise Unsure(f"{table.name}: no column looks like texts; {CORRECT}")
    if len(candidates) > 1:
        together = " ".join(_word(table, column) for column in candidates)
        pair = f"; but these are {A_PAIR}" if is_pair(column.name for column in candidates) else ""
        raise Unsure(
            f"{table.name}: {len(candidates)} columns may be the text; choose one: "
            f"{_flags(table, candidates, '--text_column')}; or join them: --text_column {together}{pair}"
        )
    return candidates[0].index


def _suspect(table, columns, roles):
    """Raise Unsure where the columns are probably no texts and labels."""
    suspicion = Columns()
    rows = [
        (text, label)
        for *texts, label in zip(*(columns[index].cells for index in [*roles.texts, roles.label]))
        if label.strip() and (text := " ".join(texts).strip())
    ]
    suspicion.add(*map(list, zip(*rows)) if rows else ([], []))
    if messages := [message for number, message in suspicion.problems(HOW_TO_GO_ON) if not number]:
        raise Unsure(f"{table.name}: {messages[0]}")


HOW_TO_GO_ON = f"{CORRECT}; if it is meant so, add --trust_columns"
