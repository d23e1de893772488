"""core/binary_tables.py: Parquet, and spreadsheets where python-calamine is installed."""

import importlib.util

import pytest

from core.binary_tables import _cell, _sheet_rows
from core.sources import find_sources
from core.tables import Reading, open_table
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
