"""batch_output.py: names, and what each kind of file can hold."""

import json
import math

import pytest

from core.batch_input import Row
from core.batch_output import Output, added_names, kind_of, name_added
from utils import UsageError


def row(*cells, record=None):
    return Row("f", 1, list(cells), "text", None, None, "", record)


def test_names():
    assert added_names(1, False) == ["label", "score"]
    assert added_names(2, True) == "label score guess guess_score label_1 score_1 label_2 score_2".split()
    assert name_added(["text"], ["label"], None, "csv") == ["label"]
    assert name_added(["label"], ["label"], None, "csv") == ["predicted_label"]
    with pytest.raises(UsageError, match="columns called predicted_label; give another name .* --prefix my_"):
        name_added(["label", "predicted_label"], ["label"], None, "csv")
    with pytest.raises(UsageError, match="two columns 'a', which a .jsonl file cannot; write .csv or .tsv"):
        name_added(["a", "a"], ["label"], None, "jsonl")
    assert name_added(["a", "a"], ["label"], None, "csv") == ["label"]
    assert [kind_of(f"x{ending}") for ending in (".CSV", ".txt", ".ndjson")] == ["csv", "tsv", "jsonl"]


def test_tab_separated_fields_are_in_quotes_only_where_they_must(tmp_path):
    output = Output("tsv", ["a", "b"], ["label", "score"])
    output.write(tmp_path / "part", [row('say "x"', ' "y"'), row('"z"', "a\tb\nc")], [["甲", "乙"], [0.25, 1.0]])
    output.join([tmp_path / "part"], tmp_path / "whole")
    expected = 'a\tb\tlabel\tscore\nsay "x"\t "y"\t甲\t0.250000\n"""z"""\t"a\tb\nc"\t乙\t1.000000\n'
    assert (tmp_path / "whole").read_bytes().decode("utf-8") == expected


def test_json_of_anything(tmp_path):
    output = Output("jsonl", ["a"], ["label", "score"])
    rows = [row("x", record={"a": "\ud83d"}), row("x", record={"a": math.nan}), row("7")]
    output.write(tmp_path / "part", rows, [["甲"] * 3, [0.5] * 3])
    lines = [json.loads(line) for line in (tmp_path / "part").read_text(encoding="utf-8").splitlines()]
    assert [line["a"] for line in lines] == ["\ud83d", None, "7"]
    assert output.problem(row("x", record={"score": 1})) == "a field score as what is added; add --prefix"
    assert "half a character" in Output("csv", ["a"], ["label", "score"]).problem(row("\ud83d"))
