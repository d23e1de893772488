"""Check a data folder before training: what train.py would refuse, and what makes a model worse without a word.

    python data/check.py --dataset_dir data                                  # a report in the terminal
    python data/check.py --dataset_dir data --model_name_or_path checkpoint  # tokens counted by that model's tokenizer
    python data/check.py --dataset_dir data --html report.html --json report.json
    python data/check.py --dataset_dir data --fix data_clean                 # a cleaned copy and a list of the changes

Errors are what train.py refuses, all of them and not only the first. Warnings are duplicates, the same text with
different labels, texts of dev or test that training sees too, labels that are never or hardly used, imbalance, texts
that are cut off, and characters that do not belong there.

Exit code: 0 without errors (there may be warnings), 1 with errors, 2 when the check itself could not be run.

Memory: texts are not kept, but for those of dev.txt and test.txt, with which training texts are compared. A million
lines, of which a tenth are dev and test, took 300 MB at most.
"""

import argparse
import collections
import functools
import io
import json
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from near_duplicates import FIRST_WIDE, NearDuplicates, dropped_characters, normalise, to_codes  # noqa: E402
from split import check_threshold  # noqa: E402

from utils import (  # noqa: E402
    ENCODING_SAMPLE,
    UsageError,
    example_problem,
    exit_on_usage_error,
    guess_encoding,
    parse_example,
    parse_labels,
    require_packages,
    shortened,
    staged_files,
    utf16_variant,
    write_json,
)

# dev and test come first: train is compared with them.
SPLITS = ("test", "dev", "train")
REPORT_ORDER = ("train", "dev", "test", "data", "label")
# Bytes that are read and checked together.
BLOCK_BYTES = 4 << 20
ROWS_IN_TERMINAL = 5
# With a tokenizer the tokens of this many lines of a file are all counted, and of that many texts at a time.
ALL_COUNTED, TOKENIZED_AT_ONCE = 200_000, 10_000
# The histogram goes to this many times --max_length, in at most so many bins.
HISTOGRAM_TOP, HISTOGRAM_BINS = 2, 64

# kind: (severity, what it is and what to do about it). The order is that of the report.
KINDS = {
    "file": ("error", "a file that train.py needs"),
    "encoding": ("error", "not UTF-8; convert the file, or let --fix do it"),
    "label_file": ("error", "label.txt: one label a line, each once"),
    "blank_line": ("error", "blank lines; delete them"),
    "no_tab": ("error", "no tab between text and label"),
    "extra_tab": ("error", "more than one tab"),
    "empty_text": ("error", "no text before the tab"),
    "swapped_columns": ("error", "label and text change places"),
    "unknown_label": ("error", "labels that are not in label.txt"),
    "conflict": ("warning", "the same text with different labels; decide which one is right"),
    "leakage": ("warning", "texts of dev or test that are in another file too: the accuracy will look better than it "
                "is; take them out of the other file"),
    "normalised_leakage": ("warning", "the same but for width, case, punctuation and white space"),
    "near_leakage": ("warning", "texts of dev or test that are nearly the same as one in another file"),
    "duplicate": ("warning", "the same line again; copies weigh as much as new samples without telling anything new"),
    "normalised_duplicate": ("warning", "the same text again but for width, case, punctuation and white space"),
    "already_labelled": ("warning", "texts of data.txt that have a label already"),
    "unused_label": ("warning", "labels of label.txt without a sample in train.txt: they can never be predicted"),
    "few_samples": ("warning", "labels with too few samples in train.txt to be learned well"),
    "not_in_dev": ("warning", "labels without a sample in dev.txt: how well they are predicted stays unknown"),
    "imbalance": ("warning", "the most frequent label has many times the samples of the rarest; look at the macro F1, "
                  "not only at the accuracy"),
    "label_shift": ("warning", "the labels' shares differ from those of train.txt: the files were not drawn alike"),
    "short_text": ("warning", "texts without more than one letter, digit or Chinese character"),
    "truncated": ("warning", "texts longer than --max_length tokens: the model does not see their end"),
    "control_character": ("warning", "control or invisible characters; the tokenizer drops them or splits there"),
    "private_use": ("warning", "private-use characters: they mean something in one font only"),
    "lost_character": ("warning", "U+FFFD: a character was lost in an earlier conversion"),
    "mixed_script": ("warning", "traditional characters among simplified ones, or the other way round; the vocabulary "
                     "takes them for different words"),
    "tab_in_unlabelled": ("warning", "data.txt has one text a line and no label; tabs are read as part of the text"),
}  # fmt: skip

