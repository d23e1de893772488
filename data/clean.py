"""The cleaned copy that `check.py --fix DIR` writes. The folder that was checked is never changed.

What is mended: encodings, byte-order marks, line ends, fields in quotes, white space around texts, control characters,
columns that change places, extra tabs, spaces where the tab should be, labels that differ from one of label.txt in
width, case or white space only. What is left out: lines that cannot be read or mended, exact copies with the same
label, and lines of train (and dev) whose text is in dev or test (test). Texts with contradicting labels,
near-duplicates, private-use characters, HTML and the script are left as they are: only a person can decide about them.

Nothing is written where the encoding is unclear, where more than a tenth of a file would be left out or joined, and
where the copy does not stand up to verification.py, which reads both again in its own way.
"""

import collections
import csv
import itertools
from pathlib import Path

import numpy as np

from core.lines import read_chunks, unclear_encoding
from core.quoting import find_rows, rows_of
from data.near_duplicates import normalise
from data.reading import CONTROL, REPORT_ORDER, SPLITS, LabelsAsFound, character_classes
from data.seen_texts import Later, SeenTexts
from data.stored_texts import BLOCK
from data.verification import Tally, verify
from utils import UsageError, example_problem, parse_labels, split_label, staged_files

CHANGES_FILE = "changes.csv"
# With a byte-order mark, without which Excel takes the file for GBK.
CSV_ENCODING = "utf-8-sig"
COLUMNS = ("file", "line", "change", "before", "after")


class Cleaner:
    """Writes cleaned files into a folder and counts the changes.

    Args:
        source (Path): the folder as it is.
        check (Check): what was found in it.
        target (Path): an existing folder for the copy.
        changes: csv writer for rows of COLUMNS.

    Attributes:
        tallies (dict[str, Tally]): of each file of samples.
    """

    def __init__(self, source, check, target, changes):
        self.source, self.target, self.changes = source, target, changes
        self.label2id, self.encoding = check.label2id, check.encoding
        self.by_normal_form = collections.defaultdict(list)
        for label, form in zip(self.label2id, normalise(list(self.label2id))):
            self.by_normal_form[form].append(label)
        controls = set((character_classes() & CONTROL).nonzero()[0].tolist()) - {ord("\t")}
        # Separators between lines and the like become a space, so that the words beside them stay apart.
        self.without_controls = {code: " " if chr(code).isspace() else None for code in controls}
        self.counts = collections.Counter()
        self.tallies = collections.defaultdict(Tally)
        self.texts_before = []  # of each file that was written before: SeenTexts

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
            chunks = read_chunks(path, self.bad_line("label"), encoding=self.encoding)
            lines = [line for _, some in chunks for line in some]
            for number, message in parse_labels(lines)[1]:
                if number and len(self.label2id) > 1:
                    self.note("label", number, "left out: " + message.partition(";")[0], lines[number - 1])
            given = {label: line.strip() for line in reversed(lines) for label in split_label(line)[:1]}
            kept = [given[label] for label in self.label2id]
        (self.target / "label.txt").write_bytes("".join(f"{line}\n" for line in kept).encode("utf-8"))

    def bad_line(self, name):
        """What read_chunks calls for a line that is not UTF-8.

        Raises:
            UsageError: it may be in two encodings.
        """
        tally = self.tallies[name]

        def note(number, names):
            if len(names) > 1:
                place = f"{self.source / name}.txt" + (f":{number}" if number else "")
                raise UsageError(unclear_encoding(place, names))
            if names:
                self.note(name, number or "", f"decoded as {names[0]}", "")
                tally.encodings.update(names)
            else:
                tally.unreadable.add(number)

        return note

    def rows(self, name):
        """The samples of a file, in blocks.

        Yields:
            tuple[list[tuple[int, str, str]], bool]: line number, the line as it should be read, and as it stands
            there; and whether what is put off is to be said now.
        """
        path, tally = self.source / f"{name}.txt", self.tallies[name]
        on_bad_line, found = self.bad_line(name), None
        if self.is_quoted(name):
            for _ in read_chunks(path, on_bad_line, encoding=self.encoding):
                pass
            on_bad_line = None  # it was told
            found = find_rows(lambda: self.blocks(name), 1 if name == "data" else 2, "UTF-16" in tally.encodings)
        if found:
            tally.lines, tally.joined = found.lines, found.lines - found.samples
            rows, left = rows_of(self.blocks(name), found.delimiter), found.samples
            while left:
                some = list(itertools.islice(rows, BLOCK))
                left -= len(some)
                lines = ("\t".join(" ".join(cell.split()) for cell in row.fields) for row in some)
                yield [(row.number, line, row.raw) for row, line in zip(some, lines)], not left
            return
        for first, some in read_chunks(path, on_bad_line, encoding=self.encoding):
            tally.lines += len(some)
            yield [(number, line, line) for number, line in enumerate(some, first)], True

    def blocks(self, name):
        """The lines of a file, in blocks: yields list[str]."""
        for _, lines in read_chunks(self.source / f"{name}.txt", encoding=self.encoding):
            yield lines

    def is_quoted(self, name):
        """Whether a file may have been written by a program that puts fields in quotes."""
        has_tabs = False
        for lines in self.blocks(name):
            if any(line.startswith('"') or '\t"' in line for line in lines):
                return True
            has_tabs = has_tabs or any("\t" in line for line in lines)
        return not has_tabs and name != "data"

    def write_split(self, name):
        """Write one file without what train.py refuses, copies of lines, and texts of the files written before."""
        seen, texts_here, later, tally = SeenTexts(), SeenTexts(), Later(), self.tallies[name]
        with (self.target / f"{name}.txt").open("wb") as file:
            for rows, is_end in self.rows(name):
                kept = [(number, raw, *self.mend(name, number, line, raw)) for number, line, raw in rows]
                kept = [row for row in kept if row[2] is not None]
                lines = [text if label is None else f"{text}\t{label}" for *_, text, label in kept]
                forms = normalise([row[2] for row in kept])
                is_before = np.zeros(len(kept), dtype=bool)
                for texts in self.texts_before:
                    is_before |= texts.has(forms)
                if name in ("dev", "test"):
                    texts_here.add(forms)
                is_new = np.zeros(len(kept), dtype=bool)
                is_new[~is_before] = seen.add(list(itertools.compress(lines, ~is_before)))
                for (number, raw, *_), line, before, new in zip(kept, lines, is_before.tolist(), is_new.tolist()):
                    if before:
                        later.add((number, "the text is in dev.txt or test.txt too", raw))
                    elif not new:
                        later.add((number, "the same as an earlier line", raw))
                    else:
                        file.write(line.encode("utf-8") + b"\n")
                        tally.kept += 1
                if is_end:
                    for number, why, raw in later.take():
                        self.leave_out(name, number, why, raw)
        if name in ("dev", "test"):
            self.texts_before.append(texts_here)

    def leave_out(self, name, number, why, before):
        """Note a line that is not in the copy."""
        self.note(name, number, f"left out: {why}", before)
        self.tallies[name].left_out[why] += 1

    def mend(self, name, number, line, raw):
        """The text and label of a line as they should be; label None in data.txt, both None when it is left out."""
        if number in self.tallies[name].unreadable:
            self.leave_out(name, number, "not in a known encoding", raw)
            return None, None
        clean = line.translate(self.without_controls).strip()
        if name == "data":
            text, label = " ".join(clean.split("\t")), None
        else:
            text, label = self.find_columns(clean)
        if not text:
            kind = "blank_line" if not clean else example_problem(clean, self.label2id)[0]
            self.leave_out(name, number, kind, raw)
            return None, None
        after = text if label is None else f"{text}\t{label}"
        if after != raw:
            self.note(name, number, "mended", raw, after)
        return text, label

    def find_columns(self, line):
        """The text and the label in a line without control characters; None, None where that is not clear."""
        fields = [field.strip() for field in line.split("\t") if field.strip()]
        # Where the labels are not known, any last word would be one.
        if len(fields) == 1 and not isinstance(self.label2id, LabelsAsFound):
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


