"""Whether the two columns of a file are what they should be: texts, then the labels of a classification.

Labels are few and come again and again. Where they do not, the columns are the wrong way round, the second one holds
numbers of records, or the first line names the columns: training would work, and be worth nothing.
"""

import re

import numpy as np

# Fewer samples tell nothing by their labels.
MIN_SAMPLES = 10
# More labels than one for so many samples are suspected, from so many labels on; below, only more than one for two.
SAMPLES_A_LABEL, MANY_LABELS = 10, 50

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

HOW_TO_GO_ON = "write <text>, a tab, <label> a line; if it is meant so, add --trust_columns"


class Columns:
    """What is known of the columns of one file, from lines that have two."""

    def __init__(self):
        self.first = None
        self.example = ""
        self.sizes = np.zeros(2, dtype=np.int64)
        self.ids = self.samples = 0
        self._hashes = []

    def add(self, texts, labels):
        """Add samples: texts and labels as they stand, list[str] each."""
        if not texts:
            return
        if self.first is None:
            self.first, self.example = (texts[0], labels[0]), labels[-1]
        self._hashes.append(np.array([[hash(text) for text in texts], [hash(label) for label in labels]]))
        # Bytes of UTF-8, in which a Chinese character weighs as much as three Latin letters.
        self.sizes += [len("".join(column).encode("utf-8", "replace")) for column in (texts, labels)]
        self.ids += sum(ID.fullmatch(label) is not None for label in labels)
        self.samples += len(texts)

    def problems(self):
        """What is suspected.

        Returns:
            list[tuple[int, str]]: line number (0: the file) and message.
        """
        if not self.samples:
            return []
        hashes = np.concatenate(self._hashes, axis=1)
        found = []
        text, label = (field.strip().lower() for field in self.first)
        label_is_alone = int((hashes[1] == hash(self.first[1])).sum()) == 1
        if (label in HEADER_LABELS and (text in HEADER_TEXTS or (label_is_alone and self.samples > 1))) or (
            text in HEADER_LABELS and label in HEADER_TEXTS
        ):
            message = f"{self.first[0]!r} and {self.first[1]!r} look like the names of the columns; delete the line"
            found.append((1, f"{message}, or add --trust_columns"))
        if self.samples >= MIN_SAMPLES and (message := self._suspicion(*(len(np.unique(row)) for row in hashes))):
            found.append((0, f"{message}; {HOW_TO_GO_ON}"))
        return found

    def _suspicion(self, texts, labels):
        """What is wrong with so many different texts and labels, or None."""
        longer = self.sizes[1] > self.sizes[0] and labels > texts
        many = labels * SAMPLES_A_LABEL > self.samples and (labels > MANY_LABELS or 2 * labels > self.samples)
        if not longer and not many:
            return None
        count = f"{labels:,} different labels in {self.samples:,} samples"
        if longer:
            mean = self.sizes / self.samples / 3
            size = f"longer than the texts ({mean[1]:.1f} Chinese characters or so, texts {mean[0]:.1f})"
            return f"the columns are probably the wrong way round: {count}, {size}, of which {texts:,} are different"
        if 2 * self.ids > self.samples:
            return f"{count}, such as {self.example!r}: numbers of records probably, not labels"
        return f"{count}, more than one for {SAMPLES_A_LABEL}, such as {self.example[:40]!r}: probably no labels"
