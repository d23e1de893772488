"""application.py: real requests to a real server, in this process."""

import concurrent.futures
import gzip
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
from deploy.simple_serving import application, messages
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
    status, content = send(address, gzip.compress(good), {**JSON, "Content-Encoding": "gzip"})
    assert status == 415 and content["error"]["message"].startswith("Content-Encoding is 'gzip'; send the body as it")
    for path in ("/", "/health", "/models"):
        response = requests.head(address + path, timeout=60)
        assert response.status_code == 200 and response.content == b"" and int(response.headers["Content-Length"]) > 9
    response = requests.get(f"{address}/models/", headers={"Host": "elsewhere"}, timeout=60, allow_redirects=False)
    assert response.status_code == 404 and "elsewhere" not in response.text + str(response.headers)


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


@pytest.mark.alone
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


@pytest.mark.alone
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


@pytest.mark.alone
def test_a_huge_answer_holds_nobody_up(serve, many_classes, texts, monkeypatch):
    """600 texts x 1,000 classes: about 36 MB, written while others are answered, and never all in memory."""
    sizes = []

    async def send_pieces(send, pieces, watch, pool):
        await messages.send_pieces(send, (sizes.append(len(piece)) or piece for piece in pieces), watch, pool)

    monkeypatch.setattr(application, "send_pieces", send_pieces)
    address, _ = serve(models=f"one={many_classes}")
    given = (texts * 30)[:600]
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        large, seconds = pool.submit(classify, address, given, "one", top_k=0), []
        while not large.done():
            start = time.perf_counter()
            assert requests.get(f"{address}/health", timeout=60).status_code == 200
            classify(address, texts[:1], "one")
            seconds.append(time.perf_counter() - start)
        result = large.result()
    assert sorted(seconds)[len(seconds) // 2] < 0.3
    assert sum(sizes) > 30e6 and max(sizes) < 300_000
    expected = Predictor(many_classes, num_threads=1).probabilities(given[:5])
    for row, label, top in zip(expected, result["label"], result["top"]):
        assert len(top) == 1000 and label == top[0]["label"] == f"第{top[0]['label_id']}类"
        found = np.array([entry["confidence"] for entry in top])
        assert (np.diff(found) <= 0).all()
        np.testing.assert_allclose(found, np.sort(row)[::-1], atol=2e-6)


def test_an_answer_that_would_be_too_large_is_refused_before_any_work(serve, texts):
    address, models = serve(max_scores=10)
    classify(address, texts[:3], "one", top_k=3)
    monkeypatched = models["one"].batcher.submit
    models["one"].batcher.submit = None  # nothing gets there
    content = {"data": {"text": texts[:4]}, "parameters": {"top_k": 0}}
    status, answer = send(address, json.dumps(content), path="/models/one")
    assert status == 413 and answer["error"]["field"] == "parameters.top_k"
    assert answer["error"]["message"] == "4 texts x 3 classes; send at most 3 texts, or a smaller top_k"
    models["one"].batcher.submit = monkeypatched


@pytest.mark.alone
def test_texts_of_rare_characters_hold_nobody_up(address, texts):
    """Each of them once was tried with PaddleNLP's tokenizer, while all others waited: 70 seconds."""
    rare = ["".join(map(chr, range(0xA000 + start, 0xA000 + start + 9990))) for start in range(60)]
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        large = pool.submit(classify, address, rare)
        start = time.perf_counter()
        classify(address, texts[:1])
        assert time.perf_counter() - start < 2
        assert len(large.result(20)["label"]) == 60


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
    assert requests.get(f"{address}/health", timeout=60).json() == {"ready": True}
    assert "one" in requests.get(f"{address}/health", headers={"X-API-Key": key}, timeout=60).json()["models"]
    for path, status in {"/models": 401, "/metrics": 401, "/health": 200, "/health/live": 200, "/": 200}.items():
        assert requests.get(address + path, timeout=60).status_code == status


# ------------------------------------------------------------------------------------------------- another export


def test_a_new_export_is_taken_up_and_a_bad_one_is_not(serve, exports, texts, tmp_path):
    folder, key = tmp_path / "export", {"X-API-Key": "k"}
    shutil.copytree(exports["paddle"][0], folder)
    address, _ = serve(models=f"one={folder}", api_key="k")

    def ask(path, **content):
        return requests.post(f"{address}/models/one{path}", json=content, headers=key, timeout=60)

    def labels():
        return ask("", data={"text": texts}).json()["result"]["label"]

    before = labels()
    for name in ("id2label.json", "parity.json"):
        shutil.copy(exports["renamed"][0] / name, folder / name)
    assert labels() == before
    assert requests.post(f"{address}/models/one/reload", timeout=60).status_code == 401
    answer = ask("/reload")
    assert answer.status_code == 200 and answer.json()["reloaded"] == "one"
    renamed = dict(zip(LABELS, OTHER_LABELS))
    assert labels() == [renamed[label] for label in before]
    (folder / "id2label.json").write_text("{", encoding="utf-8")
    answer = ask("/reload")
    assert answer.status_code == 409
    assert answer.json()["error"]["message"].startswith(f"the model stays as it was: {folder / 'id2label.json'}")
    assert labels() == [renamed[label] for label in before]
    metrics = requests.get(f"{address}/metrics", headers=key, timeout=60).text
    assert 'serving_waiting_texts{model="one"} 0.0' in metrics


def test_without_a_key_nobody_reloads(serve):
    response = requests.post(f"{serve()[0]}/models/one/reload", timeout=60)
    assert response.status_code == 403 and "SERVING_API_KEY" in response.json()["error"]["message"]


def test_requests_that_a_replaced_model_has_begun_are_ended(serve, texts):
    address, _ = serve(api_key="k")
    key = {"X-API-Key": "k"}
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        content = {"data": {"text": (texts * 100)[:2000]}}
        large = pool.submit(requests.post, f"{address}/models/one", json=content, headers=key, timeout=60)
        wait_until(lambda: requests.get(f"{address}/health", headers=key).json()["models"]["one"]["waiting_requests"])
        assert requests.post(f"{address}/models/one/reload", headers=key, timeout=60).status_code == 200
        assert len(large.result().json()["result"]["label"]) == 2000
