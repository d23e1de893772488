"""analysis/estimated_accuracy.py: the estimate, its interval, and when there is none."""

import numpy as np
import pytest
from scipy.optimize import minimize

from analysis.estimated_accuracy import calibration_problem, estimate_accuracy, fit_lines, log_odds
from core.calibration import confidences
from tests.helpers import overconfident_sample


def test_the_line_is_the_most_probable_one():
    random = np.random.default_rng(0)
    odds, weights = random.normal(1, 1, 200), random.integers(0, 3, 200).astype(float)
    right = random.random(200) < 1 / (1 + np.exp(-odds / 2))

    def loss(line):
        sure = line[0] + line[1] * odds
        own = weights @ (np.logaddexp(0, sure) - right * sure)
        return own + (line[0] ** 2 + (line[1] - 1) ** 2) / 2

    found = fit_lines(odds, right, np.stack([weights, np.ones(200)]))
    np.testing.assert_allclose(found[0], minimize(loss, [0, 1]).x, atol=1e-4)
    assert found[1] != pytest.approx(found[0])


def test_an_overconfident_model_is_seen_through():
    """Confidences are three times too sure; the log has twice as many unsure texts."""
    logits, truth = overconfident_sample()
    confidence, right = confidences(logits), logits.argmax(axis=1) == truth
    covered, errors = 0, []
    for seed in range(40):
        random = np.random.default_rng(seed)
        order = random.permutation(2000)
        reference, pool = order[:1000], order[1000:]
        unsure = confidence[pool] < np.median(confidence)
        log = np.concatenate([pool[unsure][:300], pool[~unsure][:75]])
        found = estimate_accuracy(confidence[log], confidence[reference], right[reference], random, 300)
        true = right[log].mean()
        assert found.reference == right[reference].mean() and found.samples == 1000
        assert found.interval[0] <= found.accuracy <= found.interval[1]
        covered += found.interval[0] <= true <= found.interval[1]
        errors.append(found.accuracy - true)
    assert covered >= 34 and abs(np.mean(errors)) < 0.02
    assert confidence[log].mean() - true > 0.1


def test_a_faultless_reference_and_a_sure_log():
    random = np.random.default_rng(0)
    found = estimate_accuracy(np.ones(50), np.ones(100), np.ones(100, bool), random)
    assert 0.99 < found.accuracy <= 1 and np.isfinite(log_odds([0.0, 1.0])).all()
    with pytest.raises(ValueError, match="99 samples"):
        estimate_accuracy(np.ones(50), np.ones(99), np.ones(99, bool), random)


def test_when_confidences_are_calibrated():
    measured = {"before": {}, "after": {}}
    assert calibration_problem({"calibration": {"temperature": 1.3, **measured}}) is None
    assert calibration_problem({"calibration": {"temperature": None, "why": "nothing better", **measured}}) is None
    for content, message in (
        ({}, "says nothing of calibration; export the model again"),
        (
            {"calibration": {"temperature": None, "why": "--calibrate False"}},
            "not calibrated (--calibrate False); exp",
        ),
        ({"calibration": {"temperature": None, "why": "dev has 9 samples"}}, "dev has 9 samples"),
    ):
        assert message in calibration_problem(content)
