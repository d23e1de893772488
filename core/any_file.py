"""Labelled files of any format where a command takes one: data/convert.py's readers, with nothing left out."""

import sys
from pathlib import Path

from core.dialects import Rejected
from core.samples import Samples, Wishes
from core.sources import find_sources
from core.table_columns import Unsure
from utils import UsageError, example_problem, read_examples

# Names of files that are no lines of <text>, a tab, <label>; those are read as ever.
ENDINGS = (".csv", ".json", ".jsonl", ".parquet", ".xlsx", ".xls", ".ods", ".gz", ".zip")
CONVERT = "convert it where a choice is needed: python data/convert.py --input_file"


def is_table(path):
    """Whether a file is read as a table, by its name."""
    return Path(path).name.lower().endswith(ENDINGS)


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
        return read_examples(path, labels)
    label2id = {label: index for index, label in enumerate(labels)}
    texts, names = read_table(path)
    ids = [label2id.get(name) for name in names]
    if None in ids:
        row = ids.index(None)
        message = example_problem(f"{texts[row]}\t{names[row]}", label2id)[1]
        raise UsageError(f"{path}: sample {row + 1}: {message}")
    return texts, ids


def read_table(path):
    """The texts and labels of a table.

    Returns:
        tuple[list[str], list[str]]: in file order.

    Raises:
        UsageError: as read_any_examples.
    """
    try:
        samples = Samples([(None, source) for source in find_sources([path])], Wishes())
    except Unsure as error:
        raise UsageError(f"{error}; {CONVERT} {path}") from None
    print("\n".join(samples.description()), file=sys.stderr)
    texts, labels = [], []
    for _, number, text, label in samples.rows():
        if label is None or isinstance(label, Rejected):
            reason = "no label" if label is None else label.reason
            raise UsageError(f"{path}:{number}: {reason}; mend it, or leave such rows out: {CONVERT} {path}")
        texts.append(text)
        labels.append(label)
    return texts, labels
