"""core/dialects.py: what divides a file, and quotes that are not closed."""

import pytest

from core.dialects import Dialect, Rejected, find_dialect, is_sampled, read_rows

ROWS = [f"第{number}条评论说很好,标签{number % 3}" for number in range(30)]


QUOTED = Dialect(",", True)


def rows(lines, dialect=QUOTED, is_row=None):
    return list(read_rows([(1, lines)], dialect, is_row))


@pytest.mark.parametrize("mark", ["\t", "_!_", "|||", "::", "|", ";", ",", "\x01"])
def test_separators(mark):
    dialect, width = find_dialect([row.replace(",", mark) for row in ROWS])
    assert (dialect.separator, width) == (mark, 2)


def test_commas_in_texts_are_none():
    lines = [f"好{'，但是，' * (number % 4)}不错{',' * (number % 3)}" for number in range(30)]
    assert find_dialect(lines) == (Dialect(""), 1)
    assert find_dialect([f"{line}\t甲" for line in lines])[0].separator == "\t"


def test_semicolons_of_html_divide_nothing():
    lines = [f"<p>第{number}条&nbsp;&#20320;</p>,标签{number % 3}" for number in range(30)]
    assert find_dialect(lines) == (Dialect(",", True), 2)
    assert find_dialect([line.replace(",", ";").replace("条", "条,") for line in lines]) == (Dialect(";", True), 2)


def test_quotes():
    lines = [f'"他说""好"", 第{number}次",甲' for number in range(30)]
    dialect, width = find_dialect(lines)
    assert (dialect, width) == (Dialect(",", True), 2)
    assert rows(lines, dialect)[0] == (1, ['他说"好", 第0次', "甲"])
    lines = [line.replace('""', '\\"') for line in lines]
    dialect, width = find_dialect(lines)
    assert (dialect, width) == (Dialect(",", True, True), 2)
    assert rows(lines, dialect)[0] == (1, ['他说"好", 第0次', "甲"])


def test_spaces_before_quotes():
    """Written by hand, or by a program's join(", ")."""
    dialect = Dialect(",", True, is_spaced=True)
    lines = [f'第{number}次, "他说""好"", 但是", "甲"' for number in range(30)]
    assert find_dialect(lines) == (dialect, 3) and str(dialect) == "fields in quotes between commas and spaces"
    assert rows(lines, dialect)[0] == (1, ["第0次", '他说"好", 但是', "甲"])
    # Only some need them; a cell goes on in the next line.
    lines = [f"{row}, 好" if number % 3 else f'{row}, "好, 很好"' for number, row in enumerate(ROWS)]
    assert find_dialect(lines) == (dialect, 3)
    assert rows(['a, "b', 'c", d', '"e", f'], dialect) == [(1, ["a", "b\nc", "d"]), (3, ["e", "f"])]
    # Quotes of a text's own are left alone.
    lines = [f'第{number}次, "好"的,甲' for number in range(30)]
    assert find_dialect(lines) == (QUOTED, 3) and rows(lines)[0] == (1, ["第0次", ' "好"的', "甲"])


def test_a_row_inside_a_cell_with_spaces_before_its_quotes():
    dialect = Dialect(",", True, is_spaced=True)
    lines = ['标签1, "他说很好', '标签2, "没有关上"', '标签1, 后来不好"', '标签1, "好"']
    found = rows(lines, dialect, is_row=lambda fields: len(fields) == 2 and fields[0] in {"标签1", "标签2"})
    assert [row.__class__ is list for _, row in found] == [False, True, True, True]


def test_tabs_and_texts_that_begin_with_quotes():
    """Quotes are the text's own unless a program with quotes wrote the file."""
    lines = [f'"好"的第{number}次\t甲' for number in range(30)]
    assert find_dialect(lines) == (Dialect("\t"), 2)
    assert find_dialect([f'"第{number}""次"\t"甲"' for number in range(30)]) == (Dialect("\t", True), 2)


def test_line_breaks_inside_quotes():
    assert rows(["a,b", '"c', "", 'd",e', "f,g"]) == [(1, ["a", "b"]), (2, ["c\n\nd", "e"]), (5, ["f", "g"])]


