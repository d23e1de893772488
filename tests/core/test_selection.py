"""core/selection.py: the choices on planted features."""

import numpy as np

from core import selection


def unit(*degrees):
    return np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], axis=1).astype(np.float32)


def test_margin_takes_the_closest_calls():
    probabilities = np.array([[0.9, 0.1, 0], [0.5, 0.4, 0.1], [0.45, 0.44, 0.11]])
    assert selection.smallest_margins(probabilities, 2).tolist() == [2, 1]


def test_badge_begins_with_the_least_sure_and_takes_no_copies():
    features = np.repeat(unit(0, 90), 50, axis=0)
    probabilities = np.tile([0.98, 0.02], (100, 1))
    probabilities[7::10] = [0.55, 0.45]
    chosen = selection.badge(probabilities, features, 100, seed=0).tolist()
    # Two directions, sure and unsure: after one of each there is nothing left to tell.
    assert chosen[0] == 7 and {(row // 50, row % 10 == 7) for row in chosen} == {
        (a, b) for a in (0, 1) for b in (0, 1)
    }
    assert len(chosen) == 4 and selection.badge(probabilities, features, 2, seed=0).tolist() == chosen[:2]
