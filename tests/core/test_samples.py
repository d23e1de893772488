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


def read(path, **wishes):
    """(texts and labels, what is rejected, notes) of one file."""
    samples = open_samples(path, **wishes)
    return *rows_of(samples), " ".join(samples.notes)


def test_columns_of_one_name(tmp_path):
    rows = [["text", "label", "label"], *((text, label, zoo.IDS[label]) for text, label in zoo.SAMPLES)]
    kept, rejected, notes = read(zoo.write(tmp_path / "a.csv", zoo.table(rows)))
    assert kept == zoo.SAMPLES and rejected == [] and "label holds the ids" not in notes
    rows = [["label", "text", "text"], *((n, f"编号{i}的内容", t) for i, (t, n) in enumerate(zoo.SAMPLES))]
    path = zoo.write(tmp_path / "b.csv", zoo.table(rows))
    with pytest.raises(Unsure, match="--text_column 2 or --text_column 3; or join them: --text_column 2 3"):
        open_samples(path)
    assert read(path, reading=Reading(header=True), text_columns=["3"])[0] == zoo.SAMPLES


def test_pandas_without_names(tmp_path):
    """to_csv() of a table whose columns are numbers, with the numbers of rows and without."""
    rows = [["", "0", "1"], *((str(i), *row) for i, row in enumerate(zoo.SAMPLES))]
    assert read(zoo.write(tmp_path / "a.csv", zoo.table(rows)))[:2] == (zoo.SAMPLES, [])
    assert read(zoo.write(tmp_path / "b.csv", zoo.table([["0", "1"], *zoo.SAMPLES])))[:2] == (zoo.SAMPLES, [])


def test_lines_above_the_names_of_columns(tmp_path):
    above = "above the names of the columns"
    body = zoo.table([["text", "label"], *zoo.SAMPLES])
    path = zoo.write(tmp_path / "a.csv", f"导出时间：2024-01-01\n共 60 条\n\n{body}")
    assert read(path)[:2] == (zoo.SAMPLES, [(1, above), (2, above), (3, "blank line")])
    path = zoo.write(tmp_path / "b.csv", f"客户意见,2024\n{body}")  # as many fields
    assert read(path)[:2] == (zoo.SAMPLES, [(1, above)])


def test_names_of_columns_again_with_a_mark(tmp_path):
    """cat of two files of Excel."""
    one = "\ufeff" + zoo.table([["text", "label"], *zoo.SAMPLES])
    kept, rejected, _ = read(zoo.write(tmp_path / "a.csv", one + one))
    assert len(kept) == 120 and rejected == [(62, "the names of the columns again")]


@pytest.mark.parametrize("odd", ["{}.0", "0{}"])
def test_one_number_in_two_spellings(tmp_path, odd):
    ids = [
        zoo.IDS[label] if number % 2 else odd.format(zoo.IDS[label]) for number, (_, label) in enumerate(zoo.SAMPLES)
    ]
    path = zoo.write(tmp_path / "a.csv", zoo.table([["text", "label"], *zip((t for t, _ in zoo.SAMPLES), ids)]))
    kept, _, notes = read(path)
    assert kept == [(text, zoo.IDS[label]) for text, label in zoo.SAMPLES] and "written as whole numbers" in notes


def test_codes_that_begin_with_0_stay(tmp_path):
    rows = [(text, f"0{zoo.IDS[label]}") for text, label in zoo.SAMPLES]
    assert read(zoo.write(tmp_path / "a.csv", zoo.table([["text", "label"], *rows])))[0] == rows


