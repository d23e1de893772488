"""What the tools of this folder read: files of any encoding, line by line, and what each character is."""

import functools
import io

import numpy as np

from core.encodings import ENCODING_SAMPLE, guess_encoding, utf16_variant
from data.near_duplicates import FIRST_WIDE, dropped_characters
from utils import UsageError, read_cases

# dev and test come first: train is compared with them.
SPLITS = ("test", "dev", "train")
REPORT_ORDER = ("train", "dev", "test", "data", "label")
# Bytes that are read and checked together.
BLOCK_BYTES = 4 << 20
# Fewer teach a head for masked words nothing, and leave too few to measure it on.
MIN_TEXTS = 100

# -------------------------------------------------------------------------------------------------------------- lines


def read_chunks(path, on_bad_line=None, bar=None):
    """Read a text file in blocks, whatever its encoding, into the lines that train.py sees.

    Args:
        path (Path): the file.
        on_bad_line (Callable[[int, str | None], None] | None): told the number and the likely encoding of each line
            that is not UTF-8; number 0 is the whole file, for encodings with another line end.
        bar: a progress bar that counts bytes.

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
        head = file.read(ENCODING_SAMPLE)
        file.seek(0)
        encoding = utf16_variant(head)
        if encoding:
            if on_bad_line:
                on_bad_line(0, encoding)
            text = io.TextIOWrapper(file, encoding=encoding, errors="replace", newline="\n")
            yield from _lines_of(iter(lambda: "".join(text.readlines(BLOCK_BYTES // 2)), ""))
        else:
            yield from _lines_of(_decoded_blocks(file, on_bad_line, bar))


def _decoded_blocks(file, on_bad_line, bar):
    number, decoder = 1, LineDecoder()
    while block := file.read(BLOCK_BYTES):
        block += file.readline()
        if bar is not None:
            bar.update(len(block))
        if number == 1:
            block = block[3:] if block.startswith(b"\xef\xbb\xbf") else block
        try:
            text = block.decode("utf-8")
        except UnicodeDecodeError:
            lines = []
            for offset, line in enumerate(block.split(b"\n")):
                try:
                    lines.append(line.decode("utf-8"))
                except UnicodeDecodeError:
                    decoded, encoding = decoder.decode(line)
                    lines.append(decoded)
                    if on_bad_line:
                        on_bad_line(number + offset, encoding)
            text = "\n".join(lines)
        number += block.count(b"\n")
        yield text


class LineDecoder:
    """Decodes lines that are not UTF-8; the encoding is guessed anew when the last one does not fit."""

    def __init__(self):
        self.encoding = None
        self.guesses_left = 20

    def decode(self, line):
        """Returns tuple[str, str | None]: the text, with U+FFFD for what cannot be read, and the encoding if known."""
        for attempt in range(2):
            if self.encoding is not None:
                try:
                    return line.decode(self.encoding), self.encoding
                except UnicodeDecodeError:
                    pass
            if attempt == 0 and self.guesses_left:
                self.guesses_left -= 1
                self.encoding = guess_encoding(line[:ENCODING_SAMPLE]) or self.encoding
        return line.decode("utf-8", "replace"), None


def _lines_of(blocks):
    """Number the lines of blocks of text, each of which ends where a line ends."""
    number, blank = 1, []
    for block in blocks:
        lines = block.replace("\r\n", "\n").split("\n")
        if lines[-1] == "":
            lines.pop()
        elif lines[-1].endswith("\r"):
            lines[-1] = lines[-1][:-1]
        lines = blank + lines
        end = len(lines)
        while end and not lines[end - 1].strip():
            end -= 1
        blank = lines[end:]
        if end:
            yield number, lines[:end]
            number += end


class LabelsAsFound(dict):
    """Class ids in the order in which labels are looked up: for a folder whose label.txt cannot be used."""

    def get(self, label, default=None):
        return self.setdefault(label, len(self)) if label else default


def read_corpus(paths):
    """The texts of the files that a head for masked words learns from, each once, in their order.

    Raises:
        UsageError: a file cannot be read, or there are fewer than MIN_TEXTS texts.
    """
    texts = list(dict.fromkeys(text for path in paths for _, text, *_ in read_cases(path)))
    if len(texts) < MIN_TEXTS:
        raise UsageError(
            f"--mlm_texts {' '.join(map(str, paths))}: {len(texts)} different texts; give {MIN_TEXTS} or more"
        )
    return texts


# --------------------------------------------------------------------------------------------------------- characters

# Bits of character_classes().
CONTROL, PRIVATE, LOST, TRADITIONAL, SIMPLIFIED, WORD, WIDE, SPACE = (1 << bit for bit in range(8))
# C0, C1, soft hyphen, marks of direction and of joining except those inside emoji and Indic words, BOM.
CONTROL_RANGES = "0000-001F 007F-009F 00AD 061C 180E 200B 200E-200F 2028-202E 2060-206F FEFF FFF9-FFFB"
PRIVATE_RANGES = "E000-F8FF F0000-FFFFD 100000-10FFFD"


@functools.cache
def character_classes():
    """uint8 array [0x110000]: for each code point the bits that it has."""
    from zhon import cedict

    table = np.where(dropped_characters(), 0, WORD).astype(np.uint8)
    codes = np.arange(len(table))
    for ranges, bit in ((CONTROL_RANGES, CONTROL), (PRIVATE_RANGES, PRIVATE)):
        for span in ranges.split():
            first, _, last = span.partition("-")
            table[int(first, 16) : int(last or first, 16) + 1] |= bit
    table[0xFFFD] |= LOST
    simplified, traditional = set(cedict.simplified), set(cedict.traditional)
    table[[ord(character) for character in traditional - simplified]] |= TRADITIONAL
    table[[ord(character) for character in simplified - traditional]] |= SIMPLIFIED
    table[codes >= FIRST_WIDE] |= WIDE
    table[[9, 10, 11, 12, 13, 32, 0xA0, 0x3000, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F]] |= SPACE
    table[0x3000] &= ~np.uint8(WIDE)
    return table
