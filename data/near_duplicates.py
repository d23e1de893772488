"""Which texts are nearly the same: MinHash with locality-sensitive hashing, in numpy.

comparisons.py (leaks between files) and splitting.py (groups that must stay together) share this. Two texts are
compared by the Jaccard similarity of their shingles: the share of pieces that they have in common, 0 to 1. A shingle
is two characters of Chinese, Japanese or Korean, four of other scripts. MinHash (Broder 1997, "On the resemblance and
containment of documents") only proposes pairs; each one that is returned was compared exactly.

The datasketch library does the same, at 37 microseconds a text of 18 characters for 32 hashes (bulk mode) and several
kilobytes a text in its index; here it is 4 microseconds for 64 hashes, and 0.4 kB, which a million lines need.
"""

import functools
import sys
import unicodedata

import numpy as np

from utils import UsageError

NUM_HASHES = 64
# Texts of one bucket that a text is compared with, at most: keeps time linear where thousands share a template.
MAX_PER_BUCKET = 8
# Of those, the ones with the best agreement that are compared exactly.
MAX_COMPARED = 4
# Texts of one query when all texts are compared with each other: bounds the memory.
QUERIED_AT_ONCE = 50_000
# From here on (CJK radicals) nearly every character is a syllable or a word of its own.
FIRST_WIDE = 0x2E80
WIDE_FROM = chr(FIRST_WIDE)

_RANDOM = np.random.RandomState(1)
_MULTIPLIERS = _RANDOM.randint(1, 2**31, size=NUM_HASHES).astype(np.uint32) * np.uint32(2) + np.uint32(1)
_OFFSETS = _RANDOM.randint(0, 2**31, size=NUM_HASHES).astype(np.uint32)


# ------------------------------------------------------------------------------------------------- normal form


@functools.cache
def dropped_characters():
    """bool array [0x110000]: code points that a normal form leaves out (punctuation, white space, control, format)."""
    table = np.array([unicodedata.category(chr(code))[0] in "PZC" for code in range(sys.maxunicode + 1)])
    table[ord("\n")] = False  # separates the texts
    return table


def to_codes(texts):
    """Code points of texts, each text closed by a line feed.

    Returns:
        tuple[np.ndarray, np.ndarray]: uint32 code points, and int64 [n + 1] where each text starts in them.
    """
    joined = "\n".join(texts) + "\n"
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    starts = np.concatenate([[0], np.flatnonzero(codes == 10) + 1])
    return codes, starts


def normalise(texts):
    """The texts in a form in which width, case, punctuation and white space make no difference.

    NFKC, case folding, then without punctuation, white space, control and private-use characters. A text of nothing
    else keeps its NFKC form.

    Args:
        texts (list[str]): without line feeds.

    Returns:
        list[str]: as many.
    """
    if not texts:
        return []
    folded = unicodedata.normalize("NFKC", "\n".join(texts)).casefold()
    codes, _ = to_codes([folded])
    kept = codes[~dropped_characters()[codes]]
    normal = kept.tobytes().decode("utf-32-le", "surrogatepass").split("\n")[:-1]
    if "" in normal:
        normal = [short or full for short, full in zip(normal, folded.split("\n"))]
    return normal


# ------------------------------------------------------------------------------------------------------ MinHash


@functools.lru_cache(maxsize=1 << 14)
def shingles(text):
    """The set of pieces by which a text in normal form is compared. Not to be changed: the next call gets it too."""
    if text.isascii():
        return {text[index : index + 4] for index in range(max(1, len(text) - 1))}
    wide = [character >= WIDE_FROM for character in text]
    sizes = [2 if one or other else 4 for one, other in zip(wide, wide[1:] or [False])]
    return {text[index : index + size] for index, size in enumerate(sizes)}


def similarity(one, other):
    """Jaccard similarity of two texts in normal form, 0 to 1."""
    one, other = shingles(one), shingles(other)
    common = len(one & other)
    return common / (len(one) + len(other) - common)


