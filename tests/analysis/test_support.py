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


def test_margin_takes_the_closest_calls():
    probabilities = np.array([[0.9, 0.1, 0], [0.5, 0.4, 0.1], [0.45, 0.44, 0.11]])
    assert support.smallest_margins(probabilities, 2).tolist() == [2, 1]


def test_badge_begins_with_the_least_sure_and_takes_no_copies():
    features = np.repeat(unit(0, 90), 50, axis=0)
    probabilities = np.tile([0.98, 0.02], (100, 1))
    probabilities[7::10] = [0.55, 0.45]
    chosen = support.badge(probabilities, features, 100, seed=0).tolist()
    # Two directions, sure and unsure: after one of each there is nothing left to tell.
    assert chosen[0] == 7 and {(row // 50, row % 10 == 7) for row in chosen} == {
        (a, b) for a in (0, 1) for b in (0, 1)
    }
    assert len(chosen) == 4 and support.badge(probabilities, features, 2, seed=0).tolist() == chosen[:2]
