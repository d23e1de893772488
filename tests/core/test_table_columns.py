"""core/table_columns.py: which column is what, and where it is asked instead."""

import pytest

from core.table_columns import Unsure, find_roles
from core.tables import Table
from tests.data import zoo
from utils import UsageError

TEXTS, LABELS = map(list, zip(*zoo.samples(120)))
CODES = [zoo.IDS[label] for label in LABELS]
ROW_IDS = [f"doc_{number}" for number in range(120)]
DATES = [f"2024-01-{number % 28 + 1:02} 10:00" for number in range(120)]
SHORT = [text[:4] + str(number) for number, text in enumerate(TEXTS)]


def find(columns, **options):
    """(texts, label, notes) of columns by name; names that are digits are none."""
    names = list(columns)
    table = Table("a.csv", "", None if names[0].isdigit() else names, len(names), None)
    roles = find_roles(table, [list(row) for row in zip(*columns.values())], **options)
    return roles.texts, roles.label, roles.notes


def test_by_names():
    assert find({"id": ROW_IDS, "label": LABELS, "text": TEXTS}) == ([2], 1, [])
    assert find({"评论内容": TEXTS, "所属类别": LABELS, "日期": DATES})[:2] == ([0], 1)
    # CLUE's TNEWS: keywords are texts, too, but shorter.
    assert find({"label": CODES, "label_desc": LABELS, "sentence": TEXTS, "keywords": SHORT}) == (
        [2], 1, ["label holds the ids of label_desc"]
    )  # fmt: skip
    # The label is named, another column is not.
    sources = ["web" if number % 2 else "app" for number in range(120)]
    assert find({"text": TEXTS, "channel": sources, "label": LABELS})[:2] == ([0], 2)


def test_by_what_is_in_them():
    assert find({"1": TEXTS, "2": LABELS}) == ([0], 1, [])
    assert find({"1": LABELS, "2": TEXTS}) == ([1], 0, ["the label stands before the text: put right"])
    assert find({"1": ROW_IDS, "2": DATES, "3": LABELS, "4": TEXTS})[:2] == ([3], 2)
    assert find({"1": CODES, "2": LABELS, "3": TEXTS}) == (
        [2], 1, ["1 holds the ids of 2", "the label stands before the text: put right"]
    )  # fmt: skip
    # A column with holes beside a whole one.
    holes = ["" if number % 5 == 0 else text for number, text in enumerate(SHORT)]
    assert find({"1": LABELS, "2": TEXTS, "3": holes})[:2] == ([1], 0)


def test_the_user_s_word():
    columns = {"title": TEXTS, "body": SHORT, "label": LABELS, "kind": CODES}
    assert find(columns, text_columns=["title", "body"], label_column="kind") == ([0, 1], 3, [])
    assert find(columns, text_columns=["2", "TITLE"], label_column="3")[:2] == ([1, 0], 2)
    assert find(columns, text_columns=["title"], label_column="none")[:2] == ([0], None)
    with pytest.raises(UsageError, match="no column 'titel'; did you mean 'title'"):
        find(columns, text_columns=["titel"])
    with pytest.raises(UsageError, match="--label_column title: is the --text_column too"):
        find(columns, text_columns=["title"], label_column="title")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"title": TEXTS, "content": SHORT, "label": LABELS},
            "2 columns may be the text.*--text_column title content",
        ),
        ({"sentence1": TEXTS, "sentence2": TEXTS[::-1], "label": LABELS}, "2 columns may be the text"),
        (
            {"title": SHORT, "body": [t * 3 for t in TEXTS], "label": LABELS},
            "--text_column title or --text_column bod",
        ),
        (
            {"1": TEXTS, "2": LABELS, "3": [str(number % 7) for number in range(120)]},
            "2 columns may be the label; choose one: --label_column 2 or --label_column 3",
        ),
        (
            {"一级分类": LABELS, "二级分类": [n + str(i % 2) for i, n in enumerate(LABELS)], "文本": TEXTS},
            "2 columns may be the label; choose one: --label_column 一级分类",
        ),
        (
            {"text": TEXTS, **{f"类{n}": [str(int(i % 3 == n)) for i in range(120)] for n in range(3)}},
            r"each label has a column of its own.*\[\['类0', '类1', '类2'\]\].idxmax",
        ),
        ({"1": TEXTS}, "no column of labels.*--label_column none"),
        ({"1": TEXTS, "2": ROW_IDS}, "no column has values that come again"),
        (
            {"text": TEXTS, "label": ROW_IDS},
            "120 different labels in 120 samples.*numbers of records.*--trust_columns",
        ),
        ({"text": LABELS, "label": TEXTS}, "the wrong way round.*--text_column and --label_column"),
    ],
)
def test_where_it_is_asked(columns, message):
    with pytest.raises(Unsure, match=message):
        find(columns)


