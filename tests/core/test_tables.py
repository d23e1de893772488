"""core/tables.py: formats are told apart, and rows that cannot be used have their line."""

import json

import pytest

from core.dialects import Rejected
from core.sources import find_sources
from core.tables import Reading, open_table
from tests.data import zoo
from utils import UsageError


def open_text(path, text, **reading):
    zoo.write(path, text, reading.pop("write_as", "utf-8"))
    [source] = find_sources([path])
    return open_table(source, Reading(**reading))


def rejected(table):
    return [(number, row.reason) for number, row in table.rows() if isinstance(row, Rejected)]


BODY = "".join(f"{text},{label}\n" for text, label in zoo.SAMPLES)


QUOTED = "".join(f'"{text}, 好",{label}\n' for text, label in zoo.SAMPLES)


def test_names_of_columns(tmp_path):
    table = open_text(tmp_path / "a.csv", "text,label\n" + BODY)
    assert table.names == ["text", "label"] and len(list(table.rows())) == 60 and next(table.rows())[0] == 2
    assert open_text(tmp_path / "a.csv", BODY).names is None
    table = open_text(tmp_path / "a.csv", "text,label\n" + BODY, header=False)
    assert table.names is None and len(list(table.rows())) == 61
    assert open_text(tmp_path / "a.csv", "情况,部门\n" + BODY, header=True).names == ["情况", "部门"]


def test_a_first_line_that_may_be_names(tmp_path):
    with pytest.raises(UsageError, match="'情况' '部门', may name the columns.*--header yes or --header no"):
        open_text(tmp_path / "a.csv", "情况,部门\n" + BODY)


def test_lines_that_cannot_be_used(tmp_path):
    table = open_text(tmp_path / "a.csv", f'{QUOTED}\n好,是,甲\n只有一列\n"没有关上,甲\n末尾,体育,,\n')
    assert rejected(table)[:3] == [(61, "blank line"), (62, "3 fields, not 2"), (63, "1 field, not 2")]
    assert rejected(table)[3][0] == 64 and "a quote that is not closed" in rejected(table)[3][1]
    assert list(table.rows())[-1] == (65, ["末尾", "体育"]) and len(list(table.rows())) == 65


