"""Setting up the auto-labelling of a doccano that runs; the real one is in test_doccano_site.py."""

import os
import subprocess
import sys

import pytest

from data import doccano_model
from tests.data.json_server import json_server
from tests.helpers import ROOT
from utils import UsageError

MODEL = {"models": [{"name": "cls", "labels": ["头疼", "费用"]}]}


@pytest.fixture
def doccano(monkeypatch):
    """Address of a server that answers as doccano does, what it was asked, and its routes, which a test may change."""
    labels = [{"text": "头疼", "id": 1, "suffix_key": "1"}, {"text": "医疗费用", "id": 2, "suffix_key": "2"}]
    row = {"id": 3, "name": "我的", "project_type": "DocumentClassification", "single_class_classification": True}
    base = "/v1/projects/3"

    def add_label(body):
        labels.append({"text": body["text"], "id": 9, "suffix_key": None})
        return 201, labels[-1]

    routes = {
        ("POST", "/v1/auth/login/"): (200, {"key": "k"}),
        ("GET", "/v1/projects"): (200, {"results": [row]}),
        ("GET", f"{base}/category-types"): lambda _: (200, labels),
        ("POST", f"{base}/category-types"): add_label,
        ("GET", f"{base}/examples"): (200, {"results": [{"text": "第一条"}]}),
        ("POST", f"{base}/auto-labeling/request-testing"): (200, {"result": {"label": ["费用"], "confidence": [0.9]}}),
        ("POST", f"{base}/auto-labeling/label-extractor-testing"): (200, [{"label": "费用"}]),
        ("GET", f"{base}/auto-labeling/configs"): (200, []),
        ("POST", f"{base}/auto-labeling/configs"): (201, {"id": 5}),
    }
    monkeypatch.setenv("DOCCANO_PASSWORD", "secret-word")
    monkeypatch.delenv("SERVING_API_KEY", raising=False)
    with json_server(routes) as (url, asked):
        yield url, asked, routes


@pytest.fixture
def model():
    with json_server({("GET", "/models"): (200, MODEL)}) as (url, _):
        yield url


def run(doccano, model, *more):
    doccano_model.main(["--doccano_url", doccano[0], "--project", "我的", "--model_url", model, *more])


def written(doccano):
    return [row[3] for row in doccano[1] if row[:2] == ("POST", "/v1/projects/3/auto-labeling/configs")]


def test_set_up(doccano, model, capsys, monkeypatch):
    monkeypatch.setenv("SERVING_API_KEY", "key-of-the-model")
    run(doccano, model, "--rename", "费用=医疗费用", "--min_score", "0.6")
    (config,) = written(doccano)
    assert config["label_mapping"] == {"头疼": "头疼", "费用": "医疗费用"}
    assert config["model_attrs"] == {
        "url": f"{model}/models/cls",
        "method": "POST",
        "params": {},
        "headers": {"X-API-Key": "key-of-the-model"},
        "body": {"data": {"text": "{{ text }}"}},
    }
    assert ">= 0.6" in config["template"]
    tried = next(row[3] for row in doccano[1] if row[1].endswith("request-testing"))
    assert tried["text"] == "第一条"
    told = capsys.readouterr().out
    assert "tried through doccano with '第一条': 医疗费用" in told and "configuration 5" in told
    assert "secret-word" not in told and "key-of-the-model" not in told


def test_labels_that_the_project_lacks(doccano, model):
    with pytest.raises(UsageError, match="no label 费用, which the model answers with.*--rename 费用=…"):
        run(doccano, model)
    with pytest.raises(UsageError, match="the model has no label 牙; it has 头疼 费用"):
        run(doccano, model, "--rename", "费用=医疗费用", "牙=头疼")
    assert not written(doccano)
    run(doccano, model, "--add_labels")
    assert written(doccano)[0]["label_mapping"] == {"头疼": "头疼", "费用": "费用"}


@pytest.mark.parametrize(
    "answer, message",
    [
        ((200, {"error": {"status": 413, "message": "too long"}}), "refuses doccano's request.*too long"),
        ((400, {"detail": "Failed to establish a connection."}), "doccano gets no answer there.*in a container"),
    ],
)
def test_a_model_that_does_not_answer(doccano, model, answer, message):
    doccano[2]["POST", "/v1/projects/3/auto-labeling/request-testing"] = answer
    with pytest.raises(UsageError, match=message):
        run(doccano, model, "--add_labels")
    assert not written(doccano)


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--min_score", "2"], "--min_score 2.0: give a number from 0 to 1"),
        (["--min_score", "nan"], "give a number from 0 to 1"),
        (["--rename", "费用"], "--rename 费用: write"),
        (["--rename", "a=b=c"], "write <the model's label>=<the project's label>"),
    ],
)
def test_flags(flags, message):
    with pytest.raises(UsageError, match=message):
        doccano_model.main(["--project", "a", "--model_url", "http://127.0.0.1:9/suggest", *flags])


def test_no_password_on_the_command_line(doccano):
    """It is in no flag; without a terminal and the variable there is none."""
    environment = {key: value for key, value in os.environ.items() if key != "DOCCANO_PASSWORD"}
    command = [sys.executable, "data/doccano_model.py", "--project", "a", "--model_url", "http://127.0.0.1:9/suggest"]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "no password; set DOCCANO_PASSWORD" in done.stderr and "Traceback" not in done.stderr
    assert "password" not in " ".join(vars(doccano_model.parse_flags(command[2:])))
