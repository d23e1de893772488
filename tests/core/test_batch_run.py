"""batch_run.py: any file in, any out, nothing lost; an interrupted run ends as one that was not."""

import csv
import datetime
import decimal
import gc
import gzip
import json
import re

import pytest

from core.batch_run import confidence, rare_looks, share
from core.samples import Wishes
from core.table_columns import Unsure
from core.tables import Reading
from tests.core.batching import LABELS, predict
from utils import UsageError


@pytest.fixture
def model(tmp_path):
    """The folder of a model that nobody reads."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "id2label.json").write_text("{}")
    return tmp_path / "model"


def write_csv(path, rows, encoding="utf-8", **options):
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, **options).writerows(rows)
    return path


def read_csv(path, **options):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file, **options))


def sample_rows(count):
    texts = [f"第{number}条 a,b" + "长" * (number % 5) for number in range(count)]
    return [[str(number), text, LABELS[number % 3], 'x "y"'] for number, text in enumerate(texts)]


def answer(text):
    return LABELS[len(text) % 3]


def test_csv_keeps_all_columns_in_order(model, tmp_path):
    rows = sample_rows(45)
    rows[3][3] = "two\nlines"
    rows[9][1] = 'a "quoted"\ntext, of two lines'
    write_csv(tmp_path / "in.csv", [["id", "text", "kind", "note"], *rows])
    summary, said, _ = predict(model, [tmp_path / "in.csv"], tmp_path / "out.csv", top_k=2)
    header, *lines = read_csv(tmp_path / "out.csv")
    assert header == ["id", "text", "kind", "note", "label", "score", "label_1", "score_1", "label_2", "score_2"]
    assert [line[:4] for line in lines] == rows and len(lines) == 45
    assert all(line[4] == line[6] == answer(" ".join(line[1].split())) for line in lines)
    assert {tuple(line[5::2]) for line in lines} == {("0.500000", "0.500000", "0.250000")}
    assert (summary.rows, summary.predicted, summary.rejected) == (45, 45, 0)
    assert not (tmp_path / "out.rejected.csv").exists() and not (tmp_path / "out.csv.parts").exists()
    right = sum(line[2] == line[4] for line in lines)
    assert f"Accuracy in test dataset: {right / 45:.2%}" in "\n".join(summary.lines())
    assert "Class name: 丙" in (tmp_path / "out.report.txt").read_text(encoding="utf-8")
    assert re.search(r"^  text +text +100%", said, re.MULTILINE)


def test_gbk_gzip_and_plain_lines(model, tmp_path):
    write_csv(tmp_path / "gbk.csv", [["text"], *([row[1]] for row in sample_rows(30))], "gb18030")
    predict(model, [tmp_path / "gbk.csv"], tmp_path / "gbk.out.csv")
    assert [line[0] for line in read_csv(tmp_path / "gbk.out.csv")] == ["text", *(row[1] for row in sample_rows(30))]
    (tmp_path / "lines.txt.gz").write_bytes(gzip.compress("头疼怎么办\n<b>医保</b>\t\n\n发烧".encode()))
    summary, *_ = predict(
        model, [tmp_path / "lines.txt.gz"], tmp_path / "o.tsv", wishes=Wishes(Reading(separator="none"), clean="none")
    )
    lines = (tmp_path / "o.tsv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "text\tlabel\tscore" and lines[2] == '"<b>医保</b>\t"\t甲\t0.500000'
    assert (summary.rows, summary.predicted, summary.rejected) == (4, 3, 1)
    rejected = read_csv(tmp_path / "o.rejected.csv")
    assert rejected == [
        ["file", "line", "reason", "content"],
        [str(tmp_path / "lines.txt.gz"), "3", "blank line", ""],
    ]


def test_json_lines_keep_what_they_are(model, tmp_path):
    records = [{"id": number, "text": f"文本{number}", "meta": {"a": [1, None]}} for number in range(20)]
    del records[4]["meta"]
    records[5]["text"] = ""
    records[6]["later"] = True
    records[7]["score"] = 3
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    (tmp_path / "in.jsonl").write_text("\n".join([*lines[:10], "{broken", *lines[10:]]) + "\n", encoding="utf-8")
    summary, *_ = predict(model, [tmp_path / "in.jsonl"], tmp_path / "out.jsonl", part_rows=7, prefix="my_")
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    expected = [record for index, record in enumerate(records) if index != 5]
    for record, own in zip(expected, found, strict=True):
        assert own == {**record, "my_label": answer(record["text"]), "my_score": 0.5}
    reasons = [row[1:3] for row in read_csv(tmp_path / "out.rejected.csv")[1:]]
    assert reasons[0] == ["6", "no text"] and reasons[1][0] == "11" and "not readable as JSON" in reasons[1][1]
    assert (summary.rows, summary.predicted, summary.rejected) == (21, 19, 2)
    assert "a field score" not in str(reasons)
    with pytest.raises(UsageError, match="columns called score; give another name to what is added: --prefix"):
        predict(model, [tmp_path / "in.jsonl"], tmp_path / "o.jsonl", prefix="")


def test_parquet_keeps_types(model, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    texts = [None if number == 3 else f"文本{number}" for number in range(9000)]
    columns = {"id": range(9000), "text": texts, "when": [None] * 9000, "list": [[1]] * 9000}
    kinds = [pyarrow.int16(), pyarrow.string(), pyarrow.timestamp("ns"), pyarrow.list_(pyarrow.int8())]
    table = pyarrow.table(dict(zip(columns, map(pyarrow.array, map(list, columns.values()), kinds))))
    parquet.write_table(table, tmp_path / "in.parquet")
    summary, *_ = predict(model, [tmp_path / "in.parquet"], tmp_path / "out.parquet", part_rows=1000)
    found = parquet.read_table(tmp_path / "out.parquet")
    kept = table.filter(pyarrow.compute.is_valid(table["text"]))
    assert found.select(table.column_names).equals(kept) and summary.rejected == 1
    assert found["label"].to_pylist() == [answer(text) for text in kept["text"].to_pylist()]
    predict(model, [tmp_path / "in.parquet"], tmp_path / "other.jsonl", part_rows=1000)
    record = json.loads((tmp_path / "other.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert record == {"id": 0, "text": "文本0", "when": None, "list": [1], "label": answer("文本0"), "score": 0.5}
    write_csv(tmp_path / "in.csv", [["id", "text"], *([str(number), f"文本{number}"] for number in range(40))])
    predict(model, [tmp_path / "in.csv"], tmp_path / "c.parquet")
    assert parquet.read_table(tmp_path / "c.parquet").schema.types == [pyarrow.string()] * 3 + [pyarrow.float64()]


def test_names_that_are_taken(model, tmp_path):
    write_csv(tmp_path / "in.csv", [["text", "label"], *([row[1], row[2]] for row in sample_rows(30))])
    _, said, _ = predict(model, [tmp_path / "in.csv"], tmp_path / "out.csv", min_confidence=0.4)
    header, *lines = read_csv(tmp_path / "out.csv")
    names = ["predicted_label", "predicted_score", "predicted_guess", "predicted_guess_score"]
    assert header[2:] == names and " ".join(names) in said
    unsure = [line for line in lines if line[4] == "甲"]
    assert unsure and all(line[2] == "unknown" for line in unsure)
    assert all(line[2] == line[4] for line in lines if line not in unsure)


def test_which_window_decided(model, tmp_path):
    write_csv(tmp_path / "in.csv", [["text"], *([row[1]] for row in sample_rows(30))])
    predict(model, [tmp_path / "in.csv"], tmp_path / "out.csv", has_windows=True)
    header, *lines = read_csv(tmp_path / "out.csv")
    assert header == ["text", "label", "score", "window", "window_of", "window_start", "window_end"]
    for line in lines:
        assert line[3:] == (["2", "2", "10", str(len(line[0]))] if len(line[0]) > 10 else [""] * 4)
    assert {len(line[0]) > 10 for line in lines} == {True, False}


def test_sets_of_labels(model, tmp_path):
    """What is counted of them is told; parts of a run without them, or with another share, are another run's."""
    rows = sample_rows(45)
    write_csv(tmp_path / "in.csv", [["id", "text", "kind", "note"], *rows])
    summary, said, _ = predict(model, [tmp_path / "in.csv"], tmp_path / "out.csv", conformal=0.9)
    header, *lines = read_csv(tmp_path / "out.csv")
    assert header[-3:] == ["label", "score", "label_set"] and "label_set behind the columns" in said
    sets = [json.loads(line[-1]) for line in lines]
    assert {tuple(labels) for labels in sets} == {("甲", "乙"), ("乙", "丙"), ("丙",)}
    single, right = sum(len(labels) == 1 for labels in sets), sum(line[2] in own for line, own in zip(lines, sets))
    told = "\n".join(summary.lines())
    assert f"{sum(map(len, sets)) / 45:.2f} labels on average, one alone for {single / 45:.2%}" in told
    assert f"of 45 rows with a label, {right / 45:.2%} have it in their set" in told and 0 < right < 45
    for first, second, change in ((None, 0.9, "None before, 0.9 now"), (0.9, 0.95, "0.9 before, 0.95 now")):
        output = tmp_path / f"{second}.csv"
        with pytest.raises(KeyboardInterrupt):
            predict(model, [tmp_path / "in.csv"], output, fails_after=2, conformal=first)
        with pytest.raises(UsageError, match=f"another run .*--conformal {change}"):
            predict(model, [tmp_path / "in.csv"], output, conformal=second)
        predict(model, [tmp_path / "in.csv"], output, conformal=first)
        assert ("label_set" in read_csv(output)[0]) == (first is not None)


