"""What an answer holds of the probabilities, and its JSON, in pieces that are quick to make."""

import json

import numpy as np

# Entries (a text's class) of one piece: about two milliseconds' work.
PIECE = 2000
# A class and its probability in millionths, which is how exact answers are.
ENTRY = np.dtype([("id", "int32"), ("millionths", "int32")])


def most_probable(rows, top_k):
    """The most probable classes of some texts, in order.

    Args:
        rows (np.ndarray): probabilities, float64 [texts, classes].
        top_k (int): how many; 0 means all.

    Returns:
        np.ndarray: ENTRY [texts, top_k or classes, if there are fewer].
    """
    order = (-rows).argsort(axis=1, kind="stable")[:, : top_k or None] if top_k != 1 else rows.argmax(axis=1)[:, None]
    entries = np.empty(order.shape, ENTRY)
    entries["id"] = order
    entries["millionths"] = np.rint(np.take_along_axis(rows, order, axis=1) * 1e6)
    return entries


class Writer:
    """Answers of one model.

    Args:
        labels (list[str]): in class order.
    """

    def __init__(self, labels):
        self.labels = [json.dumps(label, ensure_ascii=False) for label in labels]
        self.heads = [f'{{"label":{label},"confidence":' for label in self.labels]
        self.tails = [f',"label_id":{index}}}' for index in range(len(labels))]

    def pieces(self, entries, with_top):
        """The JSON of an answer: label, confidence, label_id, an entry a text; with_top also top, all its entries.

        Args:
            entries (np.ndarray): as most_probable gives them.
            with_top (bool): see above.

        Yields:
            bytes: the next piece.
        """
        best = entries[:, 0]
        columns = {
            "label": lambda part: map(self.labels.__getitem__, part["id"].tolist()),
            "confidence": lambda part: map(repr, (part["millionths"] / 1e6).tolist()),
            "label_id": lambda part: map(str, part["id"].tolist()),
        }
        for number, (name, column) in enumerate(columns.items()):
            yield ("," if number else '{"result":{').encode() + f'"{name}":['.encode()
            yield from joined(column(best[start : start + PIECE]) for start in range(0, len(best), PIECE))
            yield b"]"
        if with_top:
            yield b',"top":['
            step = max(1, PIECE // entries.shape[1])
            yield from joined(map(self._top, entries[start : start + step]) for start in range(0, len(entries), step))
            yield b"]"
        yield b"}}"

    def _top(self, row):
        """The entries of one text."""
        ids, values = row["id"].tolist(), (row["millionths"] / 1e6).tolist()
        return "[" + ",".join([self.heads[i] + repr(value) + self.tails[i] for i, value in zip(ids, values)]) + "]"


def joined(parts):
    """Lists of strings as the pieces of one list with commas: bytes."""
    for number, part in enumerate(parts):
        yield ("," * (number > 0) + ",".join(part)).encode()
