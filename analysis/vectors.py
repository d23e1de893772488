"""Arithmetic on what a classifier gives for a text: neighbours by features."""

import numpy as np

# Rows of the left matrix in one product of similarities: 1,024 x 100,000 floats are 0.4 GB.
SIMILARITY_ROWS = 1024


def unit_rows(rows):
    """The rows as float32 of length 1; rows of zeros stay."""
    rows = rows.astype(np.float32)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def nearest(queries, corpus, top_k):
    """The most similar rows by the cosine of their angle, in blocks of matrix products.

    Args:
        queries (np.ndarray): float [q, hidden].
        corpus (np.ndarray): float [c, hidden].
        top_k (int): rows wanted, at most c are given.

    Returns:
        tuple[np.ndarray, np.ndarray]: int64 and float32 [q, top_k], row numbers and similarities, best first; equal
        ones in the order of their rows.
    """
    queries, corpus = unit_rows(queries), unit_rows(corpus)
    top_k = min(top_k, len(corpus))
    rows, values = np.empty((len(queries), top_k), np.int64), np.empty((len(queries), top_k), np.float32)
    for start in range(0, len(queries), SIMILARITY_ROWS):
        products = queries[start : start + SIMILARITY_ROWS] @ corpus.T
        best = np.sort(np.argpartition(-products, top_k - 1, axis=1)[:, :top_k], axis=1)
        found = np.take_along_axis(products, best, axis=1)
        order = np.argsort(-found, axis=1, kind="stable")
        some = slice(start, start + len(products))
        rows[some], values[some] = np.take_along_axis(best, order, axis=1), np.take_along_axis(found, order, axis=1)
    return rows, values
