"""core/markup_tables.py: HTML and XML Spreadsheet 2003, as offices' programs export them under the name .xls."""

import html

import pytest

from core.samples import Samples, Wishes
from core.sources import find_sources
from core.tables import Reading, open_table, open_tables
from tests.data import zoo
from utils import UsageError

XML = (
    '<?xml version="1.0"?>\n<?mso-application progid="Excel.Sheet"?>\n'
    '<Workbook xmlns="urn:schemas-microsoft-com:office:spreadsheet" '
    'xmlns:ss="urn:schemas-microsoft-com:office:spreadsheet">{}</Workbook>'
)
HEADER = ("内容", "类别")


def page(rows, above="", charset="utf-8"):
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>\n" for row in rows)
    head = f'<html xmlns:x="urn:schemas-microsoft-com:office:excel"><head><meta charset={charset}>'
    style = "<style>td {{ mso-number-format: \\@ }} <table></style>"
    return f"{head}{style}</head><body><table border=1>{above}{body}</table></body></html>"


def cell(value, kind="String", more=""):
    return f'<Cell{more}><Data ss:Type="{kind}">{html.escape(str(value))}</Data></Cell>'


def sheet(name, rows):
    body = "".join(f"<Row>{''.join(map(cell, row))}</Row>" for row in rows)
    return f'<Worksheet ss:Name="{name}"><Table>{body}</Table></Worksheet>'


def open_file(path, text, encoding="utf-8", **reading):
    [source] = find_sources([zoo.write(path, text, encoding, "\r\n")])
    return open_table(source, Reading(**reading))


def fields(table):
    return [tuple(row) for _, row in table.rows()]


@pytest.mark.parametrize(("encoding", "charset"), [("utf-8", "utf-8"), ("gbk", "gb2312"), ("utf-16", "unicode")])
def test_html(tmp_path, encoding, charset):
    odd = [('他说<b>"好"</b> & 1 < 2', "体育")]
    table = open_file(tmp_path / "导出.xls", page([HEADER, *zoo.SAMPLES, *odd], charset=charset), encoding)
    assert table.kind == "spreadsheet (HTML), sheet 'table 1', column names in the first row"
    assert table.names == list(HEADER) and fields(table) == [*zoo.SAMPLES, *odd]
    assert next(table.rows())[0] == 2


def test_samples_of_a_page(tmp_path):
    """With a title over both columns, line breaks in cells, a total."""
    rows = [(f"{text}", label) for text, label in zoo.SAMPLES] + [("合计", "60")]
    text = page([HEADER, *rows], above="<tr><th colspan='2'>客户意见</th></tr>").replace("的新消息", "的<br>新消息")
    path = zoo.write(tmp_path / "a.xls", text)
    samples = Samples([(None, source) for source in find_sources([path])], Wishes())
    found = [(text, label) for _, _, text, label in samples.rows()]
    assert found[:-1] == [(text.replace("的新", "的 新"), label) for text, label in zoo.SAMPLES]
    assert found[-1][1].reason == "a total, not a sample"


def test_cells_over_several_rows_are_filled(tmp_path):
    rows = (
        "<tr><td>text<td>label<td>更多</tr>"
        "<tr><td>甲甲</td><td rowspan=3>体育</td><td>1<tr><td>乙乙<td>2<tr><td>丙丙<td>3"
        "<tr><td>丁丁<td rowspan='x'>财经<td>4<table><tr><td>内</table></tr><tr></tr>"
    )
    table = open_file(tmp_path / "a.xls", f"<table>{rows}</table>", header=True)
    wanted = [("甲甲", "体育", "1"), ("乙乙", "体育", "2"), ("丙丙", "体育", "3"), ("丁丁", "财经", "4内")]
    assert fields(table) == wanted


def test_several_tables_are_asked_for(tmp_path):
    text = page([HEADER, *zoo.SAMPLES]) + page([HEADER, *zoo.SAMPLES[:9]])
    with pytest.raises(
        UsageError, match="several sheets with rows; choose one: --sheet 'table 1' or --sheet 'table 2'"
    ):
        open_file(tmp_path / "a.xls", text)
    assert len(fields(open_file(tmp_path / "a.xls", text, sheet="table 2"))) == 9
    [source] = find_sources([tmp_path / "a.xls"])
    assert [len(fields(one)) for one in open_tables(source, Reading(sheet=["table 1", "table 2"]))] == [60, 9]


def test_xml_spreadsheet(tmp_path):
    down, third = ' ss:MergeDown="1"', ' ss:Index="3"'
    first = (
        '<Worksheet ss:Name="说明"><Table/></Worksheet><Worksheet ss:Name="数据"><Table>'
        f'<Row ss:Index="2">{cell("内容")}{cell("类别")}{cell("分数")}</Row>'
        f"<Row>{cell('甲 & 乙', 'String')}{cell('体育', more=down)}{cell('3.0', 'Number')}</Row>"
        f"<Row>{cell('丙')}{cell(4, 'Number', more=third)}</Row>"
        f'<Row><Cell ss:Index="2"/>{cell(0.5, "Number")}</Row></Table></Worksheet>'
    )
    table = open_file(tmp_path / "a.xls", XML.format(first), header=True)
    assert table.names == ["内容", "类别", "分数"] and "(XML Spreadsheet 2003), sheet '数据'" in table.kind
    assert list(table.rows()) == [(3, ["甲 & 乙", "体育", "3"]), (4, ["丙", "体育", "4"]), (5, ["", "", "0.5"])]
    text = XML.format(sheet("一月", [HEADER, *zoo.SAMPLES]) + sheet("二月", [HEADER, *zoo.SAMPLES[:9]]))
    table = open_file(tmp_path / "b.xls", text, sheet="一月")
    assert fields(table) == zoo.SAMPLES and table.kind.endswith("; not read: '二月' of 10 rows")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<html><body>登录已过期</body></html>", "a web page without a table; give a file of texts"),
        (XML.format("")[:-3], "not readable as XML"),
        (XML.format(""), "XML Spreadsheet 2003 without a table"),
        (XML.format("").replace("<Workbook", '<!DOCTYPE a [<!ENTITY b "c">]>\n<Workbook'), "XML with a document type"),
        ("<?xml version='1.0'?><texts><text label='a'>b</text></texts>", "XML; write its records as CSV"),
    ],
)
def test_refusals(tmp_path, text, message):
    with pytest.raises(UsageError, match=f"a.xls: {message}"):
        open_file(tmp_path / "a.xls", text)
