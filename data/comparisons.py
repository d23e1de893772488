"""What the lines of a data folder say when they are compared: copies, contradictions, leaks, labels and scripts.

Texts are compared by their hashes, so that none of them has to be kept but those of dev.txt and test.txt.
"""

import collections

import numpy as np

from data.near_duplicates import NearDuplicates, normalise
from data.reading import REPORT_ORDER, SIMPLIFIED, TRADITIONAL

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
        self.chunks = []

    def add(self, *fields):
        self.chunks.append([np.asarray(field, dtype) for field, dtype in zip(fields, FIELDS.values())])

    def freeze(self):
        """Make the arrays of what was added."""
        for index, (field, dtype) in enumerate(FIELDS.items()):
            setattr(self, field, np.concatenate([np.zeros(0, dtype), *(chunk[index] for chunk in self.chunks)]))
        self.chunks = None

    def label_counts(self, labels):
        """Samples a label; list in the order of class ids."""
        return np.bincount(self.ids, minlength=len(labels)).tolist()


class NearTexts:
    """The texts of dev and test that are nearly the same as one of a file that is read later.

    Args:
        threshold (float): similarity from which texts are nearly the same.
    """

    def __init__(self, threshold):
        self.index = NearDuplicates(threshold)
        self.places = []
        self.settled = np.zeros(0, dtype=bool)
        self.waiting = []
        # Place of a text -> similarity, and file and line of the other one.
        self.found = {}

    def compare(self, name, numbers, normal):
        """Compare texts with those of dev and test that were read before.

        Of each text of dev and test the nearest one in the first chunk that has any is kept.

        Args:
            name (str): the file.
            numbers (list[int]): of the lines.
            normal (list[str]): their texts in normal form.
        """
        for here, there, value in self.index.query(normal, settled=self.settled):
            place = self.places[there]
            if normal[here] != self.index.texts[there] and value > self.found.get(place, (0,))[0]:
                self.found[place] = value, name, numbers[here]
        self._settle()
        if name != "train":
            first_number = dict(zip(reversed(normal), reversed(numbers)))
            self.waiting += [(text, (name, number)) for text, number in first_number.items()]

    def end_file(self):
        """From here on, texts are compared with those of the file that was just read, too."""
        if self.waiting:
            self.index.add([text for text, _ in self.waiting])
            self.places += [place for _, place in self.waiting]
            self.waiting = []
            self._settle()

    def _settle(self):
        self.settled = np.array([place in self.found for place in self.places], dtype=bool)


# -------------------------------------------------------------------------------------------------------------- texts


def compare_texts(findings, splits, labels, near_found):
    """Find the texts that are in the folder more than once.

    Args:
        findings (Findings): to be added to.
        splits (dict[str, Split]): the files.
        labels (list[str]): in class order.
        near_found (dict): see NearTexts.found.
    """
    names = [name for name in REPORT_ORDER if name in splits]
    files = [splits[name] for name in names]
    normals = np.concatenate([split.normals for split in files]) if files else np.zeros(0, dtype=np.int64)
    if len(normals) == 0:
        return
    which = np.repeat(np.arange(len(names)), [len(split.normals) for split in files])
    numbers, hashes, ids = (
        np.concatenate([getattr(split, field) for split in files]) for field in ("numbers", "hashes", "ids")
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
        group = [(names[row[0]], *row[1:]) for row in zip(*(field.tolist() for field in fields))]
        leaked |= compare_group(findings, labels, group)
    for (name, number), (value, other, line) in sorted(near_found.items()):
        if (name, number) not in leaked:
            findings.add(
                "near_leakage", name, number, f"{value:.2f} like {findings.where(other, line)}", other=(other, line)
            )


def compare_group(findings, labels, rows):
    """Compare the lines that have one text in common.

    Args:
        findings (Findings): to be added to.
        labels (list[str]): in class order.
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
                findings.add(
                    "already_labelled", name, number, f"labelled in {findings.where(first_name, first_number)}"
                )
        else:
            if class_id != first_id:
                label, other_label = labels[class_id], labels[first_id]
                message = f"{label!r}, but {other_label!r} in {findings.where(first_name, first_number)}"
                findings.add("conflict", name, number, message, other=rows[0][:2])
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
            for index in np.flatnonzero(split.scripts & unusual).tolist():
                both = split.scripts[index] & usual
                message = "both in one text" if both else f"{names[unusual]}, most texts are {names[usual]}"
                findings.add("mixed_script", name, int(split.numbers[index]), message)
