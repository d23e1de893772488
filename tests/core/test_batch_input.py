"""batch_input.py: rows of several files, and parts that are the same however often they are read."""

import pytest

from core.batch_input import Input, Row, parts_of
from core.samples import Wishes
from utils import UsageError


def write(path, *lines):
    path.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8"))
    return path


def test_files_of_the_same_columns_in_another_order(tmp_path):
    write(tmp_path / "1.csv", "id,text", *(f"{number},第{number}条文本" for number in range(20)))
    write(tmp_path / "2.csv", "text,id", *(f"第{number}条文本,{number}" for number in range(20, 40)), "id,x,y")
    found = Input([str(tmp_path / "*.csv")], Wishes(known_labels=frozenset("甲乙")))
    rows = list(found.rows())
    assert [row.cells for row in rows[:40]] == [[str(number), f"第{number}条文本"] for number in range(40)]
    assert rows[40].reason == "3 fields, not 2" and rows[40].number == 22 and len(rows) == 41
    facts, total = found.identity()
    assert [fact["name"] for fact in facts] == ["1.csv", "2.csv"] and total in (41, 42, 43)
    write(tmp_path / "3.csv", "text,other", *(f"第{number}条文本,{number}" for number in range(20, 40)))
    with pytest.raises(UsageError, match="3.csv: has other columns than .*1.csv; predict them one by one"):
        Input([str(tmp_path / "*.csv")], Wishes(known_labels=frozenset("甲乙")))


def test_a_column_with_the_model_s_labels_is_the_truth(tmp_path):
    lines = [f"第{number}条文本\t{'甲乙'[number % 2]}" for number in range(20)]
    found = Input([str(write(tmp_path / "x.txt", *lines))], Wishes(known_labels=frozenset("甲乙丙")))
    assert found.names == ["text", "label"] and [row.truth for row in found.rows()] == list("甲乙" * 10)
    lines = [f"{line}\t乙" for line in lines]
    with pytest.raises(UsageError, match="2 columns have labels of the model; choose .* --label_column 2 or"):
        Input([str(write(tmp_path / "x.txt", *lines))], Wishes(known_labels=frozenset("甲乙丙")))
    found = Input([str(tmp_path / "x.txt")], Wishes(known_labels=frozenset("甲乙丙"), label_column="3"))
    assert {row.truth for row in found.rows()} == {"乙"} and found.names == ["text", "column_2", "label"]


def test_parts():
    rows = [Row("f", number, [size * "x"], "", None, None, "", None) for number, size in enumerate((1, 1, 1))]
    assert [len(part) for part in parts_of(rows, 2)] == [2, 1]
    rows[0] = rows[0]._replace(cells=["x" * 4_000_000])
    assert [len(part) for part in parts_of(rows, 2)] == [1, 2]
