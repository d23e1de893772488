"""The runtime of deploy/requirements-runtime.txt: no Paddle, the same answers."""

import ast
import concurrent.futures
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import requests

from core.predictor import Predictor
from core.tokenizer_json import RUNTIME_KEY
from deploy.simple_serving.models import Model
from deploy.simple_serving.settings import Settings
from tests.deploy.asking import classify, wait_until, waiting
from tests.deploy.exporting import readable
from tests.deploy.running import SIMPLE_SERVING, server_process
from tests.helpers import ROOT
from tests.random_strings import random_strings
from utils import UsageError, read_json, write_json

# What the runtime's environment has, of what this one has; a folder in front of all others hides the rest.
HIDDEN = ("paddle", "paddlenlp", "scipy", "sklearn", "tqdm", "psutil", "sentencepiece", "onnx", "requests")
RAISES = "raise ImportError(f'{__name__} is not part of the runtime')\n"

# Probabilities of the texts on stdin, in both formats.
RUN = """
import json, sys
from core.predictor import Predictor
content = json.load(sys.stdin)
predictors = {name: Predictor(content["folder"], name) for name in ("onnx", "onnx_int8")}
print(json.dumps({name: predictor.probabilities(content["texts"]).tolist() for name, predictor in predictors.items()}))
"""


@pytest.fixture
def runtime_only(tmp_path):
    """Environment variables with which Python finds none of HIDDEN."""
    for name in HIDDEN:
        (tmp_path / "hidden" / name).mkdir(parents=True)
        (tmp_path / "hidden" / name / "__init__.py").write_text(RAISES)
    return {"PYTHONPATH": os.pathsep.join([str(tmp_path / "hidden"), str(ROOT)])}


def without_twin(folder, target):
    """A copy of an export folder as one was before there was tokenizer.json: PaddleNLP tokenises."""
    shutil.copytree(folder, target)
    (target / "tokenizer.json").unlink()
    content = read_json(target / "export.json")
    del content[RUNTIME_KEY]
    write_json(target / "export.json", content)
    return target


def test_it_answers_as_the_full_stack(exports, texts, tmp_path, runtime_only):
    """500 of the strings of all of Unicode that the benchmark has, and the sample texts."""
    folder, texts = exports["onnx"][0], [*readable(random_strings(900))[:500], *texts]
    assert len(texts) > 550
    given = json.dumps({"folder": str(folder), "texts": texts})
    environment = {**os.environ, **runtime_only}
    run = subprocess.run(
        [sys.executable, "-c", RUN], input=given, env=environment, capture_output=True, encoding="utf-8", timeout=120
    )
    assert run.returncode == 0, run.stderr[-2000:]
    full = without_twin(folder, tmp_path / "full")
    for format, rows in json.loads(run.stdout).items():
        expected = Predictor(full, format).probabilities(texts)
        np.testing.assert_allclose(rows, expected, atol=1e-6, err_msg=format)
        assert (np.argmax(rows, axis=1) == expected.argmax(axis=1)).all()


def test_the_server_runs_on_it(exports, texts, tmp_path, runtime_only):
    """`uvicorn server:app` on a folder without the Paddle graph: the self-check is done, and SIGTERM lets a long
    request end."""
    shutil.copytree(exports["onnx"][0], tmp_path / "export")
    for path in (tmp_path / "export").glob("model.pd*"):
        path.unlink()
    command = [sys.executable, "-m", "uvicorn", "server:app", "--host", "127.0.0.1", "--port", "{port}"]
    environment = {**runtime_only, "SERVING_MODELS": str(tmp_path / "export")}
    with server_process(command, SIMPLE_SERVING, environment, tmp_path / "log") as (port, process):
        health = requests.get(f"http://127.0.0.1:{port}/health", timeout=30).json()
        assert health["ready"] and health["models"]["cls_multi_class"]["format"] == "onnx"
        assert health["models"]["cls_multi_class"]["self_check"].startswith("probabilities within")
        url = f"http://127.0.0.1:{port}/models/cls_multi_class"
        answer = requests.post(url, json={"data": {"text": texts}}, timeout=30).json()["result"]
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            address = f"http://127.0.0.1:{port}"
            large = pool.submit(classify, address, texts * 100, "cls_multi_class")
            wait_until(lambda: waiting(address, "cls_multi_class") == 1)
            process.send_signal(signal.SIGTERM)
            assert len(large.result()["label"]) == 100 * len(texts)
        assert process.wait(60) in (0, -signal.SIGTERM)
    assert answer["label"] == [label for label, _ in Predictor(*exports["onnx"]).classify(texts)]
    assert "Traceback" not in (tmp_path / "log").read_text(encoding="utf-8")


