"""retrieval_based/data.py: corpora, pairs, recall results, partners."""

import numpy as np
import pytest

from retrieval_based import data, evaluate
from tests.retrieval_based.helpers import recalled, write_file
from utils import UsageError


def test_a_corpus_is_label_names_or_texts(tmp_path):
    names = data.read_corpus(write_file(tmp_path / "label.txt", "a==头疼", "b"))
    assert names == data.Corpus(["头疼", "b"], ["a", "b"], True, {"a": "头疼", "b": "b"})
    texts = data.read_corpus(write_file(tmp_path / "train.txt", "x\tb", "y\ta", " z \tb "))
    assert texts == data.Corpus(["x", "y", "z"], ["b", "a", "b"], False, {"b": "b", "a": "a"})


@pytest.mark.parametrize(
    "lines, problem",
    [
        (["a", "b\tc"], ":2: .* inside"),
        (["x\ta", "b"], ":2: 0 tabs"),
        (["x\ta", "y\tb\tc"], ":2: 2 tabs"),
        (["x\ta", "\tb"], ":2: nothing on one side"),
        (["a==头", "b==头"], ":2: 'b' has the word of 'a'"),
    ],
)
def test_a_wrong_corpus_is_refused_with_its_line(tmp_path, lines, problem):
    with pytest.raises(UsageError, match=f"corpus.txt{problem}"):
        data.read_corpus(write_file(tmp_path / "corpus.txt", *lines))


def test_pairs(tmp_path):
    assert data.read_pairs(write_file(tmp_path / "pairs.txt", "x\ty", "y\tz")) == [("x", "y"), ("y", "z")]
    with pytest.raises(UsageError, match="pairs.txt:1: 0 tabs instead of one; write <text>, a tab, <text>"):
        data.read_pairs(write_file(tmp_path / "pairs.txt", "x y"))


def test_a_recall_result_reads_as_it_was_written(tmp_path):
    """A query that is there twice is two queries; one hit is enough."""
    hits = [[("a", 0.9), ("b", 0.5)], [("b", 0.9), ("a", 0.5)], [("a", 0.25)]]
    path = recalled(tmp_path / "r.txt", ["x", "x", "z"], ["a", "a", "b"], hits)
    result = data.read_recalled(path)
    assert result.queries == ["x", "x", "z"] and result.truth == ["a", "a", "b"]
    assert result.labels == [["a", "b"], ["b", "a"], ["a"]]
    assert result.scores == [[0.9, 0.5], [0.9, 0.5], [0.25]]
    scores, label_ids = data.hit_arrays(result.labels, result.scores, ["b", "a"])
    assert label_ids.tolist() == [[1, 0], [0, 1], [1, -1]] and scores[2].tolist() == [0.25, -1]


@pytest.mark.parametrize(
    "number, line, problem",
    [
        (1, "x\ta", ":1: not the header"),
        (2, "x\ta\t0.5", ":2: 3 columns"),
        (3, "x\ta\t3\tt\ta\t0.5", ":3: rank 3"),
        (2, "x\ta\tone\tt\ta\t0.5", ":2: rank and similarity are not numbers"),
        (2, "x\ta\t2\tt\ta\t0.5", ":2: rank 2"),
        (3, "y\ta\t2\tt\ta\t0.5", ":3: rank 2 of this query"),
    ],
)
def test_a_wrong_recall_result_is_refused_with_its_line(tmp_path, number, line, problem):
    path = recalled(tmp_path / "r.txt", ["x"], ["a"], [[("a", 0.9), ("b", 0.5)]])
    lines = path.read_text("utf-8").splitlines()
    lines[number - 1] = line
    with pytest.raises(UsageError, match=f"r.txt{problem}"):
        evaluate.main(["--recall_result_file", str(write_file(path, *lines))])


def test_partners_have_the_label_and_are_drawn_anew():
    labels = np.array([0] * 5 + [1] * 3 + [2])
    first = data.draw_partners(labels, 7, 0)
    assert (labels[first] == labels).all() and sorted(first) == list(range(9))
    assert all(partner != row for row, partner in enumerate(first[:8])) and first[8] == 8
    assert (data.draw_partners(labels, 7, 0) == first).all()
    assert (data.draw_partners(labels, 7, 1) != first).any() and (data.draw_partners(labels, 8, 0) != first).any()