def test_an_interrupted_run_ends_with_the_same_bytes(model, tmp_path):
    rows = [[*row, "" if number % 11 else "z"] for number, row in enumerate(sample_rows(95))]
    rows[20][1] = " "
    write_csv(tmp_path / "in.csv", [["id", "text", "kind", "note", "more"], *rows])
    predict(model, [tmp_path / "in.csv"], tmp_path / "whole.csv")
    for parts in range(1, 9):
        with pytest.raises(KeyboardInterrupt):
            predict(model, [tmp_path / "in.csv"], tmp_path / "out.csv", fails_after=parts)
        assert not (tmp_path / "out.csv").exists()
        with pytest.raises(UsageError, match="holds the beginning of another run .--batch_size 32 before, 8 now"):
            predict(model, [tmp_path / "in.csv"], tmp_path / "out.csv", batch_size=8)
        *_, workers = predict(model, [tmp_path / "in.csv"], tmp_path / "out.csv")
        assert len(workers.texts) == 10 - parts
        for name in ("{}.csv", "{}.rejected.csv", "{}.report.txt"):
            one, other = ((tmp_path / name.format(stem)).read_bytes() for stem in ("out", "whole"))
            assert one == other
            (tmp_path / name.format("out")).unlink()
        assert not (tmp_path / "out.csv.parts").exists()


