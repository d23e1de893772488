"""Parts of large files: the same rows as the whole file has, and each row once."""

import csv
import io
import json

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deploy.batch import parts
from utils import UsageError

TEXTS = ["头疼", 'a, "b"', "第一行\n第二行", "x\r\ny", "", "  ", '""', "é", "末"]


def write_csv(path, rows, ending="\r\n"):
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator=ending).writerows([["id", "text"], *rows])
    path.write_bytes(buffer.getvalue().encode("utf-8"))


def all_rows(path, every, column="text"):
    """The rows of all parts of a file, kept and left out: (numbers that are left out, rows that are kept)."""
    found = parts.plan_file(str(path), 0, every, column)
    assert not isinstance(found, str), found
    assert len({part.name for part in found}) == len(found) and all(0 < part.rows <= every for part in found)
    kept, rejected, number = [], [], 1
    for part in found:
        rows = parts.read_part(part, column)
        assert part.first == number and len(rows.texts) + len(rows.rejected) == part.rows
        number += part.rows
        kept += rows.kept.to_pylist() if part.kind == "parquet" else rows.kept
        rejected += rows.rejected
    return kept, rejected


@pytest.mark.parametrize("every", [1, 2, 3, 100])
@pytest.mark.parametrize("size", [7, 1 << 23])
def test_csv_is_cut_between_records(tmp_path, monkeypatch, every, size):
    monkeypatch.setattr(parts, "CHUNK_BYTES", size)
    for ending in ("\r\n", "\n"):
        rows = [[str(number), text] for number, text in enumerate(TEXTS)]
        write_csv(tmp_path / "a.csv", rows, ending)
        for content in ((tmp_path / "a.csv").read_bytes(), (tmp_path / "a.csv").read_bytes().rstrip(b"\r\n")):
            (tmp_path / "a.csv").write_bytes(content)
            kept, rejected = all_rows(tmp_path / "a.csv", every)
            assert kept == [row for row in rows if row[1].strip()]
            assert rejected == [(5, "no text"), (6, "no text")]