@pytest.mark.parametrize("nothing", ["nan", "NULL", "\\N"])
def test_what_programs_write_for_nothing(tmp_path, nothing):
    rows = [*zoo.SAMPLES, ("没有标签", nothing), (nothing, "体育")] + [(f"第{i}条", nothing) for i in range(9)]
    path = zoo.write(tmp_path / "a.csv", zoo.table([["text", "label"], *rows]))
    kept, rejected, notes = read(path)
    assert kept == [*zoo.SAMPLES, *((text, None) for text, label in rows if label == nothing)]
    assert rejected == [(63, "no text")] and f"{nothing} in the labels' place" in notes
    # As the user says, or the model that predicts.
    assert read(path, trust_columns=True)[:2] == (rows, [])
    notes = read(path, known_labels=frozenset(zoo.NAMES), label_column="label", trust_columns=True)[2]
    assert f"{nothing} in the labels' place" in notes and "--trust_columns" not in notes
    assert ("没有标签", nothing) in read(path, known_labels=frozenset([*zoo.NAMES, nothing]))[0]
    assert read(path, label_names=[*zoo.NAMES, nothing])[0] == rows


def test_nothing_among_class_ids(tmp_path):
    rows = [*((text, zoo.IDS[label]) for text, label in zoo.SAMPLES), ("没有标签", "nan")]
    path = zoo.write(tmp_path / "a.csv", zoo.table([["text", "label"], *rows]))
    assert read(path, label_names=zoo.NAMES)[0] == [*zoo.SAMPLES, ("没有标签", None)]


@pytest.mark.parametrize("label", ["None", "NA", "N/A", "无"])
def test_classes_that_mean_none_are_classes(tmp_path, label):
    rows = [*zoo.SAMPLES, *((f"第{i}条", label) for i in range(20))]
    assert read(zoo.write(tmp_path / "a.csv", zoo.table([["text", "label"], *rows])))[0] == rows


def test_nothing_in_one_of_two_columns(tmp_path):
    rows = [["标题", "正文", "label"], *(("nan" if i % 2 else "题", t, n) for i, (t, n) in enumerate(zoo.SAMPLES))]
    path = zoo.write(tmp_path / "a.csv", zoo.table(rows))
    kept = read(path, text_columns=["标题", "正文"])[0]
    assert [text for text, _ in kept[:2]] == [f"题 {zoo.SAMPLES[0][0]}", zoo.SAMPLES[1][0]]


@pytest.mark.parametrize("mark", ["|", ",", "，", ";"])
def test_several_labels_in_one(tmp_path, mark):
    rows = [*zoo.SAMPLES, *((f"第{i}条", f"体育{mark}财经") for i in range(6))]
    path = zoo.write(tmp_path / "a.csv", zoo.table([["text", "label"], *rows]))
    with pytest.raises(Unsure, match="are several in one.*--trust_columns") as error:
        open_samples(path)
    assert any("label" in line for line in error.value.seen)
    assert read(path, trust_columns=True)[0] == rows == read(path, known_labels=frozenset(n for _, n in rows))[0]
    # A mark inside a name of one class.
    rows = [(text, label.replace("体育", f"体育{mark}娱乐")) for text, label in zoo.SAMPLES]
    assert read(zoo.write(tmp_path / "b.csv", zoo.table([["text", "label"], *rows])))[0] == rows


def test_labels_of_fasttext_in_a_table(tmp_path):
    rows = [(text, f"__label__{label}") for text, label in zoo.SAMPLES]
    assert read(zoo.write(tmp_path / "a.csv", zoo.table([["text", "label"], *rows])))[0] == zoo.SAMPLES


def test_labels_in_columns_of_two_names(tmp_path):
    """What has labels is no text for data.txt."""
    zoo.write(tmp_path / "a.csv", zoo.table([["text", "label"], *zoo.SAMPLES]))
    other = zoo.write(tmp_path / "b.csv", zoo.table([["text", "类别"], *zoo.SAMPLES]))
    with pytest.raises(Unsure, match="b.csv: no column label, which the files before it have, but 类别; rename"):
        open_samples(tmp_path / "a.csv", other)
    kept, _ = rows_of(open_samples(tmp_path / "a.csv", other, trust_columns=True))
    assert kept[60:] == [(text, None) for text, _ in zoo.SAMPLES]
    # A column that the labelled file has, too, is not its label by another name.
    rows = [["text", "type", "label"], *((text, "网页", label) for text, label in zoo.SAMPLES)]
    zoo.write(tmp_path / "c.csv", zoo.table(rows))
    zoo.write(tmp_path / "d.csv", zoo.table([["text", "type"], *((text, "网页") for text, _ in zoo.SAMPLES)]))
    assert rows_of(open_samples(tmp_path / "c.csv", tmp_path / "d.csv"))[0][60:] == kept[60:]


