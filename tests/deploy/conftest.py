"""Fixtures of the tests of deploy/: exported models of many kinds, and servers of them."""

import json
import shutil
import sys
import types

import pytest

import train
from core.export import export_classifier
from core.loading import load_config_and_tokenizer
from core.predictor import Predictor
from deploy.simple_serving.application import create_app
from deploy.simple_serving.settings import Settings
from deploy.triton_serving import build_models
from tests.deploy.exporting import OTHER_LABELS, PATH_LABELS, export_ernie_m, export_flags, read_config
from tests.deploy.running import server_thread
from tests.helpers import LABELS, load_script
from utils import read_examples, write_json


@pytest.fixture(scope="session")
def texts(trained_once):
    return read_examples(trained_once[0] / "dev.txt", LABELS)[0]


@pytest.fixture(scope="session")
def exports(trained_once, tiny_ernie_m, tmp_path_factory):
    """Name -> (folder, format): each kind of export, one with other labels, one whose labels are paths."""
    data, checkpoint = trained_once
    folder = tmp_path_factory.mktemp("exports")
    train.main(export_flags(data, checkpoint, folder / "onnx", "onnx", "onnx_int8"))
    shutil.copytree(checkpoint / "export", folder / "pruned")
    for path in (folder / "pruned").glob("model.*"):
        path.rename(path.with_name(f"pruned_{path.name}"))
    shutil.copytree(checkpoint / "export", folder / "renamed")
    write_json(folder / "renamed" / "id2label.json", dict(enumerate(OTHER_LABELS)))
    parity = json.loads((folder / "renamed" / "parity.json").read_text(encoding="utf-8"))
    write_json(folder / "renamed" / "parity.json", {**parity, "labels": OTHER_LABELS})
    shutil.copytree(folder / "renamed", folder / "paths")
    write_json(folder / "paths" / "id2label.json", dict(enumerate(PATH_LABELS)))
    write_json(folder / "paths" / "parity.json", {**parity, "labels": PATH_LABELS})
    content = json.loads((folder / "paths" / "export.json").read_text(encoding="utf-8"))
    write_json(folder / "paths" / "export.json", {**content, "files": {}, "label_separator": "/"})
    export_ernie_m(tiny_ernie_m, folder / "ernie_m", max_length=24)
    return {
        "paddle": (checkpoint / "export", "paddle"),
        "onnx": (folder / "onnx", "onnx"),
        "int8": (folder / "onnx", "onnx_int8"),
        "pruned": (folder / "pruned", "paddle"),
        "renamed": (folder / "renamed", "paddle"),
        "paths": (folder / "paths", "paddle"),
        "ernie_m": (folder / "ernie_m", "paddle"),
    }


@pytest.fixture(scope="session")
def many_classes(tiny_model, tmp_path_factory):
    """An export folder of a random classifier of 1,000 classes."""
    import paddle
    from paddlenlp.transformers import ErnieForSequenceClassification

    paddle.seed(1)
    model = ErnieForSequenceClassification.from_pretrained(str(tiny_model), num_classes=1000)
    _, tokenizer = load_config_and_tokenizer(str(tiny_model))
    folder = tmp_path_factory.mktemp("many_classes")
    export_classifier(model, tokenizer, [f"第{index}类" for index in range(1000)], 32, folder)
    return folder


@pytest.fixture(scope="module")
def address(exports):
    """One server with all of them; its limits are the default ones."""
    entries = [f"{name}={folder}@{format}" for name, (folder, format) in exports.items()]
    with server_thread(create_app(Settings(models=",".join(entries)))) as address:
        yield address


@pytest.fixture
def serve(trained_once):
    """A function that starts a server of trained_once with other settings: (address, its models)."""
    opened = []

    def start(**settings):
        settings = {"models": f"one={trained_once[1] / 'export'}", **settings}
        app = create_app(Settings(**settings))
        opened.append(server_thread(app))
        return opened[-1].__enter__(), app.state.models

    yield start
    for context in opened:
        context.__exit__(None, None, None)


@pytest.fixture(scope="session")
def export_dir(trained_once, tmp_path_factory):
    """The trained tiny model with its ONNX graph; max_length is 32."""
    data, checkpoint = trained_once
    folder = tmp_path_factory.mktemp("triton") / "export"
    train.main(export_flags(data, checkpoint, folder, "onnx"))
    return folder


@pytest.fixture(scope="session")
def models(export_dir):
    """The generated model repository."""
    folder = export_dir.with_name("models")
    build_models.main(["--export_dir", str(export_dir), "--output_dir", str(folder), "--max_batch_size", "16"])
    return folder


@pytest.fixture(scope="session")
def predictor(export_dir):
    return Predictor(export_dir, "onnx")


@pytest.fixture(scope="session")
def ernie_m(tiny_ernie_m, tmp_path_factory):
    """An export folder of a random ERNIE-M with its ONNX graph."""
    folder = tmp_path_factory.mktemp("ernie_m") / "export"
    export_ernie_m(tiny_ernie_m, folder, max_length=16, types=("paddle", "onnx"))
    return folder


@pytest.fixture
def python_model(monkeypatch):
    """A function from a model's folder to its TritonPythonModel, initialised as Triton does it."""
    utils = types.ModuleType("triton_python_backend_utils")
    utils.TritonModelException = type("TritonModelException", (Exception,), {})
    utils.TritonError = str
    utils.Tensor = lambda name, array: (name, array)
    utils.InferenceResponse = lambda tensors, error=None: (dict(tensors), error)
    utils.get_input_tensor_by_name = lambda request, name: types.SimpleNamespace(as_numpy=lambda: request[name])
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", utils)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # other tests of this session list the same repository

    def load(folder):
        model = load_script(folder / "1" / "model.py").TritonPythonModel()
        args = {"model_config": json.dumps(read_config(folder)), "model_repository": str(folder), "model_version": "1"}
        model.initialize(args)
        return model

    return load
