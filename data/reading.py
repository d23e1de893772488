"""What the tools of this folder read, and what each character is. Lines of any encoding are core/lines.py's."""

import functools

import numpy as np

from core.any_file import read_any_texts
from core.unlabelled import MIN_TEXTS
from core.vocabulary import script_blocks
from data.near_duplicates import FIRST_WIDE, dropped_characters
from utils import UsageError

# dev and test come first: train is compared with them.
SPLITS = ("test", "dev", "train")
REPORT_ORDER = ("train", "dev", "test", "data", "label")


class LabelsAsFound(dict):
    """Class ids in the order in which labels are looked up: for a folder whose label.txt cannot be used."""

    def get(self, label, default=None):
        return self.setdefault(label, len(self)) if label else default


def read_corpus(paths):
    """The texts of the files that a head for masked words learns from, each once, in their order.

    Raises:
        UsageError: a file cannot be read, or there are fewer than MIN_TEXTS texts.
    """
    texts = list(dict.fromkeys(text for path in paths for text in read_any_texts(path)))
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


# Scripts that data/offline_encoder was made for, see e5_weights.py.
OWN_SCRIPTS = {"Latin", "Greek", "Chinese", "symbols"}


@functools.cache
def foreign_scripts():
    """Scripts that the offline encoder does not have.

    Returns:
        tuple[list[str], np.ndarray]: names; uint8 [0x110000], for each code point the number of its script among
        them, counted from 1, and 0 for the encoder's own.
    """
    names = sorted({name for *_, name in script_blocks()} - OWN_SCRIPTS)
    table = np.zeros(0x110000, dtype=np.uint8)
    for first, end, name in script_blocks():
        if name not in OWN_SCRIPTS:
            table[first:end] = names.index(name) + 1
    return names, table