def test_another_input_or_model_is_refused(model, tmp_path):
    write_csv(tmp_path / "in.csv", [["id", "text"], *(row[:2] for row in sample_rows(40))])
    with pytest.raises(KeyboardInterrupt):
        predict(model, [tmp_path / "in.csv"], tmp_path / "out.csv", fails_after=2)
    (tmp_path / "model" / "id2label.json").write_text("{} ")
    with pytest.raises(UsageError, match="another run .the model is other.; to go on .* or add --overwrite"):
        predict(model, [tmp_path / "in.csv"], tmp_path / "out.csv")
    (tmp_path / "model" / "id2label.json").write_text("{}")
    with (tmp_path / "in.csv").open("a", encoding="utf-8") as file:
        file.write("41,新的\n")
    with pytest.raises(UsageError, match="the input's content is other"):
        predict(model, [tmp_path / "in.csv"], tmp_path / "out.csv")
    summary, *_ = predict(model, [tmp_path / "in.csv"], tmp_path / "out.csv", overwrite=True)
    assert summary.predicted == 41


def test_nothing_of_the_user_s_is_replaced(model, tmp_path):
    source = write_csv(tmp_path / "in.csv", [["id", "text"], *(row[:2] for row in sample_rows(40))])
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(UsageError, match="out.csv: is there already; add --overwrite to replace it, or choose"):
        predict(model, [source], tmp_path / "out.csv")
    (tmp_path / "o.csv.parts").mkdir()
    (tmp_path / "o.csv.parts" / "mine").write_text("mine")
    with pytest.raises(UsageError, match="o.csv.parts: was not made here"):
        predict(model, [source], tmp_path / "o.csv")
    with pytest.raises(UsageError, match="is what is read, or lies in it"):
        predict(model, [source], source, overwrite=True)
    with pytest.raises(UsageError, match="is what is read, or lies in it"):
        predict(model, [tmp_path], tmp_path / "more.csv")
    with pytest.raises(UsageError, match="end it with one of .csv .tsv"):
        predict(model, [source], tmp_path / "out.xlsx")
    assert (tmp_path / "out.csv").read_text() == "mine"
    predict(model, [source], tmp_path / "out.csv", overwrite=True)
    assert len(read_csv(tmp_path / "out.csv")) == 41