def test_trust():
    assert find({"text": TEXTS, "label": ROW_IDS}, trust=True)[:2] == ([0], 1)


def test_a_column_of_parts():
    parts = [("train", "dev", "test")[number % 3] for number in range(120)]
    with pytest.raises(
        Unsure, match=r"split says which rows are dev test train; .*groupby\('split'\).*--trust_columns"
    ):
        find({"text": TEXTS, "label": LABELS, "split": parts})
    assert find({"text": TEXTS, "label": LABELS, "split": parts}, trust=True)[:2] == ([0], 1)
    # What only is called so.
    assert find({"text": TEXTS, "label": LABELS, "split": [str(i % 7) for i in range(120)]})[:2] == ([0], 1)
    assert find({"text": TEXTS, "label": LABELS, "split": ["train"] * 120})[:2] == ([0], 1)


def test_lists_of_words():
    words = [f'["{text[:3]}", "{text[3:]}"]' for text in TEXTS]
    with pytest.raises(Unsure, match=r"text holds lists of words.*str.join\(''\).*--text_column text"):
        find({"text": words, "label": LABELS})
    assert find({"text": words, "label": LABELS}, text_columns=["text"])[:2] == ([0], 1)
    brackets = [f'["{text[:3]}"] {text}' for text in TEXTS]
    assert find({"text": brackets, "label": LABELS})[:2] == ([0], 1)


@pytest.mark.parametrize("flags", ["01", ("false", "true"), ("0.0", "1.0")])
def test_a_column_for_each_label_called_label(flags):
    columns = {f"label.{n}": [flags[i % 3 == n] for i in range(120)] for n in range(3)}
    with pytest.raises(Unsure, match="each label has a column of its own.*--label_column label.0"):
        find({"text": TEXTS, **columns})
    assert find({"text": TEXTS, **columns}, label_column="label.1")[:2] == ([0], 2)


def test_flags_beside_a_label_are_none():
    rows = {"text": TEXTS, "label": [str(i % 2) for i in range(120)], "flag": [str(i % 3 % 2) for i in range(120)]}
    assert find(rows)[:2] == ([0], 1)


def test_measures_are_no_classes():
    scores = [f"{number / 7:.4f}" for number in range(120)]
    with pytest.raises(Unsure, match=r"score holds 120 different numbers: a measure, and no classes; .*pandas.cut"):
        find({"text": TEXTS, "score": scores})
    assert find({"text": TEXTS, "stars": [f"{number % 5 + 1}.0" for number in range(120)]})[:2] == ([0], 1)


def test_labels_that_are_objects():
    objects = [f'{{"name": "{label}", "by": "{number % 3}"}}' for number, label in enumerate(LABELS)]
    with pytest.raises(Unsure, match="label holds objects, such as .*, and no labels; take the label out of them"):
        find({"text": TEXTS, "label": objects})
    assert find({"text": TEXTS, "label": objects}, trust=True)[:2] == ([0], 1)


def test_a_column_without_a_name_that_some_rows_need():
    """A text with commas that are not in quotes goes on in it."""
    rest = ["和后面" if number == 7 else "" for number in range(120)]
    notes = find({"text": TEXTS, "label": LABELS, "": rest})[2]
    assert notes == [
        "column 3 has no name, and something in 1 of 120 rows, such as '和后面': not read; if it is the end of "
        "a text, join it with --text_column"
    ]
    assert find({"text": TEXTS, "label": LABELS, "": [""] * 120})[2] == []
    assert find({"text": TEXTS, "label": LABELS, "": rest}, text_columns=["text", "3"])[2] == []


def test_a_flag_that_is_called_like_a_label_is_none():
    assert find({"text": TEXTS, "multi_label": ["false"] * 120, "annotation": LABELS})[:2] == ([0], 2)
    assert find({"text": TEXTS, "label": ["体育"] * 120, "source": LABELS})[:2] == ([0], 1)  # said by its name


def test_a_text_that_is_there_twice():
    assert find({"text": TEXTS, "inputs.text": TEXTS, "annotation": LABELS})[:2] == ([0], 2)
    with pytest.raises(Unsure, match="2 columns may be the text"):
        find({"title": TEXTS, "content": TEXTS, "label": LABELS})
