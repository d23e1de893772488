"""core/table_outline.py: the columns of a table in lines."""

from core.table_columns import Roles
from core.table_outline import column_lines
from core.tables import Table


def test_columns_in_lines():
    table = Table("a.csv", "fields", ["编号", "text", "label"], 3, None)
    rows = [["1", "好\n的", "甲"], ["2", "一" * 50, "乙"], ["3", "", "甲"], ["4", "坏", "甲"]]
    assert list(column_lines(table, rows, Roles([1], 2))) == [
        "  column  use    filled  different  such as",
        "  编号    -      100%    4          1 | 2 | 3",
        "  text    text   75%     3          好 的 | " + "一" * 35 + "… |",
        "  label   label  100%    2          甲 | 乙 | 甲",
        "  (of 4 rows that were looked at)",
    ]
    assert [line.split()[1] for line in column_lines(table, rows)][1:4] == ["?"] * 3
