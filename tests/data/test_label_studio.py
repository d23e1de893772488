"""data/label_studio.py: projects of all kinds, and tasks that go back."""

import json
import xml.etree.ElementTree as ElementTree

import pytest

from data import doccano
from data.annotations import read_records
from tests.data.exports import MIN_KEYS, TEXTS, convert, many, write_json
from utils import UsageError


def choice(name, *labels, **more):
    return {
        "id": "x",
        "from_name": name,
        "to_name": "t",
        "type": "choices",
        "origin": "manual",
        "value": {"choices": list(labels)},
        **more,
    }


def task(data, *results, cancelled=False):
    """A task as Label Studio's JSON has it."""
    annotation = {"id": 9, "completed_by": 1, "was_cancelled": cancelled, "result": list(results), "lead_time": 3.1}
    return {
        "id": 7,
        "data": data,
        "annotations": [annotation] if results else [],
        "predictions": [],
        "drafts": [],
        "meta": {},
        "inner_id": 1,
        "total_annotations": 1,
        "project": 3,
    }


def records(tmp_path, tasks, **options):
    return [(row.text, row.label) for row in read_records(write_json(tmp_path / "x.json", tasks), **options)]


PAIRS = sorted(TEXTS.items())


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"id": "9f8c1a2b-1111-2222-3333-444455556666"},
        {"url": "https://a.cn/1", "date": "2024-01-01", "views": 3},
        {"source": "微博上的一个很长很长的来源说明文字"},
        {"image": "/data/upload/1/a.png"},
        {"score": "0.9", "given_label": "甲", "origin": "data.txt:1"},
    ],
)
def test_the_text_key_is_found(tmp_path, more):
    pairs = many(lambda text, label: (text, label))
    tasks = [task({**more, "reviewText": text}, choice("intent", label)) for text, label in pairs]
    assert records(tmp_path, tasks) == pairs
    minimal = [{**more, "reviewText": text, "id": 7, "intent": label, **MIN_KEYS} for text, label in pairs]
    assert records(tmp_path, minimal) == pairs


def test_several_texts_are_asked_about(tmp_path):
    tasks = [task({"title": text, "body": text[::-1] + "。"}, choice("c", label)) for text, label in PAIRS]
    with pytest.raises(UsageError, match="several texts in each task .*body: .*title: .*--text_key body"):
        records(tmp_path, tasks)
    assert records(tmp_path, tasks, text_key="title") == PAIRS
    with pytest.raises(UsageError, match="no task has 'text'; --text_key takes title, body"):
        records(tmp_path, tasks, text_key="text")


@pytest.mark.parametrize(
    "value", ["/data/upload/1/a.jpg", "https://a.cn/b.PNG?x=1", "data:image/png;base64,AAAA", "a.mp3"]
)
@pytest.mark.parametrize("key", ["image", "text"])
def test_pictures_are_refused_as_such(tmp_path, key, value):
    tasks = [task({key: value}, choice("c", label)) for _, label in PAIRS]
    for options in ({}, {"text_key": key}):
        with pytest.raises(UsageError, match=f"'{key}' holds pictures, sound or documents"):
            records(tmp_path, tasks, **options)


def test_two_choices(tmp_path):
    tasks = [task({"text": text}, choice("a", label), choice("b", "别的")) for text, label in PAIRS]
    minimal = [{"text": text, "id": 7, "a": label, "b": "别的", **MIN_KEYS} for text, label in PAIRS]
    for values in (tasks, minimal):
        with pytest.raises(UsageError, match=r"record 1: several answers \(a, b\); choose one, such as --choice a"):
            records(tmp_path, values)
        assert records(tmp_path, values, choice="a") == PAIRS
        assert {label for _, label in records(tmp_path, values, choice="b")} == {"别的"}
        with pytest.raises(UsageError, match="no <Choices> of the name c; --choice takes a, b"):
            records(tmp_path, values, choice="c")


def test_minimal_json_whose_keys_were_sorted(tmp_path):
    values = [dict(sorted({"text": text, "id": 7, "intent": label, **MIN_KEYS}.items())) for text, label in PAIRS]
    assert records(tmp_path, values) == PAIRS
    values = [{**value, "title": "标题"} for value in values]
    with pytest.raises(UsageError, match="several answers"):
        records(tmp_path, values)
    assert records(tmp_path, values, choice="intent") == PAIRS


def test_other_controls_beside_the_choices_do_not_count(tmp_path):
    comment = {"from_name": "why", "type": "textarea", "value": {"text": ["因为"]}}
    span = {"from_name": "ner", "type": "labels", "value": {"start": 0, "end": 2, "labels": ["药"]}}
    tasks = [task({"text": text}, comment, choice("c", label), span) for text, label in PAIRS]
    assert records(tmp_path, [*tasks, task({"text": "只有评论"}, comment)]) == [*PAIRS, ("只有评论", None)]


