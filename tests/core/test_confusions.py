"""core/confusions.py: intervals against independent ones; the rest is tested with analysis/scores.py."""

import numpy as np
import pytest
from scipy.stats import binomtest

from core.confusions import Confusions, bootstrap, class_scores, wilson


@pytest.mark.parametrize(("right", "total"), [(0, 1), (1, 1), (48, 48), (3, 10), (1538, 1955)])
def test_wilson_is_scipy_s(right, total):
    expected = binomtest(right, total).proportion_ci(method="wilson")
    assert wilson(right, total) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_the_seed_decides_the_draws():
    random = np.random.RandomState(0)
    confusions = Confusions(random.randint(0, 3, 200), random.randint(0, 3, 200), 3)
    one, other, again = (bootstrap(confusions, seed)[1] for seed in (1, 2, 1))
    assert (one == again).all() and (one != other).any()
    macro = class_scores(confusions.right, confusions.predicted, confusions.true).mean(axis=0)
    assert (one[0] < macro).all() and (macro < one[1]).all()
