"""A linear classifier on hashed character n-grams, run with numpy alone; core/ngram_learner.py trains it.

A text is normalised (see normalised), put between a beginning and an end, and read as all its n-grams of 1 to ORDERS
characters. Each is hashed into one of a number of buckets, a power of two; a bucket that
training knows has a row of the table. The logits are

    bias + sum of the rows / length, the root of the sum of (how often an n-gram is in the text · its idf)²

which is a linear classifier on tf-idf rows of length 1. All texts of a call are read at once.
"""

import re
import unicodedata
from pathlib import Path

import numpy as np

from utils import UsageError

STUDENT_FILE = "ngram_student.npz"

# How texts are read and their rows are scaled: a student that was learnt with another way is refused.
READING = 2

AGAIN = "distil it again: train.py --do_compress --strategy distill"

# n-grams have 1 to so many characters.
ORDERS = 3

# What stands before and behind a text; no text has them.
BEGIN, END = 0x110001, 0x110002

# The name of a text's characters among its features, and how many are kept for one token of max_length.
CHARACTERS, CHARACTERS_A_TOKEN = "characters", 4

# Characters whose n-grams are held at a time, about.
BLOCK = 1 << 16

# Odd numbers that spread the bits (those of MurmurHash3, by Austin Appleby, public domain).
_FACTORS = np.uint32(0x85EBCA6B), np.uint32(0xC2B2AE35), np.uint32(0x9E3779B1)

# Chinese characters, of which each is a word, and the spaces beside them.
_CHINESE = "[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
SPACE = re.compile(f"(?<={_CHINESE}) | (?={_CHINESE})")


def normalised(text):
    """A text as the student reads it: NFKC, lower case, white space of any length as one space; and, as BERT's
    tokenizers have it, without spaces beside Chinese characters and without what nobody sees: controls, zero-width
    characters, U+FFFD."""
    text = unicodedata.normalize("NFKC", text).lower().replace("\ufffd", "")
    if not text.isprintable():  # white space other than a space is not, and words are told by it
        text = " ".join(text.split())
        text = "".join(one for one in text if one.isprintable() or "\ud800" <= one <= "\udfff")
    text = " ".join(text.split())
    return SPACE.sub("", text) if " " in text else text


def normalised_beginning(text, most):
    """The first `most` characters of normalised(text), without the work for what is cut off."""
    size = 4 * most  # NFKC may make one character of several, and white space vanishes
    found = normalised(text[:size])
    while len(found) < most and size < len(text):
        size *= 8
        found = normalised(text[:size])
    return found[:most]


def read_characters(texts, max_length):
    """The code points of texts between BEGIN and END.

    Args:
        texts (list[str]): any; of a long one the beginning is read.
        max_length (int): tokens, of which each has CHARACTERS_A_TOKEN.

    Returns:
        list[np.ndarray]: uint32 [characters + 2] each, BEGIN and END among the limit.
    """
    most = max_length * CHARACTERS_A_TOKEN - 2
    parts = [normalised_beginning(text, most) for text in texts]
    joined = np.frombuffer("".join(parts).encode("utf-32-le", "surrogatepass"), "<u4")
    sizes = np.fromiter(map(len, parts), np.int64, len(parts))
    ends = np.cumsum(sizes + 2)
    codes = np.empty(int(ends[-1]) if len(parts) else 0, np.uint32)
    is_text = np.ones(len(codes), bool)
    is_text[ends - 1] = is_text[ends - sizes - 2] = False
    codes[is_text] = joined
    codes[ends - 1], codes[ends - sizes - 2] = END, BEGIN
    return np.split(codes, ends[:-1]) if len(parts) else []


def shorten_characters(codes, max_length):
    """What read_characters gives of the same text with another max_length, which is not larger than its own was."""
    most = max_length * CHARACTERS_A_TOKEN
    return codes if len(codes) <= most else np.append(codes[: most - 1], codes[-1])


def ngram_buckets(codes, sizes, orders, buckets):
    """The bucket of each n-gram.

    Args:
        codes (np.ndarray): uint32 [characters], of all texts, one behind the other.
        sizes (np.ndarray): int64 [texts], characters of each.
        orders (int): characters of the longest n-grams.
        buckets (int): a power of two.

    Returns:
        tuple[np.ndarray, np.ndarray]: int64 [orders, characters], the bucket of the n-gram that begins at a
        character; bool of that shape, whether it ends in the same text.
    """
    left = np.repeat(np.cumsum(sizes), sizes) - np.arange(len(codes))  # characters from here to the text's end
    found, state = np.empty((orders, len(codes)), np.int64), np.zeros(len(codes), np.uint32)
    for order in range(orders):
        state = state * _FACTORS[2]
        state[: len(codes) - order] += codes[order:] + np.uint32(order)
        mixed = (state ^ (state >> np.uint32(16))) * _FACTORS[0]
        mixed = (mixed ^ (mixed >> np.uint32(13))) * _FACTORS[1]
        found[order] = (mixed ^ (mixed >> np.uint32(16))) & np.uint32(buckets - 1)
    return found, left >= np.arange(1, orders + 1)[:, None]


