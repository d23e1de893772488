"""prediction_log.py: what the log holds, that nobody waits for it, that it has an end."""

import json
import types

import numpy as np
import prometheus_client
import pytest
import requests

from core.hashed_ngrams import buckets_of, key_name, key_path, make_bucket, read_key
from deploy.simple_serving import prediction_log
from deploy.simple_serving.answers import ENTRY, most_probable
from deploy.simple_serving.prediction_log import PredictionLog, facts_of, with_facts
from deploy.simple_serving.settings import Settings
from deploy.simple_serving.tensors import best_class
from tests.deploy.asking import classify, wait_until
from utils import UsageError


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def open_log(tmp_path):
    """A function that opens a log in tmp_path: (log, model)."""
    opened = []
    model = types.SimpleNamespace(
        name="one", labels=["甲", "乙"], content={"weights": "abcdef0123456789"}, format="onnx"
    )

    def start(**settings):
        own = Settings(**{"prediction_log": str(tmp_path / "log.jsonl"), **settings})
        opened.append(PredictionLog(own, prometheus_client.CollectorRegistry()))
        return opened[-1], model

    yield start
    for log in opened:
        log.close()


def answers(number):
    return with_facts(most_of_one)(np.tile([0.25, 0.75], (number, 1)))


def most_of_one(rows):
    return most_probable(rows, 1)


def test_the_server_logs_its_answers_and_no_text(serve, texts, tmp_path):
    path = tmp_path / "log.jsonl"
    plain, _ = serve()
    address, _ = serve(prediction_log=str(path))
    asked = [texts[:3], texts[3:5], texts[5:9]]
    parameters = [{}, {"top_k": 0}, {"min_confidence": 0.99}]
    found = [classify(address, some, "one", **more) for some, more in zip(asked, parameters)]
    assert found == [classify(plain, some, "one", **more) for some, more in zip(asked, parameters)]
    wait_until(lambda: path.read_bytes().count(b"\n") == 9)
    lines, expected = read(path), classify(plain, texts[:9], "one")
    tensor = {"name": "INPUT", "datatype": "BYTES", "shape": [2, 1], "data": texts[:2]}
    answers = [
        requests.post(f"{own}/v2/models/one/infer", json={"inputs": [tensor]}, timeout=60) for own in (plain, address)
    ]
    assert answers[0].status_code == 200 and answers[0].json()["outputs"] == answers[1].json()["outputs"]
    wait_until(lambda: path.read_bytes().count(b"\n") == 11)
    assert [line["label"] for line in read(path)[9:]] == expected["label"][:2]
    assert [line["label"] for line in lines] == expected["label"]
    assert [line["confidence"] for line in lines] == expected["confidence"]
    key = read_key(key_path(path))
    for line, text in zip(lines, texts):
        assert line["ngrams"] == buckets_of(text, make_bucket(key)) and line["length"] == len(text)
        assert 0 <= line["entropy"] <= np.log(3) and line["key"] == key_name(key) and line["model"] == "one"
        assert line["version"].endswith("-paddle") and "text" not in line and len(line["time"]) == 17
    content = path.read_text(encoding="utf-8")
    assert not any(text[:4] in content for text in texts[:9]) and path.stat().st_mode & 0o777 == 0o600
    metrics = requests.get(f"{address}/metrics", timeout=60).text
    assert 'serving_prediction_log_texts_total{model="one"} 11.0' in metrics
    assert "prediction_log" not in requests.get(f"{plain}/metrics", timeout=60).text


def test_entropy_and_the_most_probable_class():
    rows = np.array([[0.25, 0.75], [1.0, 0.0]])
    found = with_facts(most_of_one)(rows)
    assert found.dtype == ENTRY and found.shape == (2, 3) and found["id"].tolist() == [[1, 1, -1], [0, 0, -1]]
    assert found["millionths"].tolist() == [[750000, 750000, 562335], [1000000, 1000000, 0]]
    assert with_facts(most_of_one) is with_facts(most_of_one)
    assert with_facts(most_of_one)(rows[:0]).shape == (0, 3)


def test_tensors_have_the_same_facts():
    """Of the Open Inference Protocol's answers, which are numbers."""
    rows = np.array([[0.25, 0.75], [1.0, 0.0]])
    for keep, columns in ((best_class, 2), (most_of_one, 1)):
        found = with_facts(keep)(rows)
        ids, sure, entropy = facts_of(found[:, columns:])
        assert (ids, sure) == ([1, 0], [0.75, 1.0]) and entropy == pytest.approx([0.562335, 0], abs=1e-6)
        assert with_facts(keep)(rows[:0]).shape == (0, found.shape[1])


def test_texts_are_kept_on_demand_alone(open_log, tmp_path):
    log, model = open_log(log_texts=1)
    kept = log.take(model, ["头疼", "感冒\n发烧"], answers(2))
    assert kept.shape == (2, 1)
    log.close()
    lines = read(tmp_path / "log.jsonl")
    assert [line["text"] for line in lines] == ["头疼", "感冒\n发烧"]
    assert lines[0]["label"] == "乙" and lines[0]["version"] == "abcdef012345-t1-onnx"


def test_files_have_a_limit(open_log, tmp_path):
    log, model = open_log(prediction_log_bytes=1000)
    for _ in range(20):
        log.take(model, ["头疼挂什么科"], answers(1))
    log.close()
    files = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert set(files) == {"log.jsonl", "log.jsonl.1", "log.jsonl.key"} and max(files.values()) <= 1000
    assert len(read(tmp_path / "log.jsonl")) > 0 and len(read(tmp_path / "log.jsonl.1")) > 1


def test_what_has_no_room_is_counted(open_log, tmp_path, monkeypatch):
    log, model = open_log()
    monkeypatch.setattr(prediction_log, "MAX_WAITING", 2)
    assert log.take(model, ["头疼"] * 3, answers(3)).shape == (3, 1)
    assert log.dropped.labels("one")._value.get() == 3
    log.take(model, ["头疼"] * 2, answers(2))
    wait_until(lambda: log.done == 2)
    log.take(model, ["头疼"] * 2, answers(2))
    log.close()
    assert len(read(tmp_path / "log.jsonl")) == 4 and log.written.labels("one")._value.get() == 4


def test_a_full_disk_is_told_once_and_survived(open_log, tmp_path, monkeypatch, caplog):
    log, model = open_log()
    whole, calls = log._write, []

    def write(content):
        calls.append(content)
        if len(calls) < 3:
            raise OSError(28, "No space left on device")
        whole(content)

    monkeypatch.setattr(log, "_write", write)
    with caplog.at_level("ERROR", "serving"):
        for _ in range(3):
            log.take(model, ["头疼"], answers(1))
        log.close()
    assert [record.message for record in caplog.records] == ["the log of answers is not written"]
    assert len(read(tmp_path / "log.jsonl")) == 1 and log.dropped.labels("one")._value.get() == 2


def test_a_restart_goes_on_with_the_same_key(open_log, tmp_path):
    for _ in range(2):
        log, model = open_log()
        log.take(model, ["头疼"], answers(1))
        log.close()
    first, second = read(tmp_path / "log.jsonl")
    assert first["key"] == second["key"] and first["ngrams"] == second["ngrams"]


def test_a_place_that_cannot_be_written_is_refused(open_log, tmp_path):
    with pytest.raises(UsageError, match="log.jsonl.key: cannot be written"):
        open_log(prediction_log=str(tmp_path / "nowhere" / "log.jsonl"))
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="SERVING_PREDICTION_LOG=.*folder: cannot be written"):
        open_log(prediction_log=str(tmp_path / "folder"))
