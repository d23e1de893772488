"""Requests to a server of simple_serving, and what its tests wait for."""

import socket
import time

import requests

JSON = {"Content-Type": "application/json"}


def classify(address, texts, name="paddle", **parameters):
    content = {"data": {"text": texts}, "parameters": parameters}
    response = requests.post(f"{address}/models/{name}", json=content, timeout=60)
    assert response.status_code == 200, response.text
    return response.json()["result"]


def send(address, body, headers=JSON, path="/models/paddle"):
    """(status, JSON) of a POST of bytes."""
    response = requests.post(address + path, data=body, headers=headers, timeout=60)
    return response.status_code, response.json()


def waiting(address, name="paddle"):
    return requests.get(f"{address}/health", timeout=60).json()["models"][name]["waiting_requests"]


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def refuses(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return False
    except OSError:
        return True
