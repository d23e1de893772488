"""batching.py: fair turns, similar lengths together, and what happens to a request that is given up."""

import threading
import time

import numpy as np
import pytest

from deploy.simple_serving import batching
from deploy.simple_serving.batching import (
    MAX_TEXTS,
    Batcher,
    Overloaded,
    Stopped,
    groups_of_similar_length,
    shorten,
)


class Steps:
    """A predictor that runs one turn at a time, when it is let; each text's class is its first digit."""

    labels = ["0", "1", "2", "3"]

    def __init__(self):
        self.allowed, self.turns, self.error = threading.Semaphore(0), [], None

    def encode(self, texts):
        assert self.allowed.acquire(timeout=30)
        self.turns.append(list(texts))
        if self.error:
            raise self.error
        return [{"input_ids": [1, int(text[0]), 2]} for text in texts]

    def logits(self, features):
        return np.array([np.eye(4)[feature["input_ids"][1]] * 9 for feature in features])


@pytest.fixture
def steps():
    return Steps()


@pytest.fixture
def batcher(steps, monkeypatch):
    monkeypatch.setattr(batching, "TURN_SECONDS", 1e9)  # the waiting for `allowed` is no slowness of the model
    batcher = Batcher([steps], max_waiting=100)
    yield batcher
    steps.allowed.release(1000)
    batcher.close()


def ask(batcher, texts):
    return batcher.submit(texts, 128, 32)


def occupy(batcher):
    """Let the thread take a turn of one text, which it runs when it is allowed to."""
    request = ask(batcher, ["0"])
    while batcher.waiting_texts:
        time.sleep(0.001)
    return request


def test_a_late_short_request_is_part_of_the_next_turn(batcher, steps):
    first = ask(batcher, ["0"])
    steps.allowed.release()
    assert first.result(30).argmax(axis=1).tolist() == [0]
    long = ask(batcher, [f"1{number}" for number in range(90)])
    while batcher.waiting_texts == 90:
        time.sleep(0.001)
    short = ask(batcher, ["2"])  # the first turn of the long one is taken
    steps.allowed.release(2)
    assert short.result(30).argmax(axis=1).tolist() == [2]
    assert "2" in steps.turns[2] and len(steps.turns[2]) <= MAX_TEXTS and not long.done()
    steps.allowed.release(1000)
    assert long.result(30).argmax(axis=1).tolist() == [1] * 90


def test_one_text_of_each_request_is_part_of_the_turn_whatever_it_costs(batcher, steps, monkeypatch):
    """Short requests that wait are run together; the time of a turn limits what a long one gets beside them."""
    monkeypatch.setattr(batching, "TURN_SECONDS", 1)
    monkeypatch.setattr(batcher, "_measure", lambda taken, seconds: None)
    batcher._speed = 49  # tokens a turn: 16 texts of the long request, its share beside another one, are 48
    blocker = occupy(batcher)
    long, short = ask(batcher, ["1"] * 90), [ask(batcher, ["2"]) for _ in range(10)]
    steps.allowed.release(2)
    assert all(request.result(30).argmax() == 2 for request in short) and blocker.done() and not long.done()
    assert steps.turns[1].count("2") == 10 and 1 <= steps.turns[1].count("1") <= 16


def test_several_long_requests_share_each_turn(batcher, steps):
    blocker = occupy(batcher)
    requests = [ask(batcher, [str(number)] * 30) for number in (1, 2, 3)]
    steps.allowed.release(1000)
    for number, request in zip((1, 2, 3), requests):
        assert request.result(30).argmax(axis=1).tolist() == [number] * 30
    assert blocker.done()
    shared = steps.turns[1]
    assert set(shared) == {"1", "2", "3"} and max(map(shared.count, "123")) - min(map(shared.count, "123")) <= 2


def test_requests_of_one_length_share_a_turn_and_the_oldest_is_never_left_out(batcher, steps, monkeypatch):
    monkeypatch.setattr(batching, "MAX_TEXTS", 3)
    blocker = occupy(batcher)
    texts = ["1" * 50, *["2"] * 4, *["3" * 50] * 2, "2"]  # each of a request of its own
    requests = [ask(batcher, [text]) for text in texts]
    steps.allowed.release(1000)
    assert [request.result(30).argmax() for request in requests] == [int(text[0]) for text in texts]
    assert blocker.done()
    assert steps.turns[1:] == [["1" * 50, "3" * 50, "3" * 50], ["2", "2", "2"], ["2", "2"]]


