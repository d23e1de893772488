"""core/label_paths.py: levels, sums and answers, computed by hand."""

import numpy as np
import pytest

from core import label_paths
from core.label_paths import UNKNOWN, Answer, LabelPaths
from utils import UsageError, evaluation_report

# Two parents, one of which is a label too, and a label that stands alone.
LABELS = ["病##感冒", "病##肺炎", "药##中药", "药", "其他"]


def test_levels():
    paths = LabelPaths(LABELS)
    assert paths.depth == 2
    assert paths.levels[0] == (["病", "药", "其他"], [0, 0, 1, 1, 2])
    assert paths.levels[1] == (LABELS, [0, 1, 2, 3, 4])
    assert paths.names == ["病", "药", "其他", *LABELS]
    assert paths.class_ids == [None, 3, 4, 0, 1, 2, 3, 4]


def test_three_levels_of_unequal_depth():
    paths = LabelPaths(["a/b/c", "a/b/d", "a/e", "f", "a/b"], "/")
    assert [level.names for level in paths.levels] == [
        ["a", "f"],
        ["a/b", "a/e", "f"],
        ["a/b/c", "a/b/d", "a/e", "f", "a/b"],
    ]
    assert [level.of_class for level in paths.levels] == [[0, 0, 0, 1, 0], [0, 0, 1, 2, 0], [0, 1, 2, 3, 4]]
    values = np.array([[0.1, 0.2, 0.3, 0.25, 0.15]])
    np.testing.assert_allclose(paths.sums(values, 0), [[0.75, 0.25]])
    np.testing.assert_allclose(paths.sums(values, 1), [[0.45, 0.3, 0.25]])
    assert paths.sums(values, 2) is values


def test_a_parent_is_one_whatever_space_is_around_the_separator():
    """Beside its own label it was another group of the same name but for the spaces, and both were too unsure."""
    paths = LabelPaths(["a > b", "a>b > c", "a > d", "e>f > g"], ">")
    assert paths.levels[0] == (["a", "e"], [0, 0, 0, 1])
    assert paths.levels[1] == (["a > b", "a > d", "e>f"], [0, 0, 1, 2])
    assert paths.levels[2] == (paths.labels, [0, 1, 2, 3])
    [answer] = paths.answers(np.array([[0.4, 0.4, 0.1, 0.1]]), 0.7)
    assert answer.label == "a > b" and answer.confidence == pytest.approx(0.8)


@pytest.mark.parametrize(
    "limit, label, confidence",
    [
        (0, "药##中药", 0.35),
        (0.35, "药##中药", 0.35),  # the limit itself is reached
        (0.36, "药", 0.6),  # 0.35 + 0.25 of the label 药 itself
        (0.6, "药", 0.6),
        (0.61, UNKNOWN, 0.6),
        (1, UNKNOWN, 0.6),
    ],
)
def test_the_deepest_level_that_is_sure_enough(limit, label, confidence):
    values = np.array([[0.2, 0.15, 0.35, 0.25, 0.05]])
    [answer] = LabelPaths(LABELS).answers(values, limit)
    assert answer[0] == label and answer[1] == pytest.approx(confidence)
    assert answer[2:] == ("药##中药", 0.35)


def test_a_label_that_is_a_parent_too():
    """As a label it is one of the deepest level; as a parent it has its children's probability as well."""
    paths = LabelPaths(LABELS)
    [place], [confidence] = paths.choose(np.array([[0.0, 0.0, 0.25, 0.7, 0.05]]), 0.7)
    assert place == 3 + 3 and confidence == pytest.approx(0.7)
    [place], [confidence] = paths.choose(np.array([[0.0, 0.0, 0.25, 0.7, 0.05]]), 0.8)
    assert place == 1 and confidence == pytest.approx(0.95)
    assert paths.names[1] == paths.names[6] == "药" and paths.class_ids[1] == paths.class_ids[6] == 3


def test_a_label_that_stands_alone_is_as_deep_as_any():
    paths = LabelPaths(LABELS)
    assert paths.answers(np.array([[0.05, 0.05, 0.0, 0.0, 0.9]]), 0.9)[0].label == "其他"
    assert paths.choose(np.array([[0.05, 0.05, 0.0, 0.0, 0.9]]), 0.9)[0].tolist() == [7]


def test_the_most_probable_label_may_have_the_less_probable_parent():
    values = np.array([[0.3, 0.3, 0.4, 0.0, 0.0]])
    paths = LabelPaths(LABELS)
    assert paths.answers(values, 0.4)[0][:2] == ("药##中药", 0.4)
    assert paths.answers(values, 0.5)[0][:2] == ("病", pytest.approx(0.6))
    assert paths.answers(values, 0.5)[0].guess == "药##中药"


def test_many_texts_at_once_are_the_same_as_each_alone():
    random = np.random.default_rng(0)
    labels = [f"{first}##{second}##{third}" for first in "甲乙丙" for second in "abcd" for third in "xyz"]
    labels += ["甲", "丁"]
    paths, values = LabelPaths(labels), random.dirichlet(np.full(38, 0.02), 300)
    answers = paths.answers(values, 0.7)
    assert answers == [paths.answers(row[None], 0.7)[0] for row in values]
    assert {len(label_paths.parts_of(answer.label, "##")) for answer in answers} == {1, 2, 3}
    assert any(answer.label == UNKNOWN for answer in answers)
    for answer, row in zip(answers, values):
        if answer.label != UNKNOWN:
            below = [index for index, label in enumerate(labels) if (label + "##").startswith(answer.label + "##")]
            exact = labels.index(answer.label) if answer.label in labels else None
            sums = {round(float(row[below].sum()), 9), round(float(row[exact]), 9) if exact is not None else None}
            assert round(answer.confidence, 9) in sums and answer.confidence >= 0.7 - 1e-6
    assert paths.answers(values[:0], 0.7) == []


