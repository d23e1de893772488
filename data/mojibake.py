"""Texts that were read in a wrong encoding once, and what was written: 澶寸柤 for 头疼, Ã© for é."""

import functools

import numpy as np

from core.encodings import CANDIDATES, LOST, MARGIN, cost, least_cost

# The encoding that a text was read in by mistake, and the one that it was written in.
MISTAKES = (("gb18030", "utf-8"), ("big5", "utf-8"), ("latin", "utf-8"), ("latin", "gb18030"), ("latin", "big5"))
# Nats a character above which a Chinese text is strange: ordinary characters cost 6 to 9.5.
STRANGE_FROM = 9.5
# Longer texts are judged by their beginning.
JUDGED = 200


@functools.cache
def strangeness():
    """float32 [0x110000]: what each code point adds to a text's strangeness; above 0 the text deserves a look."""
    chinese = CANDIDATES[0]
    table = np.full(0x110000, LOST - STRANGE_FROM, dtype=np.float32)
    # The blocks that Chinese texts are made of one by one; whatever lies beyond is strange.
    for code in (
        *range(0x300),
        *range(0x2000, 0x2700),
        *range(0x3000, 0x3130),
        *range(0x4E00, 0xA000),
        *range(0xFF00, 0xFFF0),
    ):
        table[code] = cost(chr(code), chinese) - STRANGE_FROM
    table[:128] = 0
    table[0x1F000:0x20000] = 0  # emoji
    return table


def _latin_bytes(text):
    """The bytes of a text that was read as CP1252, whose undefined bytes stand for themselves."""
    return b"".join(
        character.encode("cp1252", "ignore") or character.encode("latin-1", "replace") for character in text
    )


def repaired(text):
    """What was written where a text was read in a wrong encoding, with U+FFFD for what was lost; None elsewhere."""
    text = text[:JUDGED].replace("\ufffd", "")
    best, gain = None, MARGIN
    before = least_cost(text)
    for read_as, written_as in MISTAKES:
        data = _latin_bytes(text) if read_as == "latin" else text.encode(read_as, "replace")
        original = data.decode(written_as, "replace")
        # What is not in the one encoding speaks against it; of what is not in the other, a little is always lost.
        unknown, lost = data.count(b"?") - text.count("?"), original.count("\ufffd")
        after = least_cost(original) - (LOST - STRANGE_FROM) * lost + LOST * unknown
        if original != text and 3 * (unknown + lost) <= len(original) and before - after > gain:
            best, gain = original, before - after
    return best
