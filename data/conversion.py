"""Samples of any files into a data folder: what convert.py writes, row by row.

Rows are not kept in memory: what is kept of each is a class id, its place in a temporary file and, for a split, a hash
of its text. Only near duplicates need the texts themselves, as in split.py.
"""

import array
import collections
import csv
import hashlib
import os

import numpy as np

from core.columns import Columns
from core.samples import PARTS
from core.table_columns import HOW_TO_GO_ON
from data.clean import CSV_ENCODING
from data.near_duplicates import normalise
from data.splitting import assign, nothing_left, print_counts, similar_groups
from data.verification import FEW_LINES
from utils import UsageError, shortened, staged_files

OUTPUTS = ("train.txt", "dev.txt", "test.txt", "label.txt", "data.txt", "rejected.csv")
REJECTED = ("file", "line", "reason", "content")
# Rows of which near duplicates are looked for unasked, 1.3 kB each; by which columns are judged; handled at once.
MAX_COMPARED, MAX_JUDGED, BLOCK = 200_000, 200_000, 10_000
# Different labels from which it is asked, before the end, whether they are labels.
MANY_LABELS = 100_000


class Conversion:
    """Reads all samples, and keeps what is needed to write them in parts.

    Args:
        samples (core.samples.Samples): what to read.
        stage (Path): a folder of our own.
        is_divided (bool): samples without a part are split, so that equal texts must be known.
        trust_columns (bool): texts and labels are what they are.
        bar: a progress bar that counts rows.
    """

    def __init__(self, samples, stage, is_divided=True, trust_columns=False, bar=None):
        self.samples, self.stage, self.trust_columns, self.bar = samples, stage, trust_columns, bar
        self.is_divided = is_divided
        self.ids, self.places, self.parts = array.array("i"), array.array("q", [0]), array.array("b")
        self.hashes = array.array("q")
        self.label_ids = {}
        self.reasons, self.unlabelled, self.rows = collections.Counter(), 0, 0
        self.first_rejected = {}
        self.columns = Columns()
        self._read()

    def _read(self):
        """Write all samples, texts without labels and rejected rows into files of the stage."""
        paths = (self.stage / name for name in ("rows", "data.txt", "rejected.csv"))
        rows, unlabelled, rejected = (path.open("wb") for path in paths)
        with rows, unlabelled, rejected:
            self._rejected = csv.writer(_Encoded(rejected))
            rejected.write(b"\xef\xbb\xbf" if CSV_ENCODING == "utf-8-sig" else b"")
            self._rejected.writerow(REJECTED)
            texts, labels, parts = [], [], []
            for one, number, text, label in self.samples.rows():
                self.rows += 1
                if label.__class__ is str:
                    texts.append(text)
                    labels.append(label)
                    parts.append(one.part)
                    if len(texts) == BLOCK:
                        self._write(rows, texts, labels, parts)
                        texts, labels, parts = [], [], []
                elif label is None:
                    unlabelled.write(text.encode("utf-8") + b"\n")
                    self.unlabelled += 1
                else:
                    self._reject(one, number, label)
            self._write(rows, texts, labels, parts)

    def _write(self, file, texts, labels, parts):
        """Write a block of samples, and keep what is needed of them."""
        if not texts:
            return
        if len(self.ids) < MAX_JUDGED:
            self.columns.add(texts, labels)
        known = self.label_ids
        self.ids.extend([known.setdefault(label, len(known)) for label in labels])
        self.parts.extend([PARTS.index(part) if part else -1 for part in parts])
        lines = [f"{text}\t{label}\n".encode() for text, label in zip(texts, labels)]
        file.writelines(lines)
        place = self.places[-1]
        for line in lines:
            place += len(line)
            self.places.append(place)
        for text in normalise(texts) if self.is_divided else ():
            digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest()
            self.hashes.append(int.from_bytes(digest, "big", signed=True))
        if len(known) > MANY_LABELS and not self.trust_columns:
            self.check_columns()
        if self.bar is not None:
            self.bar.update(len(texts))

    def _reject(self, one, number, why):
        if isinstance(number, str):
            name, number = number, ""
        else:
            name = one.table.name
        reason = why.reason
        if reason not in self.reasons:
            self.first_rejected[reason] = f"{name}:{number}" if number else name
        self.reasons[reason] += 1
        self._rejected.writerow([name, number, reason, why.content])

    # ------------------------------------------------------------------------------------------------------- checks

    def check_columns(self):
        """Raise UsageError where the columns are no texts and labels after all."""
        where = self.samples.opened[0].table.name
        if not self.trust_columns:
            for number, message in self.columns.problems(HOW_TO_GO_ON):
                if not number:
                    raise UsageError(f"{where}: {message}")

    def check(self, max_left_out):
        """Raise UsageError where the samples are none, or where too many rows would be left out."""
        lost = sum(count for reason, count in self.reasons.items() if reason != "blank line")
        total = self.rows - self.reasons["blank line"]
        if lost > max(FEW_LINES, max_left_out * total):
            share = min(1, lost / total + 0.005)
            reasons = [
                f"{self.first_rejected[reason]}: {reason} ({count:,} rows)"
                for reason, count in self.reasons.most_common(5)
                if reason != "blank line"
            ]
            raise UsageError(
                "\n".join(
                    [
                        *reasons,
                        f"{lost:,} of {total:,} rows would be left out, more than {max_left_out:.0%}, and nothing was "
                        f"written; mend the file, correct how it is read, or allow it with --max_left_out {share:.2f}",
                    ]
                )
            )
        self.check_columns()
        if not self.ids and not self.unlabelled:
            raise UsageError(f"{self.samples.opened[0].table.name}: no sample; give a file with some")
        if self.ids and len(self.label_ids) < 2:
            raise UsageError(
                f"{self.samples.opened[0].table.name}: only one label, {next(iter(self.label_ids))!r}; a classifier "
                "needs at least two"
            )

    # ------------------------------------------------------------------------------------------------------ writing

    def write_parts(self, save_dir, shares, seed, threshold):
        """Write train.txt, dev.txt and test.txt of the samples: those whose part is given, and a split of the others.

        Args:
            save_dir (Path): to be named in what is printed.
            shares (list[float]): of train, dev and test, for the samples without a part.
            seed (int): of the split.
            threshold (float | None): see split.py; None: 0.8 as far as memory allows.

        Raises:
            UsageError: nothing is left for train or dev.
        """
        labels = self.samples.label_order(self.label_ids)
        places = {label: index for index, label in enumerate(labels)}
        ids = np.array([places[label] for label in self.label_ids], dtype=np.int32)[np.asarray(self.ids)]
        parts, order = np.array(self.parts), np.arange(len(ids))
        free = np.flatnonzero(parts < 0)
        groups = np.arange(1)  # none of several
        if len(free):
            if self.is_divided:
                groups = self._groups(free, threshold)
                parts[free], order = assign(groups, ids[free], shares, seed)
                order = np.concatenate([np.flatnonzero(np.asarray(self.parts) >= 0), free[order]])
                for number, name in enumerate(PARTS[:2]):
                    if shares[number] and not (parts[free] == number).any():
                        raise UsageError(nothing_left(name, len(free), groups, threshold or 0.8))
            else:
                parts[free] = 0
        for number, name in enumerate(PARTS):
            if (parts == number).any():
                self._copy(order[parts[order] == number], self.stage / f"{name}.txt")
        (self.stage / "label.txt").write_bytes("".join(f"{label}\n" for label in labels).encode("utf-8"))
        print_counts(save_dir, ids, groups, parts, labels, PARTS)

    def _groups(self, free, threshold):
        """The groups of texts that must stay together, of the samples without a part."""
        if threshold is None:
            threshold = 0.8 if len(free) <= MAX_COMPARED else 0
            if not threshold:
                print(
                    f"more than {MAX_COMPARED:,} samples: only equal texts stay together. Near duplicates need "
                    f"{len(free) * 1.3e-6:.1f} GB of memory: --near_duplicate_threshold 0.8"
                )
        if threshold:
            with (self.stage / "rows").open("rb") as file:
                wanted = np.zeros(len(self.ids), dtype=bool)
                wanted[free] = True
                texts = [
                    line.decode("utf-8").rpartition("\t")[0] for line, is_wanted in zip(file, wanted) if is_wanted
                ]
            return similar_groups(texts, threshold)
        _, first, number = np.unique(np.asarray(self.hashes)[free], return_index=True, return_inverse=True)
        return np.argsort(np.argsort(first))[number]

    def _copy(self, rows, target):
        """Copy lines of the file of all samples, in the order of their numbers."""
        places = np.asarray(self.places)
        with (self.stage / "rows").open("rb") as file, target.open("wb") as copy:
            if len(rows) == len(self.ids) and (rows[1:] > rows[:-1]).all():
                while block := file.read(1 << 22):
                    copy.write(block)
                return
            for start in range(0, len(rows), BLOCK):
                some = rows[start : start + BLOCK]
                for begin, end in zip(places[some].tolist(), places[some + 1].tolist()):
                    file.seek(begin)
                    copy.write(file.read(end - begin))


