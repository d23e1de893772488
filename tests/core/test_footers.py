"""core/footers.py: totals and notes of spreadsheets are no samples, and texts that look like them are."""

import pytest

from core.dialects import Rejected
from core.samples import Samples, Wishes
from core.sources import find_sources
from tests.data import zoo


def read(tmp_path, rows, **wishes):
    """(samples, texts without a label, (number, reason) of what is left out) of a CSV file."""
    path = zoo.write(tmp_path / "a.csv", zoo.table(rows))
    samples = Samples([(None, source) for source in find_sources([path])], Wishes(**wishes))
    rows = [(number, text, label) for _, number, text, label in samples.rows()]
    out = [(number, label.reason) for number, _, label in rows if isinstance(label, Rejected)]
    good = [(text, label) for _, text, label in rows if isinstance(label, str)]
    return good, [text for _, text, label in rows if label is None], out, samples


HEADER = ["评论", "类别"]
TOTAL, NOTE = "a total, not a sample", "a note below the table, not a sample"


@pytest.mark.parametrize(
    "total", [["合计", "60"], ["总 计：60条", ""], ["Total", "60"], ["Grand Total: 60", ""], ["小计", "20 条"]]
)
def test_totals_and_notes(tmp_path, total):
    footers = [["", ""], total, ["数据来源：客服系统", ""], ["", ""], ["制表人：张三", "审核：李四"]]
    good, unlabelled, out, samples = read(tmp_path, [HEADER, *zoo.SAMPLES, *footers])
    assert good == zoo.SAMPLES and unlabelled == []
    assert out == [(62, "blank line"), (63, TOTAL), (64, NOTE), (65, "blank line"), (66, NOTE)]
    assert any("类别    label  97%     3 " in line for line in samples.description())


def test_a_total_is_none_of_the_ids(tmp_path):
    rows = [[text, zoo.IDS[label]] for text, label in zoo.SAMPLES]
    good, _, out, samples = read(tmp_path, [HEADER, *rows, ["合计", "190"]])
    assert out == [(62, TOTAL)] and len(good) == 60 and any("ids (0 1 2)" in note for note in samples.notes)


def test_totals_in_the_middle_are_none_of_the_texts(tmp_path):
    rows = [*zoo.SAMPLES[:20], ["小计", "20"], *zoo.SAMPLES[20:]]
    good, unlabelled, out, _ = read(tmp_path, [HEADER, *rows])
    assert (good, unlabelled, out) == (zoo.SAMPLES, [], [(22, TOTAL)])


def test_texts_that_look_like_footers_are_samples(tmp_path):
    """A label that comes again makes one; a note stands below all samples."""
    own = [["合计", "体育"], ["来源：新华社", "财经"]]
    good, unlabelled, out, _ = read(tmp_path, [HEADER, *own, ["注：没有标签", ""], *zoo.SAMPLES, *own])
    assert good == [*map(tuple, own), *zoo.SAMPLES, *map(tuple, own)] and unlabelled == ["注：没有标签"] and out == []
    good, unlabelled, out, _ = read(tmp_path, [HEADER, *zoo.SAMPLES, ["合计", "60"]], trust_columns=True)
    assert good[-1] == ("合计", "60") and out == []


def test_many_texts_without_labels_are_no_notes(tmp_path):
    rows = [[f"说明：第{number}条", ""] for number in range(30)]
    good, unlabelled, out, _ = read(tmp_path, [HEADER, *zoo.SAMPLES, *rows])
    assert good == zoo.SAMPLES and len(unlabelled) + len(out) == 30 and len(out) <= 20
    assert unlabelled[:10] == [row[0] for row in rows[:10]]


def test_lines_of_text_have_no_footers(tmp_path):
    rows = [[text] for text, _ in zoo.SAMPLES] + [["合计"], ["注：完"]]
    _, unlabelled, out, _ = read(tmp_path, rows, label_column="none")
    assert unlabelled == [text for [text] in rows] and out == []