@pytest.mark.parametrize(
    "result, message",
    [
        ({"type": "taxonomy", "value": {"taxonomy": [["甲", "乙"]]}}, "taxonomy instead of choices"),
        ({"type": "rating", "value": {"rating": 4}}, "rating instead of choices"),
        ({"type": "labels", "value": {"start": 0, "end": 1, "labels": ["甲"]}}, "spans instead of choices"),
        (choice("c", "甲", value={"start": 0, "end": 1, "choices": ["甲"]}), "choices for parts of the text"),
    ],
)
def test_other_answers_are_refused_as_what_they_are(tmp_path, result, message):
    with pytest.raises(UsageError, match=message):
        records(tmp_path, [task({"text": "头疼"}, result)])


def test_tasks_that_nobody_annotated_are_unlabelled(tmp_path, capsys):
    tasks = many(lambda text, label: task({"content": text}, choice("c", label)))
    prediction = {"model_version": "m", "result": [choice("c", "治疗")]}
    tasks += [
        task({"content": "没人标"}),
        task({"content": "取消了"}, choice("c", "治疗"), cancelled=True),
        {**task({"content": "只有预标注"}), "predictions": [prediction]},
        {"content": "没人标二", "id": 8, **MIN_KEYS},
    ]
    convert(write_json(tmp_path / "x", tasks), tmp_path / "out")
    unlabelled = (tmp_path / "out" / "data.txt").read_text(encoding="utf-8").split()
    assert unlabelled == ["没人标", "取消了", "只有预标注", "没人标二"]
    assert "44 records: 40 labelled texts, 4 without a label" in capsys.readouterr().out


def export(tmp_path, *flags):
    (tmp_path / "bad_case.txt").write_bytes(
        "Text\tLabel\tPrediction\tScore\n头疼\t甲\t乙 & 丙\t0.91\n发烧\t甲\n新的\n".encode()
    )
    out = tmp_path / "tasks.json"
    own = ["--text_file", tmp_path / "bad_case.txt", "--export_file", out, "--export_format", "label_studio"]
    doccano.main([str(flag) for flag in (*own, *flags)])
    return json.loads(out.read_text(encoding="utf-8")), ElementTree.parse(tmp_path / "tasks.xml").getroot()


def test_the_way_back(tmp_path, capsys):
    tasks, interface = export(tmp_path)
    result = {"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": ["乙 & 丙"]}}
    assert tasks[0] == {
        "data": {"text": "头疼", "score": "0.91", "given_label": "甲", "origin": "bad_case.txt:2"},
        "predictions": [{"model_version": "predictions", "score": 0.91, "result": [result]}],
    }
    assert tasks[1]["predictions"][0]["model_version"] == "given_label" and "score" not in tasks[1]["predictions"][0]
    assert "predictions" not in tasks[2]
    # The names of the interface are those of the predictions, without which Label Studio refuses them.
    assert interface.find("Text").attrib == {"name": "text", "value": "$text"}
    choices = interface.find("Choices")
    assert (choices.get("name"), choices.get("toName"), choices.get("choice")) == ("label", "text", "single")
    assert [row.get("value") for row in choices] == ["乙 & 丙", "甲"]
    assert "tasks.xml: the labelling interface" in capsys.readouterr().out
    with pytest.raises(UsageError, match="already has tasks.json tasks.xml; add --force"):
        export(tmp_path)


def test_the_names_of_a_project_that_is_there(tmp_path):
    (tmp_path / "label.txt").write_text("甲\n乙 & 丙\n丁\n", encoding="utf-8")
    flags = ["--text_key", "reviewText", "--choice", "intent", "--to_name", "review"]
    tasks, interface = export(tmp_path, *flags, "--label_file", tmp_path / "label.txt")
    assert tasks[0]["data"]["reviewText"] == "头疼"
    result = tasks[0]["predictions"][0]["result"][0]
    assert (result["from_name"], result["to_name"]) == ("intent", "review")
    assert [row.get("value") for row in interface.find("Choices")] == ["甲", "乙 & 丙", "丁"]


def test_there_and_back(tmp_path):
    tasks, _ = export(tmp_path)
    done = [
        {**row, "id": number, "annotations": [{"result": [choice("label", "丁")]}]} for number, row in enumerate(tasks)
    ]
    rows = read_records(write_json(tmp_path / "done.json", done))
    assert [(row.text, row.label) for row in rows] == [("头疼", "丁"), ("发烧", "丁"), ("新的", "丁")]
    assert rows[0].meta == {"score": "0.91", "given_label": "甲", "origin": "bad_case.txt:2"}