class _Encoded:
    """A binary file that csv can write to."""

    def __init__(self, file):
        self.file = file

    def write(self, text):
        self.file.write(text.encode("utf-8", "backslashreplace"))


def convert(samples, save_dir, shares, seed, threshold, max_left_out, trust_columns, bar=None):
    """Write a data folder of samples, all of it or nothing.

    Args:
        samples (core.samples.Samples): what to read.
        save_dir (Path): the folder; its files of OUTPUTS are replaced.
        shares, seed, threshold: see Conversion.write_parts.
        max_left_out (float): the share of rows that may be rejected.
        trust_columns (bool): texts and labels are what they are.
        bar: a progress bar that counts rows.

    Returns:
        Conversion: what was done.

    Raises:
        UsageError: too many rows would be left out, the columns are no texts and labels, or a file of an earlier
            conversion would stay beside the new ones.
    """
    with staged_files(save_dir) as stage:
        is_divided = sum(share > 0 for share in shares) > 1
        done = Conversion(samples, stage, is_divided, trust_columns, bar)
        done.check(max_left_out)
        if done.ids:
            done.write_parts(save_dir, shares, seed, threshold)
        (stage / "rows").unlink()
        if not done.unlabelled:
            (stage / "data.txt").unlink()
        if not done.reasons and not os.path.lexists(save_dir / "rejected.csv"):
            (stage / "rejected.csv").unlink()
        stale = [name for name in OUTPUTS if os.path.lexists(save_dir / name) and not (stage / name).exists()]
        if stale:
            raise UsageError(
                f"{save_dir}: has {' '.join(stale)}, which would stay beside the new files; move it away, or choose "
                "another --save_dir"
            )
    return done


def told(done, save_dir):
    """The lines about what was left out or has no label."""
    if done.unlabelled:
        yield f"{done.unlabelled:,} texts without a label: {save_dir / 'data.txt'}"
    if done.reasons:
        total = done.reasons.total()
        yield f"{total:,} of {done.rows:,} rows were left out; all of them: {save_dir / 'rejected.csv'}"
        for reason, count in done.reasons.most_common(10):
            yield f"  {count:,}: {shortened(reason, 100)} (first: {done.first_rejected[reason]})"
