"""observing.py: metrics and logs of a real server."""

import json
import logging

import pytest
import requests

from deploy.simple_serving.observing import MAX_TROUBLE, MAX_VALUE, Bounded, JsonLines, logger
from tests.deploy.asking import classify, send, wait_until

METRICS = """requests_total{model="one",status="200"} 1.0
requests_total{model="one",status="400"} 1.0
texts_total{model="one"} 7.0
turn_texts_sum{model="one"} 7.0
request_seconds_count{model="one"} 1.0
waiting_texts{model="one"} 0.0"""


@pytest.fixture
def lines():
    """What server.py logs while a test runs, as parsed JSON."""
    found = []

    class Handler(logging.Handler):
        def emit(self, record):
            found.append(json.loads(JsonLines().format(record)))

    handler, level = Handler(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)  # as start_logging does
    yield found
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_metrics_and_logs(serve, texts, lines):
    address, _ = serve()
    classify(address, texts[:7], "one")
    send(address, b"{", path="/models/one")
    metrics = requests.get(f"{address}/metrics", timeout=60).text
    for line in METRICS.splitlines():
        assert f"\nserving_{line}\n" in metrics
    wait_until(lambda: len([line for line in lines if line["event"] == "request"]) == 2)
    ready, answered, refused = lines
    assert ready["event"] == "ready" and ready["path"] == "/models/one"
    assert answered["status"] == 200 and answered["texts"] == 7 and answered["model"] == "one" and answered["ms"] > 0
    assert refused["status"] == 400 and refused["error"].startswith("not JSON")
    assert not any(text in json.dumps(lines, ensure_ascii=False) for text in texts)


def test_texts_are_logged_when_asked_for(serve, texts, lines):
    address, _ = serve(log_texts=1)
    classify(address, texts[:2], "one")
    wait_until(lambda: lines[-1]["event"] == "request")
    assert lines[-1]["text"] == texts[:2]


def test_users_words_stay_out_of_the_log(serve, lines):
    address, _ = serve()
    said = "我的病"
    for path in (f"/{said}", f"/models/{said}", f"/models/one/{said * 100}", f"/models/one?text={said}"):
        requests.get(address + path, timeout=60)
    for body in (b'{"%s": 1}', b'{"data": {"text": ["a"]}, "parameters": {"top_k": "%s"}}', b'{"%s": 1, "%s": 2}'):
        assert said in json.dumps(
            send(address, body.replace(b"%s", said.encode()), path="/models/one"), ensure_ascii=False
        )
    wait_until(lambda: len([line for line in lines if line["event"] == "request"]) == 7)
    assert said not in json.dumps(lines, ensure_ascii=False)
    assert [line["path"] for line in lines[1:]] == ["unknown"] * 3 + ["/models/one"] * 4
    assert lines[-1]["error"] == "the key … is there twice; give it once"


def record(message="failed", level=logging.ERROR, second=0, **fields):
    made = logging.LogRecord("serving", level, "", 0, message, (), None)
    made.created, made.fields = 1000 + second, fields
    return made


def test_lines_are_bounded_in_rate_and_length():
    bounded = Bounded()
    assert sum(bounded.filter(record()) for _ in range(5000)) == MAX_TROUBLE
    assert bounded.filter(record("another"))
    assert sum(bounded.filter(record("request", logging.INFO, status=200)) for _ in range(500)) == 500
    assert sum(bounded.filter(record("request", logging.INFO, status=404)) for _ in range(500)) == MAX_TROUBLE
    later = record(second=1)
    assert bounded.filter(later) and later.fields["lines_left_out"] == 5000 - MAX_TROUBLE
    long = record("x" * 10**6, path="y" * 10**6, text=["z" * 10**6] * 10**4)
    assert len(JsonLines().format(long)) < 25 * MAX_VALUE