def test_a_model_that_needs_paddlenlp_says_so(exports, ernie_m, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "paddlenlp.transformers", None)  # importing it raises ImportError
    with pytest.raises(UsageError, match=r"needs PaddleNLP.*ErnieMTokenizer has no twin.*; run: pip install -r"):
        Predictor(ernie_m, "onnx")
    with pytest.raises(UsageError, match=r"\(format paddle\).*use the format onnx or onnx_int8"):
        Predictor(exports["onnx"][0], "paddle")
    old = without_twin(exports["onnx"][0], tmp_path / "old")
    with pytest.raises(UsageError, match=r"exported before.*export it again"):
        Predictor(old, "onnx")
    model = Model("one", exports["onnx"][0], "auto", Settings(workers=1))
    assert model.format == "onnx"


def test_a_tokenizer_of_another_export_is_refused(exports, tmp_path):
    shutil.copytree(exports["onnx"][0], tmp_path / "export")
    with (tmp_path / "export" / "tokenizer.json").open("a") as file:
        file.write("\n")
    with pytest.raises(UsageError, match=r"tokenizer.json: \d+ bytes, but \d+ were written"):
        Predictor(tmp_path / "export", "onnx")


def test_the_code_is_python_3_9():
    """All that `uvicorn server:app` and batch/predict.py import of this repository."""
    code = "import sys, deploy.simple_serving.application, deploy.batch.predict, core.batch_workers, json; "
    code += "print(json.dumps([m.__file__ for m in list("
    code += "sys.modules.values()) if getattr(m, '__file__', None) and m.__name__.split('.')[0] in "
    code += "('core', 'deploy', 'utils')]))"
    files = json.loads(subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True).stdout)
    assert len(files) > 15
    for file in map(Path, files):
        tree = ast.parse(file.read_text(encoding="utf-8"), feature_version=(3, 9))
        for node in ast.walk(tree):
            assert not isinstance(node, getattr(ast, "Match", ())), file
            hint = getattr(node, "annotation", None) or getattr(node, "returns", None)
            assert not isinstance(hint, ast.BinOp), f"{file}:{node.lineno}: X | Y"


# -------------------------------------------------------------------------------------------------------- the image


DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")


def instructions():
    """(keyword, rest) of each instruction of the Dockerfile, in order."""
    text = re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in text.splitlines() if line.strip()]


def test_the_image_holds_what_the_server_imports_and_nobody_is_root():
    steps = instructions()
    copied = [word for keyword, rest in steps if keyword == "COPY" for word in shlex.split(rest)[:-1]]
    assert all((ROOT / path).exists() for path in copied)
    assert {"utils.py", "core", "deploy/simple_serving"} <= set(copied)
    keywords = [keyword for keyword, _ in steps]
    assert keywords.index("USER") < keywords.index("CMD") and dict(steps)["USER"] not in ("root", "0")
    assert "HEALTHCHECK" in keywords
    compose = (ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8")
    for line in ("read_only: true", "restart: unless-stopped", "dockerfile: deploy/Dockerfile", ":/model:ro"):
        assert line in compose, line


@pytest.mark.slow
def test_the_steps_of_the_image_in_order(exports, texts, tmp_path):
    """Each instruction in an empty environment and a fresh folder, as far as that goes without a container."""
    root, environment, command, check = tmp_path / "root", {}, None, None
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    place = root
    for keyword, rest in instructions():
        if keyword == "WORKDIR":
            place = root / rest.lstrip("/")
            place.mkdir(parents=True, exist_ok=True)
        elif keyword == "COPY":
            *sources, target = shlex.split(rest)
            for source in sources:
                into = place / target
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, into, dirs_exist_ok=True)
                else:
                    into.mkdir(parents=True, exist_ok=True)
                    shutil.copy(ROOT / source, into)
        elif keyword == "ENV":
            environment.update(part.split("=", 1) for part in shlex.split(rest))
        elif keyword == "RUN" and "pip" in rest:
            subprocess.run(rest, shell=True, cwd=place, env={**os.environ, "PATH": path}, check=True)
        elif keyword == "HEALTHCHECK":
            check = rest.split("CMD", 1)[1].strip()
        elif keyword == "CMD":
            command = json.loads(rest)
    shutil.copytree(exports["onnx"][0], tmp_path / "model")
    assert environment["SERVING_MODELS"] == "/model"
    environment.update(SERVING_MODELS=str(tmp_path / "model"), PATH=path, PYTHONPATH="")
    command = ["{port}" if part == "8189" else "127.0.0.1" if part == "0.0.0.0" else part for part in command]
    files = sorted(root.rglob("*"))
    with server_process(command, place, environment, tmp_path / "log") as (port, _):
        probe = check.replace("8189", str(port))
        assert subprocess.run(probe, shell=True, env={**os.environ, "PATH": path}, timeout=30).returncode == 0
        url = f"http://127.0.0.1:{port}/models/cls_multi_class"
        answer = requests.post(url, json={"data": {"text": texts}}, timeout=30).json()["result"]
    assert answer["label"] == [label for label, _ in Predictor(*exports["onnx"]).classify(texts)]
    assert sorted(root.rglob("*")) == files, "its file system is read-only"
