"""Lines from stdin, and lines to a stdout that may end or lack characters."""

import contextlib
import errno
import os
import select
import sys

from core.encodings import describe_encoding
from utils import UsageError


def stdin_lines():
    """The lines of stdin that are not blank, without space around them, each as soon as it is there.

    Raises:
        UsageError: one that is not UTF-8, with its number.
    """
    # A terminal's encoding is the system's own matter; what comes through a pipe is UTF-8 whatever that is.
    lines = sys.stdin if sys.stdin.isatty() else getattr(sys.stdin, "buffer", sys.stdin)
    for number, line in enumerate(lines, 1):
        if isinstance(line, bytes):
            line = _decoded(line, number)
        if line.strip():
            yield line.strip()


def _decoded(line, number):
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(describe_encoding("stdin", b"\n" * (number - 1) + line, number - 1 + error.start)) from None
    if "\0" in text:
        raise UsageError(f"stdin:{number}: a zero byte; is it UTF-16? Save it as UTF-8 (iconv -f UTF-16 -t UTF-8)")
    return text


def check_arguments(flag, texts):
    """Raise UsageError where an argument is not UTF-8: Python keeps its bytes as halves of characters."""
    for text in texts or ():
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise UsageError(f"{flag} {text!a}: not UTF-8; set the terminal to UTF-8, or give the texts in a file")


@contextlib.contextmanager
def output_that_may_end():
    """End in peace where the reader of stdout, such as head, has seen enough; escape what its encoding lacks."""
    with contextlib.suppress(AttributeError):  # not a file: captured
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        if not (_is_broken_pipe(error) and _is_closed(sys.stdout)):
            raise
        # Python flushes once more at its end.
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def _is_broken_pipe(error):
    return error.errno == errno.EPIPE or sys.platform == "win32" and error.errno == errno.EINVAL


def _is_closed(stream):
    """Whether nobody reads it any more: another pipe may have broken."""
    if not hasattr(select, "poll"):  # Windows
        return True
    poll = select.poll()
    try:
        poll.register(stream.fileno(), select.POLLOUT)
    except (OSError, ValueError):  # not a file: captured
        return False
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
