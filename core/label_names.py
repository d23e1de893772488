"""The names of class ids: class.txt and its like, id=name pairs, and which id each name has."""

import collections
import json
import re
import unicodedata
from pathlib import Path

from core.lines import read_chunks, unclear_encoding
from core.sources import LABEL_FILES
from utils import UsageError, shortened, split_label

PAIR = re.compile(r"\s*([^=]+?)\s*=(?!=)\s*(.+)")
SEVERAL = re.compile(r"[|,;，；、]")
# Those of them that no name of one class has inside.
SURELY_SEVERAL = re.compile(r"[|;；]")
INTEGER = re.compile(r"-?\d+(?:\.0+)?")


def integer(label):
    """A class id as it is written in a table: 3 for "3" and "3.0"; None for what is none."""
    return int(float(label)) if INTEGER.fullmatch(label) and len(label) < 16 else None


class LabelNames:
    """Names of classes.

    Args:
        where (str): where they come from, for messages.
        names (list[str] | dict[str, str]): in the order of ids, or by id.
    """

    def __init__(self, where, names):
        self.where, self.names = where, names
        self.order = list(dict.fromkeys(names.values() if isinstance(names, dict) else names))
        if len(self.order) < 2:
            raise UsageError(f"{where}: {len(self.order)} names of labels; a classifier needs at least two")

    def mapping(self, labels):
        """What each label of a table is called.

        Args:
            labels (Iterable[str]): those that are there.

        Returns:
            dict[str, str]: id -> name; names stand for themselves.

        Raises:
            UsageError: the labels are neither these names nor their ids, or the first id may be 0 or 1.
        """
        labels = set(labels)
        themselves = {name: name for name in self.order}
        if labels <= themselves.keys():
            return themselves
        if isinstance(self.names, dict):
            found = {**{str(key): name for key, name in self.names.items()}, **themselves}
            found |= {
                str(number): name for key, name in self.names.items() if (number := integer(str(key))) is not None
            }
            missing = {label for label in labels if label not in found and str(integer(label)) not in found}
            if not missing:
                return found
            raise UsageError(f"{self.where}: no name of the label {min(missing)!r}; add it")
        ids = {integer(label) for label in labels}
        size = len(self.names)
        if None in ids or min(ids) < 0 or max(ids) > size:
            wrong = next(
                label for label in sorted(labels) if integer(label) is None or not 0 <= integer(label) <= size
            )
            raise UsageError(
                f"{self.where}: {size} names ({shortened(' '.join(self.order), 80)}), but the label "
                f"{shortened(wrong)!r} is neither one of them nor the number of one"
            )
        first = 1 if max(ids) == size and 0 not in ids else 0
        if max(ids) == size and 0 in ids:
            raise UsageError(f"{self.where}: {size} names, but the labels are 0 to {size}; add the missing name")
        if first == 0 and 0 not in ids:
            raise UsageError(
                f"{self.where}: {size} names, and the labels are {min(ids)} to {max(ids)}: is the first name that of "
                f"0 or of 1? Say so: --label_names 0={self.order[0]} … or --label_names 1={self.order[0]} …"
            )
        return {**{str(number): name for number, name in enumerate(self.names, first)}, **themselves}


def given_names(words):
    """LabelNames of --label_names: a file, names in the order of their ids, or id=name pairs.

    Raises:
        UsageError: pairs and names are mixed, or a file cannot be read.
    """
    if len(words) == 1 and Path(words[0]).exists():
        return read_names(words[0])
    pairs = [PAIR.fullmatch(word) for word in words]
    if all(pairs):
        return LabelNames("--label_names", {match[1]: match[2] for match in pairs})
    if len(words) == 1:
        raise UsageError(f"--label_names {words[0]}: no such file; give one, or the names in the order of their ids")
    if any(pairs):
        raise UsageError("--label_names: names and id=name pairs are mixed; give one kind")
    return LabelNames("--label_names", words)


def names_beside(folders):
    """LabelNames of each file such as class.txt or labels.json in some folders that can be read."""
    for folder in dict.fromkeys(folders):
        for path in sorted(Path(folder).iterdir()):
            if path.is_file() and LABEL_FILES.fullmatch(path.name):
                try:
                    yield read_names(path)
                except UsageError:
                    continue


def read_names(path):
    """LabelNames of a file: a name a line, id and name a line, JSON (a list, id to name, name to id), or JSON lines.

    Raises:
        UsageError: it cannot be read, or is none of these.
    """

    def on_bad_line(number, names):
        if len(names) != 1:
            place = f"{path}:{number}"
            raise UsageError(unclear_encoding(place, names) if names else f"{place}: not UTF-8; save it as UTF-8")

    lines = [line for _, some in read_chunks(Path(path), on_bad_line) for line in some if line.strip()]
    found = _json_names("\n".join(lines)) or _text_names(lines)
    if not found:
        raise UsageError(f"{path}: no names of labels; write one a line, in the order of their ids")
    return LabelNames(str(path), found)


def _json_names(text):
    try:
        value = json.loads(text)
    except ValueError:
        try:
            value = [json.loads(line) for line in text.split("\n")]
        except ValueError:
            return None
    if isinstance(value, dict):
        if all(isinstance(number, int) for number in value.values()):
            return {str(number): str(name) for name, number in value.items()}
        return {str(key): name for key, name in value.items() if isinstance(name, str)}
    if not isinstance(value, list):
        return None
    if all(isinstance(name, str) for name in value):
        return value
    rows = [[str(cell) for cell in row.values()] for row in value if isinstance(row, dict)]
    return _pairs(rows)


def _text_names(lines):
    if all("\t" in line for line in lines):
        return _pairs([line.split("\t") for line in lines])
    for separator in (",", " ", ":"):
        rows = [[cell.strip() for cell in line.split(separator, 1)] for line in lines]
        if len(lines) > 1 and all(len(row) == 2 and all(row) for row in rows) and (found := _pairs(rows)):
            return found
    return [split_label(line)[0] for line in lines]


def _pairs(rows):
    """id -> name of rows of two cells of which one is a number of its own; None where they are no such rows."""
    if not rows or any(len(row) != 2 for row in rows):
        return None
    for here, there in ((0, 1), (1, 0)):
        if all(integer(row[here]) is not None for row in rows) and len({row[here] for row in rows}) == len(rows):
            return {row[here].strip(): row[there].strip() for row in rows}
    return None


def several_in_one(labels):
    """Labels that are more than one in a cell: their parts are labels themselves, or parts of others, too.

    Args:
        labels (set[str]): all of them.

    Returns:
        set[str]: some of these.
    """
    parts = {label: [part.strip() for part in SEVERAL.split(label)] for label in labels}
    uses = collections.Counter(part for some in parts.values() for part in set(some))
    return {
        label
        for label, some in parts.items()
        if len(some) > 1
        and (
            all(part in labels for part in some)
            or (SURELY_SEVERAL.search(label) and any(uses[part] > 1 for part in some))
        )
    }


def spellings(labels):
    """Labels that are the same but for case and width, together: dict[str, list[str]]."""
    alike = collections.defaultdict(list)
    for label in sorted(labels):
        alike[unicodedata.normalize("NFKC", label).casefold()].append(label)
    return dict(alike)
