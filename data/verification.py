"""A cleaned copy is checked by other eyes: nothing here reads or counts the way clean.py does."""

import array
import collections
import csv
import itertools
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from core.encodings import codec_of
from data.mojibake import repaired

# So few lines may always be left out of a file, however small it is.
FEW_LINES = 3
# Lines of a file in another encoding that are looked at for mojibake.
MAX_LOOKED_AT = 2000
ODD = {"U+FFFD": re.compile("\ufffd"), "private-use characters": re.compile("[\ue000-\uf8ff\U000f0000-\U0010ffff]")}
# Characters that are read at once.
BLOCK = 1 << 20


@dataclass
class Tally:
    """What became of the lines of one file.

    Attributes:
        lines (int): as they stand in the file, without blank ones at its end.
        joined (int): lines that are the second or a later one of a cell with line breaks.
        kept (int): samples in the copy.
        left_out (Counter): reason -> samples.
        encodings (Counter): name -> lines that were in it.
        unreadable (set[int]): numbers of lines in no known encoding.
    """

    lines: int = 0
    joined: int = 0
    kept: int = 0
    left_out: collections.Counter = field(default_factory=collections.Counter)
    encodings: collections.Counter = field(default_factory=collections.Counter)
    unreadable: set = field(default_factory=set)

    def problem(self, path, max_share):
        """The message where too many lines are left out or joined, or None. Blank lines do not count."""
        lost = self.joined + sum(count for why, count in self.left_out.items() if why != "blank_line")
        total = self.lines - self.left_out["blank_line"]
        # Copies are in another place; what cannot be read is nowhere.
        unusable = sum(
            count for why, count in self.left_out.items() if not why.startswith("the ") and why != "blank_line"
        )
        is_emptied = unusable and lost >= total and Path(path).name != "data.txt"  # which need not be there
        if lost <= max(FEW_LINES, max_share * total) and not is_emptied:
            return None
        if is_emptied:
            reasons = ", ".join(f"{count:,} {why}" for why, count in self.left_out.most_common())
            return f"{path}: no sample would be left of {total:,} lines ({reasons}); mend the file"
        reasons = [f"{count:,} left out ({why})" for why, count in self.left_out.most_common() if why != "blank_line"]
        reasons += [f"{self.joined:,} joined to the line before, inside quotes"] if self.joined else []
        share = min(1, lost / total + 0.005)
        return (
            f"{path}: {lost:,} of {total:,} lines would be lost, more than {max_share:.0%}: {', '.join(reasons)}; "
            f"mend the file, or allow it with --max_left_out {share:.2f}"
        )


def verify(source, copy, tallies):
    """Compare a cleaned copy with the folder that it was made of.

    Args:
        source, copy (Path): the folders.
        tallies (dict[str, Tally]): what clean.py says of each file of samples.

    Returns:
        list[str]: what is wrong, a message each.
    """
    problems = []
    for name, tally in tallies.items():
        if name != "label":
            for problem in _verify_file(source / f"{name}.txt", copy / f"{name}.txt", tally):
                problems.append(f"{source / name}.txt: {problem}; mend the file by hand, or report this")
    return problems


def _verify_file(path, copy, tally):
    found, is_clean = 0, True
    for samples in _samples(copy):
        found += len(samples)
        is_clean = is_clean and not any("\r" in sample or sample != sample.strip() for sample in samples)
    if not is_clean:
        yield "a sample of the copy is no clean line"
    expected, left_out = _count_samples(path, tally), sum(tally.left_out.values())
    if found != tally.kept or found + left_out != expected:
        yield f"{expected:,} samples are in it, but {found:,} in the copy and {left_out:,} left out"
    # UTF-8 has these characters of its own; what was decoded from elsewhere has none.
    wide = [name for name in tally.encodings if name.startswith("UTF")]
    reading = {"encoding": wide[0] if wide else "utf-8", "errors": "replace" if wide else "ignore"}
    before, after = _odd_characters(path, **reading), _odd_characters(copy, encoding="utf-8")
    for what in ODD:
        if after[what] > before[what]:
            yield f"the copy would have {what} that are not in the file: the encoding was misread"
    if tally.encodings and not wide:
        new = list(itertools.islice(_new_samples(path, copy, **reading), MAX_LOOKED_AT))
        odd = [sample for sample in new if repaired(sample)]
        if odd:
            yield f"{len(odd):,} lines would be mojibake, such as {odd[0][:40]!r}: the encoding was misread"
        codecs = [codec_of(name) for name in tally.encodings]
        strange = [sample for sample in new if not any(_can_be_written(sample, codec) for codec in codecs)]
        if strange:
            yield f"{len(strange):,} lines, such as {strange[0][:40]!r}, cannot come from {', '.join(tally.encodings)}"


def _can_be_written(sample, codec):
    """Whether an encoding has all characters of a sample."""
    try:
        return bool(sample.encode(codec))
    except UnicodeEncodeError:
        return False


def _samples(copy):
    """The lines of a copy, in blocks: yields list[str]; what no line feed ends is none."""
    with copy.open(encoding="utf-8", newline="\n") as file:
        while lines := file.readlines(BLOCK):
            yield [line[:-1] for line in lines if line.endswith("\n")]


def _odd_characters(path, **reading):
    """How many there are of each kind of ODD in a file: Counter."""
    counts = collections.Counter()
    with path.open(newline="", **reading) as file:
        while text := file.read(BLOCK):
            for what, pattern in ODD.items():
                counts[what] += len(pattern.findall(text))
    return counts


def _new_samples(path, copy, **reading):
    """The samples of a copy that are no lines of its file: yields str. Of the lines hashes are kept."""
    known, ends = array.array("q", [hash("")]), "\r\n"
    with path.open(newline=None, **reading) as file:
        while lines := file.readlines(BLOCK):
            known.extend(hash(line.rstrip(ends)) for line in lines)
    known = np.sort(np.frombuffer(known, dtype=np.int64))
    for samples in _samples(copy):
        hashes = np.array([hash(sample) for sample in samples], dtype=np.int64)
        places = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
        yield from itertools.compress(samples, known[places] != hashes)


def _count_samples(path, tally):
    """How many samples a file has, blank lines inside it counted: rows of a CSV file, or lines."""
    names = [codec_of(name) for name in tally.encodings] or ["utf-8"]
    codec = names[0] if names[0].startswith("utf") else "utf-8"
    own_lines = _lines(path, names[0]) if names[0] != codec else ()
    numbers, last_filled, last_both, has_tab = [0, 0], 0, 0, False
    for number, (line, own) in enumerate(itertools.zip_longest(_lines(path, codec), own_lines), 1):
        if line is not None:
            numbers[0], has_tab = number, has_tab or "\t" in line
            if line.strip():
                last_filled = number
        if own is not None:
            numbers[1] = number
            if own.strip() and last_filled == number:
                last_both = number
    total = last_both if numbers[0] == numbers[1] else last_filled
    if not tally.joined:
        return total
    limit = csv.field_size_limit(1 << 30)
    try:
        lines = itertools.islice(_lines(path, codec), total)
        return sum(1 for _ in csv.reader(lines, delimiter="\t" if has_tab else ",", strict=True))
    except csv.Error:
        return -1
    finally:
        csv.field_size_limit(limit)


def _lines(path, codec):
    """The lines of a file in one encoding, whatever ends them, without their ends: yields str."""
    with path.open(encoding=codec, errors="replace", newline=None) as file:
        for number, line in enumerate(file):
            yield (line if number else line.removeprefix("\ufeff")).removesuffix("\n")
