"""Labelled files of any format where a command takes one: data/convert.py's readers, with nothing left out."""

import os
import sys

from core.dialects import Rejected
from core.samples import Samples, Wishes
from core.sources import find_sources
from core.table_columns import Unsure
from core.table_names import convert_command, is_table
from core.tables import open_table
from utils import UsageError, example_problem, read_cases, read_examples

CONVERT = "convert it where a choice is needed: python data/convert.py --input_file"


def read_any_examples(path, labels):
    """utils.read_examples of a file of any format; what a table was taken for is said on stderr.

    Args:
        path: the file.
        labels (list[str]): in class order.

    Returns:
        tuple[list[str], list[int]]: texts and class ids, in file order.

    Raises:
        UsageError: as utils.read_examples; a row that cannot be used, or columns that are unclear.
    """
    if not is_table(path):
        try:
            return read_examples(path, labels)
        except UsageError as error:
            what = other_format(path) if os.path.isfile(path) else None
            raise UsageError(f"{error}; {what}" if what else str(error)) from None
    label2id = {label: index for index, label in enumerate(labels)}
    texts, names, numbers = _table_rows(path)
    ids = [label2id.get(name) for name in names]
    if None in ids:
        row = ids.index(None)
        message = example_problem(f"{texts[row]}\t{names[row]}", label2id)[1]
        raise UsageError(f"{path}:{numbers[row]}: {message}")
    return texts, ids


def read_table(path):
    """The texts and labels of a table.

    Returns:
        tuple[list[str], list[str]]: in file order.

    Raises:
        UsageError: as read_any_examples.
    """
    return _table_rows(path)[:2]


def _table_rows(path):
    """read_table's texts and labels, and the lines or rows that they are in."""
    texts, labels, numbers = [], [], []
    for _, number, text, label in open_samples(path).rows():
        if label is None or isinstance(label, Rejected):
            reason = "no label" if label is None else label.reason
            raise UsageError(f"{path}:{number}: {reason}; mend it, or leave such rows out: {CONVERT} {path}")
        texts.append(text)
        labels.append(label)
        numbers.append(number)
    return texts, labels, numbers


def open_samples(path):
    """core.samples.Samples of one table; what it was taken for is said on stderr.

    Raises:
        UsageError: it is no table, or its columns are unclear.
    """
    try:
        samples = Samples([(None, source) for source in find_sources([path])], Wishes())
    except Unsure as error:
        raise UsageError(f"{error}; {CONVERT} {path}") from None
    print("\n".join(samples.description()), file=sys.stderr)
    return samples


def other_format(path):
    """What a file is that has no lines of <text>, a tab, <label>, and the command that makes them.

    Returns:
        str | None: the end of a message; None where it is nothing else that can be read.
    """
    try:
        [source] = find_sources([path])
        table = open_table(source)
    except (UsageError, ValueError):
        return None
    kind = table.kind.partition(", ")[0]
    is_named = ", column names in the first line" in table.kind
    if (
        kind.startswith("one field")
        or kind.endswith("between tabs")
        and "in quotes" not in kind
        and not is_named
        and table.width < 3
    ):
        return None
    return f"the file is {table.kind}; convert it: {convert_command(path)}"


def read_any_texts(path):
    """The texts of a file of any format, labels unused: a text a line, text and label, or a table.

    Returns:
        list[str]: in file order.

    Raises:
        UsageError: as utils.read_cases; a row of a table that cannot be used, or columns that are unclear.
    """
    if not is_table(path):
        return [text for _, text, *_ in read_cases(path)]
    texts = []
    for _, number, text, label in open_samples(path).rows():
        if isinstance(label, Rejected):
            raise UsageError(f"{path}:{number}: {label.reason}; mend it, or leave such rows out: {CONVERT} {path}")
        texts.append(text)
    return texts
