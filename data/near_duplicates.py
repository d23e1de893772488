"""Which texts are nearly the same: MinHash with locality-sensitive hashing, in numpy.

comparisons.py (leaks between files) and splitting.py (groups that must stay together) share this. Two texts are
compared by the Jaccard similarity of their shingles: the share of pieces that they have in common, 0 to 1. A shingle
is two characters of Chinese, Japanese or Korean, four of other scripts. MinHash (Broder 1997, "On the resemblance and
containment of documents") only proposes pairs; each one that is returned was compared exactly.

The datasketch library does the same, at 37 microseconds a text of 18 characters for 32 hashes (bulk mode) and several
kilobytes a text in its index; here it is 4 microseconds for 64 hashes, and 0.4 kB, which a million lines need.
"""

import array
import functools
import sys
import unicodedata

import numpy as np

from core.progress import progress_bar
from data.stored_texts import Growing, Spilled, StoredTexts
from utils import UsageError

NUM_HASHES = 64
# Texts of one bucket that a text is compared with, at most: keeps time linear where thousands share a template.
MAX_PER_BUCKET = 8
# Of those, the ones with the best agreement that are compared exactly.
MAX_COMPARED = 4
# Texts of one query when all texts are compared with each other: bounds the memory.
QUERIED_AT_ONCE = 50_000
# Rows of signatures in a file, of 128 bytes each, that are in memory at a time.
MAPPED_AT_ONCE = 500_000
# Pairs that are kept before they are joined to groups; texts below which no progress is shown.
PAIRS_AT_ONCE, SHORT_WORK = 5_000_000, 200_000
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
        self.texts = StoredTexts()
        self._signatures = Growing(np.uint16, NUM_HASHES)
        self._keys = Growing(np.uint64, NUM_HASHES // self.rows)
        self._order = None

    def add(self, texts):
        """Add texts in normal form; they get the next numbers from 0 on."""
        for begin in range(0, len(texts), QUERIED_AT_ONCE):
            some = texts[begin : begin + QUERIED_AT_ONCE]
            found = signatures(some)
            self.texts.add(some, [""] * len(some))
            self._signatures.add(found)
            self._keys.add(self.band_keys(found))
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
        if not texts or not len(self.texts):
            return
        self._build()
        found = signatures(texts)
        keys, small = self.band_keys(found), found.astype(np.uint16)
        pairs = []
        for band in range(keys.shape[1]):
            ordered, order = self._sorted[band].view(), self._order[band].view()
            left = np.searchsorted(ordered, keys[:, band], "left")
            size = np.minimum(np.searchsorted(ordered, keys[:, band], "right") - left, MAX_PER_BUCKET)
            here = np.repeat(np.arange(len(texts)), size)
            offset = np.arange(len(here)) - np.repeat(np.cumsum(size) - size, size)
            there = order[np.repeat(left, size) + offset]
            if first is not None:
                here, there = here[here + first > there], there[here + first > there]
            if settled is not None:
                here, there = here[~settled[there]], there[~settled[there]]
            pairs.append(here.astype(np.int64) * len(self.texts) + there)
        pairs = np.unique(np.concatenate(pairs))
        here, there = np.divmod(pairs, len(self.texts))
        likely = self.likely(here, there, small, self._signatures)
        here, there = here[likely], there[likely]
        for one, other, text in zip(here.tolist(), there.tolist(), self.texts.texts(there)):
            value = similarity(texts[one], text)
            if value >= self.threshold:
                yield one, other, value

    def likely(self, here, there, small, others):
        """Of pairs that share a bucket, those to compare exactly: of each text the ones that agree best.

        Args:
            here, there (np.ndarray): int64 [pairs], rows of `small` and of `others`, sorted by them.
            small (np.ndarray): uint16 [texts, NUM_HASHES], signatures.
            others (Spilled | Growing): the same of the other texts.

        Returns:
            np.ndarray: int64, numbers of pairs.
        """
        agree = np.empty(len(here), dtype=np.int64)
        by_other = np.argsort(there, kind="stable")
        # In the order of the file, and of no more of it at once: what is read counts as memory.
        edges = np.searchsorted(there[by_other], np.arange(0, len(others), MAPPED_AT_ONCE))
        edges = np.unique(np.concatenate([edges, np.arange(0, len(here), 1 << 16), [len(here)]])).tolist()
        for start, end in zip(edges, edges[1:]):
            some = by_other[start:end]
            agree[some] = (small[here[some]] == others.view()[there[some]]).sum(axis=1)
        likely = np.flatnonzero(agree >= self.agreement * NUM_HASHES)
        likely = likely[np.argsort(here[likely] * (NUM_HASHES + 1) - agree[likely], kind="stable")]
        place = np.arange(len(likely)) - np.searchsorted(here[likely], here[likely])
        return likely[place < MAX_COMPARED]

    def _build(self):
        if self._order is None:
            keys, size = self._keys.view(), (len(self.texts),)
            self._order, self._sorted = [], []
            for band in range(keys.shape[1]):
                self._order.append(Spilled(size, np.int32))
                self._sorted.append(Spilled(size, np.uint64))
                own = np.array(keys[:, band])
                order = np.argsort(own, kind="stable")
                self._order[-1].view()[:] = order
                self._sorted[-1].view()[:] = own[order]

    def band_keys(self, found):
        """uint64 [n, bands]: one hash a band of a signature."""
        bands = NUM_HASHES // self.rows
        keys = np.zeros((len(found), bands), dtype=np.uint64)
        for row in range(self.rows):
            keys = keys * np.uint64(0x9E3779B97F4A7C15) + found[:, row : self.rows * bands : self.rows]
            keys ^= keys >> np.uint64(29)
        return keys


def group(texts, threshold):
    """Number the groups of texts that are nearly the same, directly or through others.

    Of the texts no more than a block is in memory, see stored_texts.py. What is kept of each are some numbers and,
    where texts are many, 300 bytes on the disk. Normal forms are the same where a hash of 64 bits is.

    Args:
        texts (list[str] | StoredTexts): as they stand; two with the same normal form are always in one group.
        threshold (float): see NearDuplicates.

    Returns:
        np.ndarray: int64 [len(texts)], the same number for the texts of one group, from 0 in order of appearance.
    """
    texts = StoredTexts.of(texts, [""] * len(texts)) if isinstance(texts, list) else texts
    of_text = group_equal(texts)
    size = int(of_text.max()) + 1 if len(of_text) else 0
    rows = first_places(of_text, size)
    found = _Pairs(texts, rows, threshold).groups()
    return number_by_appearance(found[of_text], size).astype(np.int64)


def group_equal(texts):
    """The same for texts whose normal forms are equal: int32 [len(texts)]."""
    texts = StoredTexts.of(texts, [""] * len(texts)) if isinstance(texts, list) else texts
    hashes = array.array("q")
    for some in texts.blocks():
        hashes.extend(map(hash, normalise(some)))
    hashes = np.frombuffer(hashes, dtype=np.int64) if hashes else np.zeros(0, dtype=np.int64)
    order = np.argsort(hashes, kind="stable")
    numbers = np.zeros(len(hashes), dtype=np.int32)
    for start in range(1, len(hashes), 1 << 20):  # in pieces: the hashes in order would be as large again
        here, before = order[start : start + (1 << 20)], order[start - 1 : start - 1 + (1 << 20)]
        numbers[here] = hashes[here] != hashes[before[: len(here)]]
    numbers[order] = np.cumsum(numbers[order], dtype=np.int32)
    del order
    return number_by_appearance(numbers, int(numbers.max()) + 1 if len(numbers) else 0)


def first_places(numbers, size, absent=0):
    """Where each of the numbers 0 to size - 1 stands first, or `absent` for one that is not there: int64 [size]."""
    places = np.full(size, absent, dtype=np.int64)
    places[numbers[::-1]] = np.arange(len(numbers) - 1, -1, -1)  # of several values the last one stays
    return places


def number_by_appearance(numbers, size):
    """Other numbers for groups: 0 for that of the first element and so on.

    Args:
        numbers (np.ndarray): int [n], in 0 to size - 1, but not each of these need be there.
        size (int): see numbers.

    Returns:
        np.ndarray: int32 [n].
    """
    places = first_places(numbers, size, absent=len(numbers))
    rank = np.zeros(size, dtype=np.int32)
    rank[np.argsort(places, kind="stable")] = np.arange(size, dtype=np.int32)
    return rank[numbers]


class _Pairs:
    """The pairs of nearly equal texts among many: what NearDuplicates proposes for each, band by band.

    Args:
        texts (StoredTexts): with texts whose normal forms are the same among them.
        rows (np.ndarray): int64 [n], in ascending order: the texts that are compared, each form once.
        threshold (float): see NearDuplicates.
    """

    def __init__(self, texts, rows, threshold):
        self.texts, self.rows, self.index = texts, rows, NearDuplicates(threshold)
        size, bands = len(rows), NUM_HASHES // self.index.rows
        make = functools.partial(Spilled, folder=texts.folder)
        self.signatures = make((size, NUM_HASHES), np.uint16)
        keys = [make((size,), np.uint64) for _ in range(bands)]
        with self._bar("signatures") as bar:
            for first in range(0, size, QUERIED_AT_ONCE):
                some = slice(first, first + QUERIED_AT_ONCE)
                found = signatures(self._forms(rows[some]))
                self.signatures.view()[some] = found
                for band, column in zip(keys, self.index.band_keys(found).T):
                    band.view()[some] = column
                bar.update(len(found))
        # Of each band: the texts in the order of their keys, where the bucket of each text begins there, and how many
        # texts before it are in its bucket, as far as they are compared.
        self.buckets = []
        with self._bar("sorting", bands) as bar:
            for band in keys:
                arrays = tuple(make((size,), dtype) for dtype in (np.int32, np.int32, np.uint8))
                self._sort(band, *arrays)
                self.buckets.append(arrays)
                band.close()
                bar.update(1)

    def _bar(self, what, total=None):
        is_short = len(self.rows) < SHORT_WORK
        return progress_bar(total=len(self.rows) if total is None else total, desc=what, disable=is_short)

    def _forms(self, rows):
        return normalise(self.texts.texts(rows))

    @staticmethod
    def _sort(band, order, left, before):
        """Fill the arrays of a band."""
        keys = np.array(band.view())
        found = np.argsort(keys, kind="stable")
        keys = keys[found]
        begins = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)])
        sizes = np.diff(np.append(begins, len(keys)))
        del keys
        order.view()[:] = found
        begins = np.repeat(begins.astype(np.int32), sizes)
        left.view()[found] = begins
        before.view()[found] = np.minimum(np.arange(len(found), dtype=np.int32) - begins, MAX_PER_BUCKET)

    def groups(self):
        """Number the texts by the groups that the pairs join: int32 [n]."""
        from scipy.sparse import coo_matrix
        from scipy.sparse.csgraph import connected_components

        size = len(self.rows)
        found, waiting, count = np.arange(size, dtype=np.int32), [], 0
        with self._bar("comparing") as bar:
            for first in range(0, size, QUERIED_AT_ONCE):
                waiting.append(self._pairs(first))
                count += len(waiting[-1])
                is_last = first + QUERIED_AT_ONCE >= size
                if count and (is_last or count > PAIRS_AT_ONCE):
                    ends = found[np.concatenate(waiting)]
                    graph = coo_matrix((np.ones(count, dtype=bool), (ends[:, 0], ends[:, 1])), shape=(size, size))
                    found = connected_components(graph, directed=False)[1].astype(np.int32)[found]
                    waiting, count = [], 0
                bar.update(min(QUERIED_AT_ONCE, size - first))
        return found

    def _pairs(self, first):
        """Pairs of the texts from `first` on with texts before them that are nearly the same: int64 [pairs, 2]."""
        some = slice(first, first + QUERIED_AT_ONCE)
        pairs = []
        for arrays in self.buckets:
            order, left, before = (array.view() for array in arrays)
            size = before[some].astype(np.int64)
            here = np.repeat(np.arange(len(size)), size)
            offset = np.arange(len(here)) - np.repeat(np.cumsum(size) - size, size)
            there = order[np.repeat(left[some], size) + offset]
            pairs.append((here + first) * len(self.rows) + there)
        pairs = np.unique(np.concatenate(pairs))
        here, there = np.divmod(pairs, len(self.rows))
        small = np.array(self.signatures.view()[some])
        likely = self.index.likely(here - first, there, small, self.signatures)
        here, there = here[likely], there[likely]
        rows = np.unique(np.concatenate([here, there]))
        forms = dict(zip(rows.tolist(), self._forms(self.rows[rows])))
        same = [
            (one, other)
            for one, other in zip(here.tolist(), there.tolist())
            if similarity(forms[one], forms[other]) >= self.index.threshold
        ]
        return np.array(same, dtype=np.int64).reshape(-1, 2)
