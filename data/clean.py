"""The cleaned copy that `check.py --fix DIR` writes. The folder that was checked is never changed.

What is mended: encodings, byte-order marks, line ends, white space around texts, control characters, columns that
change places, extra tabs, spaces where the tab should be, labels that differ from one of label.txt in width, case or
white space only. What is left out: lines that cannot be mended, exact copies with the same label, and lines of train
(and dev) whose text is in dev or test (test). Texts with contradicting labels, near-duplicates, private-use characters
and the script are left as they are: only a person can decide about them.
"""

import collections
import csv
from pathlib import Path

from data.near_duplicates import normalise
from data.reading import CONTROL, REPORT_ORDER, SPLITS, LabelsAsFound, character_classes, read_chunks
from utils import UsageError, example_problem, parse_labels, split_label, staged_files

CHANGES_FILE = "changes.csv"
# With a byte-order mark, without which Excel takes the file for GBK.
CSV_ENCODING = "utf-8-sig"
COLUMNS = ("file", "line", "change", "before", "after")


class Cleaner:
    """Writes cleaned files into a folder and counts the changes.

    Args:
        source (Path): the folder as it is.
        label2id (dict): the labels that check.py could use; empty where label.txt is missing.
        target (Path): an existing folder for the copy.
        changes: csv writer for rows of COLUMNS.
    """

    def __init__(self, source, label2id, target, changes):
        self.source, self.target, self.changes = source, target, changes
        self.label2id = label2id
        self.by_normal_form = collections.defaultdict(list)
        for label, form in zip(label2id, normalise(list(label2id))):
            self.by_normal_form[form].append(label)
        controls = set((character_classes() & CONTROL).nonzero()[0].tolist()) - {ord("\t")}
        # Separators between lines and the like become a space, so that the words beside them stay apart.
        self.without_controls = {code: " " if chr(code).isspace() else None for code in controls}
        self.counts = collections.Counter()
        self.texts_before = set()

    def note(self, name, number, change, before, after=""):
        self.counts[change] += 1
        self.changes.writerow([f"{name}.txt", number, change, before, after])

    def write_labels(self):
        """Write label.txt: the usable lines of the old one, or the labels of the samples in order of appearance."""
        path = self.source / "label.txt"
        if isinstance(self.label2id, LabelsAsFound):
            self.note("label", "", "written from the labels of the samples", "", " ".join(self.label2id))
            kept = self.label2id
        else:
            lines = [line for _, some in read_chunks(path, self.bad_line("label")) for line in some]
            for number, message in parse_labels(lines)[1]:
                if number and len(self.label2id) > 1:
                    self.note("label", number, "left out: " + message.partition(";")[0], lines[number - 1])
            given = {label: line.strip() for line in reversed(lines) for label in split_label(line)[:1]}
            kept = [given[label] for label in self.label2id]
        (self.target / "label.txt").write_bytes("".join(f"{line}\n" for line in kept).encode("utf-8"))

    def bad_line(self, name):
        return lambda number, encoding: self.note(
            name, number or "", f"decoded as {encoding or 'UTF-8 with losses'}", ""
        )

    def write_split(self, name):
        """Write one file without what train.py refuses, copies of lines, and texts of the files written before."""
        seen, texts_here = set(), set()
        with (self.target / f"{name}.txt").open("wb") as file:
            for first, lines in read_chunks(self.source / f"{name}.txt", self.bad_line(name)):
                kept = [(number, line, *self.mend(name, number, line)) for number, line in enumerate(lines, first)]
                kept = [row for row in kept if row[2] is not None]
                for (number, before, text, label), form in zip(kept, normalise([row[2] for row in kept])):
                    if form in self.texts_before:
                        self.note(name, number, "left out: the text is in dev.txt or test.txt too", before)
                    elif (text, label) in seen:
                        self.note(name, number, "left out: the same as an earlier line", before)
                    else:
                        file.write((text if label is None else f"{text}\t{label}").encode("utf-8") + b"\n")
                        seen.add((text, label))
                        texts_here.add(form)
        if name in ("dev", "test"):
            self.texts_before |= texts_here

    def mend(self, name, number, line):
        """The text and label of a line as they should be; label None in data.txt, both None when it is left out."""
        clean = line.translate(self.without_controls).strip()
        if name == "data":
            text, label = " ".join(clean.split("\t")), None
        else:
            text, label = self.find_columns(clean)
        if not text:
            kind = "blank_line" if not clean else example_problem(clean, self.label2id)[0]
            self.note(name, number, f"left out: {kind}", line)
            return None, None
        after = text if label is None else f"{text}\t{label}"
        if after != line:
            self.note(name, number, "mended", line, after)
        return text, label

    def find_columns(self, line):
        """The text and the label in a line without control characters; None, None where that is not clear."""
        fields = [field.strip() for field in line.split("\t") if field.strip()]
        if len(fields) == 1:
            fields = fields[0].rsplit(None, 1)
        if len(fields) < 2:
            return None, None
        last, first = self.find_label(fields[-1]), self.find_label(fields[0])
        if last is not None:
            return " ".join(fields[:-1]), last
        return (" ".join(fields[1:]), first) if first is not None else (None, None)

    def find_label(self, label):
        """The label of label.txt that is meant: the same one, or the only one with the same normal form."""
        if label in self.label2id:
            return label
        same = self.by_normal_form.get(normalise([label])[0], [])
        return same[0] if len(same) == 1 else None


def write_clean_copy(source, target, label2id):
    """Write a cleaned copy of a data folder and changes.csv, all of it or nothing.

    Args:
        source (Path): the folder that was checked; it is only read.
        target (Path): a new or empty folder.
        label2id (dict[str, int]): labels that check.py could use.

    Returns:
        collections.Counter: changes by kind.

    Raises:
        UsageError: the folder is not empty, cannot be written to, or no label is known.
    """
    source, target = Path(source), Path(target)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"--fix {target}: is there already and is not an empty folder; give a new one")
    if not label2id:
        raise UsageError(f"{source / 'label.txt'}: no label is known; write one label a line, then run --fix again")
    try:
        with staged_files(target) as stage:
            counts = _write_files(source, stage, label2id)
    except OSError as error:
        raise UsageError(f"--fix {target}: cannot be written ({error.strerror}); choose another folder") from None
    print(f"{target}: {', '.join(f'{name}.txt' for name in REPORT_ORDER if (target / f'{name}.txt').is_file())}")
    for change, count in counts.most_common():
        print(f"  {count:,} lines {change}")
    print(f"  every change: {target / CHANGES_FILE}")
    return counts


def _write_files(source, stage, label2id):
    """Write all files of the copy into `stage`; the changes by kind."""
    with (stage / CHANGES_FILE).open("w", encoding=CSV_ENCODING, newline="") as file:
        changes = csv.writer(file)
        changes.writerow(COLUMNS)
        cleaner = Cleaner(source, label2id, stage, changes)
        cleaner.write_labels()
        for name in (*SPLITS, "data"):
            if (source / f"{name}.txt").is_file():
                cleaner.write_split(name)
    return cleaner.counts
