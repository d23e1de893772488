"""core/other_kinds.py: files that are no texts with one label each are called by their names."""

import json

import pytest

from core.other_kinds import is_pair, kind_of_lines, kind_of_records
from core.sources import find_sources
from core.table_columns import Unsure
from core.tables import open_table
from tests.core.test_footers import read
from tests.data import zoo
from utils import UsageError

TEXTS = [text for text, _ in zoo.SAMPLES]


@pytest.mark.parametrize(
    ("lines", "what"),
    [
        (["{\\rtf1\\ansi 文本\\par}"], "RTF"),
        ([str({"text": text, "label": label}) for text, label in zoo.SAMPLES], "as Python prints them"),
        (["-- MySQL dump 10", "CREATE TABLE `c` (", *(f"INSERT INTO `c` VALUES ('{t}');" for t in TEXTS)], "SQL"),
        (["BEGIN TRANSACTION;", *(f"insert into c values('{t}','甲');" for t in TEXTS)], "SQL"),
        ([line for n, t in enumerate(TEXTS) for line in (str(n), "00:00:01,000 --> 00:00:02,000", t)], "subtitles"),
        ([f"{n % 2} 1:0.5 7:{n}" for n in range(30)], "LIBSVM"),
        ([f"{c} {'B-LOC' if n == 0 else 'O'}" for text in TEXTS for n, c in enumerate(text)], "CoNLL"),
        ([f"{c}\t{'B-LOC' if n == 0 else 'O'}" for text in TEXTS for n, c in enumerate(text)], "CoNLL"),
        ([line for text, label in zoo.SAMPLES for line in (f"- text: {text}", f"  label: {label}")], "YAML"),
    ],
)
def test_lines(lines, what):
    assert what in kind_of_lines(lines)


@pytest.mark.parametrize(
    "lines",
    [
        [f"{text}\t{label}" for text, label in zoo.SAMPLES],
        [f"INSERT INTO 语句怎么写，第{n}次\t编程" for n in range(9)] + ["DROP TABLE 会怎样\t编程"],
        [f"insert into t values ({n}, '好');\tSQL" for n in range(9)] + ["print(1);\tPython"],
        [f"{label}: {text}" for text, label in zoo.SAMPLES],
        [f"{'OAB'[n % 3]}\t{n % 2}" for n in range(30)],
        [f"第{n}型血\t{'OAB'[n % 3]}" for n in range(30)],
        [f"- {text}" for text in TEXTS],
        [f"{{'好'}}的{text}" if n % 3 else text for n, text in enumerate(TEXTS)],
    ],
)
def test_texts_that_look_like_others_are_texts(lines):
    assert kind_of_lines(lines) is None


def records(**fields):
    return [{"text": text, **fields} for text in TEXTS]


@pytest.mark.parametrize(
    ("found", "what"),
    [
        ([{"title": "甲", "paragraphs": [{"context": text}]} for text in TEXTS], "SQuAD"),
        (records(context="甲", question="乙", answers={"text": ["丙"]}), "SQuAD"),
        (records(chosen="好", rejected="坏"), "preferred"),
        ([{"messages": [{"role": "user", "content": text}]} for text in TEXTS], "record['messages'][-1]"),
        (records(label={"人名": {"张三": [[0, 1]]}}), "label holds places inside the texts"),
        (records(label=[[0, 2, "人名"], [3, 5, "地名"]]), "label holds places"),
        (records(entities=[{"start_offset": 0, "end_offset": 2, "label": "人名"}]), "entities holds places"),
    ],
)
def test_records(found, what):
    assert what in kind_of_records(found)


def test_records_that_are_texts_with_labels():
    assert kind_of_records(records(label="体育", entities=[[0, 2, "人名"]])) is None
    assert kind_of_records(records(label=["体育"], title="甲")) is None
    assert kind_of_records(records(label=[1, 0, 1])) is None
    assert kind_of_records(records(question="甲", label=3)) is None


def test_files(tmp_path):
    for name, lines, what in (
        ("a.txt", [str({"text": t, "label": n}) for t, n in zoo.SAMPLES], "as Python prints them"),
        ("b.json", [str([{"text": t, "label": n} for t, n in zoo.SAMPLES])], "as Python prints them"),
        ("c.jsonl", [json.dumps({"text": t, "label": [[0, 1, "甲"]]}) for t in TEXTS], "label holds places"),
        ("d.json", [json.dumps({"data": records(chosen="好", rejected="坏")})], "preferred"),
    ):
        [source] = find_sources([zoo.write(tmp_path / name, "\n".join(lines))])
        with pytest.raises(UsageError, match=f"{name}: .*{what}"):
            open_table(source)


def test_pairs(tmp_path):
    assert is_pair(["Sentence1", "sentence2 "]) and not is_pair(["title", "content"])
    rows = [["text_a", "text_b", "label"], *([t, t[::-1], str(n % 2)] for n, t in enumerate(TEXTS))]
    with pytest.raises(Unsure, match="--text_column text_a text_b; but these are pairs of texts to be compared"):
        read(tmp_path, rows)
