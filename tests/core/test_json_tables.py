"""core/json_tables.py: where the records of a JSON file are, and what their values become."""

import json
from pathlib import Path

import pytest

from core.dialects import Rejected
from core.json_tables import flat, json_rows, record_names, to_text
from core.sources import Source, find_sources
from core.tables import open_table
from tests.data import zoo
from utils import UsageError

RECORDS = [{"text": "甲甲", "label": 0}, {"text": "乙乙", "label": 1}, {"text": "丙丙", "label": 0}]
WANTED = [(1, ["甲甲", "0"]), (2, ["乙乙", "1"]), (3, ["丙丙", "0"])]
SOURCE = Source("a.json", ("a.json",), None, Path("."))


@pytest.mark.parametrize(
    "value",
    [
        RECORDS,
        {"version": 1, "data": RECORDS},
        {"nlu": {"examples": RECORDS, "note": "x"}},
        {"text": ["甲甲", "乙乙", "丙丙"], "label": [0, 1, 0]},
        {"text": {"0": "甲甲", "1": "乙乙", "2": "丙丙"}, "label": {"0": 0, "1": 1, "2": 0}},
        {"a": RECORDS[0], "b": RECORDS[1], "c": RECORDS[2]},
    ],
)
def test_records(value):
    names, rows = json_rows(SOURCE, json.dumps(value))
    assert names == ["text", "label"] and list(rows()) == WANTED


def test_lists_of_lists():
    names, rows = json_rows(SOURCE, json.dumps([["甲甲", "0"], ["乙乙", "1"]]))
    assert names == ["1", "2"] and list(rows()) == WANTED[:2]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"train": RECORDS, "test": RECORDS}, r"several lists of records \(train, test\)"),
        ({"a": 1}, "no list of records"),
        ([], "no JSON objects"),
        ([{"data": {"text": "a"}, "annotations": []}], "data/doccano.py"),
    ],
)
def test_others_are_refused(value, message):
    with pytest.raises(UsageError, match=message):
        json_rows(SOURCE, json.dumps(value))


def test_values():
    values = ["a", None, 3, 1.5, True, ["x"], ["x", "y"], [], {"k": "好"}, float("nan")]
    assert [to_text(value) for value in values] == [
        "a",
        "",
        "3",
        "1.5",
        "true",
        "x",
        '["x", "y"]',
        "",
        '{"k": "好"}',
        "",
    ]
    assert flat({"a": 1, "b": {"c": 2}}) == {"a": 1, "b.c": 2}
    assert record_names(['{"a": 1}', "no", '{"b": {"c": 2}}'], "x") == ["a", "b.c"]


def test_records_of_prodigy_that_were_not_accepted(tmp_path):
    """Their label is what the text is not."""
    records = [
        {"text": text, "label": label, "_task_hash": number, "answer": ("accept", "reject", "ignore")[number % 3]}
        for number, (text, label) in enumerate(zoo.SAMPLES)
    ]
    for name, content in (
        ("a.jsonl", "\n".join(json.dumps(record) for record in records)),
        ("a.json", json.dumps(records)),
    ):
        [source] = find_sources([zoo.write(tmp_path / name, content)])
        table = open_table(source)
        for rows in (list(table.rows()), list(table.records())):
            reasons = [row.reason for _, row in rows if isinstance(row, Rejected)]
            assert reasons == ["answer of Prodigy: reject", "answer of Prodigy: ignore"] * 20 and len(rows) == 60
    records = [{"text": text, "label": label, "answer": "reject"} for text, label in zoo.SAMPLES]  # nobody's
    [source] = find_sources([zoo.write(tmp_path / "b.json", json.dumps(records))])
    assert all(isinstance(row, list) for _, row in open_table(source).rows())


def test_answers_of_argilla():
    answer = {"value": "体育", "user_id": "甲"}
    assert to_text([answer]) == "体育" and to_text({"value": "体育"}) == '{"value": "体育"}'