# Bits of character_classes().
CONTROL, PRIVATE, LOST, TRADITIONAL, SIMPLIFIED, WORD, WIDE, SPACE = (1 << bit for bit in range(8))
# Characters of a line -> kind, for those that need no look at other lines.
CHARACTER_KINDS = {CONTROL: "control_character", PRIVATE: "private_use", LOST: "lost_character"}


@functools.cache
def character_classes():
    """uint8 array [0x110000]: for each code point the bits that it has."""
    from zhon import cedict

    table = np.where(dropped_characters(), 0, WORD).astype(np.uint8)
    codes = np.arange(len(table))
    # C0, C1, soft hyphen, marks of direction and of joining except those inside emoji and Indic words, BOM.
    for first, last in ((0x00, 0x1F), (0x7F, 0x9F), (0xAD, 0xAD), (0x61C, 0x61C), (0x180E, 0x180E), (0x200B, 0x200B),
                        (0x200E, 0x200F), (0x2028, 0x202E), (0x2060, 0x206F), (0xFEFF, 0xFEFF),
                        (0xFFF9, 0xFFFB)):  # fmt: skip
        table[first : last + 1] |= CONTROL
    for first, last in ((0xE000, 0xF8FF), (0xF0000, 0xFFFFD), (0x100000, 0x10FFFD)):
        table[first : last + 1] |= PRIVATE
    table[0xFFFD] |= LOST
    simplified, traditional = set(cedict.simplified), set(cedict.traditional)
    table[[ord(character) for character in traditional - simplified]] |= TRADITIONAL
    table[[ord(character) for character in simplified - traditional]] |= SIMPLIFIED
    table[codes >= FIRST_WIDE] |= WIDE
    table[[9, 10, 11, 12, 13, 32, 0xA0, 0x3000, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F]] |= SPACE
    table[0x3000] &= ~np.uint8(WIDE)
    return table


# ------------------------------------------------------------------------------------------------------- findings


class Findings:
    """Problems by kind: all are counted, the first `max_listed` of a kind are kept with their places."""

    def __init__(self, max_listed):
        self.max_listed = max_listed
        self.counts = collections.Counter()
        self.rows = collections.defaultdict(list)

    def add(self, kind, split, line, message, text=None, other=None):
        """Count a finding.

        Args:
            kind (str): key of KINDS.
            split (str): the file's name without .txt.
            line (int): its number; 0 for the file as a whole.
            message (str): what this one is.
            text (str | None): the text of the line; None leaves it to Check.fill_in_texts.
            other (tuple[str, int] | None): file and line of the text that it was compared with.
        """
        if len(self.rows[kind]) < self.max_listed:
            row = {"split": split, "line": line, "message": message, "text": text, "other": other, "other_text": None}
            self.rows[kind].append(row)
        self.counts[kind] += 1

    def number_of(self, severity):
        return sum(count for kind, count in self.counts.items() if KINDS[kind][0] == severity)


# -------------------------------------------------------------------------------------------------------- reading