def test_labels_that_a_model_hardly_knows_are_told(tmp_path):
    rows = [(text, "娱乐" if number % 4 == 0 else label) for number, (text, label) in enumerate(zoo.SAMPLES)]
    path = zoo.write(tmp_path / "a.csv", zoo.table([["text", "label"], *rows]))
    kept, _, notes = read(path, known_labels=frozenset(zoo.NAMES), trust_columns=True)
    assert "75% of label are labels of the model, too few for a report" in notes and "--label_column label" in notes
    assert {label for _, label in kept} == {None}
    path = zoo.write(tmp_path / "b.csv", zoo.table(rows))
    assert "75% of 2 are labels of the model" in read(path, known_labels=frozenset(zoo.NAMES), text_columns=["1"])[2]
    rows = [(text, "某处") for text, _ in zoo.SAMPLES]
    path = zoo.write(tmp_path / "c.csv", zoo.table([["text", "channel"], *rows]))
    assert read(path, known_labels=frozenset(zoo.NAMES))[2] == ""


@pytest.mark.parametrize("ending", ["txt", "csv"])
def test_a_file_a_label(tmp_path, ending):
    names = ["text"] if ending == "csv" else []
    for label in zoo.NAMES:
        lines = names + [text.replace("，", "") for text, own in zoo.SAMPLES if own == label]
        zoo.write(tmp_path / f"{label}.{ending}", "\n".join(lines))
    with pytest.raises(
        Unsure, match=r"is each file one label \(体育 科技 财经\)\?.*assign\(label=path.stem\)"
    ) as error:
        open_samples(tmp_path)
    # The command does it.
    import pathlib

    import pandas

    code = str(error.value).partition("in pandas: ")[2].replace("all.csv", str(tmp_path / "all.csv"))
    eval(code, {"pandas": pandas, "pathlib": pathlib})
    kept, _ = rows_of(open_samples(tmp_path / "all.csv"))
    assert sorted(kept) == sorted((text.replace("，", ""), label) for text, label in zoo.SAMPLES)


def test_pieces_are_no_labels(tmp_path):
    for number in range(3):
        zoo.write(tmp_path / f"part-{number}.txt", "\n".join(text.replace("，", "") for text, _ in zoo.SAMPLES))
    with pytest.raises(Unsure, match="no column of labels.*--label_column none$"):
        open_samples(tmp_path)


def test_bytes_that_are_no_utf_8(tmp_path):
    import pyarrow
    from pyarrow import parquet

    path = tmp_path / "a.parquet"
    for texts, codec in (
        ([t.encode("gbk") for t, _ in zoo.SAMPLES], "gbk"),
        ([t.encode() for t, _ in zoo.SAMPLES], ""),
    ):
        columns = {"text": texts, "label": [n for _, n in zoo.SAMPLES], "image": [b"\xff\xd8"] * 60}
        parquet.write_table(pyarrow.table(columns), path)
        if codec:
            with pytest.raises(UsageError, match=r"text holds bytes that are not UTF-8.*str.decode\('gb18030'\)"):
                open_samples(path)
    assert rows_of(open_samples(path, text_columns=["text"]))[0] == zoo.SAMPLES


