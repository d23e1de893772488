"""application.py: real requests to a real server, in this process."""

import concurrent.futures
import http.client
import json
import random
import re
import shutil
import time

import numpy as np
import pytest
import requests

from core.predictor import Predictor
from tests.deploy.asking import JSON, classify, send, wait_until, waiting
from tests.deploy.exporting import OTHER_LABELS
from tests.deploy.malformed import GOOD_BODIES
from tests.helpers import LABELS
from utils import write_json

# --------------------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize("name", ["paddle", "onnx", "int8", "pruned", "renamed", "ernie_m"])
def test_each_model_answers_as_itself(address, exports, texts, name):
    predictor = Predictor(*exports[name], num_threads=1, batch_size=1)
    expected = predictor.probabilities(texts)
    result = classify(address, texts, name)
    best = expected.argmax(axis=1)
    assert result["label_id"] == best.tolist()
    assert result["label"] == [(OTHER_LABELS if name == "renamed" else LABELS)[index] for index in best]
    np.testing.assert_allclose(result["confidence"], expected.max(axis=1), atol=1e-5)


def test_all_classes_on_request(address, exports, texts):
    expected = Predictor(*exports["paddle"], num_threads=1).probabilities(texts[:4])
    assert set(classify(address, texts[:4])) == {"label", "confidence", "label_id"}
    top = classify(address, texts[:4], top_k=0)["top"]
    for row, found in zip(expected, top):
        assert [entry["label_id"] for entry in found] == np.argsort(-row, kind="stable").tolist()
        assert [entry["label"] for entry in found] == [LABELS[entry["label_id"]] for entry in found]
        np.testing.assert_allclose([entry["confidence"] for entry in found], np.sort(row)[::-1], atol=1e-5)
    assert [entry[:2] for entry in top] == classify(address, texts[:4], top_k=2)["top"]


def test_max_seq_len_cuts_as_the_tokenizer_does(address, exports, texts, tmp_path):
    shutil.copytree(exports["paddle"][0], tmp_path / "short")
    config = json.loads((tmp_path / "short" / "tokenizer_config.json").read_text(encoding="utf-8"))
    write_json(tmp_path / "short" / "tokenizer_config.json", {**config, "model_max_length": 6})
    expected = Predictor(tmp_path / "short", num_threads=1).probabilities(texts).max(axis=1)
    np.testing.assert_allclose(classify(address, texts, max_seq_len=6)["confidence"], expected, atol=1e-5)
    exported = classify(address, texts)["confidence"]
    assert np.abs(np.array(exported) - expected).max() > 1e-3
    np.testing.assert_allclose(classify(address, texts, max_seq_len=10_000)["confidence"], exported, atol=1e-5)


def test_many_threads_get_their_own_answers(address, exports, texts):
    """Paddle's predictor is not thread-safe: a shared one gives others' answers, or ends the process."""
    expected = {name: Predictor(*exports[name], num_threads=1).probabilities(texts) for name in ("paddle", "onnx")}
    rng = random.Random(3)

    def draw():
        return rng.choice(["paddle", "onnx"]), rng.choices(range(len(texts)), k=rng.choice([1, 1, 3, 40]))

    def ask(job):
        name, indices = job
        found = classify(address, [texts[index] for index in indices], name)
        np.testing.assert_allclose(found["confidence"], expected[name][indices].max(axis=1), atol=1e-5)
        assert found["label_id"] == expected[name][indices].argmax(axis=1).tolist()

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, [draw() for _ in range(80)]))


def test_what_is_served(address, exports):
    content = requests.get(f"{address}/models", timeout=60).json()
    assert [model["name"] for model in content["models"]] == list(exports)
    assert content["models"][0] == {"name": "paddle", "labels": LABELS, "max_seq_len": 32, "format": "paddle"}
    assert content["models"][-1]["max_seq_len"] == 24 and content["limits"]["max_texts"] == 10_000


def test_paths_methods_and_kinds(address):
    good = GOOD_BODIES["as documented"]
    content = send(address, good, path="/models/other")[1]
    assert content["error"]["message"].startswith("no model 'other'; served: paddl")
    for status, (method, path) in {404: ("GET", "/nowhere"), 405: ("PUT", "/models/paddle")}.items():
        response = requests.request(method, address + path, timeout=60)
        assert (response.status_code, response.json()["error"]["status"]) == (status, status)
    status, content = send(address, good, {"Content-Type": "text/plain"})
    assert status == 415 and "Content-Type: application/json" in content["error"]["message"]
    assert send(address, good, {"Content-Type": "Application/JSON; charset=utf-8"})[0] == 200


