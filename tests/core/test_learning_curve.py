"""core/learning_curve.py: laws that are known, and what is said of more labels."""

import numpy as np
import pytest

from core import learning_curve
from core.quick_model import Fit
from tests.core.test_quick_model import WORDS, planted


def test_a_law_is_found_again():
    sizes = np.array([50, 100, 200, 400])
    floor, a, b = learning_curve.fit_law(sizes, np.stack([0.0 + 2 * sizes**-0.5, 0.3 + 0.0 * sizes]))
    assert (a[0], b[0]) == (pytest.approx(2, rel=0.05), pytest.approx(0.5, rel=0.05)) and floor[0] < 0.01
    assert floor[1] + a[1] * 800.0 ** -b[1] == pytest.approx(0.3, abs=1e-6)  # no more to gain


def test_the_interval_holds_what_comes():
    """Texts that are right by a known law; 60 draws of the whole procedure."""
    sizes, wanted, inside = np.array([50, 100, 200, 400]), 800, 0
    error = 1.5 * sizes**-0.4
    coming = error[-1] - 1.5 * wanted**-0.4
    for seed in range(60):
        random = np.random.RandomState(seed)
        hardness = random.rand(1000)
        right = np.stack([np.stack([hardness > one + random.randn(1000) * 0.02 for _ in range(3)]) for one in error])
        gains = learning_curve.predict(sizes, right, [wanted], seed)[:, 0]
        low, high = np.percentile(gains, learning_curve.INTERVAL)
        inside += low <= coming <= high
    assert inside >= 48  # of 60 at 90 %, with room for the model's own error


def test_few_labels_say_nothing_and_many_say_something():
    few = Fit(*planted(30), WORDS, planted(50, seed=2)[0])
    assert learning_curve.outlook(few) == {"points": [], "more": [], "verdict": "too few"}
    found = learning_curve.outlook(Fit(*planted(200), WORDS, planted(50, seed=2)[0]))
    assert [one["labels"] for one in found["more"]] == [50, 100, 200]
    assert all(0 <= one["low"] <= one["gain"] <= one["high"] for one in found["more"])
    assert found["points"][0][0] < found["points"][-1][0] < 200 and found["verdict"] in (
        "likely",
        "unclear",
        "unlikely",
    )
