"""core/columns.py: columns the wrong way round, names of columns, numbers of records; and honest data."""

import pytest

from core.columns import Columns, looks_like_header
from tests.helpers import ROOT
from utils import read_lines


def problems(rows):
    columns = Columns()
    columns.add(*map(list, zip(*rows)))
    return columns.problems()


def honest(samples, labels):
    return [(f"第{number}位患者应该挂什么科", f"科室{number % labels}") for number in range(samples)]


@pytest.mark.parametrize("samples, labels", [(30, 5), (60, 15), (2, 2), (9, 9), (240, 15), (1000, 100), (600, 60)])
def test_honest_data_passes(samples, labels):
    assert problems(honest(samples, labels)) == []


def test_the_sample_data_passes():
    for name in ("train", "dev"):
        assert problems([line.split("\t") for line in read_lines(ROOT / "data" / f"{name}.txt")]) == []


def test_short_texts_with_long_names_of_labels_pass():
    rows = [(f"词{number}", ("上呼吸道感染类疾病", "消化系统疾病")[number % 2]) for number in range(100)]
    assert problems(rows) == []


def test_the_wrong_way_round():
    [(line, message)] = problems([(label, text) for text, label in honest(100, 5)])
    assert line == 0 and "the wrong way round: 100 different labels in 100 samples, longer than the texts" in message
    assert message.endswith("add --trust_columns")
    # Texts that come again: fewer labels than a tenth, but longer and more varied than the texts.
    [(line, message)] = problems([(label, text) for text, label in honest(20, 2)] * 20)
    assert "the wrong way round: 20 different labels in 400 samples" in message


@pytest.mark.parametrize("pattern", ["{}", "doc_{}", "A{:06}", "{:032x}"])
def test_numbers_of_records(pattern):
    rows = [(text, pattern.format(number)) for number, (text, _) in enumerate(honest(40, 2), 10**6)]
    [(_, message)] = problems(rows)
    assert "numbers of records" in message or "wrong way round" in message


def test_more_labels_than_one_for_ten():
    [(_, message)] = problems(honest(500, 100))
    assert "100 different labels in 500 samples, more than one for 10" in message


@pytest.mark.parametrize("row", [("text", "label"), ("标签", "文本"), ("Sentence", "LABEL"), ("comment_text", "类别")])
def test_names_of_columns(row):
    [(line, message)] = problems([row, *honest(30, 3)])
    assert line == 1 and f"{row[0]!r} and {row[1]!r} look like the names of the columns" in message


def test_a_class_that_is_called_like_a_column_is_one():
    assert problems([("这是什么东西", "类型"), ("哪种类型好", "类型"), *honest(30, 3)]) == []


@pytest.mark.parametrize("last", ["label", "target"])
def test_a_first_line_with_a_well_known_name(last):
    body = [[f"第{number}条，好", "ab"[number % 2]] for number in range(30)]
    assert looks_like_header("", [["text[0]", last], *body])
    # A long name beside it.
    assert looks_like_header("", [["what_the_customer_wrote_to_us_today", last], *body])
    assert not looks_like_header("", [["这个，" * 9, "类型"], ["那个，" * 9, "类型"], *body])


@pytest.mark.parametrize(
    "pattern", ["doc_{}", "2024-01-{:02}", "https://a.cn/{}", "{}.5", "{:08x}-0000-0000-0000-{:012x}"]
)
def test_texts_that_say_nothing(pattern):
    [(line, message)] = problems([(pattern.format(number, number), f"科室{number % 3}") for number in range(10, 70)])
    assert line == 0 and "the texts are numbers of records, dates or addresses" in message
    assert "--trust_columns" in message


def test_texts_that_are_one_or_the_label_or_lost():
    labels = [f"科室{number % 3}" for number in range(60)]
    for texts, message in (
        (["我觉得很好"] * 60, "all 60 texts are the same, '我觉得很好'"),
        (labels, "text and label are the same"),
        (["?" * (1 + number % 20) for number in range(60)], "have no letter: lost in a conversion"),
    ):
        assert [message in found for _, found in problems(list(zip(texts, labels)))] == [True], message


def test_texts_with_dates_and_numbers_pass():
    assert (
        problems(
            [
                (f"2024年1月{number % 28 + 1}日的号还能退吗，我在第{number}位", "退号改签"[number % 2 :])
                for number in range(60)
            ]
        )
        == []
    )
    assert problems([(f"{number}号", "ab"[number % 2]) for number in range(60)]) == []


@pytest.mark.parametrize(
    "names", [["v1", "v2", ""], ["V1", "V2", "V3"], ["col_0", "col_1", "col_2"], ["列1", "列2", "列3"]]
)
def test_one_word_with_numbers_names_columns(names):
    """Kaggle's spam.csv, R, databases."""
    body = [["ham" if n % 3 else "spam", f"第{n}条短信说了很多别的事情", ""] for n in range(30)]
    assert looks_like_header("", [names, *body])
    assert not looks_like_header("", [["v1", "v3", "v7"], ["v1", "v2", "v4"], *body])