def test_what_is_written_is_not_read(model, tmp_path):
    """A pattern that has met the last output, a link to it, and the standard input."""
    source = write_csv(tmp_path / "in.csv", [["id", "text"], *(row[:2] for row in sample_rows(40))])
    (tmp_path / "more").mkdir()
    write_csv(tmp_path / "more" / "out.csv", [["id", "text"], *(row[:2] for row in sample_rows(40))])
    (tmp_path / "link.csv").symlink_to(tmp_path / "more" / "out.csv")
    for inputs in ([tmp_path / "more" / "*.csv"], [source, tmp_path / "link.csv"]):
        with pytest.raises(UsageError, match="(is written, and among what is read|is what is read, or lies in it)"):
            predict(model, inputs, tmp_path / "more" / "out.csv", overwrite=True)
    assert len(read_csv(tmp_path / "more" / "out.csv")) == 41
    with pytest.raises(UsageError, match="-: the standard input can be read once"):
        predict(model, ["-"], tmp_path / "out.csv")


def test_half_a_character_can_be_shown(model, tmp_path):
    lines = [json.dumps({"id": number, "text": f"文本{number}\ud83d"}) for number in range(3)]
    lines += [json.dumps({"id": number, "text": f"文本{number}"}) for number in range(30)]
    (tmp_path / "in.jsonl").write_text("\n".join(lines))
    summary, said, _ = predict(model, [tmp_path / "in.jsonl"], tmp_path / "out.csv")
    said.encode("utf-8")
    assert (summary.predicted, summary.rejected) == (30, 3) and "文本0\\ud83d" in said


