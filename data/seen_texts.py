"""Which texts there were before: clean.py asks it of each line, and has no memory for millions of texts."""

import pickle
import tempfile

import numpy as np

from data.stored_texts import BLOCK

# The table is made larger before it is fuller than this.
MOST_FILLED = 0.6


class SeenTexts:
    """A set of texts that keeps 127 bits of hashes of each in a table: 27 to 54 bytes a text.

    A text that was not there before is taken for one that was with a probability of 1e-24 for ten million texts.
    """

    def __init__(self):
        self._table = np.zeros((1 << 10, 2), dtype=np.uint64)  # open addressing, linear probing; 0, 0 is empty
        self._size = 0

    def __len__(self):
        return self._size

    def has(self, texts):
        """Whether each of some texts (list[str]) is there: bool [texts]."""
        return self._has(_keys(texts))

    def add(self, texts):
        """Add texts (list[str]).

        Returns:
            np.ndarray: bool [texts], which of them were not there before, each of them for the first time.
        """
        keys = _keys(texts)
        order = np.lexsort(keys.T)
        repeated = np.zeros(len(keys), dtype=bool)
        repeated[order[1:]] = (keys[order[1:]] == keys[order[:-1]]).all(axis=1)
        is_new = ~repeated & ~self._has(keys)
        keys = keys[is_new]
        while self._size + len(keys) > MOST_FILLED * len(self._table):
            old, self._table = self._table, np.zeros((2 * len(self._table), 2), dtype=np.uint64)
            for first in range(0, len(old), BLOCK):
                some = old[first : first + BLOCK]
                self._insert(some[some[:, 0] > 0])
        self._insert(keys)
        self._size += len(keys)
        return is_new

    def _has(self, keys):
        result, waiting = np.zeros(len(keys), dtype=bool), np.arange(len(keys))
        slots = self._slots(keys)
        while len(waiting):
            found = self._table[slots[waiting]]
            is_equal = (found == keys[waiting]).all(axis=1)
            result[waiting[is_equal]] = True
            waiting = waiting[~is_equal & (found[:, 0] > 0)]
            slots[waiting] = (slots[waiting] + 1) % len(self._table)
        return result

    def _insert(self, keys):
        """Put keys into the table that are not there yet, each once."""
        slots, waiting = self._slots(keys), np.arange(len(keys))
        while len(waiting):
            own = slots[waiting]
            is_free = self._table[own, 0] == 0
            self._table[own[is_free]] = keys[waiting[is_free]]  # of several at one place the last one stays
            waiting = waiting[(self._table[own] != keys[waiting]).any(axis=1)]
            slots[waiting] = (slots[waiting] + 1) % len(self._table)

    def _slots(self, keys):
        return (keys[:, 1] % np.uint64(len(self._table))).astype(np.int64)


def _keys(texts):
    """Two hashes of each text, the first one never 0: uint64 [texts, 2]."""
    keys = np.empty((len(texts), 2), dtype=np.int64)
    keys[:, 0] = [hash(text) for text in texts]
    keys[:, 1] = [hash(f"{text}\n") for text in texts]
    keys = keys.view(np.uint64)
    keys[:, 0] |= np.uint64(1)
    return keys


class Later:
    """Things that are put off, in a temporary file where they are many, and taken in their order."""

    def __init__(self):
        self._items, self._file = [], None

    def add(self, item):
        """Add a thing that pickle can write."""
        self._items.append(item)
        if len(self._items) >= BLOCK:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115
            pickle.dump(self._items, self._file)
            self._items = []

    def take(self):
        """All of them, which are not there any more then: yields them."""
        if self._file is not None:
            end, _ = self._file.tell(), self._file.seek(0)
            while self._file.tell() < end:
                yield from pickle.load(self._file)
            self._file.close()
            self._file = None
        yield from self._items
        self._items = []
