"""Labels that are paths, such as 一级##二级: the levels above a label, their scores, and answers that are sure enough.

A label stays one class. What stands before a separator in it is a parent: its probability is the sum of the
probabilities of all labels below it, and of the label that is called like the parent itself, where there is one.

At level d a label stands for its first d parts, or for itself where it has no more: at the deepest level each label
stands for itself. So the groups of a level have all labels, each once, and their probabilities sum to 1.
"""

import functools
from collections import namedtuple

from utils import UsageError

# Between the parts of a label, where no other is given.
SEPARATOR = "##"
# The answer where no level is sure enough, if no other name is given for it, and how long such a name may be.
UNKNOWN, MAX_UNKNOWN = "unknown", 100
# In front of the accuracy that a min_confidence may name instead of a confidence; export.json knows what it takes.
ACCURACY = "accuracy:"
# Where a checkpoint's config.json and an export's export.json have the separator.
SEPARATOR_KEY = "label_separator"

# Lines of utils.evaluation_report about all classes, which come first.
BEFORE_CLASSES = 4

# One level: the names of its groups, in the order of their first labels, and the group of each class.
Level = namedtuple("Level", "names of_class")


# label: the deepest one that is sure enough, a parent perhaps, or UNKNOWN; guess: the most probable label.
class Answer(namedtuple("Answer", "label confidence guess guess_confidence")):
    """An answer with a limit, and the most probable label beside it.

    Attributes:
        window (dict | None): see core.long_texts.window_facts; None where the text was read as a whole.
    """

    window = None


def parts_of(label, separator):
    """The parts of a label, without space around them; a label with an empty part is no path, and has one."""
    parts = [part.strip() for part in label.split(separator)]
    return parts if all(parts) else [label]


def has_levels(labels, separator):
    """Whether any label is a path."""
    return any(len(parts_of(label, separator)) > 1 for label in labels)


def separator_problems(separator, flag="--label_separator"):
    """What is wrong with a separator that was given; None was not given: a list of messages."""
    if separator is None or separator.strip():
        return []
    return [f"{flag} {separator!r}: give the characters between the parts of a label, such as {SEPARATOR}"]


def confidence_problem(value):
    """What is wrong with a min_confidence, or None: it is a number from 0 to 1, or accuracy:<such a number>."""
    if isinstance(value, str) and value.startswith(ACCURACY):
        try:
            value = float(value[len(ACCURACY) :])
        except ValueError:
            value = None
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return None if is_number and 0 <= value <= 1 else f"give a number from 0 to 1, or {ACCURACY}0.98"


def unknown_problem(value):
    """What is wrong with a name for the answer where no level is sure enough, or None."""
    if isinstance(value, str) and len(value) <= MAX_UNKNOWN and value.strip() and value.isprintable():
        return None
    return f"give a name of at most {MAX_UNKNOWN} printable characters, such as {UNKNOWN}"


def stored_separator(content):
    """The separator in the content of config.json or export.json, else SEPARATOR: files from before there was one."""
    value = content.get(SEPARATOR_KEY)
    return value if isinstance(value, str) and value.strip() else SEPARATOR


def separator_facts(labels, separator):
    """What export.json says of the separator: nothing where whoever reads it sees the same levels without it."""
    is_of_use = has_levels(labels, separator) or has_levels(labels, SEPARATOR)
    return {SEPARATOR_KEY: separator} if is_of_use else {}