def test_bytes_behind_the_rows_that_are_looked_at(tmp_path, monkeypatch):
    import pyarrow
    from pyarrow import parquet

    monkeypatch.setattr("core.dialects.SAMPLE_ROWS", 10)
    monkeypatch.setattr("core.dialects.SAMPLE_STEP", 100)
    monkeypatch.setattr("core.binary_tables.BATCH_ROWS", 20)
    texts = [t.encode("gbk" if number == 55 else "utf-8") for number, (t, _) in enumerate(zoo.SAMPLES)]
    parquet.write_table(pyarrow.table({"text": texts, "label": [n for _, n in zoo.SAMPLES]}), tmp_path / "a.parquet")
    samples = open_samples(tmp_path / "a.parquet")
    with pytest.raises(UsageError, match="text holds bytes that are not UTF-8"):
        rows_of(samples)


def test_several_labels_whose_parts_come_in_others_only(tmp_path):
    def rows(one, other, mark):
        labels = [f"{one}{mark}{other}" if number % 4 == 0 else label for number, (_, label) in enumerate(zoo.SAMPLES)]
        return zoo.write(tmp_path / "a.tsv", "".join(f"{t}\t{n}\n" for (t, _), n in zip(zoo.SAMPLES, labels)))

    with pytest.raises(Unsure, match="1 labels, such as '体育|彩票', are several in one"):
        open_samples(rows("体育", "彩票", "|"))
    assert len(rows_of(open_samples(rows("娱乐", "彩票", "|")))[0]) == 60
    assert len(rows_of(open_samples(rows("体育", "彩票", "、")))[0]) == 60  # a name with a comma, perhaps


def test_booleans_in_several_spellings(tmp_path):
    rows = "".join(f"{t}\t{('TRUE', 'True', 'FALSE', 'false')[n % 4]}\n" for n, (t, _) in enumerate(zoo.SAMPLES))
    samples = open_samples(zoo.write(tmp_path / "a.tsv", rows))
    assert {label for _, label in rows_of(samples)[0]} == {"true", "false"}
    assert "FALSE TRUE True false are written as false true" in samples.notes
    plain = open_samples(zoo.write(tmp_path / "b.tsv", rows.replace("True", "TRUE").replace("false", "FALSE")))
    assert {label for _, label in rows_of(plain)[0]} == {"TRUE", "FALSE"}


def test_labels_that_differ_in_case_or_width_are_told(tmp_path):
    rows = "".join(f"{t}\t{('App', 'APP', 'Ａpp', '网页')[n % 4]}\n" for n, (t, _) in enumerate(zoo.SAMPLES))
    samples = open_samples(zoo.write(tmp_path / "a.tsv", rows))
    assert len({label for _, label in rows_of(samples)[0]}) == 4
    assert [note for note in samples.notes if "different labels" in note] == [
        "APP App Ａpp are different labels; if they are one, make them so in the file"
    ]


def test_values_that_a_spreadsheet_could_not_compute(tmp_path):
    rows = [("#REF!" if n % 9 == 0 else label, text) for n, (text, label) in enumerate(zoo.SAMPLES)]
    samples = open_samples(zoo.write(tmp_path / "a.csv", zoo.table([["label", "text"], *rows, ["体育", "#NAME?"]])))
    kept, rejected = rows_of(samples)
    assert [label for _, label in kept].count(None) == 7 and rejected == [(62, "no text")]
    assert any(note.startswith("#REF! in the labels' place: taken for no label") for note in samples.notes)


def test_an_export_of_argilla(tmp_path):
    lines = [
        json.dumps({"text": text, "inputs": {"text": text}, "annotation": label, "multi_label": False, "id": f"r{n}"})
        for n, (text, label) in enumerate(zoo.SAMPLES)
    ]
    assert rows_of(open_samples(zoo.write(tmp_path / "old.jsonl", "\n".join(lines)))) == (zoo.SAMPLES, [])
    records = [
        {"fields": {"text": text}, "responses": {"label": [{"value": label, "user_id": "u"}]}, "status": "completed"}
        for text, label in zoo.SAMPLES
    ]
    assert rows_of(open_samples(zoo.write(tmp_path / "new.json", json.dumps(records)))) == (zoo.SAMPLES, [])
