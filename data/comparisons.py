"""What the lines of a data folder say when they are compared: copies, contradictions, leaks, labels and scripts.

Texts are compared by their hashes, so that none of them has to be kept but those of dev.txt and test.txt. These, and
what is known of each line, are in temporary files where lines are many.
"""

import collections
import itertools
import operator

import numpy as np

from data.near_duplicates import NearDuplicates, normalise
from data.reading import REPORT_ORDER, SIMPLIFIED, TRADITIONAL
from data.stored_texts import Growing, StoredTexts

# Samples that are looked at together.
PIECE = 100_000
# Arrays of a Split, and their types.
FIELDS = {
    "numbers": np.int32,  # of the lines
    "hashes": np.int64,  # of the texts as they stand
    "normals": np.int64,  # hashes of the texts in normal form
    "ids": np.int32,  # class ids; -1 where there is none
    "tokens": np.int32,  # of the texts, counted or estimated
    "scripts": np.uint8,  # bits TRADITIONAL and SIMPLIFIED
}


class Split:
    """What is known of every sample of one file, in arrays: see FIELDS."""

    def __init__(self):
        self.lines = self.characters = 0
        self.unread = 0.0  # characters behind --max_length
        self.growing = [Growing(dtype) for dtype in FIELDS.values()]

    def add(self, *fields):
        for growing, field in zip(self.growing, fields):
            growing.add(field)

    def freeze(self):
        """Make the arrays of what was added."""
        for growing, field in zip(self.growing, FIELDS):
            setattr(self, field, growing.view())

    def label_counts(self, labels):
        """Samples a label; list in the order of class ids."""
        return sum(np.bincount(ids, minlength=len(labels)) for ids in pieces(self.ids)).tolist()


def pieces(array):
    """An array in pieces, at least one, so that what is made of them is small."""
    return (array[first : first + PIECE] for first in range(0, max(1, len(array)), PIECE))


class NearTexts:
    """The texts of dev and test that are nearly the same as one of a file that is read later.

    Args:
        threshold (float): similarity from which texts are nearly the same.
    """

    def __init__(self, threshold):
        self.index = NearDuplicates(threshold)
        # Of each indexed text its file and line, and of the nearest other one the similarity, file and line.
        self.names, self.numbers = [], np.zeros(0, dtype=np.int32)
        self.files = np.zeros(0, dtype=np.uint8)
        self.nearest = np.zeros(0)
        self.others = np.zeros((0, 2), dtype=np.int32)
        self.waiting, self.waiting_numbers = StoredTexts(), Growing(np.int32)

    def compare(self, name, numbers, normal):
        """Compare texts with those of dev and test that were read before.

        Of each text of dev and test the nearest one in the first chunk that has any is kept.

        Args:
            name (str): the file.
            numbers (list[int]): of the lines.
            normal (list[str]): their texts in normal form.
        """
        if name not in self.names:
            self.names.append(name)
        for here, there, value in self.index.query(normal, settled=self.nearest > 0):
            if value > self.nearest[there] and [normal[here]] != self.index.texts.texts(np.array([there])):
                self.nearest[there] = value
                self.others[there] = self.names.index(name), numbers[here]
        if name != "train":
            first_number = dict(zip(reversed(normal), reversed(numbers)))
            self.waiting.add(list(first_number), [""] * len(first_number))
            self.waiting_numbers.add(list(first_number.values()))

    def end_file(self):
        """From here on, texts are compared with those of the file that was just read, too."""
        if size := len(self.waiting):
            for some in self.waiting.blocks():
                self.index.add(some)
            self.numbers = np.concatenate([self.numbers, self.waiting_numbers.view()])
            self.files = np.append(self.files, np.full(size, len(self.names) - 1, dtype=np.uint8))
            self.nearest = np.append(self.nearest, np.zeros(size))
            self.others = np.concatenate([self.others, np.zeros((size, 2), dtype=np.int32)])
            self.waiting, self.waiting_numbers = StoredTexts(), Growing(np.int32)

    def close(self):
        """Give back what only comparisons need."""
        self.index = self.waiting = self.waiting_numbers = None

    def found(self, name):
        """The texts of a file that are nearly the same as others, in the order of their lines.

        Yields:
            tuple[int, float, str, int]: line, similarity, file and line of the other one.
        """
        if name not in self.names:
            return
        rows = np.flatnonzero((self.files == self.names.index(name)) & (self.nearest > 0))
        for some in pieces(rows[np.argsort(self.numbers[rows], kind="stable")]):
            columns = (self.numbers[some], self.nearest[some], self.others[some, 0], self.others[some, 1])
            for number, value, file, line in zip(*(column.tolist() for column in columns)):
                yield number, value, self.names[file], line


