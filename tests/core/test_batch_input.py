"""batch_input.py: rows of several files, and parts that are the same however often they are read."""

import csv

import numpy as np
import pytest

from core.batch_input import Block, Input, Row, parts_of
from core.batch_output import Output
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


ODD = [
    "",
    " ",
    "x",
    '"',
    "a,b",
    "<b>粗</b>",
    "&amp;",
    "\u3000头",
    "头\u200b",
    "a  b",
    " 尾 ",
    "两\n行",
    "\ud800",
    "id",
    "text",
    "甲",
]


def test_marks_around_cells_are_not_read_and_stay_in_what_is_written(tmp_path):
    lines = ["text,label", *(f'\'头疼{number},"=""{"甲乙"[number % 2]}"""' for number in range(20))]
    found = Input([str(write(tmp_path / "x.csv", *lines))], Wishes(known_labels=frozenset("甲乙")))
    first, *_ = rows = list(found.rows())
    assert len(rows) == 20 and (first.text, first.truth, first.cells) == ("头疼0", "甲", ["'头疼0", '="甲"'])
    assert sum("taken off" in line for line in found.samples.description()) == 2


@pytest.mark.parametrize("clean", ["html", "none"])
@pytest.mark.parametrize("size", [1, 7, 100, 5000])
def test_rows_that_are_read_together_are_those_that_are_read_alone(tmp_path, monkeypatch, clean, size):
    """Whatever is in them, whatever the blocks: what a file has is read row by row as well, and must be the same."""
    random = np.random.RandomState(0)
    lines = [["id", "text", "label"]]
    for number in range(2000):
        text, label = f"第{number}条文本", "甲乙丙"[number % 3]
        if random.rand() < 0.1:
            text, label = random.choice(ODD), random.choice(["甲", "", "丁", " 乙 ", "[1, 2]"])
        lines.append([str(number), text, label])
    lines[500:500] = [["id", "text", "label"], ["1"], [], ["1", "2", "3", "4"], ["1", "头", "乙", ""]]
    with (tmp_path / "x.csv").open("w", encoding="utf-8", errors="surrogatepass", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)
    wishes = Wishes(known_labels=frozenset("甲乙丙"), clean=clean, trust_columns=True)
    output = Output("csv", ["id", "text", "label"], ["predicted_label", "score"])

    def parts():
        found = list(parts_of(Input([str(tmp_path / "x.csv")], wishes).blocks(), 90, output.problem))
        return [{**vars(part), "truths": list(map(str, part.truths))} for part in found]

    monkeypatch.setattr("core.dialects.LINES_AT_ONCE", size)
    together = parts()
    monkeypatch.setattr("core.batch_input._Reader._block", lambda self, numbers, rows: None)
    alone = parts()
    for one, other in zip(together, alone):
        for found in (one, other):
            found["truths"] = [truth.partition("(")[0] for truth in found["truths"]]
    assert together == alone and sum(len(part["rejected"]) for part in alone) > 20 and len(alone) == 23


def test_parts(monkeypatch):
    rows = [Row("f", number, [size * "x"], "", None, None, "", None) for number, size in enumerate((1, 1, 1))]
    assert [len(part) for part in parts_of([rows], 2)] == [2, 1]
    rows[0] = rows[0]._replace(cells=["x" * 4_000_000])
    assert [len(part) for part in parts_of([rows], 2)] == [1, 2]
    cells = [["x" * (1 + number % 9)] for number in range(50)]
    block = Block("f", range(50), cells, [cell[0] for cell in cells], None, sum(len(cell[0]) for cell in cells))
    assert [len(part) for part in parts_of([block, block], 30)] == [30, 30, 30, 10]
    monkeypatch.setattr("core.batch_input.PART_CHARACTERS", 100)
    some = [[part.texts for part in parts_of(blocks, 30)] for blocks in ([block, block], [[*block.rows()]] * 2)]
    assert some[0] == some[1] and len(some[0]) == 5