def read_chunks(path, on_bad_line=None, bar=None):
    """Read a text file in blocks, whatever its encoding, into the lines that train.py sees.

    Args:
        path (Path): the file.
        on_bad_line (Callable[[int, str | None], None] | None): told the number and the likely encoding of each line
            that is not UTF-8; number 0 is the whole file, for encodings with another line end.
        bar: a tqdm bar that counts bytes.

    Yields:
        tuple[int, list[str]]: the number of the first line, and lines without their ends. Blank lines at the end of
        the file are left out.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); give the path of a readable file") from None
    with file:
        head = file.read(ENCODING_SAMPLE)
        file.seek(0)
        encoding = utf16_variant(head)
        if encoding:
            if on_bad_line:
                on_bad_line(0, encoding)
            text = io.TextIOWrapper(file, encoding=encoding, errors="replace", newline="\n")
            yield from _lines_of(iter(lambda: "".join(text.readlines(BLOCK_BYTES // 2)), ""))
        else:
            yield from _lines_of(_decoded_blocks(file, on_bad_line, bar))


def _decoded_blocks(file, on_bad_line, bar):
    number, decoder = 1, LineDecoder()
    while block := file.read(BLOCK_BYTES):
        block += file.readline()
        if bar is not None:
            bar.update(len(block))
        if number == 1:
            block = block[3:] if block.startswith(b"\xef\xbb\xbf") else block
        try:
            text = block.decode("utf-8")
        except UnicodeDecodeError:
            lines = []
            for offset, line in enumerate(block.split(b"\n")):
                try:
                    lines.append(line.decode("utf-8"))
                except UnicodeDecodeError:
                    decoded, encoding = decoder.decode(line)
                    lines.append(decoded)
                    if on_bad_line:
                        on_bad_line(number + offset, encoding)
            text = "\n".join(lines)
        number += block.count(b"\n")
        yield text


class LineDecoder:
    """Decodes lines that are not UTF-8; the encoding is guessed anew when the last one does not fit."""

    def __init__(self):
        self.encoding = None
        self.guesses_left = 20

    def decode(self, line):
        """Returns tuple[str, str | None]: the text, with U+FFFD for what cannot be read, and the encoding if known."""
        for attempt in range(2):
            if self.encoding is not None:
                try:
                    return line.decode(self.encoding), self.encoding
                except UnicodeDecodeError:
                    pass
            if attempt == 0 and self.guesses_left:
                self.guesses_left -= 1
                self.encoding = guess_encoding(line[:ENCODING_SAMPLE]) or self.encoding
        return line.decode("utf-8", "replace"), None


def _lines_of(blocks):
    """Number the lines of blocks of text, each of which ends where a line ends."""
    number, blank = 1, []
    for block in blocks:
        lines = block.replace("\r\n", "\n").split("\n")
        if lines[-1] == "":
            lines.pop()
        elif lines[-1].endswith("\r"):
            lines[-1] = lines[-1][:-1]
        lines = blank + lines
        end = len(lines)
        while end and not lines[end - 1].strip():
            end -= 1
        blank = lines[end:]
        if end:
            yield number, lines[:end]
            number += end


class LabelsAsFound(dict):
    """Class ids in the order in which labels are looked up: for a folder whose label.txt cannot be used."""

    def get(self, label, default=None):
        return self.setdefault(label, len(self)) if label else default


# ------------------------------------------------------------------------------------------------------- checking


class Check:
    """The state of one check of a folder: what was found, and what is known of every line.

    Args:
        folder (Path): the data folder.
        max_length (int): tokens that the model takes, [CLS] and [SEP] included.
        count_tokens (Callable[[list[str]], list[int]] | None): tokens of texts; None estimates them.
        threshold (float): similarity from which texts are nearly the same; 0 leaves that out.
        few (int): fewer samples of a label than this are few.
        imbalance (float): the ratio of the most to the least frequent label that is worth a warning.
        max_listed (int): places kept of each kind of finding.
    """

    def __init__(
        self, folder, max_length=128, count_tokens=None, threshold=0.8, few=10, imbalance=10, max_listed=1000
    ):
        self.folder, self.max_length, self.few, self.imbalance = folder, max_length, few, imbalance
        self.count_tokens = count_tokens
        self.findings = Findings(max_listed)
        self.classes = character_classes()
        self.splits = {}
        self.near = NearDuplicates(threshold) if threshold else None
        self.near_places = []
        self.near_found = {}
        self.near_settled = np.zeros(0, dtype=bool)
        self.label2id = self.read_label_file()
        total = sum(self.path(name).stat().st_size for name in (*SPLITS, "data") if self.path(name).is_file())
        with tqdm(total=total, unit="B", unit_scale=True, desc="checking", disable=None) as bar:
            for name in SPLITS:
                self.read_split(name, bar)
            self.read_split("data", bar)
        # In the order of their class ids.
        self.labels = list(self.label2id)
        self.compare_texts()
        self.check_labels()
        self.check_script()
        self.fill_in_texts()

    def path(self, name):
        return self.folder / f"{name}.txt"

    # ---------------------------------------------------------------- files

    def read_label_file(self):
        """Find the faults of label.txt; label -> class id."""
        path = self.path("label")
        if not path.is_file():
            self.findings.add("file", "label", 0, "no such file; write one label a line")
            return LabelsAsFound()
        lines = [line for _, some in read_chunks(path, self.bad_line("label")) for line in some]
        labels, problems = parse_labels(lines) if lines else ([], [(0, "the file is empty; write one label a line")])
        for number, message in problems:
            self.findings.add("label_file", "label", number, message)
        return {label: index for index, label in enumerate(labels)} if labels else LabelsAsFound()

    def bad_line(self, name):
        """What read_chunks calls for a line that is not UTF-8."""

        def add(number, encoding):
            known = "GBK (GB18030)" if encoding == "GB18030" else encoding
            message = f"looks like {known}" if number else f"the file is {known}"
            self.findings.add("encoding", name, number, message if encoding else "not in a known encoding")

        return add

    def read_split(self, name, bar):
        """Read one file: faults of single lines, and what comparisons between lines need."""
        path = self.path(name)
        if not path.is_file():
            if name in ("train", "dev"):
                hint = " (python data/split.py divides one file)" if name == "dev" else ""
                self.findings.add("file", name, 0, f"no such file; write <text>, a tab, <label> a line{hint}")
            return
        split = self.splits[name] = Split()
        waiting = []
        try:
            for first, lines in read_chunks(path, self.bad_line(name), bar):
                split.lines += len(lines)
                parse = self.parse_unlabelled if name == "data" else self.parse_examples
                numbers, texts, ids = parse(name, first, lines)
                if texts:
                    normal = self.look_at(name, numbers, texts, ids)
                    if self.near is not None and name != "data":
                        waiting += self.find_near(name, numbers, normal)
            if split.lines == 0:  # train.py does not read data.txt
                kind = "short_text" if name == "data" else "file"
                self.findings.add(kind, name, 0, "the file is empty; write one sample a line")
        except UsageError as error:
            self.findings.add("file", name, 0, str(error).partition(": ")[2])
        split.freeze()
        if name != "train" and waiting:
            self.near.add([text for text, _ in waiting])
            self.near_places += [place for _, place in waiting]
            self.near_settled = np.array([place in self.near_found for place in self.near_places], dtype=bool)

    def parse_examples(self, name, first, lines):
        """Line numbers, texts and class ids of the lines that train.py takes; the others become findings."""
        numbers, texts, ids = [], [], []
        for number, line in enumerate(lines, first):
            example = parse_example(line, self.label2id)
            if example is None:
                kind, message = example_problem(line, self.label2id)
                self.findings.add(kind, name, number, message, line)
            else:
                numbers.append(number)
                texts.append(example[0])
                ids.append(example[1])
        return numbers, texts, ids

    def parse_unlabelled(self, name, first, lines):
        """The same for data.txt: -1 stands for the class id."""
        numbers, texts = [], []
        for number, line in enumerate(lines, first):
            if "\t" in line:
                self.findings.add("tab_in_unlabelled", name, number, "a tab inside the text", line)
            text = line.strip()
            if text:
                numbers.append(number)
                texts.append(text)
            else:
                self.findings.add("short_text", name, number, "blank line")
        return numbers, texts, [-1] * len(texts)

    # ---------------------------------------------------------------- single texts

    def look_at(self, name, numbers, texts, ids):
        """Find what can be said of each text by itself, and keep what comparisons need; the texts in normal form."""
        split = self.splits[name]
        codes, starts = to_codes(texts)
        bits = self.classes[codes]
        starts = starts[:-1]
        ends = np.append(starts[1:], len(codes)) - 1
        bits[ends] = 0  # the line feeds
        any_bits = np.bitwise_or.reduceat(bits, starts)
        words, wide, space = (np.add.reduceat(bits & bit > 0, starts, dtype=np.int32) for bit in (WORD, WIDE, SPACE))
        lengths = ends - starts
        # [CLS], [SEP], a token a Chinese character, and about a token for three other characters.
        tokens = 2 + wide + (lengths - wide - space + 2) // 3
        if self.count_tokens is not None:
            # In a large file, only where the text may be cut off: a token of less than half a character is rare.
            exact = np.flatnonzero((lengths > self.max_length // 2) | (split.lines <= ALL_COUNTED))
            for some in np.array_split(exact, len(exact) // TOKENIZED_AT_ONCE + 1):
                tokens[some] = self.count_tokens([texts[index] for index in some.tolist()])
        normal = normalise(texts)
        hashes = np.array([hash(text) for text in texts], dtype=np.int64)
        normal_hashes = np.array([hash(text) for text in normal], dtype=np.int64)
        split.add(numbers, hashes, normal_hashes, ids, tokens, any_bits & (TRADITIONAL | SIMPLIFIED))

        for index in np.flatnonzero(words <= 1).tolist():
            self.findings.add("short_text", name, numbers[index], "too little to tell anything", texts[index])
        for bit, kind in CHARACTER_KINDS.items():
            for index in np.flatnonzero(any_bits & bit).tolist():
                found = sorted({character for character in texts[index] if self.classes[ord(character)] & bit})
                shown = " ".join(f"U+{ord(character):04X}" for character in found[:5])
                self.findings.add(kind, name, numbers[index], shown, texts[index])
        for index in np.flatnonzero(tokens > self.max_length).tolist():
            self.findings.add("truncated", name, numbers[index], f"{tokens[index]} tokens", texts[index])
        return normal

    def find_near(self, name, numbers, normal):
        """Compare texts with those of dev and test that were read before; the unique ones of this chunk with places.

        Of each text of dev and test the nearest one in the first chunk that has any is kept.
        """
        for here, there, value in self.near.query(normal, settled=self.near_settled):
            place = self.near_places[there]
            if normal[here] != self.near.texts[there] and value > self.near_found.get(place, (0,))[0]:
                self.near_found[place] = value, name, numbers[here]
        self.near_settled = np.array([place in self.near_found for place in self.near_places], dtype=bool)
        first_number = dict(zip(reversed(normal), reversed(numbers)))
        return [(text, (name, number)) for text, number in first_number.items()] if name != "train" else []

    # ---------------------------------------------------------------- comparisons between lines

    def compare_texts(self):
        """Find the texts that are in the folder more than once."""
        names = [name for name in REPORT_ORDER if name in self.splits]
        splits = [self.splits[name] for name in names]
        normals = np.concatenate([split.normals for split in splits]) if splits else np.zeros(0, dtype=np.int64)
        if len(normals) == 0:
            return
        which = np.repeat(np.arange(len(names)), [len(split.normals) for split in splits])
        numbers, hashes, ids = (
            np.concatenate([getattr(split, field) for split in splits]) for field in ("numbers", "hashes", "ids")
        )
        # Stable: within a group the files are in the order of `names`, and lines in theirs.
        order = np.argsort(normals, kind="stable")
        same = normals[order[1:]] == normals[order[:-1]]
        order = order[np.append(same, False) | np.insert(same, 0, False)]
        starts = np.flatnonzero(np.insert(normals[order[1:]] != normals[order[:-1]], 0, True)) if len(order) else []
        # Groups in the order of their first lines.
        groups = sorted(np.split(order, starts[1:]), key=lambda rows: rows[0]) if len(order) else []
        leaked = set()
        for rows in groups:
            fields = (which[rows], numbers[rows], hashes[rows], ids[rows])
            leaked |= self.compare_group([(names[row[0]], *row[1:]) for row in zip(*(f.tolist() for f in fields))])
        for (name, number), (value, other, line) in sorted(self.near_found.items()):
            if (name, number) not in leaked:
                message = f"{value:.2f} like {other}.txt:{line}"
                self.findings.add("near_leakage", name, number, message, other=(other, line))

    def compare_group(self, rows):
        """Compare the lines that have one text in common.

        Args:
            rows (list[tuple[str, int, int, int]]): file, line, hash of the exact text, class id (-1: none).

        Returns:
            set[tuple[str, int]]: the lines of dev and test that are in another file too.
        """
        leaked = set()
        first_of_file, first_of_text = {}, {}
        for name, number, text, class_id in rows:
            first_name, first_number, _, first_id = rows[0]
            elsewhere = [row for file, row in first_of_file.items() if file != name]
            exact = [first_of_text[row[0], text] for row in elsewhere if (row[0], text) in first_of_text]
            if name == "data":
                if elsewhere:
                    place = f"{first_name}.txt:{first_number}"
                    self.findings.add("already_labelled", name, number, f"labelled in {place}")
            else:
                if class_id != first_id:
                    label, other_label = self.labels[class_id], self.labels[first_id]
                    message = f"{label!r}, but {other_label!r} in {first_name}.txt:{first_number}"
                    self.findings.add("conflict", name, number, message, other=rows[0][:2])
                if elsewhere:
                    kind = "leakage" if exact else "normalised_leakage"
                    other = (exact or elsewhere)[0]
                    self.findings.add(kind, name, number, f"also {other[0]}.txt:{other[1]}", other=other[:2])
                    leaked.add((name, number))
            twin = first_of_text.get((name, text))
            if twin and twin[3] == class_id:
                self.findings.add("duplicate", name, number, f"same as line {twin[1]}")
            elif not twin and first_of_file.get(name, (None,) * 4)[3] == class_id:
                first_line = first_of_file[name][1]
                message = f"same as line {first_line}"
                self.findings.add("normalised_duplicate", name, number, message, other=(name, first_line))
            row = (name, number, text, class_id)
            first_of_file.setdefault(name, row)
            first_of_text.setdefault((name, text), row)
        return leaked

    # ---------------------------------------------------------------- labels and scripts

    def label_counts(self, name):
        """Samples a label; list in the order of class ids."""
        return np.bincount(self.splits[name].ids, minlength=len(self.label2id)).tolist()

    def check_labels(self):
        """Find labels without samples, or with few, and how far apart the frequencies are."""
        if "train" not in self.splits or len(self.splits["train"].ids) == 0:
            return
        counts = dict(zip(self.labels, self.label_counts("train")))
        for label, count in counts.items():
            if count == 0:
                self.findings.add("unused_label", "label", 0, repr(label))
            elif count < self.few:
                self.findings.add("few_samples", "train", 0, f"{label!r}: {count}")
        if "dev" in self.splits:
            for label, count in zip(self.labels, self.label_counts("dev")):
                if count == 0:
                    self.findings.add("not_in_dev", "dev", 0, repr(label))
        for name in ("dev", "test"):
            if name in self.splits and len(self.splits[name].ids):
                self.compare_shares(name)
        used = {label: count for label, count in counts.items() if count}
        most, least = max(used, key=used.get), min(used, key=used.get)
        if used[most] >= self.imbalance * used[least]:
            message = f"{most!r} {used[most]}, {least!r} {used[least]}: {used[most] / used[least]:.0f} to 1"
            self.findings.add("imbalance", "train", 0, message)

    def compare_shares(self, name):
        """Find whether the labels of a file are distributed as in train.txt: by much, and not by chance."""
        from scipy.stats import chi2_contingency

        table = np.array([self.label_counts("train"), self.label_counts(name)])
        difference = table[1] / table[1].sum() - table[0] / table[0].sum()
        distance = np.abs(difference).sum() / 2
        if distance >= 0.1 and chi2_contingency(table[:, table.any(axis=0)]).pvalue < 0.001:
            most = int(np.abs(difference).argmax())
            before, after = (row[most] / row.sum() for row in table)
            message = f"{distance:.0%} of {name}.txt would need another label; {self.labels[most]!r} most of all: "
            self.findings.add("label_shift", name, 0, f"{message}{before:.1%} of train.txt, {after:.1%} of {name}.txt")

    def check_script(self):
        """Find texts whose script is not that of most of the others."""
        count = collections.Counter()
        for split in self.splits.values():
            for script in (SIMPLIFIED, TRADITIONAL):
                count[script] += int((split.scripts == script).sum())
        usual = SIMPLIFIED if count[SIMPLIFIED] >= count[TRADITIONAL] else TRADITIONAL
        names = {SIMPLIFIED: "simplified", TRADITIONAL: "traditional"}
        unusual = (SIMPLIFIED | TRADITIONAL) & ~usual
        for name in REPORT_ORDER:
            if name in self.splits:
                split = self.splits[name]
                for index in np.flatnonzero(split.scripts & unusual).tolist():
                    both = split.scripts[index] & usual
                    message = "both in one text" if both else f"{names[unusual]}, most texts are {names[usual]}"
                    self.findings.add("mixed_script", name, int(split.numbers[index]), message)

    def fill_in_texts(self):
        """Read the texts of the findings that compared lines by their hashes."""
        wanted = collections.defaultdict(lambda: collections.defaultdict(list))
        for row in (row for rows in self.findings.rows.values() for row in rows):
            if row["text"] is None and row["split"] in self.splits:
                wanted[row["split"]][row["line"]].append((row, "text"))
            if row["other"]:
                wanted[row["other"][0]][row["other"][1]].append((row, "other_text"))
        for name, lines_wanted in wanted.items():
            last = max(lines_wanted)
            for first, lines in read_chunks(self.path(name)) if last else ():
                for number in lines_wanted.keys() & range(first, first + len(lines)):
                    for row, key in lines_wanted[number]:
                        row[key] = lines[number - first].split("\t")[0].strip()
                if first + len(lines) > last:
                    break

    # ---------------------------------------------------------------- results

    def summary(self):
        """All results as one JSON-ready dict; places are `<file>:<line>`, line 0 left out."""
        findings = []
        for kind, (severity, meaning) in KINDS.items():
            if self.findings.counts[kind]:
                rows = [
                    {"file": f"{row['split']}.txt", "line": row["line"] or None, "message": row["message"],
                     **{key: row[key] and shortened(row[key], 200) for key in ("text", "other_text")}}
                    for row in self.findings.rows[kind]
                ]  # fmt: skip
                findings.append({"kind": kind, "severity": severity, "meaning": meaning,
                                 "count": self.findings.counts[kind], "rows": rows})  # fmt: skip
        return {
            "dataset_dir": str(self.folder),
            "errors": self.findings.number_of("error"),
            "warnings": self.findings.number_of("warning"),
            "max_length": self.max_length,
            "tokens": self.how_counted(),
            "labels": self.labels,
            "files": {f"{name}.txt": self.file_summary(name) for name in REPORT_ORDER if name in self.splits},
            "findings": findings,
        }

    def how_counted(self):
        """How the numbers of tokens were found, in words."""
        if self.count_tokens is None:
            return "estimated"
        if all(split.lines <= ALL_COUNTED for split in self.splits.values()):
            return "counted"
        return f"counted in the first {ALL_COUNTED:,} lines and in long texts, else estimated"

    def file_summary(self, name):
        """Numbers of one file: lines, samples, samples a label, tokens, and their histogram."""
        split = self.splits[name]
        result = {"lines": split.lines, "samples": len(split.ids)}
        if len(split.ids):
            if name != "data":
                result["labels"] = dict(zip(self.labels, self.label_counts(name)))
            percentiles = np.percentile(split.tokens, (50, 95, 99)).round().astype(int).tolist()
            result["tokens"] = {
                "mean": round(float(split.tokens.mean()), 2),
                **dict(zip(("median", "p95", "p99"), percentiles)),
                "max": int(split.tokens.max()),
                "over_max_length": int((split.tokens > self.max_length).sum()),
            }
            top = HISTOGRAM_TOP * self.max_length
            width = max(1, top // HISTOGRAM_BINS)
            bins = np.bincount(np.minimum(split.tokens, top) // width)
            result["token_histogram"] = {"bin_width": width, "counts": bins.tolist()}
        return result


class Split:
    """What is known of every sample of one file, in arrays."""

    FIELDS = {"numbers": np.int32, "hashes": np.int64, "normals": np.int64, "ids": np.int32, "tokens": np.int32,
              "scripts": np.uint8}  # fmt: skip

    def __init__(self):
        self.lines = 0
        self.chunks = []

    def add(self, *fields):
        self.chunks.append([np.asarray(field, dtype) for field, dtype in zip(fields, self.FIELDS.values())])

    def freeze(self):
        """Make the arrays: line numbers, hashes of texts and of normal forms, class ids, tokens, scripts."""
        for index, (field, dtype) in enumerate(self.FIELDS.items()):
            setattr(self, field, np.concatenate([np.zeros(0, dtype), *(chunk[index] for chunk in self.chunks)]))
        self.chunks = None


# --------------------------------------------------------------------------------------------------------- report


def report(summary):
    """The lines of the terminal's report."""
    folder = summary["dataset_dir"]
    for name, file in summary["files"].items():
        line = f"{name}: {file['samples']:,} samples"
        if "tokens" in file:
            tokens = file["tokens"]
            rate = tokens["over_max_length"] / file["samples"]
            line += (
                f", {tokens['mean']:.1f} tokens on average, {tokens['max']} at most ({summary['tokens']}); "
                f"{rate:.2%} over --max_length {summary['max_length']}"
            )
        yield line
    yield f"label.txt: {len(summary['labels'])} labels"
    for finding in summary["findings"]:
        yield ""
        yield f"{finding['severity'].upper()} {finding['kind']} ({finding['count']:,}): {finding['meaning']}"
        for row in finding["rows"][:ROWS_IN_TERMINAL]:
            place = f"{Path(folder) / row['file']}" + (f":{row['line']}" if row["line"] else "")
            texts = [shortened(row[key], 50) for key in ("text", "other_text") if row[key]]
            yield printable(" | ".join([f"  {place}: {row['message']}", *texts]))
        if finding["count"] > ROWS_IN_TERMINAL:
            yield f"  … and {finding['count'] - min(ROWS_IN_TERMINAL, len(finding['rows'])):,} more (--json, --html)"
    yield ""
    yield totals(summary)