# -------------------------------------------------------------------------------------------------------------- texts


def compare_texts(findings, splits, labels, near=None):
    """Find the texts that are in the folder more than once.

    Args:
        findings (Findings): to be added to.
        splits (dict[str, Split]): the files.
        labels (list[str]): in class order.
        near (NearTexts | None): the texts of dev and test that are nearly the same as others.
    """
    names = [name for name in REPORT_ORDER if name in splits]
    files = [splits[name] for name in names]
    leaked = {name: Growing(np.int32) for name in names}
    rows = repeated_rows([split.normals for split in files])
    for _, group in itertools.groupby(_samples(names, files, *rows), key=operator.itemgetter(0)):
        found = compare_group(findings, labels, (row[1:] for row in group))
        for name in {name for name, _ in found}:
            leaked[name].add([number for other, number in found if other == name])
    for name in sorted(names) if near else ():
        known = np.sort(leaked[name].view())
        for number, value, other, line in near.found(name):
            place = int(np.searchsorted(known, number))
            if place == len(known) or known[place] != number:
                findings.add(
                    "near_leakage",
                    name,
                    number,
                    f"{value:.2f} like {findings.where(other, line)}",
                    other=(other, line),
                )


def repeated_rows(files):
    """The samples whose values others have, too.

    Args:
        files (list[np.ndarray]): int64 [samples] each.

    Returns:
        tuple[np.ndarray, np.ndarray]: int32 numbers of groups, in which all samples have the same value, and int64
        numbers of samples over all files: groups in the order of their first samples, each in that of its samples.
    """
    values = np.concatenate([np.zeros(0, dtype=np.int64), *files])
    size = len(values)
    order = np.argsort(values, kind="stable")
    begins = np.ones(size + 1, dtype=bool)
    for start in range(1, size, PIECE):  # in pieces: the values in order would be as large again
        before, here = order[start - 1 : start - 1 + PIECE], order[start : start + PIECE]
        begins[start : start + len(here)] = values[here] != values[before[: len(here)]]
    del values
    several = ~(begins[:-1] & begins[1:])
    order, begins = order[several], begins[:-1][several]
    firsts = order[begins]
    ranks = np.empty(len(firsts), dtype=np.int32)
    ranks[np.argsort(firsts, kind="stable")] = np.arange(len(firsts), dtype=np.int32)
    ranks = ranks[np.cumsum(begins, dtype=np.int32) - 1]
    place = np.argsort(ranks, kind="stable")
    return ranks[place], order[place]


def _samples(names, files, groups, rows):
    """What compare_group needs of samples, piece by piece: yields the group, and a row for it."""
    starts = np.cumsum([0, *(len(split.normals) for split in files)])
    for group, some in zip(pieces(groups), pieces(rows)):
        which = np.searchsorted(starts, some, "right") - 1
        fields = np.empty((3, len(some)), dtype=np.int64)
        for file, split in enumerate(files):
            here = np.flatnonzero(which == file)
            for column, field in zip(fields, ("numbers", "hashes", "ids")):
                column[here] = getattr(split, field)[some[here] - starts[file]]
        yield from zip(group.tolist(), [names[file] for file in which.tolist()], *fields.tolist())


def compare_group(findings, labels, rows):
    """Compare the lines that have one text in common.

    Args:
        findings (Findings): to be added to.
        labels (list[str]): in class order.
        rows (Iterable[tuple[str, int, int, int]]): file, line, hash of the exact text, class id (-1: none).

    Returns:
        set[tuple[str, int]]: the lines of dev and test that are in another file too.
    """
    leaked = set()
    first, first_of_file, first_of_text = None, {}, {}
    for name, number, text, class_id in rows:
        first = first or (name, number, text, class_id)
        first_name, first_number, _, first_id = first
        elsewhere = [row for file, row in first_of_file.items() if file != name]
        exact = [first_of_text[row[0], text] for row in elsewhere if (row[0], text) in first_of_text]
        if name == "data":
            if elsewhere:
                findings.add(
                    "already_labelled", name, number, f"labelled in {findings.where(first_name, first_number)}"
                )
        else:
            if class_id != first_id:
                label, other_label = labels[class_id], labels[first_id]
                message = f"{label!r}, but {other_label!r} in {findings.where(first_name, first_number)}"
                findings.add("conflict", name, number, message, other=first[:2])
            if elsewhere:
                kind = "leakage" if exact else "normalised_leakage"
                other = (exact or elsewhere)[0]
                findings.add(kind, name, number, f"also {findings.where(*other[:2])}", other=other[:2])
                leaked.add((name, number))
        twin = first_of_text.get((name, text))
        if twin and twin[3] == class_id:
            findings.add("duplicate", name, number, f"same as line {findings.line(name, twin[1])}")
        elif not twin and first_of_file.get(name, (None,) * 4)[3] == class_id:
            first_line = first_of_file[name][1]
            findings.add(
                "normalised_duplicate",
                name,
                number,
                f"same as line {findings.line(name, first_line)}",
                other=(name, first_line),
            )
        row = (name, number, text, class_id)
        first_of_file.setdefault(name, row)
        first_of_text.setdefault((name, text), row)
    return leaked


