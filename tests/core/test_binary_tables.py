"""core/binary_tables.py: Parquet, and spreadsheets where python-calamine is installed."""

import importlib.util
import zipfile

import pytest

from core.binary_tables import _cell, _sheet_rows
from core.samples import Samples, Wishes
from core.sources import find_sources
from core.tables import Reading, open_table, open_tables
from tests.data import spreadsheets, zoo
from utils import UsageError

needs_calamine = pytest.mark.skipif(
    importlib.util.find_spec("python_calamine") is None, reason="python-calamine is not installed"
)


def open_file(path, **reading):
    [source] = find_sources([path])
    return open_table(source, Reading(**reading))


def test_parquet(tmp_path):
    path, samples = zoo.parquet(tmp_path)
    table = open_file(path)
    assert (table.kind, table.names, table.label_names) == (
        "Parquet", ["text", "label"], {1: {str(number): name for number, name in enumerate(zoo.NAMES)}}
    )  # fmt: skip
    rows = list(table.rows())
    assert rows == [(n, [text, zoo.IDS[label]]) for n, (text, label) in enumerate(samples, 1)]


def test_of_a_long_parquet_some_rows_are_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr("core.dialects.SAMPLE_ROWS", 7)
    monkeypatch.setattr("core.dialects.SAMPLE_STEP", 10)
    monkeypatch.setattr("core.binary_tables.BATCH_ROWS", 16)
    path, samples = zoo.parquet(tmp_path)
    sample = open_file(path).sample()
    assert [number for number, _ in sample] == [1, 2, 3, 4, 5, 6, 7, 10, 20, 30, 40, 50, 60]
    assert all(row[0] == samples[number - 1][0] for number, row in sample)