def signatures(texts):
    """MinHash signatures: the share of equal entries of two rows estimates the similarity of the texts.

    Args:
        texts (list[str]): in normal form.

    Returns:
        np.ndarray: uint32 [len(texts), NUM_HASHES].
    """
    codes, starts = to_codes(texts)
    wide = codes >= FIRST_WIDE
    padded = np.concatenate([codes, np.full(3, 10, codes.dtype)])
    size = len(codes)
    first, second, third, fourth = (padded[shift : shift + size] for shift in range(4))
    short = wide | np.concatenate([wide[1:], [False]])
    # Past the end of its text a shingle is filled with zeros, so that it does not depend on the text that follows.
    second = np.where(second == 10, 0, second)
    third = np.where(short | (second == 0) | (third == 10), 0, third)
    fourth = np.where((third == 0) | (fourth == 10), 0, fourth)
    hashed = _mix(_mix(_mix(first * np.uint32(0x9E3779B1) + second) + third) + fourth)
    # The last character starts no shingle of its own unless it is the only one: shingles() stops there too.
    ends = starts[1:] - 1
    last = ends - 1
    several = ends - starts[:-1] > 1
    hashed[last[several]] = hashed[starts[:-1][several]]

    result = np.empty((len(texts), NUM_HASHES), dtype=np.uint32)
    for column, (multiplier, offset) in enumerate(zip(_MULTIPLIERS, _OFFSETS)):
        values = hashed * multiplier + offset
        values ^= values >> np.uint32(15)
        values[ends] = np.uint32(0xFFFFFFFF)  # the line feeds are no shingles
        result[:, column] = np.minimum.reduceat(values, starts[:-1])
    return result


def _mix(values):
    """A bijection on uint32 that spreads every bit (the finalizer of MurmurHash3)."""
    values = values.astype(np.uint32)
    values ^= values >> np.uint32(16)
    values *= np.uint32(0x85EBCA6B)
    values ^= values >> np.uint32(13)
    values *= np.uint32(0xC2B2AE35)
    values ^= values >> np.uint32(16)
    return values


def check_threshold(threshold):
    """Raise UsageError unless a similarity from 0 to 1 was given."""
    if not 0 <= threshold <= 1:
        raise UsageError(f"--near_duplicate_threshold {threshold}: give a number from 0 to 1")


