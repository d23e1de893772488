"""millionths.py: what is told with six decimals decides, and nowhere else is it compared in another way."""

import re

import numpy as np

from core.confidence import conformal_order
from core.label_paths import LabelPaths
from core.millionths import millionths, reaches
from tests.helpers import ROOT


def test_what_is_told_decides():
    assert reaches([0.7999996, 0.7999994, 0.8, 0.0, 1.0], 0.8).tolist() == [True, False, True, False, True]
    assert reaches(0.0, 0.0) and not reaches(1.0, np.inf)
    assert reaches(np.array([[0.5], [0.25]]), np.array([0.5, 0.2])).tolist() == [[True, True], [False, True]]
    assert millionths([0.1234565, 1]).tolist() == [123456, 1_000_000] and millionths(0.3).shape == ()


def test_each_multiple_is_reached_by_itself():
    """No product with a million may lose one: 0.29 * 1e6 is a little less than 290,000."""
    for grid in (100, 10_000, 1_000_000):
        some = np.arange(0, grid + 1, max(1, grid // 100_000)) / grid
        assert reaches(some, some).all()
        assert not reaches(some[:-1], some[:-1] + 1e-6).any()


def test_limits_and_sets_compare_so():
    rows = np.array([[0.7999996, 0.2000004], [0.7999994, 0.2000006]])
    chosen, _ = LabelPaths(["a", "b"]).choose(rows, 0.8)
    assert chosen.tolist() == [0, -1]
    assert conformal_order(rows, 0.200001).tolist() == [[0, -1], [0, 1]]


def test_it_stands_in_one_place():
    """No other module of the library rounds to millionths and compares by itself."""
    own = re.compile(r"\* 1e6\)? *(?:<|>)=? |1e6 - 1e-3")
    found = [path.name for path in (ROOT / "core").glob("*.py") if own.search(path.read_text(encoding="utf-8"))]
    assert found == ["millionths.py"]
