"""core/cell_marks.py: what is around all cells of a column is taken off, and told."""

import pytest

from core.cell_marks import find_mark
from tests.core.test_footers import read
from tests.data import zoo

HEADER = ["text", "label"]


@pytest.mark.parametrize(
    ("label", "shown"),
    [
        ('="{}"', '="…" around'), ("'{}", "an apostrophe before"), ("'{}'", "'…' around"), (' "{}" ', '"…" around'),
    ],
)  # fmt: skip
def test_labels(tmp_path, label, shown):
    rows = [[text, label.format(name)] for text, name in zoo.SAMPLES]
    good, unlabelled, out, samples = read(tmp_path, [HEADER, *rows, ["没有的", "财经"]])
    assert good == [*zoo.SAMPLES, ("没有的", "财经")] and not unlabelled + out
    assert any(f"label has {shown} its cells: taken off" in note for note in samples.notes)


def test_texts(tmp_path):
    rows = [[f'="他说""{text}""!"', name] for text, name in zoo.SAMPLES]
    assert read(tmp_path, [HEADER, *rows])[0] == [(f'他说"{text}"!', name) for text, name in zoo.SAMPLES]
    rows = [[f"'{text}", zoo.IDS[name]] for text, name in zoo.SAMPLES]
    good, _, _, samples = read(tmp_path, [HEADER, *rows])
    assert good == [(text, zoo.IDS[name]) for text, name in zoo.SAMPLES]
    assert [note for note in samples.notes if "taken off" in note] == [
        f"{tmp_path / 'a.csv'}: text has an apostrophe before its cells: taken off"
    ]


def test_marks_of_some_cells_and_quotations_are_their_own(tmp_path):
    rows = [[f"'{text}'" if number % 2 else text, name] for number, (text, name) in enumerate(zoo.SAMPLES)]
    assert read(tmp_path, [HEADER, *rows])[0] == [tuple(row) for row in rows]
    quotations = [[f"'{text}'", name] for text, name in zoo.SAMPLES]
    assert read(tmp_path, [HEADER, *quotations])[0] == [tuple(row) for row in quotations]
    assert find_mark(["'a"]) is None and find_mark(["", " "]) is None