class NgramStudent:
    """The classifier.

    Args:
        rows (np.ndarray): int32 [buckets], the row of each bucket in `table`; 0 where it has none.
        table (np.ndarray): float32 [1 + known buckets, classes + 1], row 0 zero; the last column is the squared idf.
        bias (np.ndarray): float32 [classes].
        orders (int): characters of the longest n-grams.
    """

    def __init__(self, rows, table, bias, orders):
        self.rows, self.table, self.bias, self.orders = rows, table, bias, int(orders)

    @classmethod
    def read(cls, folder):
        """The classifier in a folder.

        Raises:
            UsageError: it is not there, or broken.
        """
        path = Path(folder) / STUDENT_FILE
        try:
            with np.load(path, allow_pickle=False) as stored:
                if "reading" not in stored or stored["reading"] != READING:
                    raise UsageError(f"{path}: made by another version of this project; {AGAIN}")
                student = cls(*(stored[name] for name in ("rows", "table", "bias", "orders")))
        except FileNotFoundError:
            raise UsageError(f"{path}: no such file; make it with train.py --do_compress --strategy distill") from None
        except UsageError:
            raise
        except Exception as error:  # a cut zip file has many ways to fail
            raise UsageError(f"{path}: cannot be read ({error}); distil the student again") from None
        size, classes = len(student.rows), len(student.bias)
        fits = student.table.shape[1:] == (classes + 1,) and size and not size & (size - 1)
        if not fits or not 0 <= student.rows.min() <= student.rows.max() < len(student.table):
            raise UsageError(f"{path}: its parts do not fit together; distil the student again")
        return student

    def save(self, folder):
        """Write the classifier into a folder."""
        parts = {name: getattr(self, name) for name in ("rows", "table", "bias", "orders")}
        np.savez(Path(folder) / STUDENT_FILE, reading=READING, **parts)

    def logits(self, characters):
        """float32 [texts, classes]; each text's are the same whatever texts are beside it."""
        return self.logits_and_known(characters)[0]

    def known(self, characters):
        """How many of each text's n-grams training knows: float64 [texts], from 0 to 1."""
        return self.logits_and_known(characters)[1]

    def logits_and_known(self, characters):
        """What logits and known give, of one reading of the texts.

        Args:
            characters (list[np.ndarray]): as read_characters gives them.
        """
        sizes = np.fromiter(map(len, characters), np.int64, len(characters))
        if sizes.sum() <= BLOCK:
            return self._read(characters, sizes)
        blocks = np.cumsum(sizes) // BLOCK
        ends = [0, *(np.flatnonzero(blocks[1:] != blocks[:-1]) + 1), len(sizes)]
        parts = [self._read(characters[a:b], sizes[a:b]) for a, b in zip(ends, ends[1:])]
        return tuple(map(np.concatenate, zip(*parts)))

    def _read(self, characters, sizes):
        if not len(sizes):
            return np.empty((0, len(self.bias)), "float32"), np.empty(0)
        found, is_whole = ngram_buckets(np.concatenate(characters), sizes, self.orders, len(self.rows))
        rows = self.rows[found] * is_whole
        starts = np.cumsum(sizes) - sizes
        sums = np.add.reduceat(self.table[rows.T].sum(axis=1)[:, :-1], starts, axis=0)
        counts = [np.add.reduceat(one.sum(axis=0), starts) for one in (rows > 0, is_whole)]
        return self.bias + sums / self._lengths(rows, sizes)[:, None], counts[0] / counts[1]

    def _lengths(self, rows, sizes):
        """The lengths of the texts' rows of n-grams times idf: float32 [texts]; rows: of the table [orders, chars]."""
        places = np.repeat(np.arange(len(sizes)) * len(self.table), sizes) + rows
        places = np.sort(places[rows > 0])
        begins = np.flatnonzero(np.append(True, places[1:] != places[:-1])) if len(places) else places
        counts, (texts, own) = np.diff(np.append(begins, len(places))), np.divmod(places[begins], len(self.table))
        squares = np.bincount(texts, counts.astype(np.float64) ** 2 * self.table[own, -1], len(sizes))
        return np.sqrt(np.maximum(squares, 1e-12)).astype(np.float32)


def unread(characters, known, max_length, least_known):
    """Which texts tell a student too little: bool [texts].

    Args:
        characters (list[np.ndarray]): as read_characters gives them.
        known (np.ndarray): how many of their n-grams the student knows, as NgramStudent.known tells it.
        max_length (int): tokens, as read_characters took it; a text that fills them was probably cut.
        least_known (float): the part of a text's n-grams that training must know, from 0 to 1.
    """
    is_cut = np.fromiter(
        (len(codes) >= max_length * CHARACTERS_A_TOKEN for codes in characters), bool, len(characters)
    )
    return is_cut | (known < least_known)