def test_without_a_separator_in_any_label_there_is_one_level():
    labels = ["病情诊断", "医疗费用", "C#"]
    paths = LabelPaths(labels)
    assert paths.depth == 1 and paths.names == labels and paths.class_ids == [0, 1, 2]
    assert paths.scores([0, 1, 2], [0, 1, 1]) == []
    assert label_paths.separator_facts(labels, "##") == label_paths.separator_facts(labels, "/") == {}
    values = np.array([[0.5, 0.3, 0.2]])
    assert paths.answers(values, 0.5) == [Answer("病情诊断", 0.5, "病情诊断", 0.5)]
    assert paths.answers(values, 0.51) == [Answer(UNKNOWN, 0.5, "病情诊断", 0.5)]


def test_labels_with_an_empty_part_are_no_paths():
    for label in ("C##", "##a", "a####b", "##", " ## "):
        assert label_paths.parts_of(label, "##") == [label]
    assert label_paths.parts_of("a ## b", "##") == ["a", "b"]
    # Space around the parts makes no other parent; the labels themselves stay two.
    assert LabelPaths(["a##b", "a ## b"]).levels == [(["a"], [0, 0]), (["a##b", "a ## b"], [0, 1])]


def test_scores_by_hand():
    """感冒 for 肺炎 and 药 for 中药 are right at the first level."""
    truth, predicted = [0, 1, 2, 3, 4, 4], [0, 0, 3, 3, 4, 0]
    first, second = LabelPaths(LABELS).scores(truth, predicted)
    assert first["level"] == 1 and first["labels"] == 3 and first["accuracy"] == pytest.approx(5 / 6)
    # 病: 2 right of 2 true and 3 predicted; 药: 2 of 2 and 2; 其他: 1 of 2 and 1.
    assert first["macro_f1"] == pytest.approx((4 / 5 + 1 + 2 / 3) / 3)
    assert second["labels"] == 5 and second["accuracy"] == pytest.approx(3 / 6)
    assert second["macro_f1"] == pytest.approx((2 / 4 + 0 + 0 + 2 / 3 + 2 / 3) / 5)
    report = evaluation_report("dev", LABELS, truth, predicted)
    lines = label_paths.with_levels(report, "dev", [first, second])
    assert lines.pop(4) == "Level 1 in dev dataset: 3 labels | accuracy: 83.33 | macro F1 score 82.22"
    assert lines == report == label_paths.with_levels(report, "dev", [])
    assert lines[3].startswith("Macro average | ") and lines[4].startswith("Class name: ")
    metrics = label_paths.level_metrics("test_", [first, second])
    assert metrics == {"test_level_1_accuracy": first["accuracy"], "test_level_1_macro_f1": first["macro_f1"]}


def test_what_the_export_says():
    assert label_paths.separator_facts(LABELS, "##") == {"label_separator": "##"}
    assert label_paths.separator_facts(["a/b", "a/c"], "/") == {"label_separator": "/"}
    # Whoever finds nothing takes ##, and would see levels where the user said there are none.
    assert label_paths.separator_facts(LABELS, "/") == {"label_separator": "/"}
    for content, expected in (({}, "##"), ({"label_separator": "/"}, "/"), ({"label_separator": None}, "##")):
        assert label_paths.stored_separator(content) == expected


@pytest.mark.parametrize("value", [-0.1, 1.1, "0.5", None, True, float("nan"), float("inf"), 10**400])
def test_what_is_no_min_confidence(value):
    assert label_paths.confidence_problem(value)
    assert not any(map(label_paths.confidence_problem, (0, 1, 0.5, 1.0)))


def test_a_separator_of_nothing():
    for wrong in ("", " ", "\t"):
        assert label_paths.separator_problems(wrong)
    assert label_paths.separator_problems(None) == label_paths.separator_problems("/") == []


def test_a_label_called_unknown_is_refused():
    for labels in (["unknown", "a"], ["unknown##a", "b"]):
        with pytest.raises(UsageError, match="label 'unknown'.*leave min_confidence out"):
            LabelPaths(labels).check_answers()
    LabelPaths(LABELS).check_answers()


def test_what_is_not_sure_enough_may_have_another_name():
    paths = LabelPaths(["unknown", "a"])
    paths.check_answers("说不准")
    rows = np.array([[0.6, 0.4], [0.9, 0.1]])
    assert [answer.label for answer in paths.answers(rows, 0.8, "说不准")] == ["说不准", "unknown"]
    with pytest.raises(UsageError, match="label 'a'.*give it another name by unknown"):
        paths.check_answers("a")
    for wrong in ("", " ", "a\nb", "x" * 101, None, 5, "\ud800"):
        assert label_paths.unknown_problem(wrong)
        with pytest.raises(UsageError, match="give a name of at most 100 printable characters"):
            paths.check_answers(wrong)


def test_it_needs_no_numpy_to_be_imported():
    import subprocess
    import sys

    from tests.helpers import ROOT

    code = "import sys, core.label_paths; print({'numpy', 'paddle'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", cwd=ROOT)
    assert result.stdout == "set()\n", result.stderr
