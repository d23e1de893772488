"""analysis/vectors.py: neighbours against brute force, and how long they take."""

import time

import numpy as np

from analysis.vectors import nearest


def test_nearest_is_brute_force():
    random = np.random.RandomState(0)
    queries, corpus = random.randn(50, 16), random.randn(300, 16)
    corpus[200] = corpus[7] * 3  # the same direction: the first one comes first
    rows, values = nearest(queries, corpus, 5)
    cosines = (queries @ corpus.T) / np.outer(np.linalg.norm(queries, axis=1), np.linalg.norm(corpus, axis=1))
    expected = np.argsort(-cosines.round(6), axis=1, kind="stable")[:, :5]
    assert (rows == expected).all()
    assert np.abs(values - np.take_along_axis(cosines, expected, axis=1)).max() < 1e-5
    assert nearest(queries, corpus[:3], 5)[0].shape == (50, 3)
    assert nearest(np.zeros((1, 16)), corpus, 1)[1] == 0


def test_neighbours_of_all_dev_texts_take_seconds():
    random = np.random.RandomState(0)
    queries, corpus = random.randn(1955, 384).astype("float32"), random.randn(6931, 384).astype("float32")
    start = time.perf_counter()
    nearest(queries, corpus, 3)
    assert time.perf_counter() - start < 10