def test_a_request_unlike_all_others_is_in_the_turn_when_it_is_the_oldest(batcher, steps, monkeypatch):
    monkeypatch.setattr(batching, "MAX_TEXTS", 2)
    blocker = occupy(batcher)
    requests = [ask(batcher, [text]) for text in ("2", "1" * 50, "2", "2", "2", "2", "2")]
    steps.allowed.release(1000)
    assert all(request.result(30) is not None for request in (blocker, *requests))
    assert "1" * 50 in steps.turns[2]  # the first turn after it had become the oldest


def test_a_cancelled_request_is_dropped(batcher, steps):
    blocker = occupy(batcher)
    given_up, other = ask(batcher, ["1"] * 50), ask(batcher, ["2"])
    assert given_up.cancel()
    steps.allowed.release(1000)
    assert blocker.result(30) is not None and other.result(30).argmax() == 2
    assert "1" not in sum(steps.turns, []) and batcher.waiting_texts == 0 and batcher.waiting_requests == 0


def test_too_many_waiting_texts_are_refused(batcher, steps):
    running = occupy(batcher)
    large = ask(batcher, ["1"] * 150)  # alone it may be larger than the limit
    with pytest.raises(Overloaded):
        ask(batcher, ["2"])
    steps.allowed.release(1000)
    assert running.result(30) is not None and len(large.result(30)) == 150
    assert ask(batcher, ["2"]).result(30).argmax() == 2


def test_a_failing_turn_fails_its_requests_alone(batcher, steps):
    steps.error = ValueError("broken")
    request = ask(batcher, ["1"])
    steps.allowed.release()
    with pytest.raises(ValueError, match="broken"):
        request.result(30)
    steps.error = None
    again = ask(batcher, ["2"])
    steps.allowed.release()
    assert again.result(30).argmax() == 2 and batcher.is_alive


def test_turns_of_a_slow_model_are_short(steps):
    batcher = Batcher([steps], max_waiting=100)
    steps.allowed.release(1)
    ask(batcher, ["0"]).result(30)
    batcher._speed = 40 / batching.TURN_SECONDS
    steps.allowed.release(1000)
    ask(batcher, ["1" * 8] * 20).result(30)
    batcher.close()
    assert len(steps.turns[1]) == 4


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_thread_leaves_nobody_waiting(batcher, steps):
    steps.error = SystemExit()
    running = occupy(batcher)
    waiting = ask(batcher, ["1"])
    steps.allowed.release()
    for request in (running, waiting):
        with pytest.raises(Stopped):
            request.result(30)
    assert not batcher.is_alive
    with pytest.raises(Stopped):
        ask(batcher, ["2"])


def test_closing_runs_what_waits(steps):
    batcher = Batcher([steps], max_waiting=100)
    requests = [ask(batcher, ["1"] * 40), ask(batcher, ["2"])]
    steps.allowed.release(1000)
    batcher.close()
    assert [request.result(0).argmax(axis=1)[0] for request in requests] == [1, 2]
    with pytest.raises(Stopped):
        ask(batcher, ["3"])


def test_shorten_keeps_the_last_token():
    feature = {"input_ids": [1, 7, 8, 9, 2], "token_type_ids": [0, 0, 0, 0, 0]}
    shorten(feature, 5)
    assert feature["input_ids"] == [1, 7, 8, 9, 2]
    shorten(feature, 3)
    assert feature == {"input_ids": [1, 7, 2], "token_type_ids": [0, 0, 0]}


def test_groups_of_similar_length():
    features = [{"input_ids": [0] * length} for length in (10, 120, 11, 118, 10, 12)]
    assert groups_of_similar_length(features, [32] * 6) == [[1, 3], [5, 2, 0, 4]]
    assert groups_of_similar_length(features, [32, 32, 32, 32, 2, 32]) == [[1, 3], [5, 2, 0], [4]]
    assert groups_of_similar_length(features, [1] * 6) == [[1], [3], [5], [2], [0], [4]]
