"""A cleaned copy is checked by other eyes: nothing here reads or counts the way clean.py does."""

import collections
import csv
import re
from dataclasses import dataclass, field
from pathlib import Path

from core.encodings import codec_of
from data.mojibake import repaired

# So few lines may always be left out of a file, however small it is.
FEW_LINES = 3
# Lines of a file in another encoding that are looked at for mojibake.
MAX_LOOKED_AT = 2000
PRIVATE = re.compile("[\ue000-\uf8ff\U000f0000-\U0010ffff]")


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
    before, after = path.read_bytes(), copy.read_bytes().decode("utf-8")
    samples = after.split("\n")[:-1]
    if any("\r" in sample or sample != sample.strip() for sample in samples):
        yield "a sample of the copy is no clean line"
    expected = _count_samples(before, tally)
    found = len(samples) + sum(tally.left_out.values())
    if len(samples) != tally.kept or found != expected:
        yield f"{expected:,} samples are in it, but {len(samples):,} in the copy and {found - len(samples):,} left out"
    # UTF-8 has these characters of its own; what was decoded from elsewhere has none.
    wide = [name for name in tally.encodings if name.startswith("UTF")]
    original = before.decode(wide[0] if wide else "utf-8", "replace" if wide else "ignore")
    for what, pattern in (("U+FFFD", re.compile("\ufffd")), ("private-use characters", PRIVATE)):
        if len(pattern.findall(after)) > len(pattern.findall(original)):
            yield f"the copy would have {what} that are not in the file: the encoding was misread"
    if tally.encodings and not wide:
        known = set(re.split(r"[\r\n]+", original))
        new = [sample for sample in samples if sample not in known][:MAX_LOOKED_AT]
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


def _count_samples(data, tally):
    """How many samples a file has, blank lines inside it counted: rows of a CSV file, or lines."""
    names = [codec_of(name) for name in tally.encodings] or ["utf-8"]
    wide = data.decode(names[0], "replace") if names[0].startswith("utf") else data.decode("utf-8", "replace")
    lines = re.split("\r\n|\r|\n", wide.removeprefix("\ufeff"))
    own = re.split("\r\n|\r|\n", data.decode(names[0], "replace"))
    while lines and (not lines[-1].strip() or (len(own) == len(lines) and not own[-1].strip())):
        lines.pop(), own.pop()
    if not tally.joined:
        return len(lines)
    limit = csv.field_size_limit(1 << 30)
    try:
        return sum(1 for _ in csv.reader(lines, delimiter="\t" if "\t" in wide else ",", strict=True))
    except csv.Error:
        return -1
    finally:
        csv.field_size_limit(limit)
