"""retrieval_based/search.py: its flags, and the search with vectors that are known."""

import argparse

import numpy as np
import pytest

from retrieval_based import data, search
from tests.helpers import not_installed

pytest.importorskip("hnswlib", reason="hnswlib is not installed")

WRONG = {
    "--recall_num 0": "--recall_num 0: must be at least 1",
    "--hnsw_m 1": "--hnsw_m 1: must be at least 2",
    "--recall_result_file a/b": "--recall_result_file a/b: a name; the folder is --recall_result_dir",
}


def flags(text):
    parser = argparse.ArgumentParser()
    search.add_corpus_flags(parser)
    return parser.parse_args(text.split())


def test_all_that_is_wrong_is_said():
    assert search.corpus_problems(flags("")) == []
    for text, problem in WRONG.items():
        assert search.corpus_problems(flags(text)) == [problem]
    assert len(search.corpus_problems(flags(" ".join(WRONG)))) == 3


def test_without_hnswlib(monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", not_installed)
    (problem,) = search.corpus_problems(flags(""))
    assert "hnswlib" in problem and "pip install -r retrieval_based/requirements.txt" in problem


class Circle:
    """An embedder whose texts are angles in degrees."""

    dim = 2

    def vectors(self, texts, batch_size, progress):
        angles = np.radians([float(text) for text in texts])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype("float32")


def test_the_nearest_come_first():
    corpus = data.Corpus(["0", "90", "180", "270"], list("abcd"), False, {})
    args = flags("--recall_num 3 --hnsw_max_elements 1")  # less room than there are texts is no error
    args.batch_size = 8
    found = search.search_corpus(Circle(), corpus, ["100", "10"], args)
    assert [[hit.label for hit in hits] for hits in found] == [["b", "c", "a"], ["a", "b", "d"]]
    assert found[0][0].score == pytest.approx(np.cos(np.radians(10)), abs=1e-5)
