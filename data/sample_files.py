"""Labelled files of any size, their samples kept in a file: what split.py reads."""

import array
import itertools

import numpy as np

from core.any_file import is_table, open_samples, read_any_examples, read_table
from core.columns import Columns
from core.lines import read_chunks
from core.progress import progress_bar
from data.reading import LabelsAsFound
from data.stored_texts import BLOCK, StoredTexts
from utils import UsageError, parse_example, read_lines

# Bytes of a file below which no progress is shown.
SHORT_FILE = 16 << 20


class _Odd(Exception):
    """A file of which the readers of whole files have something to say."""


def read_samples(path, labels=None, folder=None):
    """Read a file of samples, of any format and size.

    Args:
        path (Path): lines of `<text>\\t<label>`, or a table.
        labels (list[str] | None): in class order; None: in the order of their appearance.
        folder (str | None): for the temporary file.

    Returns:
        tuple[StoredTexts, np.ndarray, list[str], Columns]: the samples, their class ids (int32), the labels, and what
        is known of the columns.

    Raises:
        UsageError: as core.any_file.read_any_examples.
    """
    label2id = LabelsAsFound() if labels is None else {label: index for index, label in enumerate(labels)}
    texts, ids, columns = StoredTexts(folder), array.array("i"), Columns()
    try:
        for some, own_ids in (_table_blocks if is_table(path) else _line_blocks)(path, label2id):
            names = list(label2id) if labels is None else labels
            own = [names[index] for index in own_ids]
            texts.add(some, own)
            columns.add(some, own)
            ids.extend(own_ids)
    except _Odd:
        _refuse(path, labels)
    return texts, np.array(ids, dtype=np.int32), list(label2id) if labels is None else labels, columns


def _refuse(path, labels):
    """Raise the UsageError that says what is wrong with a file, by reading all of it again."""
    if labels is None and is_table(path):
        read_table(path)
    else:
        read_any_examples(path, labels_in_order(path) if labels is None else labels)
    raise UsageError(f"{path}: changed while it was read; run the same command again")


def labels_in_order(path):
    """The labels of a file of samples in the order of their first appearance."""
    fields = (line.split("\t") for line in read_lines(path))
    return list(dict.fromkeys(row[1].strip() for row in fields if len(row) == 2 and row[1].strip()))


def _table_blocks(path, label2id):
    """Texts and class ids of a table, in blocks.

    Raises:
        UsageError, _Odd: its columns are unclear, or a row cannot be used.
    """
    rows = open_samples(path).rows()
    while some := list(itertools.islice(rows, BLOCK)):
        if any(label.__class__ is not str for *_, label in some):
            raise _Odd
        ids = [label2id.get(label) for *_, label in some]
        if None in ids:
            raise _Odd
        yield [text for _, _, text, _ in some], ids


def _line_blocks(path, label2id):
    """Texts and class ids of lines in UTF-8, in blocks.

    Raises:
        _Odd: not all of it are samples in UTF-8.
    """

    def refuse(*_):
        raise _Odd

    if not path.is_file():
        raise _Odd
    size, is_empty = path.stat().st_size, True
    with progress_bar(total=size, unit="B", unit_scale=True, desc="reading", disable=size < SHORT_FILE) as bar:
        for _, lines in read_chunks(path, refuse, bar):
            examples = [parse_example(line, label2id) for line in lines]
            if None in examples:
                raise _Odd
            is_empty = False
            yield [text for text, _ in examples], [index for _, index in examples]
    if is_empty:
        raise _Odd
