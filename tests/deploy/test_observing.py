"""observing.py: metrics and logs of a real server."""

import json
import logging

import pytest
import requests

from deploy.simple_serving.observing import JsonLines, logger
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
