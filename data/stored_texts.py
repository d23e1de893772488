"""Samples by the million: their lines in a file instead of in memory, and arrays that are files when they are large.

The files are temporary ones without a name where the system has such, so that nothing of them is left, whatever ends
the program.
"""

import array
import os
import tempfile
from pathlib import Path

import numpy as np

# Bytes of an array up to which it stays in memory.
IN_MEMORY = 64 << 20
# Lines that are handled at once.
BLOCK = 10_000


def scratch_folder(path):
    """A folder for temporary files on the disk of a path that may not be there yet: the nearest one that is there.

    Returns:
        str | None: None where nothing can be written there: tempfile's own choice, which may be memory.
    """
    for parent in (Path(path).absolute(), *Path(path).absolute().parents):
        if parent.is_dir():
            return str(parent) if os.access(parent, os.W_OK | os.X_OK) else None
    return None


class StoredTexts:
    """Samples as `<text>\\t<label>` lines, to be read by their numbers.

    Args:
        folder (str | None): for the temporary file, see scratch_folder.
    """

    def __init__(self, folder=None):
        self.folder = folder
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._starts = array.array("q", [0])
        self._places = None

    @classmethod
    def of(cls, texts, labels, folder=None):
        """Samples that are in memory: texts and labels, list[str] each."""
        stored = cls(folder)
        for first in range(0, len(texts), BLOCK):
            stored.add(texts[first : first + BLOCK], labels[first : first + BLOCK])
        return stored

    def __len__(self):
        return len(self._starts) - 1

    def add(self, texts, labels):
        """Add samples behind the others; texts and labels without tabs, list[str] each."""
        self._places = None  # a view, with which the array cannot grow
        lines = [f"{text}\t{label}\n".encode() for text, label in zip(texts, labels)]
        place = self._starts[-1]
        for line in lines:
            place += len(line)
            self._starts.append(place)
        self._file.write(b"".join(lines))

    def lines(self, rows):
        """The lines of some samples, line ends included: list[bytes].

        Args:
            rows (np.ndarray): int, their numbers, in any order.
        """
        if self._places is None:
            self._file.flush()
            self._places = np.frombuffer(self._starts, dtype=np.int64)
        begins, ends = self._places[rows], self._places[rows + 1]
        if len(rows) and (begins[1:] == ends[:-1]).all():  # they lie together
            whole, begin = self._read(int(begins[0]), int(ends[-1])), int(begins[0])
            return [whole[one:other] for one, other in zip((begins - begin).tolist(), (ends - begin).tolist())]
        return [self._read(begin, end) for begin, end in zip(begins.tolist(), ends.tolist())]

    def _read(self, begin, end):
        if hasattr(os, "pread"):
            return os.pread(self._file.fileno(), end - begin, begin)
        self._file.seek(begin)
        return self._file.read(end - begin)

    def texts(self, rows):
        """The texts of some samples: list[str]; see lines."""
        return [line.decode().rpartition("\t")[0] for line in self.lines(rows)]

    def blocks(self, rows=None):
        """The texts of some samples, or of all, in blocks: yields list[str]."""
        rows = np.arange(len(self)) if rows is None else rows
        for first in range(0, len(rows), BLOCK):
            yield self.texts(rows[first : first + BLOCK])

    def write(self, rows, path, bar):
        """Write the lines of some samples into a file, in the order of `rows`; `bar` counts them."""
        with Path(path).open("wb") as file:
            for first in range(0, len(rows), BLOCK):
                lines = self.lines(rows[first : first + BLOCK])
                file.write(b"".join(lines))
                bar.update(len(lines))


class Spilled:
    """An array that is filled and read piece by piece, in memory or, where it is large, in a temporary file.

    Args:
        shape (tuple[int, ...]): of the array.
        dtype: of its values.
        folder (str | None): for the temporary file.
    """

    def __init__(self, shape, dtype, folder=None):
        self.shape, self.dtype = shape, np.dtype(dtype)
        size = int(np.prod(shape)) * self.dtype.itemsize
        self._array = np.zeros(shape, dtype) if size <= IN_MEMORY else None
        self._file = None
        if self._array is None:
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(self._file.fileno(), 0, size)  # a full disk is told here, and not by a signal later
            else:
                self._file.truncate(size)

    def __len__(self):
        return self.shape[0]

    def view(self):
        """The array. What was read of a file counts as this process's memory until the view is dropped."""
        if self._array is not None:
            return self._array
        return np.memmap(self._file, dtype=self.dtype, mode="r+", shape=self.shape)

    def close(self):
        """Give the memory or the disk back."""
        self._array = None
        if self._file is not None:
            self._file.close()


class Growing:
    """Values that are added one block after another and are an array then: in memory, or in a file when they are many.

    Args:
        dtype: of the values.
        width (int | None): values of a row, for an array of two dimensions.
        folder (str | None): for the temporary file.
    """

    def __init__(self, dtype, width=None, folder=None):
        self.dtype, self.width, self.folder = np.dtype(dtype), width, folder
        self._blocks, self._file, self._size = [], None, 0

    def __len__(self):
        return self._size // (self.dtype.itemsize * (self.width or 1))

    def add(self, values):
        """Add values, or rows of them, behind the others."""
        block = np.asarray(values, dtype=self.dtype).tobytes()
        self._size += len(block)
        if self._file is None and self._size > IN_MEMORY:
            self._file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115
            self._file.write(b"".join(self._blocks))
            self._blocks = None
        if self._file is None:
            self._blocks.append(block)
        else:
            self._file.write(block)

    def view(self):
        """All of them: an array that is not to be changed. See Spilled.view."""
        shape = (-1,) if self.width is None else (-1, self.width)
        if not self._size:
            return np.zeros(0, self.dtype).reshape((0, *shape[1:]))
        if self._file is None:
            self._blocks = [b"".join(self._blocks)]
            return np.frombuffer(self._blocks[0], dtype=self.dtype).reshape(shape)
        self._file.flush()
        return np.asarray(np.memmap(self._file, dtype=self.dtype, mode="r")).reshape(shape)
