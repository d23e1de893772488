"""Progress bars that are lines, one in 30 seconds, where nobody looks at them."""

import contextlib
import sys
from types import SimpleNamespace

# Seconds between two lines in a log file.
LINE_INTERVAL = 30


class _Lines:
    """A text file that gets each state of a bar as a line of its own."""

    def __init__(self, file):
        self.file = file

    def write(self, text):
        if text.strip():
            self.file.write(text.strip() + "\n")

    def flush(self):
        self.file.flush()


def progress_bar(iterable=None, **options):
    """tqdm(iterable, **options); where stderr is no terminal, a line every LINE_INTERVAL seconds instead of a bar.

    Work that ends before that is silent there. A bar that is disabled needs no tqdm.
    """
    if options.get("disable") and iterable is None:
        return contextlib.nullcontext(SimpleNamespace(update=lambda count=1: None))
    from tqdm import tqdm

    if sys.stderr.isatty():
        return tqdm(iterable, **options)
    lines = {"file": _Lines(sys.stderr), "mininterval": LINE_INTERVAL, "delay": LINE_INTERVAL, "miniters": 1}
    return tqdm(iterable, **{**options, **lines})