def test_a_damaged_parquet(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1" + b"x" * 100)
    with pytest.raises(UsageError, match="a.parquet: "):
        open_file(tmp_path / "a.parquet")


def test_without_the_package(tmp_path, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", missing)
    spreadsheets.write_xlsx(tmp_path / "a.xlsx", {"Sheet1": [["文本", "标签"]]})
    with pytest.raises(
        UsageError, match="python-calamine, not installed here; run: pip install -r data/requirements-c"
    ):
        open_file(tmp_path / "a.xlsx")


@needs_calamine
def test_a_sheet(tmp_path):
    rows = [["客户意见汇总", None], ["文本", "标签"], *zoo.SAMPLES, [None, None], ["最后一条，第99个", 3.0]]
    spreadsheets.write_xlsx(tmp_path / "a.xlsx", {"数据": rows, "空": []})
    table = open_file(tmp_path / "a.xlsx")
    assert table.names == ["文本", "标签"] and "sheet '数据', column names" in table.kind and "title" in table.kind
    assert [row for _, row in table.rows()] == [*map(list, zoo.SAMPLES), ["最后一条，第99个", "3"]]
    assert list(table.rows())[-1][0] == 64  # as the program numbers it


@needs_calamine
def test_several_sheets_are_asked_for(tmp_path):
    spreadsheets.write_xlsx(tmp_path / "a.xlsx", {"一月": zoo.SAMPLES, "二月": zoo.SAMPLES[:9]})
    with pytest.raises(UsageError, match="several sheets with rows; choose one: --sheet 一月 or --sheet 二月"):
        open_file(tmp_path / "a.xlsx")
    assert len(list(open_file(tmp_path / "a.xlsx", sheet="二月", header=False).rows())) == 9
    with pytest.raises(UsageError, match="no sheet '三月'"):
        open_file(tmp_path / "a.xlsx", sheet="三月")


@needs_calamine
def test_sheets_that_are_not_read_are_told(tmp_path):
    """Of one file: which is read of two with rows; a note of one row is told, too."""
    spreadsheets.write_xlsx(
        tmp_path / "a.xlsx", {"一月": zoo.SAMPLES, "二月": zoo.SAMPLES[:9], "说明": [["客服导出"]], "空": []}
    )
    kind = open_file(tmp_path / "a.xlsx", sheet="一月", header=False).kind
    assert kind.endswith("; not read: '二月' of 9 rows, '说明' of 1 row")
    with pytest.raises(UsageError, match="or read several: --sheet 一月 二月; of several files, .* a.xlsx=一月 …"):
        open_file(tmp_path / "a.xlsx")


@needs_calamine
def test_several_sheets_and_a_sheet_a_file(tmp_path):
    header = [["文本", "标签"]]
    for name, sheets in (("a", ("一月", "说明")), ("b", ("说明", "二月=新"))):
        book = {sheet: header + (zoo.SAMPLES[:30] if "月" in sheet else zoo.SAMPLES[:3]) for sheet in sheets}
        spreadsheets.write_xlsx(tmp_path / f"{name}.xlsx", book)
    zoo.write(tmp_path / "c.csv", zoo.table([*header, *zoo.SAMPLES[30:]]))
    sources = find_sources([tmp_path])
    reading = Reading(sheet=["a.xlsx=一月", "b.xlsx=二月=新"])
    samples = Samples([(None, source) for source in sources], Wishes(reading))
    assert sum(1 for _ in samples.rows()) == 90
    told = "\n".join(samples.description())
    assert "a.xlsx: spreadsheet, sheet '一月'" in told and "b.xlsx: spreadsheet, sheet '二月=新'" in told
    assert told.count("not read: '说明' of 4 rows") == 2
    one, two = open_tables(sources[0], Reading(sheet=["一月", "说明"]))
    assert (one.name, two.name) == (f"{tmp_path / 'a.xlsx'}:一月", f"{tmp_path / 'a.xlsx'}:说明")
    assert [len(list(table.rows())) for table in (one, two)] == [30, 3] and "not read" not in one.kind
    for wrong in (["一月", "三月"], ["x.xlsx=一月"]):
        with pytest.raises(UsageError, match=f"a.xlsx: no sheet '{wrong[-1]}'; give --sheet one of: 一月 说明"):
            open_tables(sources[0], Reading(sheet=wrong))
    assert len(open_tables(sources[2], Reading(sheet=["一月", "说明"]))) == 1  # a CSV


@needs_calamine
def test_a_hidden_sheet_is_called_so(tmp_path):
    spreadsheets.write_xlsx(tmp_path / "a.xlsx", {"一月": zoo.SAMPLES, "旧": zoo.SAMPLES})
    with zipfile.ZipFile(tmp_path / "a.xlsx") as book, zipfile.ZipFile(tmp_path / "b.xlsx", "w") as copy:
        for name in book.namelist():
            copy.writestr(name, book.read(name).replace('name="旧"'.encode(), 'name="旧" state="hidden"'.encode()))
    with pytest.raises(UsageError, match=r"choose one: --sheet 一月 or --sheet 旧 \(hidden\); "):
        open_file(tmp_path / "b.xlsx")


@needs_calamine
def test_a_locked_or_damaged_book(tmp_path):
    (tmp_path / "a.xls").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 2000)
    with pytest.raises(UsageError, match="not readable as a spreadsheet"):
        open_file(tmp_path / "a.xls")


def test_merged_cells_and_values():
    class Sheet:
        start = (1, 0)
        merged_cell_ranges = [((2, 0), (3, 0)), ((1, 0), (1, 1))]

        def to_python(self, skip_empty_area):
            return [["title", ""], ["甲", "一"], ["", "二"], ["乙", "三"]]

    rows = [(2, ["title", ""]), (3, ["甲", "一"]), (4, ["甲", "二"]), (5, ["乙", "三"])]
    assert _sheet_rows(Sheet()) == rows
    assert [_cell(value) for value in (1.0, 1.5, True, "x")] == ["1", "1.5", "true", "x"]


def test_dates_and_decimals_of_parquet(tmp_path):
    import datetime
    import decimal

    import pyarrow
    from pyarrow import parquet

    values = [datetime.datetime(2024, 1, 2, 3, 4), datetime.date(2024, 1, 2), decimal.Decimal("1.50"), "好"]
    table = pyarrow.table({name: [value] * 3 for name, value in zip("abcd", values)})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert next(open_file(tmp_path / "a.parquet").rows()) == (1, ["2024-01-02 03:04:00", "2024-01-02", "1.50", "好"])


@needs_calamine
@pytest.mark.parametrize(
    "above",
    [
        [["客户意见汇总", None, None], ["制表：", "张三", None]],
        [["数据", None, "结果"]],
        [["基本信息", "原始数据", "人工标注"], [None, None, None]],
    ],
)
def test_titles_and_names_over_two_rows(tmp_path, above):
    rows = [["编号", "文本", "标签"], *((float(i), *row) for i, row in enumerate(zoo.SAMPLES))]
    spreadsheets.write_xlsx(tmp_path / "a.xlsx", {"数据": [*above, *rows]})
    table = open_file(tmp_path / "a.xlsx")
    assert table.names == ["编号", "文本", "标签"] and "of a title" in table.kind
    assert [row[1:] for _, row in table.rows()] == [*map(list, zoo.SAMPLES)]