@pytest.mark.parametrize("every", [1, 2, 100])
def test_rows_that_are_left_out_keep_their_numbers(tmp_path, every):
    lines = ["\ufeffid,text".encode(), b"1,a", b"", b"3,b,c", b"4,\xff", "5,好".encode()]
    (tmp_path / "a.csv").write_bytes(b"\n".join(lines))
    kept, rejected = all_rows(tmp_path / "a.csv", every)
    assert kept == [["1", "a"], ["5", "好"]]
    assert rejected == [(2, "blank line"), (3, "3 fields, not 2"), (4, "not UTF-8")]

    values = ['{"text": "好", "n": {"a": [1]}}', "", "[1]", "{", '{"text": 1}', '{"text": " "}', '{"text": "末"}']
    (tmp_path / "a.jsonl").write_text("\n".join(values) + "\n", encoding="utf-8")
    kept, rejected = all_rows(tmp_path / "a.jsonl", every)
    assert kept == [json.loads(values[0]), json.loads(values[-1])]
    reasons = ["blank line", "not a JSON object", "not readable as JSON", "no text", "no text"]
    assert rejected == list(enumerate(reasons, 2))

    table = pa.table({"n": [1, 2, 3, 4], "text": ["a", None, " ", "b"]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=3)
    kept, rejected = all_rows(tmp_path / "a.parquet", every)
    assert kept == [{"n": 1, "text": "a"}, {"n": 4, "text": "b"}]
    assert rejected == [(2, "no text"), (3, "no text")]


def test_a_part_is_written_with_all_its_columns(tmp_path):
    write_csv(tmp_path / "a.csv", [["1", "a\nb"], ["2", "é,"]])
    (part,) = parts.plan_file(str(tmp_path / "a.csv"), 3, 10, "text")
    assert part.name == "00003-a-00000"
    rows, results = parts.read_part(part, "text"), {"label": ["甲", "乙"], "score": [0.5, 0.25]}
    results["label_set"] = [["甲", '"'], ["乙"]]
    expected = [{"id": "1", "text": "a\nb", "label": "甲", "score": 0.5, "label_set": ["甲", '"']}]
    expected += [{"id": "2", "text": "é,", "label": "乙", "score": 0.25, "label_set": ["乙"]}]
    content = parts.encode_part(part, rows, results, "csv").decode()
    assert list(csv.DictReader(io.StringIO(content, newline=""))) == [
        {**{name: str(value) for name, value in row.items()}, "label_set": sets}
        for row, sets in zip(expected, ('["甲", "\\""]', '["乙"]'))
    ]
    assert [json.loads(line) for line in parts.encode_part(part, rows, results, "jsonl").splitlines()] == expected
    written = pq.read_table(io.BytesIO(parts.encode_part(part, rows, results, "parquet")))
    assert written.to_pylist() == expected
    pq.write_table(pa.table({"id": ["1"], "text": ["a"]}), tmp_path / "a.parquet")
    (part,) = parts.plan_file(str(tmp_path / "a.parquet"), 0, 10, "text")
    content = parts.encode_part(part, parts.read_part(part, "text"), {"label_set": [["甲", "乙"]]}, "csv").decode()
    assert content == 'id,text,label_set\n1,a,"[""甲"", ""乙""]"\n'


def test_parquet_keeps_the_types_of_its_columns(tmp_path):
    table = pa.table({"n": pa.array([1, 2], pa.int8()), "text": ["a", "b"], "many": [[1], [2, 3]]})
    pq.write_table(table, tmp_path / "a.parquet")
    (part,) = parts.plan_file(str(tmp_path / "a.parquet"), 0, 10, "text")
    rows = parts.read_part(part, "text")
    written = pq.read_table(
        io.BytesIO(parts.encode_part(part, rows, {"label": ["x", "y"], "score": [1.0, 0.5]}, "parquet"))
    )
    assert written.drop_columns(["label", "score"]) == table
    assert written.column("score").to_pylist() == [1.0, 0.5]


def test_files_of_any_address(tmp_path):
    parts.write_file("memory://bucket/b.csv", b"text\nb\n")
    parts.write_file("memory://bucket/_plan.json", b"{}")
    parts.write_file("memory://bucket/sub/a.csv", b"text\na\n")
    (found,) = {tuple(parts.find_files([pattern])) for pattern in ("memory://bucket", "memory://bucket/**/*.csv")}
    assert found == ("memory:///bucket/b.csv", "memory:///bucket/sub/a.csv")
    assert all_rows(found[0], 10) == ([["b"]], [])
    parts.write_file(str(tmp_path / "new" / "a.csv"), b"text\nc\n")
    assert parts.find_files([str(tmp_path / "new")]) == [str(tmp_path / "new" / "a.csv")]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.csv"]
    with fsspec.open("memory://bucket/b.csv", "rb") as file:
        assert file.read() == b"text\nb\n"


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.csv", b'text\n"a\n', "a.csv: a quotation mark is never closed"),
        ("a.csv", b"words\na\n", "a.csv: no column 'text'; give --text_column, one of words"),
        ("a.csv", b"text,text\na,b\n", "its first line must name the columns, each once"),
        ("a.parquet", b"PAR1", "a.parquet: cannot be read"),
    ],
)
def test_files_that_are_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    assert message in parts.plan_file(str(tmp_path / name), 0, 10, "text")


def test_names_that_are_refused(tmp_path):
    for name in ("a.csv", "b.parquet", "c.xlsx"):
        (tmp_path / name).write_bytes(b"x")
    for patterns, message in [
        (["nowhere.csv"], "--input nowhere.csv: no such file"),
        ([str(tmp_path / "c.xlsx")], "c.xlsx: not .parquet, .csv"),
        ([str(tmp_path)], "files of csv and parquet; give those of one kind"),
        (["nosuch://a/b.csv"], "--input nosuch://a/b.csv: cannot be opened"),
    ]:
        with pytest.raises(UsageError, match=message.replace(".", r"\.")):
            parts.find_files(patterns)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_texts_are_cleaned_and_rows_are_not(tmp_path, kind):
    rows, path = [["1", "a<br>b"], ["2", "<br>"], ["3", "c"]], tmp_path / f"a.{kind}"
    table = pa.Table.from_pylist([dict(zip(("id", "text"), row)) for row in rows])
    if kind == "csv":
        write_csv(path, rows)
    elif kind == "parquet":
        pq.write_table(table, path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()), encoding="utf-8")
    (part,) = parts.plan_file(str(path), 0, 10, "text")
    assert parts.read_part(part, "text").texts == [text for _, text in rows]
    found = parts.read_part(part, "text", "html")
    assert found.texts == ["a b", "c"] and found.rejected == [(2, "no text")]
    kept = found.kept.to_pylist() if kind == "parquet" else found.kept
    assert [list(row.values()) if isinstance(row, dict) else row for row in kept] == [rows[0], rows[2]]


@pytest.mark.parametrize(
    "line, names", [('\ufeff{"a": 1, "b": 2}\n{"c": 1}', ["a", "b"]), ("[1]", []), ("x", []), ("", [])]
)
def test_the_fields_of_the_first_record(tmp_path, line, names):
    (tmp_path / "a.jsonl").write_text(line, encoding="utf-8")
    assert parts.first_names(str(tmp_path / "a.jsonl")) == names