def rows_per_band(threshold):
    """Rows of a band such that a pair at the threshold is proposed with a probability of at least 0.97."""
    for rows in range(16, 1, -1):
        if 1 - (1 - threshold**rows) ** (NUM_HASHES // rows) >= 0.97:
            return rows
    return 1


class NearDuplicates:
    """An index of texts that tells which of them are nearly the same as others.

    Args:
        threshold (float): the similarity from which two texts count as nearly the same, above 0 up to 1.
    """

    def __init__(self, threshold):
        self.threshold = threshold
        self.rows = rows_per_band(threshold)
        # Pairs whose signatures agree less than this, three standard errors below, are not compared exactly.
        self.agreement = threshold - 3 * (threshold * (1 - threshold) / NUM_HASHES) ** 0.5
        self.texts = []
        self._signatures = []
        self._keys = []
        self._order = None

    def add(self, texts):
        """Add texts in normal form; they get the next numbers from 0 on."""
        if texts:
            found = signatures(texts)
            self.texts += texts
            self._signatures.append(found.astype(np.uint16))
            self._keys.append(self._band_keys(found))
            self._order = None

    def query(self, texts, first=None, settled=None):
        """Find the pairs of a text and an indexed one that are nearly the same.

        Args:
            texts (list[str]): in normal form.
            first (int | None): the texts are indexed ones from this number on; give each pair of them once, and none
                with itself.
            settled (np.ndarray | None): bool, the indexed texts of which no more pairs are wanted.

        Returns:
            Iterator[tuple[int, int, float]]: number in `texts`, number in the index, similarity.
        """
        if not texts or not self.texts:
            return
        self._build()
        found = signatures(texts)
        keys, small = self._band_keys(found), found.astype(np.uint16)
        pairs = []
        for band in range(keys.shape[1]):
            ordered = self._sorted[band]
            left = np.searchsorted(ordered, keys[:, band], "left")
            size = np.minimum(np.searchsorted(ordered, keys[:, band], "right") - left, MAX_PER_BUCKET)
            here = np.repeat(np.arange(len(texts)), size)
            offset = np.arange(len(here)) - np.repeat(np.cumsum(size) - size, size)
            there = self._order[band][np.repeat(left, size) + offset]
            if first is not None:
                here, there = here[here + first > there], there[here + first > there]
            if settled is not None:
                here, there = here[~settled[there]], there[~settled[there]]
            pairs.append(here.astype(np.int64) * len(self.texts) + there)
        pairs = np.unique(np.concatenate(pairs))
        here, there = np.divmod(pairs, len(self.texts))
        agree = np.empty(len(pairs), dtype=np.int64)
        for start in range(0, len(pairs), 1 << 16):
            some = slice(start, start + (1 << 16))
            agree[some] = (small[here[some]] == self._signatures[0][there[some]]).sum(axis=1)
        likely = np.flatnonzero(agree >= self.agreement * NUM_HASHES)
        # Of each text those that agree best, which are compared exactly.
        likely = likely[np.argsort(here[likely] * (NUM_HASHES + 1) - agree[likely], kind="stable")]
        place = np.arange(len(likely)) - np.searchsorted(here[likely], here[likely])
        likely = likely[place < MAX_COMPARED]
        for one, other in zip(here[likely].tolist(), there[likely].tolist()):
            value = similarity(texts[one], self.texts[other])
            if value >= self.threshold:
                yield one, other, value

    def _build(self):
        if self._order is None:
            self._signatures = [np.concatenate(self._signatures)]
            self._keys = [np.concatenate(self._keys)]
            keys = self._keys[0]
            self._order = [np.argsort(keys[:, band], kind="stable") for band in range(keys.shape[1])]
            self._sorted = [keys[order, band] for band, order in enumerate(self._order)]

    def _band_keys(self, found):
        """uint64 [n, bands]: one hash a band of a signature."""
        bands = NUM_HASHES // self.rows
        keys = np.zeros((len(found), bands), dtype=np.uint64)
        for row in range(self.rows):
            keys = keys * np.uint64(0x9E3779B97F4A7C15) + found[:, row : self.rows * bands : self.rows]
            keys ^= keys >> np.uint64(29)
        return keys


def group(texts, threshold):
    """Number the groups of texts that are nearly the same, directly or through others.

    Args:
        texts (list[str]): as they stand; two with the same normal form are always in one group.
        threshold (float): see NearDuplicates.

    Returns:
        np.ndarray: int64 [len(texts)], the same number for the texts of one group, from 0 in order of appearance.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    numbers = {}
    of_text = np.array([numbers.setdefault(text, len(numbers)) for text in normalise(texts)], dtype=np.int64)
    index = NearDuplicates(threshold)
    unique = list(numbers)
    index.add(unique)
    pairs = []
    for first in range(0, len(unique), QUERIED_AT_ONCE):
        found = index.query(unique[first : first + QUERIED_AT_ONCE], first)
        pairs.append(np.array([(one + first, other) for one, other, _ in found], dtype=np.int64).reshape(-1, 2))
    pairs = np.concatenate(pairs) if pairs else np.zeros((0, 2), dtype=np.int64)
    graph = coo_matrix((np.ones(len(pairs), dtype=bool), (pairs[:, 0], pairs[:, 1])), shape=(len(unique),) * 2)
    found = connected_components(graph, directed=False)[1][of_text]
    _, first, number = np.unique(found, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[number]
