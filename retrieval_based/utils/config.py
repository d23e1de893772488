"""Settings of the index (see index.py), and what its two forms (hnsw_util.py, milvus_util.py) share."""

import hashlib
from collections import namedtuple
from dataclasses import dataclass

import numpy as np

from utils import UsageError

# Where the running system's vectors are: a local file (Milvus Lite), http://host:19530 (a Milvus server or cluster),
# or any other path (a folder of hnswlib).
URI = "./milvus.db"
COLLECTION = "retrieval"


@dataclass(frozen=True)
class Graph:
    """The graph of an index: of hnswlib's, and of one on a Milvus server. Milvus Lite has none, and compares all rows.

    Args:
        m (int): links a row; of an index that is opened, the one it was made with counts.
        ef_construction (int): candidates at building.
        ef (int): candidates at searching.
    """

    m: int = 100
    ef_construction: int = 100
    ef: int = 100


GRAPH = Graph()

# Rows that are sent to the index together; a killed insert loses at most these.
INSERT_BATCH = 1000
# Milvus counts bytes, not characters.
MAX_TEXT_BYTES = 65535
MAX_LABEL_BYTES = 1024
MAX_VERSION_BYTES = 255

# A row that a search found; score is the cosine, 1 for the same direction.
Hit = namedtuple("Hit", "text label score id")


def content_id(text):
    """The key of a row: 32 hexadecimal digits from the text alone, so a text is there once, with its newest label."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def checked_vectors(vectors, dim):
    """Vectors of length 1.

    Args:
        vectors: float [rows, dim].
        dim (int): what the index holds.

    Returns:
        np.ndarray: float32 [rows, dim].

    Raises:
        UsageError: another dimension, a value that is not a finite number, or a vector of zeros. The libraries accept
            the first two without a word and answer nonsense ever after.
    """
    vectors = np.asarray(vectors, dtype=np.float32)
    if vectors.ndim != 2 or vectors.shape[1] != dim:
        raise UsageError(f"vectors of shape {vectors.shape}: the index holds {dim} numbers a row; use its own model")
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    bad = np.flatnonzero(~np.isfinite(lengths[:, 0]) | (lengths[:, 0] == 0))
    if len(bad):
        raise UsageError(
            f"vector {bad[0]}: zeros, or values that are not finite numbers; the model is broken, export it again"
        )
    return (vectors / lengths).astype(np.float32)


def check_label(label, where=""):
    """Raise UsageError, which begins with `where`, for a label that no index takes."""
    _check_bytes("label", label, MAX_LABEL_BYTES, where)
    # Milvus Lite's filters cannot name them; label.txt cannot either.
    if any(character < " " for character in label):
        raise UsageError(f"{where}the label {label!r} has a tab, a line end or the like; write a space")


def _check_bytes(what, value, limit, where):
    try:
        size = len(value.encode("utf-8"))
    except UnicodeEncodeError:
        raise UsageError(f"{where}the {what} {value!r} has half a character; was it read as UTF-8?") from None
    if not 0 < size <= limit:
        raise UsageError(f"{where}the {what} has {size} bytes; give 1 to {limit}")


def checked_rows(texts, labels, vectors, dim):
    """What upsert takes, checked, and each text once: the last of several wins.

    Args:
        texts, labels (list[str]): [rows].
        vectors: float [rows, dim].

    Returns:
        tuple[dict[str, int], np.ndarray]: content id to row, in order; vectors of length 1, float32 [rows, dim].

    Raises:
        UsageError: another number of labels or vectors, an empty or too long text or label, or vectors that
            checked_vectors refuses.
    """
    vectors = checked_vectors(vectors, dim) if len(texts) or len(vectors) else np.empty((0, dim), np.float32)
    if not len(texts) == len(labels) == len(vectors):
        raise UsageError(f"{len(texts)} texts, {len(labels)} labels, {len(vectors)} vectors: give one of each a row")
    for row, (text, label) in enumerate(zip(texts, labels), 1):
        _check_bytes("text", text, MAX_TEXT_BYTES, f"row {row}: ")
        check_label(label, f"row {row}: ")
    return {content_id(text): row for row, text in enumerate(texts)}, vectors