def test_a_line_in_no_encoding(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(BODY.encode() + b"\xff\xfe\xfd,\xff\n" + '"一\n'.encode() + b'\xff\xfe\xfd",\xe7\x94\xb2\n')
    [source] = find_sources([path])
    assert rejected(open_table(source)) == [(61, "not in a known encoding"), (62, "not in a known encoding")]


def test_an_unclear_encoding_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr("core.lines.likely_encodings", lambda data, context=None: ["GB18030", "BIG5"])
    with pytest.raises(UsageError, match="add --encoding GB18030 or --encoding BIG5"):
        open_text(tmp_path / "a.tsv", "头疼\t甲\n发烧\t乙\n", write_as="gbk")
    table = open_text(tmp_path / "a.tsv", "头疼\t甲\n发烧\t乙\n", write_as="gbk", encoding="gb18030")
    assert [row for _, row in table.rows()] == [["头疼", "甲"], ["发烧", "乙"]]


def test_json_lines(tmp_path):
    lines = [json.dumps({"text": t, "label": n, "more": {"id": 1}}) for t, n in zoo.SAMPLES]
    table = open_text(tmp_path / "a.json", "\n".join([*lines, "", "{broken", '["x", "y"]', "3", '{"text": "末"}']))
    assert table.names == ["text", "label", "more.id"] and table.kind == "JSON lines, UTF-8"
    assert [number for number, _ in rejected(table)] == [61, 62, 64]
    assert list(table.rows())[-1] == (65, ["末", "", ""])


def test_texts_that_begin_with_a_bracket_are_no_json(tmp_path):
    table = open_text(tmp_path / "a.tsv", "".join(f"[笑]{t}\t{n}\n" for t, n in zoo.SAMPLES))
    assert table.kind.startswith("fields between tabs") and next(table.rows()) == (
        1,
        [f"[笑]{zoo.SAMPLES[0][0]}", "体育"],
    )


def test_fasttext(tmp_path):
    more = "__label__a __label__b 两个\n没有标签\n\n末尾 __label__体育\n"
    table = open_text(tmp_path / "a.txt", "".join(f"__label__{n} {t}\n" for t, n in zoo.SAMPLES) + more)
    rows = list(table.rows())
    assert rows[0] == (1, ["体育", zoo.SAMPLES[0][0]]) and rows[61] == (62, ["", "没有标签"])
    assert rejected(table) == [(61, "2 labels"), (63, "blank line")] and rows[-1] == (64, ["体育", "末尾 "])


def test_a_markdown_table(tmp_path):
    lines = ["| text | label |", "|---|:-:|", *(f"| {t} | {n} |" for t, n in zoo.SAMPLES)]
    table = open_text(tmp_path / "a.md", "\n".join(lines))
    assert table.names == ["", "text", "label", ""] and rejected(table) == [(2, "the rule of a Markdown table")]


def test_excel_s_line_about_the_separator(tmp_path):
    table = open_text(tmp_path / "a.csv", "sep=;\ntext;label\n" + BODY.replace(",", ";"))
    assert table.names == ["text", "label"] and next(table.rows()) == (3, list(zoo.SAMPLES[0]))


@pytest.mark.parametrize(
    ("text", "reading", "message"),
    [
        ("", {}, "the file is empty"),
        ("\n\n", {}, "the file is empty"),
        (BODY, {"separator": "@@"}, "no line has '@@'"),
        ('{"a": \n', {}, "not readable as JSON"),
        ("<table><tr>", {}, "a web page"),
        ("P\0\x11\x05好\n" * 9, {}, "a binary file"),
    ],
)
def test_refusals(tmp_path, text, reading, message):
    with pytest.raises(UsageError, match=message):
        open_text(tmp_path / "a.csv", text, **reading)


def test_of_a_long_file_lines_behind_are_looked_at(tmp_path, monkeypatch):
    """It may be sorted by its labels."""
    monkeypatch.setattr("core.dialects.SAMPLE_ROWS", 10)
    monkeypatch.setattr("core.dialects.SAMPLE_STEP", 5)
    for name, lines in {
        "a.csv": [f"{t},{n}" for t, n in zoo.SAMPLES],
        "a.json": [json.dumps({"t": t, "l": n}) for t, n in zoo.SAMPLES],
    }.items():
        sample = open_text(tmp_path / name, "\n".join(lines)).sample()
        assert [number for number, _ in sample] == [*range(1, 11), *range(15, 61, 5)]


@pytest.mark.parametrize(
    ("line", "rows"), [("text", 0), ("标题", 0), ("text,label", 0), ("Id,内容", 0), ("快递太慢", 1), ("好,标签", 1)]
)
def test_a_file_of_names_alone_has_no_rows(tmp_path, line, rows):
    assert len(list(open_text(tmp_path / "a.csv", line + "\n").rows())) == rows


def test_names_of_rows_and_commas_in_texts(tmp_path):
    """R gives the numbers of rows no name; short words before a comma are none."""
    rows = "".join(f"{name},{line}\n" for name, line in zip(range(60), BODY.splitlines()))
    assert open_text(tmp_path / "a.csv", "text,label\n" + rows).names == ["", "text", "label"]
    words = "".join(f"第{name}个,{line}\n" for name, line in zip(range(60), BODY.splitlines()))
    with pytest.raises(UsageError, match="2 names of columns, but rows of 3 fields: is ',' in the texts.*--header no"):
        open_text(tmp_path / "b.csv", "text,label\n" + words)
    ends = "".join(f"{line},\n" for line in BODY.splitlines())
    table = open_text(tmp_path / "c.csv", "text,label\n" + ends)
    assert table.names == ["text", "label", ""] and rejected(table) == []


def test_fasttext_with_commas(tmp_path):
    lines = [f"__label__{n}, {t}\n" for t, n in zoo.SAMPLES] + ["__label__体育,__label__财经 两个\n"]
    table = open_text(tmp_path / "a.txt", "".join(lines))
    assert next(table.rows()) == (1, ["体育", zoo.SAMPLES[0][0]]) and rejected(table) == [(61, "2 labels")]


def test_texts_about_fasttext_are_no_fasttext(tmp_path):
    table = open_text(tmp_path / "a.tsv", "".join(f"把“__label__”写在{t}\t{n}\n" for t, n in zoo.SAMPLES))
    assert table.kind.startswith("fields between tabs")


@pytest.mark.parametrize("title", ["导出时间：2024-01-01", "导出时间：2024-01-01,"])
def test_names_that_nobody_knows_below_a_title(tmp_path, title):
    text = f"{title}\n情况,部门\n{BODY}"
    with pytest.raises(UsageError, match="'情况' '部门', may name the columns"):
        open_text(tmp_path / "a.csv", text)
    table = open_text(tmp_path / "a.csv", text, header=True)
    assert table.names == ["情况", "部门"] and rejected(table) == [(1, "above the names of the columns")]
    table = open_text(tmp_path / "a.csv", f"{title}\n{BODY}")
    assert table.names is None and [row for _, row in table.rows()][-60:] == [*map(list, zoo.SAMPLES)]


def test_fewer_names_than_fields(tmp_path):
    """Commas in texts without quotes: no row is read as if they were not there."""
    rows = "".join(f"好,{number},{line}\n" for number, line in enumerate(BODY.splitlines()))
    for names in ("text,label", "情况,部门"):
        table = open_text(tmp_path / "a.csv", f"{names}\n{rows}", header=True)
        assert table.names == names.split(",") and len(rejected(table)) == 60


def test_a_quote_that_is_open_over_thousands_of_lines(tmp_path):
    """All lines behind it would be one cell; that no line has two fields says nothing of it."""
    body = "text,label\n" + QUOTED[:400] + '"没有关上,体育\n' + "又一行\n" * 3000
    with pytest.raises(
        UsageError, match=r"a.csv:\d+: a quote is not closed within 500 lines; close it, or take the row"
    ):
        open_text(tmp_path / "a.csv", body)