def test_parquet_keeps_what_it_can_and_says_what_it_cannot(model, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    count = 25
    table = pyarrow.table(
        {
            "text": [row[1] for row in sample_rows(count)],
            "nested": pyarrow.array([{"a": number, "b": [number, None]} for number in range(count)]),
            "day": [datetime.date(2026, 1, 1 + number) for number in range(count)],
            "price": [decimal.Decimal("1.20") + number for number in range(count)],
            "large": pyarrow.array([2**60 + number for number in range(count)]),
            "kind": pyarrow.array([LABELS[number % 3] for number in range(count)]).dictionary_encode(),
            "pairs": pyarrow.array([[("k", number)] for number in range(count)], pyarrow.map_("string", "int64")),
            "bytes": [b"abc"] * count,
        }
    )
    parquet.write_table(table, tmp_path / "in.parquet", row_group_size=7)
    predict(model, [tmp_path / "in.parquet"], tmp_path / "out.parquet", wishes=Wishes(text_columns=["text"]))
    found = parquet.read_table(tmp_path / "out.parquet")
    assert found.select(table.column_names).equals(table) and found["label"].to_pylist()[0] == answer("第0条 a,b")
    predict(model, [tmp_path / "in.parquet"], tmp_path / "lines.jsonl", wishes=Wishes(text_columns=["text"]))
    line = json.loads((tmp_path / "lines.jsonl").read_text(encoding="utf-8").splitlines()[3])
    assert (line["nested"], line["day"], line["price"]) == ({"a": 3, "b": [3, None]}, "2026-01-04", "4.20")
    assert (line["large"], line["kind"], line["bytes"]) == (2**60 + 3, "甲", "abc")
    # Bytes that are no text, seen at once or behind the rows that are looked at.
    for place in (3, 6_001):
        rows = {
            "text": [row[1] for row in sample_rows(6_010)],
            "photo": [b"\xff" if n == place else b"" for n in range(6_010)],
        }
        parquet.write_table(pyarrow.table(rows), tmp_path / "photo.parquet")
        for ending in ("csv", "jsonl"):
            with pytest.raises(UsageError, match="photo.parquet: photo: bytes that are no text, which only .parquet"):
                predict(model, [tmp_path / "photo.parquet"], tmp_path / f"photo.{ending}", part_rows=5000)
            assert not (tmp_path / f"photo.{ending}").exists()
    predict(model, [tmp_path / "photo.parquet"], tmp_path / "photo.out.parquet", part_rows=5000)
    assert parquet.read_table(tmp_path / "photo.out.parquet")["photo"].to_pylist() == rows["photo"]
    # Files of which a column is of different types.
    for name, values in (("1", [1] * 3), ("2", [1.5] * 3)):
        parquet.write_table(
            pyarrow.table({"text": ["头疼", "医保卡", "发烧"], "x": values}), tmp_path / f"t{name}.parquet"
        )
    _, said, _ = predict(model, [tmp_path / "t1.parquet", tmp_path / "t2.parquet"], tmp_path / "t.parquet")
    assert parquet.read_table(tmp_path / "t.parquet")["x"].to_pylist() == ["1"] * 3 + ["1.5"] * 3
    assert "note: a column has another type in other files, so all columns are written as text" in said


def test_a_file_that_changes_meanwhile(model, tmp_path, monkeypatch):
    source = write_csv(tmp_path / "in.csv", [["id", "text"], *(row[:2] for row in sample_rows(40))])
    stamps = iter((1, 2))
    monkeypatch.setattr("core.batch_input.Input.stamps", lambda self: next(stamps))
    with pytest.raises(UsageError, match="changed while it was read"):
        predict(model, [source], tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_few_rows(model, tmp_path):
    for content in ("", "id,text\n", "\n\n"):
        (tmp_path / "none.csv").write_text(content)
        if content != "id,text\n":
            with pytest.raises(UsageError, match=r"none.csv: (the file is empty|no row)"):
                predict(model, [tmp_path / "none.csv"], tmp_path / "out.csv")
    (tmp_path / "one.csv").write_text("id,text\n7,头疼\n", encoding="utf-8")
    predict(model, [tmp_path / "one.csv"], tmp_path / "out.csv")
    assert read_csv(tmp_path / "out.csv") == [["id", "text", "label", "score"], ["7", "头疼", "丙", "0.500000"]]
    write_csv(
        tmp_path / "two.csv",
        [["title", "content"], *([f"一条较长的文本{n}", f"另一条较长的文本{n}"] for n in range(30))],
    )
    with pytest.raises(
        Unsure, match="2 columns may be the text; choose one: --text_column title or --text_column content"
    ):
        predict(model, [tmp_path / "two.csv"], tmp_path / "two.out.csv")
    wishes = Wishes(text_columns=["content", "title"])
    predict(model, [tmp_path / "two.csv"], tmp_path / "two.out.csv", wishes=wishes)
    assert read_csv(tmp_path / "two.out.csv")[1][2] == answer("另一条较长的文本0 一条较长的文本0")


def test_labels_that_the_model_does_not_know_are_told(model, tmp_path):
    rows = [["text", "label"], *([row[1], row[2]] for row in sample_rows(60))]
    rows[5][1], rows[6][1] = "丁", ""
    write_csv(tmp_path / "in.csv", rows)
    summary, *_ = predict(model, [tmp_path / "in.csv"], tmp_path / "out.csv")
    told = "\n".join(summary.lines())
    assert (
        "1 rows have no label" in told and "1 rows have no part in the report: '丁' is no label of the model" in told
    )
    assert "Test dataset size: 58" in told and summary.predicted == 60


def test_circles_are_looked_for_as_before_afterwards():
    before = gc.get_threshold()
    with pytest.raises(KeyError), rare_looks():
        assert gc.get_threshold()[0] > before[0]
        raise KeyError
    assert gc.get_threshold() == before


def test_share():
    assert share(None) is None and share("0.95") == 0.95
    for text in ("1", "0", "-1", "nan", "much", "1e9"):
        with pytest.raises(UsageError, match=f"--conformal {text}: give how often a set shall hold"):
            share(text)


def test_confidence():
    assert (confidence(None), confidence("0.5"), confidence("accuracy:0.98")) == (None, 0.5, "accuracy:0.98")
    with pytest.raises(UsageError, match="--min_confidence 2: give a number from 0 to 1"):
        confidence("2")