# --------------------------------------------------------------------------------------------------- labels, scripts


def compare_labels(findings, splits, labels, few, imbalance):
    """Find labels without samples, or with few, and how far apart the frequencies are.

    Args:
        findings (Findings): to be added to.
        splits (dict[str, Split]): the files.
        labels (list[str]): in class order.
        few (int): fewer samples of a label than this are few.
        imbalance (float): the ratio of the most to the least frequent label that is worth a warning.
    """
    if "train" not in splits or len(splits["train"].ids) == 0:
        return
    counts = dict(zip(labels, splits["train"].label_counts(labels)))
    for label, count in counts.items():
        if count == 0:
            findings.add("unused_label", "label", 0, repr(label))
        elif count < few:
            findings.add("few_samples", "train", 0, f"{label!r}: {count}")
    if "dev" in splits:
        for label, count in zip(labels, splits["dev"].label_counts(labels)):
            if count == 0:
                findings.add("not_in_dev", "dev", 0, repr(label))
    for name in ("dev", "test"):
        if name in splits and len(splits[name].ids):
            compare_shares(findings, splits, labels, name)
    used = {label: count for label, count in counts.items() if count}
    most, least = max(used, key=used.get), min(used, key=used.get)
    if used[most] >= imbalance * used[least]:
        message = f"{most!r} {used[most]}, {least!r} {used[least]}: {used[most] / used[least]:.0f} to 1"
        findings.add("imbalance", "train", 0, message)


def compare_label_names(findings, labels):
    """Find labels that are the same but for case, width, punctuation and white space."""
    first = {}
    for label, form in zip(labels, normalise(labels)):
        other = first.setdefault(form, label)
        if other != label:
            findings.add("similar_labels", "label", 0, f"{label!r} and {other!r}")


def compare_shares(findings, splits, labels, name):
    """Find whether the labels of a file are distributed as in train.txt: by much, and not by chance."""
    table = np.array([splits["train"].label_counts(labels), splits[name].label_counts(labels)])
    difference = table[1] / table[1].sum() - table[0] / table[0].sum()
    distance = np.abs(difference).sum() / 2
    if distance < 0.1:
        return
    from scipy.stats import chi2_contingency  # takes a second

    if chi2_contingency(table[:, table.any(axis=0)]).pvalue < 0.001:
        most = int(np.abs(difference).argmax())
        before, after = (row[most] / row.sum() for row in table)
        message = f"{distance:.0%} of {findings.shown(name)} would need another label; {labels[most]!r} most of all: "
        findings.add(
            "label_shift",
            name,
            0,
            f"{message}{before:.1%} of {findings.shown('train')}, {after:.1%} of {findings.shown(name)}",
        )


def compare_scripts(findings, splits):
    """Find texts whose script is not that of most of the others."""
    count = collections.Counter()
    for split in splits.values():
        for script in (SIMPLIFIED, TRADITIONAL):
            count[script] += int((split.scripts == script).sum())
    usual = SIMPLIFIED if count[SIMPLIFIED] >= count[TRADITIONAL] else TRADITIONAL
    names = {SIMPLIFIED: "simplified", TRADITIONAL: "traditional"}
    unusual = (SIMPLIFIED | TRADITIONAL) & ~usual
    for name in REPORT_ORDER:
        if name in splits:
            split = splits[name]
            for scripts, numbers in zip(pieces(split.scripts), pieces(split.numbers)):
                for index in np.flatnonzero(scripts & unusual).tolist():
                    both = scripts[index] & usual
                    message = "both in one text" if both else f"{names[unusual]}, most texts are {names[usual]}"
                    findings.add("mixed_script", name, int(numbers[index]), message)
