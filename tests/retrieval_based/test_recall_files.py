"""The files of the retrieval scripts: corpora, pairs, recall results; figures against a count by hand."""

import collections

import numpy as np
import pytest
from tests.helpers import ROOT

from utils import UsageError, load_module

FOLDER = ROOT / "retrieval_based"
data = load_module("retrieval_data", FOLDER / "data.py")
evaluate = load_module("retrieval_evaluate", FOLDER / "evaluate.py")
Hit = collections.namedtuple("Hit", "text label score id")


def write(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_a_corpus_is_label_names_or_texts(tmp_path):
    names = data.read_corpus(write(tmp_path / "label.txt", "a==头疼", "b"))
    assert names == data.Corpus(["头疼", "b"], ["a", "b"], True, {"a": "头疼", "b": "b"})
    texts = data.read_corpus(write(tmp_path / "train.txt", "x\tb", "y\ta", " z \tb "))
    assert texts == data.Corpus(["x", "y", "z"], ["b", "a", "b"], False, {"b": "b", "a": "a"})


@pytest.mark.parametrize("lines, problem", [
    (["a", "b\tc"], ":2: .* inside"), (["x\ta", "b"], ":2: 0 tabs"), (["x\ta", "y\tb\tc"], ":2: 2 tabs"),
    (["x\ta", "\tb"], ":2: nothing on one side"), (["a==头", "b==头"], ":2: 'b' has the word of 'a'"),
])  # fmt: skip
def test_a_wrong_corpus_is_refused_with_its_line(tmp_path, lines, problem):
    with pytest.raises(UsageError, match=f"corpus.txt{problem}"):
        data.read_corpus(write(tmp_path / "corpus.txt", *lines))


def test_pairs(tmp_path):
    assert data.read_pairs(write(tmp_path / "pairs.txt", "x\ty", "y\tz")) == [("x", "y"), ("y", "z")]
    with pytest.raises(UsageError, match="pairs.txt:1: 0 tabs instead of one; write <text>, a tab, <text>"):
        data.read_pairs(write(tmp_path / "pairs.txt", "x y"))


def recalled(path, queries, truth, hits):
    found = [[Hit(f"text {label}", label, score, "") for label, score in row] for row in hits]
    return write(path, *data.recall_lines(queries, truth, found))


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


@pytest.mark.parametrize("number, line, problem", [
    (1, "x\ta", ":1: not the header"), (2, "x\ta\t0.5", ":2: 3 columns"), (3, "x\ta\t3\tt\ta\t0.5", ":3: rank 3"),
    (2, "x\ta\tone\tt\ta\t0.5", ":2: rank and similarity are not numbers"), (2, "x\ta\t2\tt\ta\t0.5", ":2: rank 2"),
    (3, "y\ta\t2\tt\ta\t0.5", ":3: rank 2 of this query"),
])  # fmt: skip
def test_a_wrong_recall_result_is_refused_with_its_line(tmp_path, number, line, problem):
    path = recalled(tmp_path / "r.txt", ["x"], ["a"], [[("a", 0.9), ("b", 0.5)]])
    lines = path.read_text("utf-8").splitlines()
    lines[number - 1] = line
    with pytest.raises(UsageError, match=f"r.txt{problem}"):
        evaluate.main(["--recall_result_file", str(write(path, *lines))])


def test_every_query_counts_once_also_the_last(tmp_path, capsys):
    rng = np.random.RandomState(0)
    truth = [str(index % 4) for index in range(30)]
    hits = [[(str(rng.randint(4)), 1 - rank / 30) for rank in range(25)] for _ in truth]
    hits[-1] = [(truth[-1], 0.9)] * 25
    path = recalled(tmp_path / "r.txt", ["the same text"] * 30, truth, hits)
    evaluate.main(["--recall_result_file", str(path)])
    rows = dict(line.split("\t") for line in (tmp_path / "result.tsv").read_text("utf-8").splitlines())
    assert capsys.readouterr().out.split() == sum(map(list, rows.items()), [])
    assert rows["queries"] == "30"
    for k in (1, 5, 10, 20):
        right = sum(label in [found for found, _ in row[:k]] for label, row in zip(truth, hits))
        assert rows[f"recall@{k}"] == f"{right / 30:.2%}"
    assert rows["accuracy"] == rows["recall@1"] != rows["recall@5"]


def test_the_vote_is_chosen_on_other_queries(tmp_path, capsys):
    """Of three neighbours two are right: more than one must vote; what is chosen is printed, and can be given."""
    truth = ["a", "b", "c"] * 4
    hits = [[("abc"[("abc".index(label) + 1) % 3], 0.9), (label, 0.89), (label, 0.88)] for label in truth]
    paths = [recalled(tmp_path / name, truth, truth, hits) for name in ("dev.txt", "test.txt")]
    flags = ["--recall_result_file", str(paths[1]), "--output_file", str(tmp_path / "out" / "figures.tsv")]
    evaluate.main(flags)
    assert "accuracy\t0.00%" in capsys.readouterr().out
    evaluate.main([*flags, "--dev_recall_result_file", str(paths[0])])
    chosen = capsys.readouterr().out
    assert "accuracy\t100.00%" in chosen and "vote_k\t3" in chosen
    evaluate.main([*flags, "--vote_k", "3", "--vote_temperature", "1"])
    assert "accuracy\t100.00%" in capsys.readouterr().out
    with pytest.raises(UsageError, match="test.txt: the file that the figures are of"):
        evaluate.main([*flags, "--dev_recall_result_file", str(paths[1])])
    for wrong in (["--vote_k", "3"], ["--vote_k", "0", "--vote_temperature", "1"]):
        with pytest.raises(SystemExit):
            evaluate.main([*flags, *wrong])


def test_partners_have_the_label_and_are_drawn_anew():
    labels = np.array([0] * 5 + [1] * 3 + [2])
    first = data.draw_partners(labels, 7, 0)
    assert (labels[first] == labels).all() and sorted(first) == list(range(9))
    assert all(partner != row for row, partner in enumerate(first[:8])) and first[8] == 8
    assert (data.draw_partners(labels, 7, 0) == first).all()
    assert (data.draw_partners(labels, 7, 1) != first).any() and (data.draw_partners(labels, 8, 0) != first).any()