def write_clean_copy(source, target, check, max_left_out=0.1):
    """Write a cleaned copy of a data folder and changes.csv, all of it or nothing.

    Args:
        source (Path): the folder that was checked; it is only read.
        target (Path): a new or empty folder.
        check (Check): what was found in it.
        max_left_out (float): the share of a file's lines that may be left out or joined.

    Returns:
        collections.Counter: changes by kind.

    Raises:
        UsageError: the folder is not empty or cannot be written to; no label is known, the columns are mixed up, an
            encoding is unclear, too much would be lost, or the copy is not what the folder holds.
    """
    source, target = Path(source), Path(target)
    existed = target.exists()
    if existed and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(f"--fix {target}: is there already and is not an empty folder; give a new one")
    if not check.label2id:
        raise UsageError(f"{source / 'label.txt'}: no label is known; write one label a line, then run --fix again")
    if other := check.findings.rows["format"]:
        raise UsageError(f"--fix {target}: {source / other[0]['split']}.txt: {other[0]['message']}")
    mixed_up = check.findings.rows["columns"] if isinstance(check.label2id, LabelsAsFound) else ()
    if mixed_up:
        raise UsageError(f"{source / mixed_up[0]['split']}.txt: {mixed_up[0]['message']}")
    try:
        with staged_files(target) as stage:
            cleaner = _write_files(source, stage, check)
            problems = [
                problem
                for name, tally in cleaner.tallies.items()
                if (problem := tally.problem(source / f"{name}.txt", max_left_out))
            ]
            problems = problems or verify(source, stage, cleaner.tallies)
            if problems:
                raise UsageError("\n".join([f"--fix {target}: nothing was written:", *problems]))
    except OSError as error:
        raise UsageError(f"--fix {target}: cannot be written ({error.strerror}); choose another folder") from None
    except UsageError:
        if not existed and target.is_dir() and not any(target.iterdir()):
            target.rmdir()
        raise
    print(f"{target}: {', '.join(f'{name}.txt' for name in REPORT_ORDER if (target / f'{name}.txt').is_file())}")
    for change, count in cleaner.counts.most_common():
        print(f"  {count:,} lines {change}")
    print(f"  every change: {target / CHANGES_FILE}")
    return cleaner.counts


def _write_files(source, stage, check):
    """Write all files of the copy into `stage`; the Cleaner that did it."""
    with (stage / CHANGES_FILE).open("w", encoding=CSV_ENCODING, newline="") as file:
        changes = csv.writer(file)
        changes.writerow(COLUMNS)
        cleaner = Cleaner(source, check, stage, changes)
        cleaner.write_labels()
        for name in (*SPLITS, "data"):
            if (source / f"{name}.txt").is_file():
                cleaner.write_split(name)
    return cleaner
