"""data/e5_weights.py: damaged files, and the layers that are kept."""

import pytest

from data.e5_weights import kept_layers
from tests.data.e5 import build
from utils import UsageError


@pytest.mark.parametrize(
    "damage, problem",
    [
        (lambda data: b"XXXX" + data[4:], "does not start with E5S1"),
        (lambda data: data[:100], "cut short"),
        (lambda data: data[:-5000], "cut short inside"),
    ],
)
def test_damaged_files(small, tmp_path, damage, problem):
    with pytest.raises(UsageError, match=problem):
        build(damage(small[0]), tmp_path / "encoder")
    assert not (tmp_path / "encoder").exists()


def test_number_of_layers(small, tmp_path):
    assert kept_layers(12, 6) == [1, 3, 5, 7, 9, 11]
    assert kept_layers(12, 12) == list(range(12))
    with pytest.raises(UsageError, match="--num_hidden_layers 4: the source has 1 to 3"):
        build(small[0], tmp_path / "encoder", 4)
