"""Whether the two columns of a file are what they should be: texts, then the labels of a classification.

Labels are few and come again and again. Where they do not, the columns are the wrong way round, the second one holds
numbers of records, or the first line names the columns: training would work, and be worth nothing.
"""

import array
import collections
import re

from utils import UsageError

# Fewer samples tell nothing by their labels.
MIN_SAMPLES = 10
# More labels than one for so many samples are suspected, from so many labels on; below, only more than one for two.
SAMPLES_A_LABEL, MANY_LABELS = 10, 50
# Of these many rows it is told whether the first one names the columns.
ROWS_KEPT = 1000

HEADER_TEXTS = set(
    "text texts sentence sentence1 content query question title review comment utterance input document x "
    "文本 内容 句子 问题 标题 评论 正文 文章 语句 短文本 原文 数据 样本 問題 標題 內容".split()
)
HEADER_LABELS = set(
    "label labels category class target intent tag type sentiment output y label_name label_id label_desc "
    "标签 类别 分类 类型 意图 标注 情感 类目 種類 標籤 類別 分類".split()
)
# Numbers of records: digits, UUIDs, hashes, a word with a number.
ID = re.compile(r"[A-Za-z]{0,6}[-_]?\d{1,20}|[0-9a-fA-F]{8,}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

# Names of columns that are neither, by which a first line is known for one of names.
HEADER_OTHERS = set("id idx index uid uuid no number date time user author url source keywords".split()) | set(
    "序号 编号 日期 时间 用户 作者 来源 关键词".split()
)
NUMBER = re.compile(r"[+-]?\d+(?:[.,]\d+)?%?")
DATE = re.compile(r"(?:\d{2,4}[-/.年]){1,2}\d{1,2}.{0,16}|\d{1,2}:\d{2}.*|(?:https?|ftp)://\S+")
ODD_TEXT, MOST_ODD = re.compile("|".join(f"(?:{one.pattern})" for one in (ID, NUMBER, DATE))), 0.9
# A name of a column: longer ones, and those with marks inside, are texts.
NAME = re.compile(r"[\w .()（）/#:-]{1,40}")
SHORT_NAME = 12
# Rows among which the names of columns are looked for.
FIRST_ROWS = 5

HOW_TO_GO_ON = "write <text>, a tab, <label> a line; if it is meant so, add --trust_columns"


class Columns:
    """What is known of the columns of one file, from lines that have two."""

    def __init__(self):
        self.first = None
        self.rows = []
        self.example = ""
        self.sizes = [0, 0]
        self.ids = self.samples = 0
        self._hashes = array.array("q"), array.array("q")

    def add(self, texts, labels):
        """Add samples: texts and labels as they stand, list[str] each."""
        if not texts:
            return
        if self.first is None:
            self.first, self.example = (texts[0], labels[0]), labels[-1]
        if len(self.rows) < ROWS_KEPT:
            self.rows += list(map(list, zip(texts[:ROWS_KEPT], labels)))
        for index, column in enumerate((texts, labels)):
            self._hashes[index].extend(map(hash, column))
            # Bytes of UTF-8, in which a Chinese character weighs as much as three Latin letters.
            self.sizes[index] += len("".join(column).encode("utf-8", "replace"))
        self.ids += sum(ID.fullmatch(label) is not None for label in labels)
        self.samples += len(texts)

    def problems(self, how_to_go_on=HOW_TO_GO_ON):
        """What is suspected.

        Args:
            how_to_go_on (str): the end of each message about the columns.

        Returns:
            list[tuple[int, str]]: line number (0: the file) and message.
        """
        if not self.samples:
            return []
        found = []
        text, label = (field.strip().lower() for field in self.first)
        label_is_alone = self._hashes[1].count(hash(self.first[1])) == 1
        if (
            (label in HEADER_LABELS and (text in HEADER_TEXTS or (label_is_alone and self.samples > 1)))
            or (text in HEADER_LABELS and label in HEADER_TEXTS)
            or self.names_columns()
        ):
            found.append((1, self._header()))
        if self.samples >= MIN_SAMPLES and (message := self._suspicion(*map(_different, self._hashes))):
            found.append((0, f"{message}; {how_to_go_on}"))
        return found

    def _header(self):
        message = f"{self.first[0]!r} and {self.first[1]!r} look like the names of the columns; delete the line"
        return f"{message}, or add --trust_columns"

    def names_columns(self):
        """Whether the first line names the columns, as looks_like_header tells it; None where it may or may not."""
        if self.samples < MIN_SAMPLES or self._hashes[1].count(hash(self.first[1])) > 1:
            return False
        try:
            return looks_like_header("", self.rows)
        except UsageError:
            return None

    def only_label(self):
        """The label that all samples have, where they are enough to tell; else None."""
        return self.first[1] if self.samples >= MIN_SAMPLES and _different(self._hashes[1]) == 1 else None

    def _odd_texts(self, different):
        """What is wrong with the texts alone, of the rows that are kept; None for nothing."""
        if different == 1:
            return f"all {self.samples:,} texts are the same, {self.first[0][:40]!r}"
        size = len(self.rows)
        if sum(ODD_TEXT.fullmatch(text) is not None for text, _ in self.rows) > MOST_ODD * size:
            return f"the texts are numbers of records, dates or addresses, such as {self.first[0][:40]!r}"
        if sum(not any(map(str.isalnum, text)) for text, _ in self.rows) > 0.5 * size:
            return f"half of the texts or more, such as {self.first[0][:40]!r}, have no letter: lost in a conversion"
        if sum(text == label for text, label in self.rows) > MOST_ODD * size:
            return "text and label are the same"
        return None

    def _suspicion(self, texts, labels):
        """What is wrong with so many different texts and labels, or None."""
        longer = self.sizes[1] > self.sizes[0] and labels > texts
        many = labels * SAMPLES_A_LABEL > self.samples and (labels > MANY_LABELS or 2 * labels > self.samples)
        if (not longer or (texts == 1 and not many)) and (what := self._odd_texts(texts)):
            return what
        if not longer and not many:
            return None
        count = f"{labels:,} different labels in {self.samples:,} samples"
        if longer:
            mean = [size / self.samples / 3 for size in self.sizes]
            size = f"longer than the texts ({mean[1]:.1f} Chinese characters or so, texts {mean[0]:.1f})"
            return f"the columns are probably the wrong way round: {count}, {size}, of which {texts:,} are different"
        if 2 * self.ids > self.samples:
            return f"{count}, such as {self.example!r}: numbers of records probably, not labels"
        return f"{count}, more than one for {SAMPLES_A_LABEL}, such as {self.example[:40]!r}: probably no labels"


def _different(hashes):
    """How many different ones there are; a set of many takes ten times the memory of their array."""
    if len(hashes) < 100_000:
        return len(set(hashes))
    import numpy as np

    return len(np.unique(np.frombuffer(hashes, dtype=np.int64)))


def name_score(name, words):
    """How surely a column's name means what some words mean: 3 the same, 2 one of its parts is, 0."""
    name = name.strip().lower()
    if name in words:
        return 3
    parts = re.split(r"[\W_\d]+", name)
    if any(len(part) > 1 and part in words for part in parts):
        return 2
    chinese = (word for word in words if len(word) > 1 and word >= "\u4e00")
    return 2 if len(name) <= SHORT_NAME and any(name.endswith(word) for word in chinese) else 0


def names_row(rows):
    """The place of the row of well-known names, two at least, among the first ones: below titles and groups of names.

    Args:
        rows (list[list[str]]): the first rows of a table.

    Returns:
        int | None: the last such row of FIRST_ROWS; None where there is none.
    """
    place = None
    for index, row in enumerate(rows[:FIRST_ROWS]):
        names = {cell.strip("\ufeff ").lower() for cell in row}
        if len(names & (HEADER_TEXTS | HEADER_LABELS | HEADER_OTHERS)) > 1 and names & (HEADER_TEXTS | HEADER_LABELS):
            again = [other for other in rows if other != row and len(other) == len(row)]
            if all(
                sum(other[column] == cell for other in again) < 3 for column, cell in enumerate(row) if cell.strip()
            ):
                place = index
    return place


def _numbered(names, rows):
    """Whether a first row is 0 1 2 …, as pandas calls columns without names, over a column that holds no numbers."""
    filled = [name for name in names if name]
    if filled != list(map(str, range(len(filled)))) or len(filled) < 2 or len(filled) < len(names) - 1:
        return False
    columns = [[row[index].strip() for row in rows if index < len(row)] for index in range(len(names))]
    return any(sum(NUMBER.fullmatch(cell) is None for cell in column) > 0.9 * len(column) > 1 for column in columns)


def _one_word_numbered(names, rows):
    """Whether names are one word with numbers that count up, v1 v2, as R and databases name columns."""
    found = [re.fullmatch(r"([A-Za-z]{1,10}[ _.]?|列|字段)(\d{1,3})", name) for name in names]
    if len(names) < 2 or not all(found) or len({match[1] for match in found}) > 1:
        return False
    numbers = [int(match[2]) for match in found]
    counts_up = numbers == list(range(numbers[0], numbers[0] + len(numbers))) and numbers[0] in (0, 1)
    return counts_up and not any(name in row for name in names for row in rows)


def looks_like_header(where, rows):
    """Whether the first row of a table names its columns.

    Args:
        where (str): the file, for the message.
        rows (list[list[str]]): the first rows; one alone names the columns where all of it are well-known names.

    Raises:
        UsageError: it may or may not.
    """
    names = [name.strip() for name in rows[0]] if rows else []
    rows = [row for row in rows[1:] if row != rows[0]]
    filled = [name for name in names if name]
    # A column without a name has no cells either, or numbers of rows.
    empty = sum(
        not name and not any(row[index].strip() for row in rows if index < len(row))
        for index, name in enumerate(names)
    )
    known = HEADER_TEXTS, HEADER_LABELS, HEADER_OTHERS
    if not rows and len(set(filled)) == len(names):
        return bool(names) and all(name.lower() in set().union(*known) for name in names)
    if names_row([names, *rows]) == 0 or _numbered(names, rows) or _one_word_numbered(filled, rows):
        return True
    if not rows or not filled or len(filled) + empty < len(names) - 1 or len(set(filled)) < len(filled):
        return False
    columns = [[row[index].strip() for row in rows if index < len(row)] for index in range(len(names))]
    is_seen_again = any(name and name in column for name, column in zip(names, columns))  # one label of many
    is_short = all(len(name) <= 2 * SHORT_NAME for name in names)
    if is_short and not is_seen_again and any(name.lower() in HEADER_TEXTS | HEADER_LABELS for name in names):
        return True
    if is_seen_again or any(NUMBER.fullmatch(name) or not NAME.fullmatch(name) for name in filled):
        return False
    scores = [max(name_score(name, words) for words in known) for name in names]
    if max(scores) == 3 or (max(scores) == 2 and is_short):
        return True
    for name, column in zip(names, columns):
        cells = [cell for cell in column if cell]
        if name and len(cells) > 2 and sum(NUMBER.fullmatch(cell) is not None for cell in cells) > 0.95 * len(cells):
            return True
    if len(rows) >= MIN_SAMPLES and _stands_out(names, columns):
        shown = " ".join(repr(name) for name in names)
        raise UsageError(
            f"{where}: the first line, {shown}, may name the columns, or be a sample; say which: --header yes or "
            "--header no"
        )
    return False


def _stands_out(names, columns):
    """Whether a first row is unlike those below it: its texts are short, and its label is never seen again."""
    is_short, is_alone = False, False
    for name, column in zip(names, columns):
        cells = [cell for cell in column if cell]
        counts = collections.Counter(cells)
        if cells and 2 * len(counts) <= len(cells):
            is_alone = is_alone or min(counts.values()) > 1
        elif cells:
            is_short = is_short or 2 * len(name) <= sum(map(len, cells)) / len(cells)
    return is_short and is_alone
