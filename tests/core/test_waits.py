"""waits.py: what a server asks for, else longer each time, and never too long."""

from types import SimpleNamespace

import pytest

from core.waits import pause_before


@pytest.mark.parametrize(
    ("attempt", "wish", "least"),
    [(1, "7", 7), (9, "0.25", 0.25), (1, "tomorrow", 0.5), (3, "", 2), (3, None, 2), (30, None, 20), (1, "900", 20)],
)
def test_pauses(attempt, wish, least):
    response = None if wish is None else SimpleNamespace(headers={"Retry-After": wish} if wish else {})
    pauses = [pause_before(attempt, response, 0.5, 20) for _ in range(50)]
    assert all(least <= pause <= least * 1.25 for pause in pauses)
    assert len(set(pauses)) > 1  # those that were refused together do not come back together
