"""core/quoting.py: what Excel and CSV programs wrote, and texts that only have quotes."""

import csv
import io

import pytest

from core.quoting import MAX_CELL_LINES, find_rows, read_rows, rows_of

TEXTS = ["头疼", '他说"疼"', "第一行\n第二行", "一\t二", '末尾"', "a, b"]
ROWS = [(text, "就医") for text in TEXTS]


def written(rows, **options):
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\n", **options).writerows(rows)
    return file.getvalue().removesuffix("\n").split("\n")


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
@pytest.mark.parametrize("delimiter", ["\t", ","])
def test_what_a_program_wrote_is_read_as_it_was(delimiter, quoting):
    rows = [row for row in ROWS if delimiter == "\t" or "\t" not in row[0]]
    lines = written(rows, delimiter=delimiter, quoting=quoting)
    found = read_rows(lines, 2)
    assert [tuple(row.fields) for row in found] == rows
    assert sum(row.lines for row in found) == len(lines)
    assert lines[found[2].number - 1] in ('"第一行', "第一行")


@pytest.mark.parametrize(
    "lines",
    [
        ['"阿莫西林"能吃吗\t就医', "普通\t病因"],  # closed in the middle of a field
        ['"头疼怎么办"\t就医', "普通\t病因"],  # nothing in it asks for quotes
        ['"头疼\t就医', "普通\t病因", '怎么"\t病因'],  # would take in a line
        ['"头疼', *["普通"] * MAX_CELL_LINES, '怎么"'],
        ["头疼\t就医", '说"疼"\t病因'],
        ["头疼，怎么办", "发烧"],
        ['"'],
        [],
    ],
)
def test_texts_with_quotes_are_left_alone(lines):
    assert read_rows(lines, 2) is None


def test_a_comma_is_enough_in_excel_s_own_files():
    assert read_rows(['"a, b"\t甲', "c\t乙"], 2) is None
    assert read_rows(['"a, b"\t甲', "c\t乙"], 2, is_excel=True)[0].fields == ["a, b", "甲"]


@pytest.mark.parametrize("size", [1, 2, 5])
def test_cells_go_over_the_ends_of_blocks(size):
    lines = written([*ROWS, ("一\n二\n\n三", "就医"), *ROWS], delimiter="\t")
    blocks = [lines[first : first + size] for first in range(0, len(lines), size)]
    found = find_rows(lambda: iter(blocks), 2)
    assert (found.delimiter, found.samples, found.lines) == ("\t", 2 * len(ROWS) + 1, len(lines))
    assert list(rows_of(iter(blocks), found.delimiter)) == read_rows(lines, 2)
    assert find_rows(lambda: iter([*blocks, ['"头疼'], ["普通"]]), 2) is None


def test_a_quote_that_is_never_closed_ends_the_reading_soon():
    read = []

    def blocks():
        yield ['"头疼\t就医']
        for number in range(1000):
            read.append(number)
            yield ["普通\t就医"]

    assert find_rows(blocks, 2) is None
    assert len(read) < 2 * MAX_CELL_LINES