def test_a_body_that_is_too_large_or_too_slow(serve):
    address, _ = serve(max_body_bytes=1000, body_seconds=1)
    path = "/models/one"
    assert send(address, b"x" * 1001, path=path)[0] == 413
    assert send(address, iter([b"x" * 600] * 2), path=path)[0] == 413  # chunks: no length is announced
    assert send(address, GOOD_BODIES["as documented"], path=path)[0] == 200
    connection = http.client.HTTPConnection(address[7:], timeout=60)
    connection.putrequest("POST", path)
    connection.putheader("Content-Length", "100")
    connection.endheaders(b"{")
    assert connection.getresponse().status == 408
    connection.close()


# -------------------------------------------------------------------------------------------------------- fairness


def test_one_text_does_not_wait_for_ten_thousand(address, texts):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        large = pool.submit(classify, address, (texts * 500)[:10_000])
        wait_until(lambda: waiting(address) == 1)
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            classify(address, texts[:1])
            seconds.append(time.perf_counter() - start)
        assert not large.done()
        assert sorted(seconds)[2] < 0.3
        assert large.result()["label"] == (classify(address, texts)["label"] * 500)[:10_000]


def test_work_is_dropped_when_its_client_has_gone(address, texts):
    content = json.dumps({"data": {"text": (texts * 500)[:10_000]}}).encode()
    connection = http.client.HTTPConnection(address[7:])
    connection.request("POST", "/models/paddle", content, JSON)
    wait_until(lambda: waiting(address) == 1)
    connection.close()
    start = time.perf_counter()
    wait_until(lambda: waiting(address) == 0)
    assert time.perf_counter() - start < 1
    metrics = requests.get(f"{address}/metrics", timeout=60).text
    assert 'serving_requests_total{model="paddle",status="499"} 1.0' in metrics


def test_overload_is_refused_with_a_time_to_come_back(serve, texts):
    address, _ = serve(max_waiting_texts=100)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        large = pool.submit(classify, address, (texts * 50)[:3000], "one")
        wait_until(lambda: waiting(address, "one") == 1)
        response = requests.post(f"{address}/models/one", GOOD_BODIES["as documented"], headers=JSON, timeout=60)
        assert response.status_code == 503 and response.headers["Retry-After"] == "2"
        assert "texts wait already" in response.json()["error"]["message"]
        assert len(large.result()["label"]) == 3000
    classify(address, texts, "one")


# -------------------------------------------------------------------------------------------------- health and key


def test_health_tells_of_the_self_check(address):
    response = requests.get(f"{address}/health", timeout=60)
    content = response.json()
    assert response.status_code == 200 and content["ready"]
    assert re.fullmatch(r"probabilities within \S+ of parity.json", content["models"]["paddle"]["self_check"])
    assert requests.get(f"{address}/health/live", timeout=60).json() == {"alive": True}


def test_a_failure_is_an_answer_and_a_dead_thread_is_seen(serve, texts):
    address, models = serve(workers=1)
    predictor = models["one"].predictors[0]
    run_batch, body = predictor.run_batch, GOOD_BODIES["as documented"]

    def fail(batch):
        raise error

    predictor.run_batch, error = fail, MemoryError()
    status, content = send(address, body, path="/models/one")
    assert status == 500 and content["error"]["message"] == "the server failed on this request; its log has the reason"
    predictor.run_batch = run_batch
    classify(address, texts, "one")
    assert requests.get(f"{address}/health", timeout=60).status_code == 200

    predictor.run_batch, error = fail, SystemExit()
    status, content = send(address, body, path="/models/one")
    assert status == 503 and content["error"]["message"] == "the model has stopped"
    for path, key in (("/health", "ready"), ("/health/live", "alive")):
        response = requests.get(address + path, timeout=60)
        assert response.status_code == 503 and response.json()[key] is False
    assert send(address, body, path="/models/one")[0] == 503


def test_the_api_key(serve):
    address, _ = serve(api_key="秘密 key")
    body, key = GOOD_BODIES["as documented"], "秘密 key".encode()
    for headers in ({}, {"X-API-Key": "other"}, {"Authorization": "Bearer other"}, {"X-API-Key": b"\xff"}):
        response = requests.post(f"{address}/models/one", body, headers={**JSON, **headers}, timeout=60)
        assert response.status_code == 401 and response.headers["WWW-Authenticate"] == "Bearer"
        assert "API key" in response.json()["error"]["message"]
    for headers in ({"X-API-Key": key}, {"Authorization": b"Bearer " + key}):
        assert requests.post(f"{address}/models/one", body, headers={**JSON, **headers}, timeout=60).status_code == 200
    for path, status in {"/models": 401, "/metrics": 401, "/health": 200, "/health/live": 200, "/": 200}.items():
        assert requests.get(address + path, timeout=60).status_code == status
