"""data/annotators.py: who gave which label, in every shape of an export."""

import json
import zipfile

import pytest

from data.annotators import Vote, read_votes
from tests.data.exports import MIN_KEYS
from utils import UsageError

TEXT, OTHER = "头疼应该挂什么科", "医保卡可以用吗"


def write(path, values, as_list=False):
    lines = [json.dumps(value, ensure_ascii=False) for value in values]
    path.write_text("[" + ",".join(lines) + "]" if as_list else "\n".join(lines), encoding="utf-8")
    return path


def given(votes):
    return {(vote.annotator, vote.text): vote.label for vote in votes}


def annotation(who, label, **more):
    result = [{"type": "choices", "from_name": "label", "value": {"choices": [label] if label else []}}]
    return {"completed_by": who, "result": result if label else [], "was_cancelled": False, **more}


def test_doccano_writes_a_file_an_annotator(tmp_path):
    files = {
        "alice": [
            {"id": 1, "text": TEXT, "label": ["就医建议"], "Comments": []},
            {"id": 2, "text": OTHER, "label": []},
        ],
        "bob": [{"id": 1, "text": TEXT + "\n", "label": ["病情诊断"]}, {"id": 2, "text": OTHER, "label": ["费用"]}],
        "unknown": [{"id": 3, "text": "没有人标过", "label": []}],
    }
    paths = [write(tmp_path / f"{name}.jsonl", values) for name, values in files.items()]
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        for path in paths:
            archive.write(path, path.name)
    wanted = {("alice", TEXT): "就医建议", ("bob", TEXT): "病情诊断", ("bob", OTHER): "费用"}
    for source in ([tmp_path / "export.zip"], paths):
        votes, left_out = read_votes(source)
        assert given(votes) == wanted and not left_out
    assert votes[0] == Vote(f"{paths[0]}:1", "alice", TEXT, "就医建议")
    write(paths[0], [{"text": TEXT, "label": ["就医建议", "费用"]}, {"text": OTHER, "label": "费用"}])
    votes, left_out = read_votes(paths)
    assert given(votes) == {("alice", OTHER): "费用", **{key: wanted[key] for key in wanted if key[0] == "bob"}}
    assert left_out == {"several_labels": 1}


def test_doccano_of_long_ago(tmp_path):
    values = [{"id": 1, "text": TEXT, "annotations": [{"label": 2, "user": 1}, {"label": 3, "user": 5}], "meta": {}}]
    votes, _ = read_votes([write(tmp_path / "old.jsonl", values)])
    assert given(votes) == {("1", TEXT): "2", ("5", TEXT): "3"}


@pytest.mark.parametrize(
    "first, second",
    [(1, 2), ({"id": 1, "email": "a@b.cn"}, {"id": 2, "email": "c@d.cn"}), ({"id": 7}, {"id": 9})],
)
def test_label_studio(tmp_path, first, second):
    names = [who if isinstance(who, int) else who.get("email", who["id"]) for who in (first, second)]
    task = {"id": 7, "data": {"text": TEXT}, "predictions": [annotation(3, "x")]}
    task["annotations"] = [annotation(first, "旧"), annotation(second, "费用"), annotation(first, "就医建议")]
    task["annotations"] += [annotation(8, "取消", was_cancelled=True), annotation(9, None)]
    votes, _ = read_votes([write(tmp_path / "a.json", [task], as_list=True)])
    assert given(votes) == {(str(names[0]), TEXT): "就医建议", (str(names[1]), TEXT): "费用"}


def test_label_studio_before_1_0_and_minimal(tmp_path):
    completions = [
        annotation(None, label, created_username=f" {who}@x.cn, {who}") for who, label in ((1, "a"), (2, "b"))
    ]
    task = {"id": 7, "data": {"text": TEXT}, "completions": completions}
    votes, _ = read_votes([write(tmp_path / "a.json", [task], as_list=True)])
    assert given(votes) == {("1@x.cn, 1", TEXT): "a", ("2@x.cn, 2", TEXT): "b"}
    rows = [
        {"text": TEXT, "id": 7, "intent": label, **MIN_KEYS, "annotator": who} for who, label in ((1, "a"), (2, "b"))
    ]
    votes, _ = read_votes([write(tmp_path / "b.json", rows, as_list=True)])
    assert given(votes) == {("1", TEXT): "a", ("2", TEXT): "b"}


