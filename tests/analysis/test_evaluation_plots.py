"""analysis/evaluation_plots.py: what the pictures show."""

import numpy as np
import pytest

from analysis import evaluation_plots
from analysis.evaluation_words import WORDS
from analysis.scores import Confusions, Evaluation
from core.calibration import reliability


@pytest.fixture(scope="module")
def evaluation():
    random = np.random.RandomState(0)
    truth, logits = random.randint(0, 3, 500), random.randn(500, 3)
    logits[np.arange(500), truth] += 2
    return Evaluation(["甲", "乙", "丙"], [""] * 500, truth, 3 * logits, seed=0)


def test_the_classes_with_the_most_mistakes():
    confusions = Confusions([0, 0, 1, 2, 3, 3], [0, 0, 2, 2, 1, 1], 4)
    assert evaluation_plots.most_mistaken(confusions, 2) == [1, 3]
    assert evaluation_plots.most_mistaken(confusions, 9) == [0, 1, 2, 3]


def test_the_matrix_of_many_classes_is_small(evaluation):
    truth = np.arange(5000)
    figure = evaluation_plots.plot_confusion(
        Confusions(truth, (truth + 1) % 5000, 5000), [f"c{name}" for name in truth], WORDS["en"]
    )
    assert max(figure.get_size_inches()) < 20 and len(figure.axes[0].get_yticks()) == 30
    figure = evaluation_plots.plot_confusion(evaluation.confusions, evaluation.labels, WORDS["zh"])
    cells = sorted(int(text.get_text()) for text in figure.axes[0].texts)
    assert cells == sorted(evaluation.confusions.counts.tolist())


def test_no_point_of_the_reliability_plot_is_clipped_and_bins_have_their_counts(evaluation):
    figure = evaluation_plots.plot_reliability(evaluation, WORDS["en"])
    accuracy, bars = figure.axes
    low, high = accuracy.get_ylim()
    for line in accuracy.lines:
        assert (line.get_ydata() > low).all() and (line.get_ydata() < high).all()
        assert (line.get_xdata() > accuracy.get_xlim()[0]).all() and (line.get_xdata() < accuracy.get_xlim()[1]).all()
    counts = reliability(evaluation.confidence, evaluation.right)[0]
    assert [text.get_text() for text in bars.texts] == [str(count) for count in counts if count]
    assert [bar.get_height() for bar in bars.patches] == counts.tolist() and sum(counts) == 500


def test_the_promises_are_on_the_curve(evaluation):
    figure = evaluation_plots.plot_coverage(evaluation, WORDS["en"])
    curve, *points = figure.axes[0].lines
    assert len(points) == sum(promise is not None for promise in evaluation.promises.values()) > 0
    for point in points:
        (x,), (y,) = point.get_data()
        assert np.abs(np.stack(curve.get_data(), axis=1) - [x, y]).max(axis=1).min() < 1e-9
