"""What an answer holds of the probabilities, and its JSON, in pieces that are quick to make."""

import json

import numpy as np

from core.confidence import conformal_order
from core.label_paths import UNKNOWN, LabelPaths
from core.long_texts import window_facts
from core.millionths import millionths

# Entries (a text's class) of one piece: about two milliseconds' work.
PIECE = 2000
# A class and its probability in millionths, which is how exact answers are.
ENTRY = np.dtype([("id", "int32"), ("millionths", "int32")])


def most_probable(rows, top_k, least=None):
    """The most probable classes of some texts, in order.

    Args:
        rows (np.ndarray): probabilities, float64 [texts, classes].
        top_k (int): how many; 0 means all.
        least (float | None): of the probability of what is in a conformal set, which then decides how many.

    Returns:
        np.ndarray: ENTRY [texts, top_k or classes, if there are fewer]; of sets, the ids behind the last are -1.
    """
    if least is not None:
        order = conformal_order(rows, least)
    else:
        order = (
            (-rows).argsort(axis=1, kind="stable")[:, : top_k or None] if top_k != 1 else rows.argmax(axis=1)[:, None]
        )
    entries = np.empty(order.shape, ENTRY)
    entries["id"] = order
    # Of the id -1 it is the last class's, which nobody reads.
    entries["millionths"] = millionths(np.take_along_axis(rows, order, axis=1))
    return entries


def sure_enough(rows, top_k, paths, min_confidence, least=None):
    """The answers that are sure enough, each with the most probable classes behind it.

    Args:
        rows (np.ndarray): probabilities, float64 [texts, classes].
        top_k, least: as for most_probable.
        paths (core.label_paths.LabelPaths): of the model.
        min_confidence (float | tuple[float | None, ...]): see core.label_paths.LabelPaths.choose.

    Returns:
        np.ndarray: ENTRY [texts, 1 + top_k or classes]; the ids of the first column are places in paths.names, -1
        where nothing is sure enough.
    """
    chosen, confidence = paths.choose(rows, min_confidence)
    first = np.empty((len(rows), 1), ENTRY)
    first["id"], first["millionths"] = chosen[:, None], millionths(confidence)[:, None]
    return np.concatenate([first, most_probable(rows, top_k, least)], axis=1)


class Writer:
    """Answers of one model.

    Args:
        labels (list[str]): in class order.
        paths (core.label_paths.LabelPaths | None): their levels; None means those of the usual separator.
    """

    def __init__(self, labels, paths=None):
        paths = paths or LabelPaths(labels)
        self.labels = [json.dumps(label, ensure_ascii=False) for label in labels]
        self.names = [json.dumps(name, ensure_ascii=False) for name in paths.names]
        # The last one is for the place -1.
        self.name_ids = [json.dumps(class_id) for class_id in [*paths.class_ids, None]]
        self.heads = [f'{{"label":{label},"confidence":' for label in self.labels]
        self.tails = [f',"label_id":{index}}}' for index in range(len(labels))]

    def pieces(self, entries, with_top, is_limited=False, unknown=UNKNOWN, windows=None):
        """The JSON of an answer: label, confidence, label_id, an entry a text; with_top also top, all its entries; and
        window, where the answer to any text was one of several windows'.

        Args:
            entries (np.ndarray): as most_probable gives them, or sure_enough where is_limited.
            with_top (bool): see above.
            is_limited (bool): label is what is sure enough, a parent of labels perhaps or unknown, and label_id null
                where it is no class; the most probable class is beside it: guess, guess_confidence, guess_id.
            unknown (str): what the label is where nothing is sure enough; another name than unknown is told, too.
            windows (np.ndarray | None): core.long_texts.WINDOW [texts].

        Yields:
            bytes: the next piece.
        """
        answer, entries = entries[:, 0], entries[:, int(is_limited) :]
        names = [*self.names, json.dumps(unknown, ensure_ascii=False)] if is_limited else self.labels
        columns = [
            ("label", answer, "id", names.__getitem__),
            ("confidence", answer, "millionths", in_units),
            ("label_id", answer, "id", self.name_ids.__getitem__ if is_limited else str),
        ]
        if is_limited:
            guess = entries[:, 0]
            columns += [
                ("guess", guess, "id", self.labels.__getitem__),
                ("guess_confidence", guess, "millionths", in_units),
                ("guess_id", guess, "id", str),
            ]
        for number, (name, column, field, write) in enumerate(columns):
            yield ("," if number else '{"result":{').encode() + f'"{name}":['.encode()
            parts = (column[start : start + PIECE] for start in range(0, len(column), PIECE))
            yield from joined(map(write, part[field].tolist()) for part in parts)
            yield b"]"
        if windows is not None and (windows["of"] > 1).any():
            yield b',"window":['
            parts = (windows[start : start + PIECE] for start in range(0, len(windows), PIECE))
            yield from joined(map(json.dumps, map(window_facts, part)) for part in parts)
            yield b"]"
        if is_limited and unknown != UNKNOWN:
            yield f',"unknown":{names[-1]}'.encode()
        if with_top:
            yield b',"top":['
            step = max(1, PIECE // entries.shape[1])
            yield from joined(map(self._top, entries[start : start + step]) for start in range(0, len(entries), step))
            yield b"]"
        yield b"}}"

    def _top(self, row):
        """The entries of one text."""
        ids, values = row["id"].tolist(), (row["millionths"] / 1e6).tolist()
        shown = [self.heads[i] + repr(value) + self.tails[i] for i, value in zip(ids, values) if i >= 0]
        return "[" + ",".join(shown) + "]"


def in_units(millionths):
    """A probability as JSON has it."""
    return repr(millionths / 1e6)


def joined(parts):
    """Lists of strings as the pieces of one list with commas: bytes."""
    for number, part in enumerate(parts):
        yield ("," * (number > 0) + ",".join(part)).encode()
