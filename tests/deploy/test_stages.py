"""A student on the server: alone, before the model, and what /metrics tells of it."""

import json
import shutil

import numpy as np
import pytest
import requests

from core.ngram_student import read_characters
from core.predictor import Predictor
from deploy.simple_serving import client
from deploy.simple_serving.application import create_app
from deploy.simple_serving.models import Model
from deploy.simple_serving.settings import Settings
from tests.deploy.asking import classify
from tests.deploy.running import server_thread
from tests.helpers import LABELS
from utils import UsageError, read_examples, read_json, write_json


@pytest.fixture(scope="module")
def export(distilled, tmp_path_factory):
    """An export with a student that answers half of dev; blend, limits and conformal sets are written by hand."""
    folder = tmp_path_factory.mktemp("stages") / "export"
    shutil.copytree(distilled[1] / "export", folder)
    texts = read_examples(distilled[0] / "dev.txt", LABELS)[0]
    surest = Predictor(folder, "ngram").probabilities(texts).max(axis=1)
    stages = json.loads((folder / "student" / "stages.json").read_text())
    promises = {
        "thresholds": {"0.95": {"samples": 9, "levels": [{"threshold": 0.9}], "labels": {}}},
        "conformal": {"0.9": {"least_probability": 0.25}},
    }
    for found in stages["formats"].values():
        found["cascade"] = {"threshold": round(float(np.median(surest)), 4), **promises}
        found["blend"] = {"weight": 0.7, "temperature": 1.5, **promises}
    write_json(folder / "student" / "stages.json", stages)
    return folder


@pytest.fixture(scope="module")
def address(export):
    formats = {"ngram": "ngram", "cascade": "cascade", "int8": "cascade:onnx_int8", "blend": "blend:onnx"}
    entries = [f"{name}={export}@{format}" for name, format in formats.items()]
    with server_thread(create_app(Settings(models=",".join(entries), workers=2, threads=1))) as address:
        yield address


@pytest.fixture(scope="module")
def texts(distilled):
    return read_examples(distilled[0] / "dev.txt", LABELS)[0]


def counts(address):
    """(model, stage) -> texts, of /metrics."""
    found = {}
    for line in requests.get(f"{address}/metrics", timeout=60).text.splitlines():
        if line.startswith("serving_stage_texts_total"):
            labels, _, value = line.partition("}")
            _, model, _, stage, _ = labels.split('"')
            found[model, stage] = float(value)
    return found


@pytest.mark.parametrize(
    ("name", "format"),
    [("ngram", "ngram"), ("cascade", "cascade:onnx"), ("int8", "cascade:onnx_int8"), ("blend", "blend:onnx")],
)
def test_the_same_answers_as_the_predictor_s(address, export, texts, name, format):
    predictor = Predictor(export, format)
    rows = predictor.probabilities(texts)
    for batch_size in (32, 1):
        found = classify(address, texts, name, top_k=0, batch_size=batch_size)
        assert found["label"] == [LABELS[row.argmax()] for row in rows]
        tops = [{entry["label"]: entry["confidence"] for entry in top} for top in found["top"]]
        assert np.abs([[top[label] for label in LABELS] for top in tops] - rows).max() < 1e-5
    if name != "ngram":
        limited = classify(address, texts, name, min_confidence="accuracy:0.95")
        expected = predictor.classify(texts, min_confidence="accuracy:0.95")
        assert limited["label"] == [answer.label for answer in expected]
        sets = classify(address, texts, name, conformal=0.9)["top"]
        assert [len(top) for top in sets] == [len(labels) for labels in predictor.label_sets(texts, 0.9)]


def test_metrics_count_the_stages(address, export, texts):
    before = counts(address)
    classify(address, texts, "cascade")
    classify(address, texts, "ngram")
    classify(address, texts, "blend")
    after = counts(address)
    grown = {key: after[key] - before.get(key, 0) for key in after}
    cascade = Predictor(export, "cascade")
    first = int((~cascade.first_stage(cascade.encode(texts))[1]).sum())
    assert 0 < first < len(texts)
    assert grown["cascade", "student"] == first and grown["cascade", "model"] == len(texts) - first
    assert grown["ngram", "student"] == len(texts) and ("blend", "student") not in after


def test_a_shorter_limit_is_for_both_stages(address, export):
    """max_seq_len cuts what the student reads too: four characters a token."""
    text = "头疼应该挂什么科" * 20
    student = Predictor(export, "ngram").student
    expected = np.exp(student.logits(read_characters([text], 4)).astype("float64"))[0]
    (top,) = classify(address, [text], "ngram", max_seq_len=4, top_k=0)["top"]
    assert top[0]["confidence"] == pytest.approx(expected.max() / expected.sum(), abs=1e-6)


def test_the_list_the_health_and_the_client(address, capsys):
    models = {model["name"]: model for model in requests.get(f"{address}/models", timeout=60).json()["models"]}
    assert models["int8"]["format"] == "cascade:onnx_int8" and models["cascade"]["min_confidence"] == ["accuracy:0.95"]
    checks = requests.get(f"{address}/health", timeout=60).json()["models"]
    assert checks["cascade"]["self_check"].startswith("student: probabilities within")
    assert "; model: probabilities within" in checks["cascade"]["self_check"]
    client.main(["--url", f"{address}/models/cascade", "--min_confidence", "accuracy:0.95"])
    assert '"guess"' in capsys.readouterr().out


def test_auto_and_a_stale_student(export, distilled, tmp_path):
    assert Model("one", distilled[1] / "distill_ngram", "auto", Settings()).format == "ngram"
    assert Model("one", export, "auto", Settings()).format == "onnx"
    shutil.copytree(export, tmp_path / "export")
    content = read_json(tmp_path / "export" / "export.json")
    write_json(tmp_path / "export" / "export.json", {**content, "weights": "other"})
    with pytest.raises(UsageError, match="the student of another model"):
        Model("one", tmp_path / "export", "cascade", Settings())
