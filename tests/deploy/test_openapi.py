"""openapi.py and the page at /docs: they say what the server does."""

import html
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import requests

import train
from core.predictor import Predictor
from deploy.simple_serving.application import create_app
from deploy.simple_serving.settings import Settings
from tests.deploy.exporting import export_flags
from tests.deploy.running import server_thread
from tests.helpers import ROOT
from utils import write_json

PLACES = [Path(sys.executable).parent, ROOT / ".venv-schemathesis" / "bin"]
SCHEMATHESIS = next((path / "schemathesis" for path in PLACES if (path / "schemathesis").is_file()), None)
HOOKS = Path(__file__).with_name("schemathesis_hooks.py")


@pytest.fixture(scope="module")
def served(calibrated):
    """(address, its application) of a server with a model that promises accuracies and sets."""
    app = create_app(Settings(models=f"one={calibrated[2]}@onnx", max_texts=50))
    with server_thread(app) as address:
        yield address, app


@pytest.fixture(scope="module")
def windowed(calibrated, tmp_path_factory):
    """An export of the same weights that reads long texts in windows of 32 tokens."""
    data, checkpoint, _ = calibrated
    folder = tmp_path_factory.mktemp("windowed") / "export"
    train.main([*export_flags(data, checkpoint, folder, "onnx"), "--long_text", "windows"])
    return folder


@pytest.fixture(scope="module")
def document(served):
    return requests.get(f"{served[0]}/openapi.json", timeout=60).json()


def test_every_route_is_there_and_no_other(served, document):
    described = {path: {method.upper() for method in methods} for path, methods in document["paths"].items()}
    assert described == {path: set(methods) for path, methods in served[1].routes.items()}
    text = json.dumps(document)
    named = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert named == set(document["components"]["schemas"])
    assert " 50 texts" in document["info"]["description"]


def test_what_a_model_can_promise(document, calibrated):
    own = document["components"]["schemas"]["Parameters-one"]
    accuracies = Predictor(calibrated[2], "onnx").content["thresholds"]
    assert own["properties"]["conformal"]["enum"] == [0.9, 0.95] and own["not"] == {"required": ["conformal", "top_k"]}
    named = own["properties"]["min_confidence"]["anyOf"][1]["enum"]
    assert named and set(named) <= {f"accuracy:{name}" for name in accuracies}
    assert own["dependentRequired"] == {"unknown": ["min_confidence"]}


def test_a_length_that_a_model_with_windows_cannot_have(serve, calibrated, windowed):
    """What the description allows is answered, and nothing shorter, by either protocol."""
    address, _ = serve(models=f"one={calibrated[2]}@onnx,two={windowed}@onnx")
    schemas = requests.get(f"{address}/openapi.json", timeout=60).json()["components"]["schemas"]
    for name, least in (("one", 3), ("two", 32)):
        asked = schemas["Inference" if name == "one" else "Inference-two"]["properties"]["parameters"]["anyOf"][0]
        own = [part["properties"]["max_seq_len"]["minimum"] for part in (schemas[f"Parameters-{name}"], asked)]
        assert own == [least, least]
        for length, status in ((least, 200), (least - 1, 422), (999, 200)):
            parameters = {"max_seq_len": length}
            body = {"data": {"text": "头疼" * 40}, "parameters": parameters}
            assert requests.post(f"{address}/models/{name}", json=body, timeout=60).status_code == status
            given = {"name": "INPUT", "shape": [1, 1], "datatype": "BYTES", "data": ["头疼" * 40]}
            body = {"inputs": [given], "parameters": parameters}
            assert requests.post(f"{address}/v2/models/{name}/infer", json=body, timeout=60).status_code == status


def test_a_model_that_promises_nothing_and_a_label_called_unknown(serve, trained_once, rendered, tmp_path):
    shutil.copytree(trained_once[1] / "export", tmp_path / "export")
    write_json(tmp_path / "export" / "id2label.json", dict(enumerate(["unknown", "b", "c"])))
    (tmp_path / "export" / "parity.json").unlink()
    address, _ = serve(models=f"one={tmp_path / 'export'}", api_key="k")
    assert requests.get(f"{address}/openapi.json", timeout=60).status_code == 401
    assert 'id="key-row" hidden' not in rendered(f"{address}/docs")
    document = requests.get(f"{address}/openapi.json", headers={"X-API-Key": "k"}, timeout=60).json()
    own = document["components"]["schemas"]["Parameters-one"]
    assert own["dependentRequired"]["min_confidence"] == ["unknown"] and "conformal" not in own["properties"]
    assert own["properties"]["min_confidence"]["anyOf"] == [{"type": "number", "minimum": 0, "maximum": 1}]
    for path, methods in document["paths"].items():
        for told in methods.values():
            is_open = path in ("/", "/docs", "/v2", "/v2/") or "/health" in path
            assert ("401" in told["responses"]) == ("security" in told) == (not is_open), path


def test_the_page_shows_all_of_it_and_needs_nobody_else(served, document, rendered):
    response = requests.get(f"{served[0]}/docs", timeout=60)
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert not re.findall(r"(?:https?:)?//\w", response.text.replace("// ", ""))
    dom = rendered(f"{served[0]}/docs")
    shown = re.findall(r'<b class="(\w+)">\w+</b> <code>([^<]+)</code>', dom)
    assert shown == [(method, path) for path, methods in document["paths"].items() for method in methods]
    assert document["info"]["description"] in html.unescape(dom) and '"accuracy:0.95"' in dom
    assert 'id="problem" role="alert" hidden' in dom


@pytest.mark.slow
@pytest.mark.skipif(SCHEMATHESIS is None, reason="no .venv-schemathesis; run: make test-slow")
@pytest.mark.parametrize("key", ["", "k", "staged"])
def test_schemathesis_finds_nothing(calibrated, distilled, windowed, tmp_path, key):
    """All its checks, on requests that the description allows and on such as it does not: of a model, with a key too;
    of a cascade, and of a model that reads long texts in windows."""
    models = {"one": f"{calibrated[2]}@onnx"}
    if key == "staged":
        key, models = "", {"cascade": f"{distilled[1] / 'export'}@cascade:onnx_int8", "windows": f"{windowed}@onnx"}
    models = ",".join(f"{name}={place}" for name, place in models.items())
    settings = Settings(models=models, max_texts=50, api_key=key)
    with server_thread(create_app(settings)) as address:
        # With a key, each good request to this one would load the model again: seconds each.
        flags = ["--exclude-path", "/models/one/reload", "-H", f"X-API-Key: {key}"] if key else []
        checks = ["--checks", "all", "--seed", "1", "-n", "40", *flags]
        command = [SCHEMATHESIS, "--config-file", HOOKS.with_name("schemathesis.toml"), "run", *checks]
        environment = {**os.environ, "SCHEMATHESIS_HOOKS": HOOKS.stem, "PYTHONPATH": str(HOOKS.parent)}
        run = subprocess.run(
            [*command, f"{address}/openapi.json"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            timeout=3000,
        )
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    assert int(re.search(r"(\d+) generated", run.stdout)[1]) > 300, run.stdout[-2000:]
