"""A linear classifier on hashed character n-grams, run with numpy alone; core/ngram_learner.py trains it.

A text is normalised (see normalised), put between a beginning and an end, and read as all its n-grams of 1 to ORDERS
characters. Each is hashed into one of a number of buckets, a power of two; a bucket that
training knows has a row of the table. The logits are

    bias + sum of the rows / length, the root of the sum of (how often an n-gram is in the text · its idf)²

which is a linear classifier on tf-idf rows of length 1. All texts of a call are read at once.
"""

import itertools
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


def normalised_beginnings(texts, most):
    """[normalised_beginning(text, most) for text in texts], where most of it is done on all texts as one, a line each,
    and the rest only on those that have what is rare."""
    joined = "\n".join(texts)
    if len(max(texts, key=len)) > 4 * most or joined.count("\n") != len(texts) - 1:
        return [normalised_beginning(text, most) for text in texts]
    # Not of all as one: a text that is in this form already, as most are, is only looked at.
    joined = "\n".join(map(unicodedata.normalize, itertools.repeat("NFKC"), texts))
    joined = joined.lower().replace("\ufffd", "")  # a line's end is a word's, as the end of a text is
    lines = joined.split("\n")
    if " " in joined or not "".join(lines).isprintable():
        is_plain = [line.isprintable() and " " not in line for line in lines]
        lines = [line if plain else normalised(text) for line, plain, text in zip(lines, is_plain, texts)]
    return lines if len(max(lines, key=len)) <= most else [line[:most] for line in lines]


def joined_characters(texts, max_length):
    """The code points of texts between BEGIN and END.

    Args:
        texts (list[str]): any; of a long one the beginning is read.
        max_length (int): tokens, of which each has CHARACTERS_A_TOKEN.

    Returns:
        tuple[np.ndarray, np.ndarray]: uint32 [characters], of all texts, one behind the other; int64 [texts],
        characters of each, BEGIN and END among the limit.
    """
    if not texts:
        return np.empty(0, np.uint32), np.empty(0, np.int64)
    lines = normalised_beginnings(texts, max_length * CHARACTERS_A_TOKEN - 2)
    joined = "\n\n".join(lines).join("\n\n")  # no line has one in it
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), "<u4").copy()
    begins, ends = np.flatnonzero(codes == 10).reshape(-1, 2).T
    codes[begins], codes[ends] = BEGIN, END
    return codes, ends - begins + 1


def read_characters(texts, max_length):
    """The same, list[np.ndarray]: uint32 [characters] of each text."""
    codes, sizes = joined_characters(texts, max_length)
    ends = np.cumsum(sizes).tolist()
    return [codes[start:end] for start, end in zip([0, *ends], ends)]


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
        return self.joined_logits(*_joined(characters))

    def joined_logits(self, codes, sizes):
        """The same of texts as joined_characters gives them."""
        return self._parts(codes, sizes, False)[0]

    def known(self, characters):
        """How many of each text's n-grams training knows: float64 [texts], from 0 to 1."""
        return self.logits_and_known(characters)[1]

    def logits_and_known(self, characters):
        """What logits and known give, of one reading of the texts.

        Args:
            characters (list[np.ndarray]): as read_characters gives them.
        """
        return self._parts(*_joined(characters), True)

    def _parts(self, codes, sizes, is_known_wanted):
        """Logits, and what is known of each text or None; of about BLOCK characters at a time."""
        if not len(sizes):
            return np.empty((0, len(self.bias)), "float32"), np.empty(0)
        if len(codes) <= BLOCK:
            return self._read(codes, sizes, is_known_wanted)
        ends = np.cumsum(sizes)
        blocks = ends // BLOCK
        cuts = [0, *(np.flatnonzero(blocks[1:] != blocks[:-1]) + 1).tolist(), len(sizes)]
        parts = []
        for first, end in zip(cuts, cuts[1:]):
            some = codes[ends[first] - sizes[first] : ends[end - 1]]
            parts.append(self._read(some, sizes[first:end], is_known_wanted))
        logits, known = zip(*parts)
        return np.concatenate(logits), np.concatenate(known) if is_known_wanted else None

    def _read(self, codes, sizes, is_known_wanted):
        found, is_whole = ngram_buckets(codes, sizes, self.orders, len(self.rows))
        rows = self.rows[found]
        rows *= is_whole
        sums = self.table.take(rows[0], axis=0)
        for one in rows[1:]:
            sums += self.table.take(one, axis=0)
        starts = np.cumsum(sizes) - sizes
        sums, known = np.add.reduceat(sums[:, :-1], starts, axis=0), None
        if is_known_wanted:
            counts = [np.add.reduceat(one.sum(axis=0), starts) for one in (rows > 0, is_whole)]
            known = counts[0] / counts[1]
        return self.bias + sums / self._lengths(rows, sizes)[:, None], known

    def _lengths(self, rows, sizes):
        """The lengths of the texts' rows of n-grams times idf: float32 [texts]; rows: of the table [orders, chars]."""
        kind = np.int32 if len(sizes) * len(self.table) < 2**31 else np.int64  # of which the smaller is sorted sooner
        places = np.repeat(np.arange(len(sizes), dtype=kind) * kind(len(self.table)), sizes) + rows
        places = places[rows > 0]
        places.sort()
        begins = np.flatnonzero(np.append(True, places[1:] != places[:-1])) if len(places) else places
        counts, (texts, own) = np.diff(np.append(begins, len(places))), np.divmod(places[begins], len(self.table))
        squares = np.bincount(texts, counts.astype(np.float64) ** 2 * self.table[own, -1], len(sizes))
        return np.sqrt(np.maximum(squares, 1e-12)).astype(np.float32)


def _joined(characters):
    """Texts of read_characters as joined_characters gives them."""
    sizes = np.fromiter(map(len, characters), np.int64, len(characters))
    return np.concatenate(characters) if characters else np.empty(0, np.uint32), sizes


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