def test_a_quote_that_is_never_closed_takes_in_nothing():
    found = rows([ROWS[0], f'"{ROWS[1]}', *ROWS[2:]])
    assert [number for number, _ in found] == list(range(1, 31))
    assert [number for number, row in found if isinstance(row, Rejected)] == [2]
    assert found[1][1].content == f'"{ROWS[1]}'


def test_a_quote_that_closes_far_away():
    """Strictly read it is one cell; a line inside that is a row tells that it is not."""
    lines = [ROWS[0], '"他说很好,标签1', ROWS[2], '后来不好",标签2', ROWS[4]]
    assert len(rows(lines)) == 3
    labels = {"标签0", "标签1", "标签2"}
    found = rows(lines, is_row=lambda fields: len(fields) == 2 and fields[1] in labels)
    assert [row.__class__ is list for _, row in found] == [True, False, True, True, True]
    assert found[2] == (3, ["第2条评论说很好", "标签2"])


def test_a_cell_of_too_many_lines(monkeypatch):
    monkeypatch.setattr("core.dialects.MAX_CELL_LINES", 5)
    found = rows(['"a', *["b"] * 9, 'c",d', "e,f"])
    assert isinstance(found[0][1], Rejected) and found[-1] == (12, ["e", "f"])


def test_lines_that_are_divided_together(monkeypatch):
    """Wherever such a block ends: in a cell of several lines, behind one, at a quote that is not closed."""
    monkeypatch.setattr("core.dialects.MAX_CELL", 40)
    lines = ["a,b", "", '"c, ""d""",e', '"f', "", 'g",h', "i,j", '"k,l', "m,n", '"o"p,q', f"{'r' * 50},s", "t,u"] * 3
    found = []
    for size in (1, 2, 3, 5, 100):
        monkeypatch.setattr("core.dialects.LINES_AT_ONCE", size)
        found.append([(number, str(row)) for number, row in rows(lines)])
    assert all(one == found[0] for one in found)
    assert found[0][:4] == [(1, "['a', 'b']"), (2, "['']"), (3, "['c, \"d\"', 'e']"), (4, "['f\\n\\ng', 'h']")]
    assert [number for number, row in found[0] if row.startswith("Rejected")] == [8, 10, 11, 20, 22, 23, 32, 34, 35]


@pytest.mark.parametrize("dialect", [QUOTED, Dialect(","), Dialect("")])
def test_of_a_sample_only_some_rows_are_divided(monkeypatch, dialect):
    monkeypatch.setattr("core.dialects.SAMPLE_ROWS", 3)
    monkeypatch.setattr("core.dialects.SAMPLE_STEP", 5)
    lines = [f"{number},b" for number in range(1, 41)]
    chunks = [(1, lines[:2]), (3, lines[2:21]), (22, lines[21:23]), (24, lines[23:])]
    found = list(read_rows(chunks, dialect, skim=True))
    wanted = [1, 2, 3, 5, 10, 15, 20, 25, 30, 35, 40]
    # In quotes, a block has more where it begins among the first rows.
    assert [number for number, _ in found if is_sampled(number)] == wanted
    assert len(found) < 20
    all_rows = dict(read_rows(chunks, dialect))
    assert len(all_rows) == 40 and all(all_rows[number] == row for number, row in found)


def test_blocks_of_lines():
    chunks = [(1, ["a,b", '"c']), (3, ['d",e']), (4, ["f,g"])]
    assert list(read_rows(chunks, Dialect(",", True))) == [(1, ["a", "b"]), (2, ["c\nd", "e"]), (4, ["f", "g"])]


def test_a_row_that_is_too_large_is_told_as_such(monkeypatch):
    monkeypatch.setattr("core.dialects.MAX_CELL", 50)
    dialect = Dialect(",", True)
    lines = ["1,头疼", "2," + "头" * 60, '3,"' + "疼" * 60 + '"', '4,"开', "x" * 30, "y" * 30, "5,发烧"]
    found = dict(read_rows([(1, lines)], dialect))
    assert found[1] == ["1", "头疼"] and found[7] == ["5", "发烧"]
    assert [found[number].reason for number in (2, 3)] == ["more than 50 characters"] * 2
    assert found[4].reason == "a quote that is not closed, or more than 50 characters"