def totals(summary):
    """The last line of the report."""
    return f"{summary['errors']:,} errors, {summary['warnings']:,} warnings in {summary['dataset_dir']}"


def printable(text):
    """Control characters as escapes, so that data cannot steer the terminal."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def token_counter(name, max_length):
    """A function that counts the tokens of texts with the tokenizer of a model, [CLS] and [SEP] included.

    Longer texts than HISTOGRAM_TOP times max_length are counted as that.

    Raises:
        UsageError: the model cannot be loaded.
    """
    from trainer import load_config_and_tokenizer, make_encoder  # needs paddle, which takes seconds

    _, tokenizer = load_config_and_tokenizer(name)
    encode = make_encoder(tokenizer, HISTOGRAM_TOP * max_length + 1, token_types=False)
    return lambda texts: [len(feature["input_ids"]) for feature in encode(texts)]


def check_folder(dataset_dir, **options):
    """Check a data folder.

    Args:
        dataset_dir (Path): the folder with train.txt, dev.txt, label.txt and, where there are such, test.txt and
            data.txt.
        options: those of Check.

    Returns:
        Check: with `findings` and `summary()`.

    Raises:
        UsageError: no such folder.
    """
    folder = Path(dataset_dir)
    if not folder.is_dir():
        raise UsageError(f"--dataset_dir {folder}: no such folder; give the one with train.txt, dev.txt and label.txt")
    return Check(folder, **options)


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--dataset_dir", type=Path, default=Path("data"), help="train.txt, dev.txt, label.txt, … (default: data)")
    add("--max_length", type=int, default=128, help="tokens that the model takes, as given to train.py (default: 128)")
    add("--model_name_or_path", help="count tokens with this model's tokenizer; default: an estimate")
    add("--near_duplicate_threshold", type=float, default=0.8, help="similarity, 0 to 1, from which texts of two "
        "files are nearly the same; 0: do not look for them (default: 0.8)")  # fmt: skip
    add("--few_samples", type=int, default=10, help="fewer samples of a label are reported (default: 10)")
    add("--imbalance", type=float, default=10, help="most to least frequent label from which it is reported (10)")
    add("--max_listed", type=int, default=1000, help="places listed of each kind; all are counted (default: 1000)")
    add("--json", metavar="FILE", nargs="?", const="-", help="write the results; without FILE print them instead")
    add("--html", metavar="FILE", type=Path, help="write a page with plots (needs requirements-analysis.txt)")
    add("--fix", metavar="DIR", type=Path, help="write a cleaned copy into this new folder, with a list of changes")
    args = parser.parse_args(argv)
    if args.max_length < 3:
        raise UsageError(f"--max_length {args.max_length}: give 3 or more; two tokens are [CLS] and [SEP]")
    check_threshold(args.near_duplicate_threshold)
    if args.max_listed < 1:
        raise UsageError(f"--max_listed {args.max_listed}: give 1 or more")
    return args


def main(argv=None):
    args = parse(argv)
    if args.html:
        from check_report import write_html

        require_packages("--html", "matplotlib")
    count_tokens = token_counter(args.model_name_or_path, args.max_length) if args.model_name_or_path else None
    options = {"max_length": args.max_length, "count_tokens": count_tokens, "few": args.few_samples,
               "threshold": args.near_duplicate_threshold, "imbalance": args.imbalance,
               "max_listed": args.max_listed}  # fmt: skip
    check = check_folder(args.dataset_dir, **options)
    summary = check.summary()
    if args.json == "-":
        print(json.dumps(summary, ensure_ascii=False, indent=2))
    else:
        print("\n".join(report(summary)))
    if args.json and args.json != "-":
        with staged_files(Path(args.json).parent) as stage:
            write_json(stage / Path(args.json).name, summary)
    if args.html:
        write_html(summary, args.html)
        print(f"Report: {args.html}", file=sys.stderr)
    if args.fix:
        from clean import write_clean_copy

        write_clean_copy(args.dataset_dir, args.fix, check.label2id)
        check = check_folder(args.fix, **options)
        print(totals(check.summary()))
    return 1 if check.findings.number_of("error") else 0


if __name__ == "__main__":
    with exit_on_usage_error():
        sys.exit(main())
