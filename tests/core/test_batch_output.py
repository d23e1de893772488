"""batch_output.py: names, and what each kind of file can hold."""

import csv
import datetime
import io
import json
import math

import numpy as np
import pytest

from core import batch_output
from core.batch_input import Part, Row
from core.batch_output import (
    Output,
    added_names,
    answer_columns,
    is_of_window,
    is_score,
    is_set,
    kind_of,
    name_added,
    scores_written,
)
from core.long_texts import WINDOW
from utils import UsageError


def row(*cells, record=None):
    return Row("f", 1, list(cells), "text", None, None, "", record)


def part(*rows):
    found = Part()
    for one in rows:
        found.add(one)
    return found


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
    rows = part(row('say "x"', ' "y"'), row('"z"', "a\tb\nc"))
    output.write(tmp_path / "part", rows, [["甲", "乙"], [0.25, 1.0]])
    output.join([tmp_path / "part"], tmp_path / "whole")
    expected = 'a\tb\tlabel\tscore\nsay "x"\t "y"\t甲\t0.250000\n"""z"""\t"a\tb\nc"\t乙\t1.000000\n'
    assert (tmp_path / "whole").read_bytes().decode("utf-8") == expected


def test_what_needs_no_quotes_is_written_as_the_csv_module_has_it(tmp_path):
    """Lines that are only joined stand beside lines of the csv module, in one part."""
    random, pieces = np.random.RandomState(0), ["头疼", "a", ",", '"', "\t", "\n", "\r", " ", "'", "", "\x00", "é"]
    cells = [["".join(random.choice(pieces[:2], 2)), str(number)] for number in range(1000)]
    for place in random.permutation(1000)[:30]:
        cells[place][0] = "".join(random.choice(pieces, 4))
    labels, scores = [["甲", "乙"][number % 2] for number in range(1000)], [number / 999 for number in range(1000)]
    scores = [round(score, 6) for score in scores]
    for kind in ("csv", "tsv"):
        output = Output(kind, ["a", "b"], ["label", "score"])
        output.write(tmp_path / kind, part(*(row(*one) for one in cells)), [labels, scores])
    rows = [[*one, label, f"{score:.6f}"] for one, label, score in zip(cells, labels, scores)]
    expected = io.StringIO()
    csv.writer(expected, lineterminator="\n").writerows(rows)
    assert (tmp_path / "csv").read_bytes().decode("utf-8") == expected.getvalue()
    expected = "".join(batch_output._tsv_line(one) for one in rows)
    assert (tmp_path / "tsv").read_bytes().decode("utf-8") == expected
    output = Output("csv", ["a"], ["label"])
    output.write(tmp_path / "label", part(row("x"), row("y")), [["甲,乙", "丙"]])
    assert (tmp_path / "label").read_text(encoding="utf-8") == 'x,"甲,乙"\ny,丙\n'


def test_scores_as_text():
    millionths = [0, 1, 9, 10, 499_999, 500_000, 999_999, 1_000_000, *range(3, 1_000_000, 99_991)]
    scores = [one / 1e6 for one in millionths]
    assert scores_written(scores) == [f"{score:.6f}" for score in scores] and scores_written([]) == []


def test_json_of_anything(tmp_path):
    output = Output("jsonl", ["a"], ["label", "score"])
    rows = part(row("x", record={"a": "\ud83d"}), row("x", record={"a": math.nan}), row("7"))
    output.write(tmp_path / "part", rows, [["甲"] * 3, [0.5] * 3])
    lines = [json.loads(line) for line in (tmp_path / "part").read_text(encoding="utf-8").splitlines()]
    assert [line["a"] for line in lines] == ["\ud83d", None, "7"]
    deep = {"a": [1.5, math.nan, {"b": -math.inf}], "c": (math.inf, b"\xe5\xa4\xb4"), "d": datetime.date(2026, 1, 2)}
    output.write(tmp_path / "part", part(row("x", record=deep)), [["甲"], [0.5]])
    line = json.loads((tmp_path / "part").read_text(encoding="utf-8"))
    assert line == {"a": [1.5, None, {"b": None}], "c": [None, "头"], "d": "2026-01-02", "label": "甲", "score": 0.5}
    assert output.problem(row("x", record={"score": 1})) == "a field score as what is added; add --prefix"
    assert "half a character" in Output("csv", ["a"], ["label", "score"]).problem(row("\ud83d"))
    problems = list(map(Output("tsv", ["a"], ["label", "score"]).problem, [row("x"), row("\ud83d"), row("好")]))
    assert [bool(problem) for problem in problems] == [False, True, False]


