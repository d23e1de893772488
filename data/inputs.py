"""The files of a check: those of a folder, or tables and other files that the user names, all as lines with numbers.

A table's samples are numbered from 1, as the lines of a file are; where each stands in the table is told by `line`.
"""

import array
import os

from core.any_file import open_samples
from core.dialects import Rejected
from core.lines import read_chunks
from core.table_names import is_table

BLOCK = 10_000


class Inputs:
    """Where the lines of each file come from.

    Args:
        folder (Path | None): the data folder; None: there are no files but those of `paths`.
        paths (dict[str, Path] | None): train, dev, test or label -> the file in the place of the folder's.
        encoding (str | None): of lines that are not UTF-8; None: to be found.
    """

    def __init__(self, folder, paths=None, encoding=None):
        self.folder, self.encoding = folder, encoding
        self.paths = {name: path for name, path in (paths or {}).items() if path}
        self.tables, self.numbers = {}, {}

    def path(self, name):
        """The path of a file; None where none is looked for."""
        return self.paths.get(name) or (self.folder and self.folder / f"{name}.txt")

    def is_file(self, name):
        """Whether a file is there."""
        path = self.path(name)
        return path is not None and path.is_file()

    def is_table(self, name):
        """Whether a file is a table."""
        return name != "label" and name in self.paths and is_table(self.paths[name])

    def shown(self, name):
        """What a file is called in the report: train.txt, or the path that the user gave."""
        return str(self.paths[name]) if name in self.paths else f"{name}.txt"

    def line(self, name, number):
        """The line, or row, at which a sample stands in its file."""
        numbers = self.numbers.get(name)
        return numbers[number - 1] if numbers and number else number

    def where(self, name, number):
        """File and line of a sample, for messages."""
        return f"{self.shown(name)}:{self.line(name, number)}"

    def read(self, name, on_bad_line=None, bar=None, on_bad_row=None):
        """The lines of a file, see core.lines.read_chunks; a table's samples as such lines.

        Args:
            name (str): train, dev, test, label or data.
            on_bad_line (Callable | None): see read_chunks.
            bar: a progress bar that counts bytes.
            on_bad_row (Callable[[int, core.dialects.Rejected], None] | None): told the row of a table that cannot be
                used, and why.

        Raises:
            UsageError: a file cannot be read, or a table's columns are unclear.
        """
        if not self.is_table(name):
            yield from read_chunks(self.path(name), on_bad_line, bar, self.encoding)
            return
        if name not in self.tables:
            self.tables[name] = open_samples(self.paths[name])
        self.numbers[name], lines, first = array.array("q"), [], 1
        for _, number, text, label in self.tables[name].rows():
            if label.__class__ is str:
                self.numbers[name].append(number)
                lines.append(f"{text}\t{label}")
                if len(lines) == BLOCK:
                    yield first, lines
                    lines, first = [], first + BLOCK
            elif on_bad_row:
                on_bad_row(number, label or Rejected("no label", text))
        if lines:
            yield first, lines
        if bar is not None:
            bar.update(os.path.getsize(self.paths[name]))

    def blocks(self, name):
        """The lines of a file without their numbers: yields list[str]; see read."""
        for _, lines in self.read(name):
            yield lines
