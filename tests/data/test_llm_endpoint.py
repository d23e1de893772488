"""data/llm_endpoint.py: limits, rate and pauses; requests themselves are tested in test_llm_label.py."""

import threading
import time
from types import SimpleNamespace

import pytest

from data.llm_endpoint import LONGEST_PAUSE, Budget, Endpoint, OutOfBudget, Rate, usage_of


def test_a_limit_of_requests_holds_for_all_threads():
    budget, taken = Budget(requests=50), []

    def take():
        for _ in range(20):
            try:
                budget.take_request()
                taken.append(1)
            except OutOfBudget:
                return

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == budget.requests == 50


def test_tokens_and_cost_go_on_from_earlier_runs():
    budget = Budget(tokens=100, cost=1.0, prices=(1.0, 2.0), used=(40, 50))
    assert budget.cost == pytest.approx(140e-6)
    budget.take_request()
    budget.add((10, 0))
    with pytest.raises(OutOfBudget, match="--max_tokens 100 is reached"):
        budget.take_request()
    with pytest.raises(OutOfBudget, match="--max_cost 0.0001 is reached"):
        Budget(cost=1e-4, prices=(1.0, 2.0), used=(40, 50)).take_request()


def test_a_rate_spreads_requests():
    rate, start = Rate(1200), time.monotonic()
    for _ in range(5):
        rate.wait()
    assert time.monotonic() - start >= 4 * 0.05
    start = time.monotonic()
    for _ in range(1000):
        Rate(0).wait()
    assert time.monotonic() - start < 0.5


def test_pauses_are_what_the_server_asks_for_or_longer_each_time():
    endpoint = Endpoint("http://a/v1/", "m", None, Budget(), Rate(0), pause=1.0)
    assert endpoint.url == "http://a/v1/chat/completions"
    asks = SimpleNamespace(headers={"Retry-After": "7"})
    silent = SimpleNamespace(headers={"Retry-After": "tomorrow"})
    assert 7 <= endpoint._pause_before(0, asks) <= 7 * 1.25
    assert 4 <= endpoint._pause_before(2, silent) <= 4 * 1.25
    assert endpoint._pause_before(30, None) <= LONGEST_PAUSE * 1.25


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 4}, (3, 4)),
        ({"prompt_tokens": "3"}, (0, 0)),
        ({"prompt_tokens": -1, "completion_tokens": None}, (0, 0)),
        (None, (0, 0)),
        ([], (0, 0)),
    ],
)
def test_an_answer_may_say_what_it_took(usage, expected):
    assert usage_of({"usage": usage}) == expected
