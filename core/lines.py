"""Lines of text files, whatever their encoding and their line ends."""

import io

from core.encodings import (
    ENCODING_SAMPLE,
    codec_of,
    is_damaged_utf8,
    is_noise,
    likely_encodings,
    shown_name,
    utf16_variant,
)
from utils import UsageError

# Bytes that are read and checked together.
BLOCK_BYTES = 4 << 20
LOST_CHARACTER = "\ufffd"


def read_chunks(path, on_bad_line=None, bar=None, encoding=None):
    """Read a text file in blocks, whatever its encoding and its line ends, into the lines that train.py sees.

    Args:
        path (Path): the file.
        on_bad_line (Callable[[int, list[str]], None] | None): told the number and the likely encodings (see
            LineDecoder) of each line that is not UTF-8; number 0 is the whole file, where all of it is UTF-16.
        bar: a progress bar that counts bytes.
        encoding (str | None): of the lines that are not UTF-8; None: to be found.

    Yields:
        tuple[int, list[str]]: the number of the first line, and lines without their ends. Blank lines at the end of
        the file are left out.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); give the path of a readable file") from None
    with file:
        yield from chunks_of(file, on_bad_line, bar, encoding)


def chunks_of(file, on_bad_line=None, bar=None, encoding=None):
    """read_chunks of a binary file that is open, at its beginning; it must be able to go back there."""
    head = file.read(ENCODING_SAMPLE)
    file.seek(0)
    wide = utf16_variant(head)
    if wide:
        if on_bad_line:
            on_bad_line(0, [wide])
        yield from _numbered(_wide_blocks(file, wide, on_bad_line))
    else:
        yield from _numbered(_blocks(file, LineDecoder(encoding), on_bad_line, bar))


def unclear_encoding(place, names):
    """The message for a file or line that may be in two encodings."""
    both = " or ".join(map(shown_name, names))
    flags = " or ".join(f"--encoding {name}" for name in names)
    return f"{place}: {both}, and a wrong guess would damage it; look at it, then add {flags}"


def split_lines(text):
    """Lines of a text or of bytes, whatever ends them; what follows the last end is a line too, empty or not."""
    if isinstance(text, bytes):
        return text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text.split("\n")


def _wide_blocks(file, encoding, on_bad_line):
    """Blocks of lines of a UTF-16 or UTF-32 file; a line with a character that cannot be read is a bad one."""
    text = io.TextIOWrapper(file, encoding=encoding, errors="replace", newline=None)
    number = 1
    while lines := text.readlines(BLOCK_BYTES // 2):
        lines = [line.removesuffix("\n") for line in lines]
        for offset, line in enumerate(lines):
            if on_bad_line and LOST_CHARACTER in line:
                on_bad_line(number + offset, [])
        number += len(lines)
        yield lines


def _blocks(file, decoder, on_bad_line, bar):
    """Blocks of lines of a file whose lines may each have another encoding."""
    number, rest = 1, b""
    while True:
        block = file.read(BLOCK_BYTES)
        if bar is not None:
            bar.update(len(block))
        is_last = len(block) < BLOCK_BYTES
        rest += block
        if number == 1:
            rest = rest.removeprefix(b"\xef\xbb\xbf")
        # A CR at the end may be half of a CRLF.
        end = len(rest) if is_last else max(rest.rfind(b"\n"), rest.rfind(b"\r", 0, -1)) + 1
        block, rest = rest[:end], rest[end:]
        try:
            lines = split_lines(block.decode("utf-8"))
        except UnicodeDecodeError:
            lines = _decoded(split_lines(block), number, decoder, on_bad_line)
        if not is_last and lines:
            lines.pop()  # the nothing behind the last end
        number += len(lines)
        yield lines
        if is_last:
            return


def _decoded(lines, number, decoder, on_bad_line):
    """Lines of which some are not UTF-8, as text."""
    decoded, bad = [], []
    for index, line in enumerate(lines):
        try:
            decoded.append(line.decode("utf-8"))
        except UnicodeDecodeError:
            decoded.append("")
            bad.append(index)
    decoder.learn([lines[index] for index in bad], decoded)
    for index in bad:
        decoded[index], names = decoder.decode(lines[index])
        if on_bad_line:
            on_bad_line(number + index, names)
    return decoded


class LineDecoder:
    """Decodes the lines of a file that are not UTF-8: in the encoding of all of them, or in one of their own.

    Args:
        encoding (str | None): the user's word for it; None: to be found.
    """

    def __init__(self, encoding=None):
        self.names = [encoding] if encoding else []
        self.context = ""
        self.guesses_left = 0 if encoding else 1000

    def learn(self, bad_lines, good_lines):
        """Find the encoding of bad lines (bytes), beside lines of the same file that could be read."""
        if not self.names:
            self.context = "\n".join(good_lines)[:ENCODING_SAMPLE]
            self.names = likely_encodings(b"\n".join(bad_lines), self.context)

    def decode(self, line):
        """Decode one line.

        Returns:
            tuple[str, list[str]]: the text, and its encoding; two encodings where it may be in either, read as in the
            first one; none, and U+FFFD for what cannot be read, where it is in none that is known.
        """
        text = _strictly(line, self.names)
        if text and not (self.guesses_left and is_noise(text, line, self.names[0])):
            return text, self.names
        if self.guesses_left:
            self.guesses_left -= 1
            own = likely_encodings(line[:ENCODING_SAMPLE], self.context)
            if self.names and self.names[0] in own:
                own = self.names
            own_text = _strictly(line, own)
            if own_text:
                return own_text, own
        if text and not is_damaged_utf8(line):  # rare characters only
            return text, self.names
        return line.decode("utf-8", "replace"), []


def _strictly(line, names):
    """The text of a line in the first of some encodings; None where it is not in that."""
    try:
        return line.decode(codec_of(names[0])) if names else None
    except UnicodeDecodeError:
        return None


def _numbered(blocks):
    """Number the lines of blocks, without blank lines at the end."""
    number, blank = 1, []
    for lines in blocks:
        lines = blank + lines
        end = len(lines)
        while end and not lines[end - 1].strip():
            end -= 1
        blank = lines[end:]
        if end:
            yield number, lines[:end]
            number += end
