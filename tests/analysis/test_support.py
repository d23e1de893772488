"""analysis/support.py: the choices on planted features."""

import numpy as np
import pytest

from analysis import support


def unit(*degrees):
    return np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], axis=1).astype(np.float32)


def test_the_least_supported_come_first():
    rows, values = support.find_sparse(unit(0, 90, 45), unit(0, 5, 10), rationale_num=2, number=2)
    assert rows.tolist() == [1, 2]
    assert values[0] == pytest.approx((1 + np.cos(np.radians(5))) / 2, abs=1e-6)


def test_those_above_the_threshold_come_first():
    rows, reaching = support.rank_supporting(unit(0, 2, 60), unit(100, 50, 1, -30), 2, threshold=0.9)
    # 1 degree supports two sparse samples, 50 one; then those below 0.9: -30 degrees twice, 100 once.
    assert rows.tolist() == [2, 1, 3, 0] and reaching == 2
