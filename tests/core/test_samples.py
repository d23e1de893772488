"""core/samples.py: any file becomes the same samples."""

import json

import pytest

from core.dialects import Rejected
from core.samples import Samples, Wishes
from core.sources import find_sources
from core.table_columns import Unsure
from core.tables import Reading
from tests.data import zoo
from utils import UsageError


def open_samples(*paths, parts=None, **wishes):
    sources = find_sources(paths)
    return Samples(list(zip(parts or [None] * len(sources), sources)), Wishes(**wishes))


def rows_of(samples):
    """(texts and labels, numbers and reasons of what is rejected)."""
    kept, rejected = [], []
    for _, number, text, label in samples.rows():
        if isinstance(label, Rejected):
            rejected.append((number, label.reason))
        else:
            kept.append((text, label))
    return kept, rejected


@pytest.mark.parametrize("make", zoo.FILES)
def test_every_format(tmp_path, make):
    path, wanted = make(tmp_path)
    kept, rejected = rows_of(open_samples(path))
    assert sorted(kept) == sorted(wanted) and rejected == []


def test_what_is_said(tmp_path):
    path, _ = zoo.tnews(tmp_path)
    text = "\n".join(open_samples(path).description())
    assert "train.json: JSON lines, UTF-8" in text and "label_desc  label  100%    3" in text
    assert "球队的新消息，第0条说比赛受到关注\t体育" in text and "note: " in text
    assert text.count("\t") == 3  # three samples


def test_what_was_seen_is_in_the_refusal(tmp_path):
    path = zoo.write(
        tmp_path / "a.csv", zoo.table([["title", "content", "label"], *((t, t, n) for t, n in zoo.SAMPLES)])
    )
    with pytest.raises(Unsure) as error:
        open_samples(path)
    assert any("title    ?" in line for line in error.value.seen)


def test_columns_are_joined_and_cleaned(tmp_path):
    rows = [
        ["标题", "正文", "label"],
        *((f"<b>{t}</b>", f"第一行\n第&nbsp;二\t行{i}", n) for i, (t, n) in enumerate(zoo.SAMPLES)),
    ]
    path = zoo.write(tmp_path / "a.csv", zoo.table([*rows, ["", "只有正文", "体育"]]))
    kept, _ = rows_of(open_samples(path, text_columns=["标题", "正文"], join="。"))
    assert kept[0] == (f"{zoo.SAMPLES[0][0]}。第一行 第 二 行0", "体育") and kept[-1] == ("只有正文", "体育")
    kept, _ = rows_of(open_samples(path, text_columns=["标题", "正文"], clean="none"))
    assert kept[0][0] == f"<b>{zoo.SAMPLES[0][0]}</b> 第一行 第&nbsp;二 行0"


def test_rows_that_cannot_be_used(tmp_path):
    rows = [{"text": t, "label": n} for t, n in zoo.SAMPLES]
    rows += [
        {"text": " ", "label": "体育"},
        {"text": "两个", "label": ["体育", "财经"]},
        {"text": "半\ud800", "label": "体育"},
    ]
    rows += [{"text": "没有标签", "label": None}, {"text": "一个", "label": ["体育"]}]
    path = zoo.write(tmp_path / "a.json", "".join(json.dumps(row) + "\n" for row in rows))
    kept, rejected = rows_of(open_samples(path))
    assert rejected == [(61, "no text"), (62, "2 labels"), (63, "half a character (a surrogate)")]
    assert kept[60:] == [("没有标签", None), ("一个", "体育")]


def test_class_ids(tmp_path):
    path = zoo.write(tmp_path / "a.tsv", "".join(f"{t}\t{zoo.IDS[n]}\n" for t, n in zoo.SAMPLES))
    samples = open_samples(path)
    assert "labels are ids (0 1 2) without names" in samples.notes[0]
    assert samples.label_order(["2", "0", "1"]) == ["0", "1", "2"]
    samples = open_samples(path, label_names=zoo.NAMES)
    assert rows_of(samples)[0] == zoo.SAMPLES and samples.label_order(["科技", "体育"]) == zoo.NAMES
    with pytest.raises(UsageError, match="--label_names: 2 names"):
        open_samples(path, label_names=["体育", "财经"])
    zoo.write(tmp_path / "label.txt", "体育\n")  # of something else
    assert open_samples(path).mapping is None


def test_pieces_of_one_file(tmp_path):
    """The first one has the names of the columns, and each one label."""
    ordered = sorted(zoo.SAMPLES, key=lambda row: row[1])
    for number in range(3):
        names = [["文本", "标签"]] if number == 0 else []
        zoo.write(tmp_path / f"part-{number}.csv", zoo.table(names + ordered[20 * number : 20 * number + 20]))
    kept, rejected = rows_of(open_samples(tmp_path / "part-*.csv", reading=Reading(header=None)))
    assert kept == ordered and rejected == []


def test_names_of_columns_again(tmp_path):
    """Files that were put behind each other."""
    one = zoo.table([["text", "label"], *zoo.SAMPLES])
    kept, rejected = rows_of(open_samples(zoo.write(tmp_path / "a.csv", one + one)))
    assert len(kept) == 120 and rejected == [(62, "the names of the columns again")]


def test_test_data_without_labels(tmp_path):
    """CLUE leaves them out, HuggingFace writes -1."""
    zoo.tnews(tmp_path)
    zoo.write(tmp_path / "test.json", '{"id": 1, "sentence": "没有标签", "keywords": ""}\n')
    samples = open_samples(tmp_path / "train.json", tmp_path / "test.json", parts=["train", "test"])
    assert rows_of(samples)[0][-1] == ("没有标签", None) and "no labels" in samples.notes[-1]
    for name, label in (("train", 0), ("test", -1)):
        lines = [json.dumps({"text": t, "label": label and -1 or int(zoo.IDS[n])}) for t, n in zoo.SAMPLES]
        zoo.write(tmp_path / f"{name}.jsonl", "\n".join(lines))
    samples = open_samples(tmp_path / "train.jsonl", tmp_path / "test.jsonl", parts=["train", "test"])
    assert rows_of(samples)[0][-1] == (zoo.SAMPLES[-1][0], None) and "hidden (-1)" in samples.notes[0]


def test_no_row_that_can_be_used(tmp_path):
    with pytest.raises(UsageError, match="no row that can be used"):
        open_samples(zoo.write(tmp_path / "a.csv", "text,label\n"), reading=Reading(header=True))