class LabelPaths:
    """The levels of a model's labels.

    Args:
        labels (list[str]): in class order.
        separator (str): between the parts of a label.

    Attributes:
        depth (int): levels; 1 where no label is a path.
        levels (list[Level]): the first one has the first parts, the last one the labels themselves.
        names (list[str]): of the groups of all levels, the first level's first.
        class_ids (list[int | None]): of `names`: the class that is called so.
    """

    def __init__(self, labels, separator=SEPARATOR):
        self.labels, self.separator = list(labels), separator
        paths = [parts_of(label, separator) for label in self.labels]
        self.depth = max(map(len, paths), default=1)
        called = dict(zip(map(tuple, paths), self.labels))  # a parent is called as its own label, spaces and all
        self.levels = []
        for depth in range(1, self.depth):
            groups = [tuple(parts[:depth]) for parts in paths]
            numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
            names = [called.get(group, separator.join(group)) for group in numbers]
            self.levels.append(Level(names, [numbers[group] for group in groups]))
        self.levels.append(Level(list(self.labels), list(range(len(self.labels)))))
        classes = {label: index for index, label in enumerate(self.labels)}
        self.names = [name for level in self.levels for name in level.names]
        self.class_ids = [classes.get(name) for name in self.names]

    def check_answers(self, unknown=UNKNOWN):
        """Refuse a name for what is not sure enough that could not be told from the model's own answers.

        Raises:
            UsageError: it is no name, or a label, or a part above one, is called so.
        """
        if problem := unknown_problem(unknown):
            raise UsageError(f"unknown {unknown!r}: {problem}")
        if unknown in self.names:
            raise UsageError(
                f"min_confidence: the model has a label {unknown!r}, which is what an answer that is not sure enough "
                "is called; give it another name by unknown (client.py: --unknown), or leave min_confidence out and "
                "compare the confidence yourself"
            )

    @functools.cached_property
    def _groups(self):
        """For each level but the last: the classes in the order of their groups, and where each group begins."""
        import numpy as np

        found = []
        for level in self.levels[:-1]:
            of_class = np.array(level.of_class)
            found.append(
                (of_class.argsort(kind="stable"), np.searchsorted(np.sort(of_class), range(len(level.names))))
            )
        return found

    def sums(self, probabilities, level):
        """The probabilities of a level's groups.

        Args:
            probabilities (np.ndarray): float64 [texts, classes].
            level (int): from 0, the first one, to depth - 1.

        Returns:
            np.ndarray: float64 [texts, groups]; of the last level the probabilities themselves.
        """
        import numpy as np

        if level == self.depth - 1:
            return probabilities
        order, starts = self._groups[level]
        return np.minimum(np.add.reduceat(probabilities[:, order], starts, axis=1), 1.0)

    def choose(self, probabilities, min_confidence):
        """The deepest level that is sure enough, of each text.

        Confidences are compared in millionths, which is how the server writes them: 0.8 is reached by 0.7999996.

        Args:
            probabilities (np.ndarray): float64 [texts, classes].
            min_confidence (float | Sequence[float | None]): from 0 to 1; one for all levels, or one for each, the
                first level's first, where None means that no answer is given at that level.

        Returns:
            tuple[np.ndarray, np.ndarray]: int64 [texts], places in `names`, -1 for UNKNOWN; float64 [texts],
            confidences, for UNKNOWN that of the first level's most probable group, which is too low.
        """
        import numpy as np

        from core.millionths import reaches

        chosen = np.full(len(probabilities), -1, np.int64)
        confidence = np.zeros(len(probabilities))
        open_rows, end = np.arange(len(probabilities)), len(self.names)
        limits = min_confidence if isinstance(min_confidence, (list, tuple)) else [min_confidence] * self.depth
        for level in reversed(range(self.depth)):
            end -= len(self.levels[level].names)
            values = self.sums(probabilities[open_rows], level)
            best = values.argmax(axis=1)
            confidence[open_rows] = values[np.arange(len(values)), best]
            limit = np.inf if limits[level] is None else limits[level]
            is_sure = reaches(confidence[open_rows], limit)
            chosen[open_rows[is_sure]] = end + best[is_sure]
            open_rows = open_rows[~is_sure]
        return chosen, confidence

    def answers(self, probabilities, min_confidence, unknown=UNKNOWN):
        """The answers with a limit: list[Answer], a text each; see choose. `unknown` is what is not sure enough."""
        chosen, confidence = self.choose(probabilities, min_confidence)
        guesses = probabilities.argmax(axis=1)
        return [
            Answer(unknown if place < 0 else self.names[place], own, self.labels[guess], float(row[guess]))
            for place, own, guess, row in zip(chosen.tolist(), confidence.tolist(), guesses.tolist(), probabilities)
        ]

    def at_level(self, class_ids, level):
        """The groups of classes at a level, from 0: int64, in the shape of class_ids."""
        import numpy as np

        return np.array(self.levels[level].of_class, np.int64)[np.asarray(class_ids)]

    def scores(self, truth, predicted):
        """How often the first part, the first two parts, … of the predicted label are right.

        Args:
            truth, predicted: class ids [samples].

        Returns:
            list[dict]: a level each, JSON-ready: level, labels (groups there are), accuracy and macro_f1 (a group
            without any sample or prediction counts as 0), as fractions of 1; empty where no label is a path.
        """
        import numpy as np

        found = []
        for level in range(self.depth if self.depth > 1 else 0):
            true, own = (self.at_level(ids, level) for ids in (truth, predicted))
            size = len(self.levels[level].names)
            right, both = np.bincount(true[true == own], minlength=size), np.bincount([*true, *own], minlength=size)
            macro = float((2 * right / np.maximum(both, 1)).mean())
            row = {"level": level + 1, "labels": size, "accuracy": float(np.mean(true == own)), "macro_f1": macro}
            found.append(row)
        return found


def with_levels(report, split, scores):
    """A report with a line for each level but the last, which the report itself is about.

    Args:
        report (list[str]): of utils.evaluation_report.
        split (str): dev or test.
        scores (list[dict]): of LabelPaths.scores; of none of it the report stays as it is.

    Returns:
        list[str]: lines.
    """
    lines = [
        f"Level {row['level']} in {split} dataset: {row['labels']} labels | accuracy: {100 * row['accuracy']:.2f} | "
        f"macro F1 score {100 * row['macro_f1']:.2f}"
        for row in scores[:-1]
    ]
    return [*report[:BEFORE_CLASSES], *lines, *report[BEFORE_CLASSES:]]


def level_metrics(prefix, scores):
    """The same as metrics by name, for a file of results: <prefix>level_1_accuracy, <prefix>level_1_macro_f1, …"""
    return {
        f"{prefix}level_{row['level']}_{name}": row[name] for row in scores[:-1] for name in ("accuracy", "macro_f1")
    }
