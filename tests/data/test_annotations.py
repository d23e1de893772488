"""data/annotations.py: every shape of export that is documented, refusals with the record's place."""

import json
import zipfile

import pytest

from data import annotations
from tests.data.exports import SHAPES, TEXTS, convert, many, write_json, write_jsonl
from utils import UsageError

REAL_LINE = (
    '{"id":1,"text":"头疼 怎么办","score":"0.93","given_label":"其他","origin":"bad_case.txt:2",'
    '"label":["治疗方案"],"Comments":[]}'
)


@pytest.mark.parametrize("write", [write_jsonl, write_json])
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(tmp_path, shape, write):
    labels, parts = convert(write(tmp_path / "export", many(SHAPES[shape])), tmp_path / "out")
    assert labels == list(TEXTS.values())  # the order of first appearance
    assert {name: len(rows) for name, rows in parts.items()} == {"train": 32, "dev": 4, "test": 4}
    assert sorted(row for rows in parts.values() for row in rows) == sorted(many(lambda text, label: (text, label)))
    for rows in parts.values():
        assert {label for _, label in rows} == set(labels)


def test_a_real_record():
    [(text, label, meta)] = [annotations._from_doccano(json.loads(REAL_LINE))]
    assert (text, label) == ("头疼 怎么办", "治疗方案")
    assert meta == {"score": "0.93", "given_label": "其他", "origin": "bad_case.txt:2"}


def test_numbers_are_names_too(tmp_path):
    records = many(lambda text, label: {"text": text, "label": len(label)})
    records += many(lambda text, label: {"text": text + "吗", "label": [0]})
    labels, _ = convert(write_jsonl(tmp_path / "x", records), tmp_path / "out")
    assert labels == ["2", "0"]


def test_zip_bom_and_white_space(tmp_path):
    records = many(lambda text, label: {"text": f" {text}\n还有\t{text} ", "label": [label]})
    data = "\r\n".join(json.dumps(record, ensure_ascii=False) for record in records).encode("utf-8-sig")
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        archive.writestr("all.jsonl", data)
    _, parts = convert(tmp_path / "export.zip", tmp_path / "out")
    assert all("\t" not in text and " 还有 " in text for rows in parts.values() for text, _ in rows)
    with zipfile.ZipFile(tmp_path / "export.zip", "a") as archive:
        archive.writestr("unknown.jsonl", data)
    with pytest.raises(UsageError, match=r"2 files of records \(all.jsonl unknown.jsonl\)"):
        convert(tmp_path / "export.zip", tmp_path / "out2")


BAD = {
    "2 labels (甲, 乙)": {"text": "一", "label": ["甲", "乙"]},
    "no text": {"text": " \n", "label": ["甲"]},
    "no text; every": {"label": ["甲"]},
    "spans instead of a label": {"text": "一", "label": [[0, 2, "甲"]]},
    "spans, as a sequence": {"text": "一", "entities": [{"label": "甲", "start_offset": 0}], "relations": []},
    "spans, as a sequence labelling or intent": {"text": "一", "cats": ["甲"]},
    "label numbers instead of names": {"text": "一", "annotations": [{"label": 2, "user": 1}]},
    "not a JSON object": ["一", "甲"],
    "is not a name": {"text": "一", "label": [True]},
    "the label '  ' is not a name": {"text": "一", "label": ["  "]},
    "spans instead of choices": {
        "data": {"text": "一"},
        "annotations": [{"result": [{"value": {"start": 0, "labels": ["甲"]}}]}],
    },
    "several answers (a, b)": {"text": "一", "annotator": 1, "a": "甲", "b": "乙"},
    "2 labels (甲, 乙); multi_class": {
        "data": {"text": "一"},
        "annotations": [{"result": [{"value": {"choices": [label]}}]} for label in "甲乙"],
    },
}


@pytest.mark.parametrize("message", BAD)
def test_refusals_name_the_record(tmp_path, message):
    good = {"text": "好", "label": ["甲"]}
    for write, place in ((write_jsonl, "x:2: "), (write_json, "x: record 2: ")):
        with pytest.raises(UsageError) as error:
            convert(write(tmp_path / "x", [good, BAD[message]]), tmp_path / "out")
        assert str(error.value).startswith(f"{tmp_path / 'x'}{place[1:]}") and message in str(error.value)
    assert not (tmp_path / "out").exists()


def test_all_bad_records_at_once_but_not_thousands(tmp_path):
    with pytest.raises(UsageError) as error:
        convert(write_jsonl(tmp_path / "x", [{"text": ""}] * 500), tmp_path / "out")
    lines = str(error.value).splitlines()
    assert len(lines) == annotations.MAX_PROBLEMS + 1 and lines[-1] == "… and 480 more of this kind"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no records"),
        (b"[]", "no records"),
        ('{"text": "一", "label"'.encode(), "x:1: not readable as JSON"),
        (b"[{]", "x: not readable as JSON"),
        (b"a,b\n1,2\n", "x:1: not readable as JSON"),
        ('{"text": "头疼"}'.encode("gbk"), "x:1: byte 0x.* it looks like GBK"),
        (b"PK\x03\x04broken", "x:1: "),
        ('{"text": "一", "label": "甲"}'.encode(), "1 labels in 1 labelled records"),
        (
            '{"text": "一", "label": "甲"}\n{"text": "一", "label": "乙"}'.encode(),
            "x:2: '一' has the label '乙', but '甲' in .*x:1",
        ),
    ],
)
def test_broken_files(tmp_path, content, message):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(UsageError, match=message):
        convert(tmp_path / "x", tmp_path / "out")
    assert not (tmp_path / "out").exists()
