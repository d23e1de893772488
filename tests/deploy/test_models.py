"""models.py: a served export folder."""

import shutil

import pytest
import requests

from core.predictor import Predictor
from deploy.simple_serving.models import Model
from deploy.simple_serving.settings import Settings
from tests.deploy.asking import classify
from tests.deploy.exporting import PATH_LABELS, export_ernie_m
from utils import UsageError, write_json


def test_the_default_format_and_an_export_without_parity(exports, tmp_path):
    shutil.copytree(exports["onnx"][0], tmp_path / "export")
    (tmp_path / "export" / "parity.json").unlink()
    model = Model("one", tmp_path / "export", "auto", Settings())
    assert model.format == "onnx" and model.self_check.startswith("not compared: no parity.json")


def test_an_export_that_does_not_mask_padding_is_refused(exports, tiny_ernie_m, tmp_path):
    assert Model("masked", exports["ernie_m"][0], "auto", Settings()).labels
    export_ernie_m(tiny_ernie_m, tmp_path / "export", max_length=24, masked=False)
    with pytest.raises(UsageError, match="does not mask padding.*export the model again"):
        Model("unmasked", tmp_path / "export", "auto", Settings())


def test_a_limit_on_a_real_server(address, exports, texts):
    """Labels that are paths: the same answers as the Predictor's; without a limit, those of ever."""
    predictor = Predictor(exports["paths"][0])
    rows = predictor.probabilities(texts)
    # Some text has a parent that is surer than its surest label: the limit lies between.
    parents, best = rows[:, 0] + rows[:, 2], rows.max(axis=1)
    surest = (parents - best).argmax()
    limit = float(parents[surest] + best[surest]) / 2
    expected = predictor.classify(texts, min_confidence=limit)
    assert expected[surest].label == "病"
    found = classify(address, texts, "paths", min_confidence=limit)
    assert found["label"] == [answer.label for answer in expected]
    assert found["confidence"] == pytest.approx([answer.confidence for answer in expected], abs=1e-5)
    assert found["guess"] == [answer.guess for answer in expected] == classify(address, texts, "paths")["label"]
    ids = {label: index for index, label in enumerate(PATH_LABELS)}
    assert found["label_id"] == [ids.get(label) for label in found["label"]] and None in found["label_id"]
    assert list(classify(address, texts, "paths", top_k=2)) == ["label", "confidence", "label_id", "top"]


def test_the_separator_is_told_where_there_are_levels(address):
    models = {model["name"]: model for model in requests.get(f"{address}/models", timeout=60).json()["models"]}
    assert models["paths"]["label_separator"] == "/" and "label_separator" not in models["paddle"]


def test_a_label_called_unknown_takes_no_limit(serve, exports, tmp_path):
    shutil.copytree(exports["renamed"][0], tmp_path / "export")
    write_json(tmp_path / "export" / "id2label.json", dict(enumerate(["unknown", "b", "c"])))
    (tmp_path / "export" / "parity.json").unlink()
    address, _ = serve(models=f"one={tmp_path / 'export'}")
    body = {"data": {"text": ["头疼"]}, "parameters": {"min_confidence": 0.5}}
    answer = requests.post(f"{address}/models/one", json=body, timeout=60)
    assert answer.status_code == 422 and answer.json()["error"]["field"] == "parameters.min_confidence"
    assert "label 'unknown'" in answer.json()["error"]["message"]
    assert len(classify(address, ["头疼"], "one")["label"]) == 1
    # The way out that the message names.
    found = classify(address, ["头疼"], "one", min_confidence=1, unknown="不确定")
    assert found["label"] == ["不确定"] == [found["unknown"]] and found["label_id"] == [None]
    body["parameters"]["unknown"] = "b"
    answer = requests.post(f"{address}/models/one", json=body, timeout=60)
    assert answer.status_code == 422 and answer.json()["error"]["field"] == "parameters.unknown"


def test_the_server_s_own_name_for_what_is_unknown(serve):
    address, _ = serve(unknown="其他")
    assert requests.get(f"{address}/models", timeout=60).json()["unknown"] == "其他"
    assert classify(address, ["头疼"], "one", min_confidence=1)["label"] == ["其他"]
    found = classify(address, ["头疼"], "one", min_confidence=1, unknown="unknown")
    assert found["label"] == ["unknown"] and "unknown" not in found