def test_what_a_column_is_is_told_by_its_name():
    names = added_names(2, True, has_windows=True)
    assert names[-4:] == ["window", "window_of", "window_start", "window_end"]
    for prefix in ("", "predicted_", "score_", "score_1", "window"):
        assert [is_score(prefix + name) for name in names] == [False, True] * 4 + [False] * 4
        assert [is_of_window(prefix + name) for name in names] == [False] * 8 + [True] * 4


def test_answers_as_columns():
    best, scores = np.array([[1, 0], [0, 1], [1, 0]], "int32"), np.array([[900_000, 100_000]] * 3, "int32")
    windows = np.array([(2, 3, 20, 52), (1, 1, -1, -1), (1, 2, -1, -1)], WINDOW)
    names = ["甲", "乙##丙"], ["甲", "乙", "甲", "乙##丙"], 2
    limited = np.array([1, -1, 3], "int32"), np.array([950_000, 900_000, 900_000], "int32")
    found = answer_columns((best, scores, *limited, windows), names)
    assert found[:4] == [["乙", "unknown", "乙##丙"], [0.95, 0.9, 0.9], ["乙##丙", "甲", "乙##丙"], [0.9] * 3]
    assert found[4:8] == [["乙##丙", "甲", "乙##丙"], [0.9] * 3, ["甲", "乙##丙", "甲"], [0.1] * 3]
    # A text that was read as a whole has no window; a tokenizer may not tell of which characters one was made.
    assert found[8:] == [[2, None, 1], [3, None, 2], [20, None, None], [52, None, None]]
    assert answer_columns((best[:, :1], scores[:, :1], None, None, None), names) == [found[2], found[3]]
    sets = np.array([[1, 0], [0, -1], [1, -1]], "int32")
    found = answer_columns((best[:, :1], scores[:, :1], None, None, windows, sets), names)
    assert found[2] == [["乙##丙", "甲"], ["甲"], ["乙##丙"]] and found[3] == [2, None, 1]
    assert found == answer_columns((best[:, :1], scores[:, :1], None, None, windows, sets), names)


def test_sets_in_each_kind_of_file(tmp_path):
    pytest.importorskip("pyarrow")
    from pyarrow import parquet

    added = added_names(2, True, has_windows=True, has_sets=True)
    assert added[-5] == "label_set" and added_names(1, False, has_sets=True) == ["label", "score", "label_set"]
    for prefix in ("", "score_", "window"):
        assert [is_set(prefix + name) for name in added] == [False] * 8 + [True] + [False] * 4
        assert not is_score(f"{prefix}label_set") and not is_of_window(f"{prefix}label_set")
    values = [["甲", "乙"], [0.25, 1.0], [["甲", '乙,\t"丙'], ["乙"]]]
    for kind in ("csv", "tsv", "jsonl", "parquet"):
        output = Output(kind, ["a"], ["label", "score", "label_set"])
        output.write(tmp_path / "part", part(row("x"), row("y")), values)
        output.join([tmp_path / "part"], tmp_path / kind)
    expected = [["甲", '乙,\t"丙'], ["乙"]]
    lines = [json.loads(line) for line in (tmp_path / "jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["label_set"] for line in lines] == expected
    assert parquet.read_table(tmp_path / "parquet")["label_set"].to_pylist() == expected
    for kind, separator in (("csv", ","), ("tsv", "\t")):
        with (tmp_path / kind).open(encoding="utf-8-sig", newline="") as file:
            found = list(csv.DictReader(file, delimiter=separator))
        assert [json.loads(line["label_set"]) for line in found] == expected and found[1]["score"] == "1.000000"


def test_windows_in_each_kind_of_file(tmp_path):
    pytest.importorskip("pyarrow")
    from pyarrow import parquet

    added = added_names(1, False, has_windows=True)
    values = [["甲", "乙"], [0.25, 1.0], [2, None], [3, None], [20, None], [52, None]]
    for kind in ("csv", "jsonl", "parquet"):
        output = Output(kind, ["a"], added)
        output.write(tmp_path / "part", part(row("x"), row("y")), values)
        output.join([tmp_path / "part"], tmp_path / f"whole.{kind}")
    assert (tmp_path / "whole.csv").read_text(encoding="utf-8-sig").splitlines()[1:] == [
        "x,甲,0.250000,2,3,20,52",
        "y,乙,1.000000,,,,",
    ]
    rows = [json.loads(line) for line in (tmp_path / "whole.jsonl").read_text(encoding="utf-8").splitlines()]
    assert rows == parquet.read_table(tmp_path / "whole.parquet").to_pylist()
    assert rows[1] == {"a": "y", "label": "乙", "score": 1.0, **dict.fromkeys(added[2:])}
