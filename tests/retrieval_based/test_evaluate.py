"""retrieval_based/evaluate.py: figures against a count by hand."""

import numpy as np
import pytest

from retrieval_based import evaluate
from tests.retrieval_based.helpers import recalled
from utils import UsageError


def test_every_query_counts_once_also_the_last(tmp_path, capsys):
    rng = np.random.RandomState(0)
    truth = [str(index % 4) for index in range(30)]
    hits = [[(str(rng.randint(4)), 1 - rank / 30) for rank in range(25)] for _ in truth]
    hits[-1] = [(truth[-1], 0.9)] * 25
    path = recalled(tmp_path / "r.txt", ["the same text"] * 30, truth, hits)
    evaluate.main(["--recall_result_file", str(path)])
    rows = dict(line.split("\t") for line in (tmp_path / "result.tsv").read_text("utf-8").splitlines())
    figures, _, rest = capsys.readouterr().out.partition("\n\n")
    assert figures.split() == sum(map(list, rows.items()), [])
    assert rest.startswith(f"These figures are in {tmp_path / 'result.tsv'}\n")
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
