"""connections.py: connections that only wait are ended, and others are served meanwhile."""

import json
import resource
import socket
import threading
import time

import pytest
import requests

from deploy.simple_serving.connections import OTHER_FILES, Guard
from deploy.simple_serving.settings import Settings
from tests.deploy.asking import classify, wait_until
from tests.deploy.malformed import GOOD_BODIES

GOOD = GOOD_BODIES["as documented"]
REQUEST = b"POST /models/one HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(GOOD) + GOOD


def connect(address, *parts):
    host, _, port = address[7:].partition(":")
    connection = socket.create_connection((host, int(port)), timeout=30)
    for part in parts:
        connection.sendall(part)
    return connection


def read_all(connection):
    """What comes until the connection is closed."""
    data = b""
    try:
        while part := connection.recv(1 << 20):
            data += part
    except ConnectionResetError:
        pass
    return data


def test_connections_that_send_no_request_are_closed(serve, texts):
    address, _ = serve(header_seconds=1)
    started = time.monotonic()
    silent = {
        "nothing": connect(address),
        "half a header": connect(address, b"GET / HTTP/1.1\r\nHost"),
        "half of a second header": connect(address, REQUEST, REQUEST[:20]),
    }
    slow = connect(address)
    threading.Thread(target=trickle, args=(slow,), daemon=True).start()
    answers = {name: read_all(connection) for name, connection in silent.items()}
    assert read_all(slow) == b""
    assert 0.9 < time.monotonic() - started < 10
    assert answers["nothing"] == answers["half a header"] == b""
    assert answers["half of a second header"].startswith(b"HTTP/1.1 200")
    classify(address, texts, "one")


def trickle(connection):
    """A byte of a header at a time."""
    try:
        while True:
            connection.sendall(b"G")
            time.sleep(0.2)
    except OSError:
        pass


def test_there_is_room_for_requests_among_many_connections(serve, texts):
    address, _ = serve(max_connections=10)
    silent = [connect(address) for _ in range(60)]
    for _ in range(3):
        classify(address, texts[:2], "one")
    closed = 0
    for connection in silent:
        connection.settimeout(0.01)
        try:
            closed += connection.recv(1) == b""
        except TimeoutError:
            connection.close()
    assert closed >= 50


def test_no_more_connections_than_allowed_have_a_request(serve):
    address, models = serve(max_connections=3, workers=1)
    predictor, begun, go_on = models["one"].predictors[0], threading.Event(), threading.Event()
    run_batch = predictor.run_batch

    def run_when_told(batch):
        begun.set()
        assert go_on.wait(30)
        return run_batch(batch)

    predictor.run_batch = run_when_told
    request = REQUEST.replace(b"Host: a", b"Host: a\r\nConnection: close")
    busy = [connect(address, request)]
    assert begun.wait(30)  # else all three may be in one turn
    busy += [connect(address, request) for _ in range(2)]
    wait_until(lambda: models["one"].batcher.waiting_requests == 2)
    head, _, body = read_all(connect(address)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503") and json.loads(body)["error"]["message"].startswith("too many connections")
    go_on.set()
    assert all(read_all(connection).startswith(b"HTTP/1.1 200") for connection in busy)
    assert requests.get(f"{address}/health", timeout=30).status_code == 200


def test_a_client_that_does_not_read_is_cut_off(serve, many_classes, texts):
    address, _ = serve(models=f"one={many_classes}", send_seconds=1)
    body = json.dumps({"data": {"text": (texts * 30)[:400]}, "parameters": {"top_k": 0}}).encode()
    head = b"POST /models/one HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
    connection = connect(address, head, body)
    connection.recv(1)
    time.sleep(3.5)
    data = read_all(connection)
    assert not data.endswith(b"0\r\n\r\n") and len(data) < 20e6
    classify(address, texts, "one")


@pytest.mark.parametrize(
    "request_head",
    [
        b"POST /models/one HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"9" * 5000,
        b"POST /models/one HTTP/1.1\r\nHost: a\r\nContent-Length: -1",
        b"\0\1\2",
        b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: a",
    ],
    ids=["a long Content-Length", "a negative one", "bytes", "a long path"],
)
def test_what_is_not_http_gets_an_answer(serve, request_head):
    address, _ = serve()
    assert read_all(connect(address, request_head + b"\r\n\r\n")).startswith(b"HTTP/1.1 4")
    assert requests.get(f"{address}/health", timeout=30).status_code == 200


def test_the_limit_leaves_files_for_other_uses(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (256, 4096))
    assert Guard(Settings()).limit == 256 - OTHER_FILES
    assert Guard(Settings(max_connections=20)).limit == 20