def test_the_newest_label_of_a_person_counts_wherever_it_stands(tmp_path):
    """JSON-MIN begins with the newest."""
    given_when = ((1, "新", "03"), (1, "旧", "01"), (2, "新", "02"))
    rows = [
        {"text": TEXT, "id": 7, "intent": label, **MIN_KEYS, "annotator": who, "created_at": f"2026-{month}-01T00:00Z"}
        for who, label, month in given_when
    ]
    votes, _ = read_votes([write(tmp_path / "min.json", rows, as_list=True)])
    assert given(votes) == {("1", TEXT): "新", ("2", TEXT): "新"}
    some = [annotation(who, label, created_at=f"2026-{month}-01T00:00Z") for who, label, month in given_when]
    task = {"id": 7, "data": {"text": TEXT}, "annotations": some}
    votes, _ = read_votes([write(tmp_path / "tasks.json", [task], as_list=True)])
    assert given(votes) == {("1", TEXT): "新", ("2", TEXT): "新"}


def test_files_of_one_name_are_not_taken_for_one_person(tmp_path):
    paths = []
    for who, label in (("wang", "就医建议"), ("li", "费用")):
        (tmp_path / who).mkdir()
        paths.append(write(tmp_path / who / "doccano.jsonl", [{"text": TEXT, "label": [label]}]))
    third = write(tmp_path / "third.jsonl", [{"text": TEXT, "label": ["费用"]}])
    with pytest.raises(UsageError, match="li.doccano.jsonl:1: another label than in .*wang.*both .* called doccano"):
        read_votes([*paths, third])
    write(paths[1], [{"text": TEXT, "label": ["就医建议"]}, {"text": OTHER, "label": ["费用"]}])
    votes, _ = read_votes([*paths, third])  # one person's in two parts
    assert given(votes) == {("doccano", TEXT): "就医建议", ("doccano", OTHER): "费用", ("third", TEXT): "费用"}


def test_a_shared_project_s_file_is_nobody_s(tmp_path):
    paths = [write(tmp_path / f"{name}.jsonl", [{"text": TEXT, "label": ["费用"]}]) for name in ("all", "alice")]
    with pytest.raises(UsageError, match="doccano calls a file all that does not say who gave which label"):
        read_votes(paths)
    tasks = [{"id": 7, "data": {"text": TEXT}, "annotations": [annotation(1, "a"), annotation(2, "b")]}]
    assert len(read_votes([write(tmp_path / "all.json", tasks, as_list=True)])[0]) == 2


@pytest.mark.parametrize(
    "name, values, message",
    [
        (
            "all.jsonl",
            [{"text": TEXT, "label": ["a", "b"]}],
            "all.jsonl:1: 2 labels .a, b., and nobody can tell whose",
        ),
        ("all.jsonl", [{"text": TEXT, "label": ["a"]}], "only all has labelled texts in it; agreement takes two"),
        ("a.jsonl", [{"text": TEXT, "label": []}], "nobody has labelled"),
        ("a.jsonl", [{"text": "", "label": ["a"]}], "a.jsonl:1: no text"),
        ("a.jsonl", [{"text": TEXT, "label": [[0, 2, "人名"]]}], "a.jsonl:1: spans instead of a label"),
        ("a.jsonl", [{"text": TEXT, "annotations": [{"label": 1}]}], "a.jsonl:1: an annotation without its annotator"),
        ("a.jsonl", [[1]], "a.jsonl: record 1: not a JSON object"),
    ],
)
def test_refusals(tmp_path, name, values, message):
    with pytest.raises(UsageError, match=message):
        read_votes([write(tmp_path / name, values)])
    with pytest.raises(UsageError, match="none.zip: cannot be read"):
        read_votes([tmp_path / "none.zip"])


def test_annotate_s_journal(tmp_path):
    events = [("alice", TEXT, "就医建议"), ("bob", TEXT, "病情诊断"), ("bob", OTHER, "费用"), ("alice", OTHER, "费用")]
    events += [("alice", TEXT, "费用"), ("bob", OTHER, None)]
    rows = [{"text": text, "annotator": who, "label": label, "time": 1.5} for who, text, label in events]
    votes, told = read_votes([write(tmp_path / "labels.jsonl", rows)])
    assert given(votes) == {("alice", TEXT): "费用", ("bob", TEXT): "病情诊断", ("alice", OTHER): "费用"}
    assert not told
