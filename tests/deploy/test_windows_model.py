"""Exports that read long texts otherwise than from the beginning: Predictor, slim and full, server, Triton, parity."""

import json
import shutil
import sys
import types

import numpy as np
import pytest
import requests

import train
from core.predictor import Predictor, runs_slim
from deploy.batch import predict
from deploy.parity import check_parity
from deploy.simple_serving.application import create_app
from deploy.simple_serving.settings import Settings
from deploy.triton_serving import build_models
from tests.deploy.asking import classify
from tests.deploy.exporting import TEXTS, as_input, export_flags, read_config
from tests.deploy.running import server_thread
from tests.deploy.test_runtime import without_twin
from tests.deploy.test_triton import VENV, needs_triton
from tests.deploy.triton_server import running_triton

WAYS = {
    "head_tail": ["--long_text", "head_tail"],
    "mean": ["--long_text", "windows", "--stride", "9", "--window_pooling", "mean"],
    "max": ["--long_text", "windows", "--window_pooling", "max"],
}
# With long ones of one window, of several, of many, and one whose characters PaddleNLP's own tokenizer has to read.
ASKED = [*TEXTS, "怎么办 " * 60 + "医保卡能刷吗", "做一次CT检查多少钱" * 4, "医保" * 200 + "\U00020000", "头疼" * 16]


@pytest.fixture(scope="module")
def long_exports(trained_once, tmp_path_factory):
    """Way -> export folder with ONNX of a model that was trained to truncate."""
    data, checkpoint = trained_once
    folder = tmp_path_factory.mktemp("long_exports")
    for name, flags in WAYS.items():
        train.main([*export_flags(data, checkpoint, folder / name, "onnx"), *flags])
    return {name: folder / name for name in WAYS}


def expected(folder, texts):
    """Probabilities and windows by PaddleNLP's tokenizer and Paddle's graph, window by window."""
    predictor = Predictor(folder, "paddle")
    long_text, tokenizer = predictor.long_text, predictor._paddlenlp_tokenizer()
    rows, found = [], []
    for text in texts:
        ids = tokenizer(text, truncation=False, return_token_type_ids=False)["input_ids"]
        if len(ids) <= 32:
            parts = [ids]
        elif long_text.way == "head_tail":
            parts = [[*ids[:9], *ids[-23:]]]
        else:
            stride, last = long_text.stride, len(ids) - 32
            parts = [[ids[0], *ids[1 + at : 31 + at], ids[-1]] for at in [*range(0, last, stride), last]]
        logits = np.concatenate(
            [predictor.logits([{"input_ids": part, "token_type_ids": [0] * len(part)}]) for part in parts]
        )
        assert all(len(part) <= 32 for part in parts)
        rows.append(logits.max(axis=0) if long_text.pooling == "max" else logits.mean(axis=0))
        centred = logits if long_text.pooling == "max" else logits - logits.mean(axis=1, keepdims=True)
        found.append((int(centred[:, rows[-1].argmax()].argmax()) + 1, len(parts)))
    powers = np.exp(np.array(rows, "float64"))
    return powers / powers.sum(axis=1, keepdims=True), found


def window_numbers(answers):
    return [(answer.window["number"], answer.window["of"]) if answer.window else None for answer in answers]


@pytest.mark.parametrize("way", WAYS)
def test_predictor_slim_and_full(long_exports, tmp_path, way):
    folder = long_exports[way]
    probabilities, found = expected(folder, ASKED)
    found = [window if window[1] > 1 else None for window in found]
    assert runs_slim(folder, "onnx") and (way == "head_tail" or sum(window is not None for window in found) >= 4)
    full = without_twin(folder, tmp_path / "full")
    for predictor in (Predictor(folder, "onnx", batch_size=3), Predictor(full, "onnx"), Predictor(folder, "paddle")):
        np.testing.assert_allclose(predictor.probabilities(ASKED), probabilities, atol=1e-5)
        answers = predictor.classify(ASKED)
        assert window_numbers(answers) == found
        assert "within" in check_parity(predictor)
        limited = predictor.classify(ASKED, min_confidence=0.1)
        assert [answer.window for answer in limited] == [answer.window for answer in answers]
    # Characters, where they are known: the passage itself has the same answer as the window.
    predictor = Predictor(folder, "onnx")
    for text, answer in zip(ASKED, predictor.classify(ASKED)):
        if answer.window and way == "max":
            passage = text[answer.window["start"] : answer.window["end"]]
            (feature,) = predictor.encode([passage])
            assert len(feature["input_ids"]) == 32 and "windows" not in feature
            assert predictor.classify(passage)[0].label == answer.label


@pytest.mark.parametrize("way", WAYS)
def test_a_file_of_texts(long_exports, tmp_path, way):
    """predict.py has a column for each part of Predictor's window, where the model has windows."""
    folder, source = long_exports[way], tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in ASKED), encoding="utf-8")
    flags = ["--model_dir", folder, "--input", source, "--output", tmp_path / "out.jsonl", "--clean", "none"]
    predict.main(list(map(str, flags)))
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    answers = Predictor(folder, "onnx", 1).classify([" ".join(text.split()) for text in ASKED])
    assert [row["label"] for row in rows] == [label for label, _ in answers]
    names = {"number": "window", "of": "window_of", "start": "window_start", "end": "window_end"}
    for row, answer in zip(rows, answers):
        found = {key: row[name] for key, name in names.items() if row.get(name) is not None}
        assert found == (answer.window or {}) and ("window" in row) == (way != "head_tail")


def test_parity_sees_another_pooling(long_exports, tmp_path):
    shutil.copytree(long_exports["max"], tmp_path / "changed")
    path = tmp_path / "changed" / "export.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["long_text"]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(Exception, match="not the model that was exported"):
        check_parity(Predictor(tmp_path / "changed", "onnx"))


def test_the_server(long_exports):
    entries = ",".join(f"{way}={folder}@onnx" for way, folder in long_exports.items())
    with server_thread(create_app(Settings(models=entries))) as address:
        for way, folder in long_exports.items():
            result, answers = classify(address, ASKED, way, top_k=2), Predictor(folder, "onnx").classify(ASKED)
            assert result["label"] == [label for label, _ in answers]
            np.testing.assert_allclose(result["confidence"], [score for _, score in answers], atol=1e-5)
            assert result.get("window") == (None if way == "head_tail" else [answer.window for answer in answers])
            assert "window" not in classify(address, ASKED[:1], way)
            body = {"data": {"text": ASKED}, "parameters": {"max_seq_len": 8}}
            refused = requests.post(f"{address}/models/{way}", json=body, timeout=30)
            assert refused.status_code == 422 and "of 32 tokens; leave it out" in refused.text
            assert classify(address, ASKED, way, max_seq_len=512, batch_size=1)["label"] == result["label"]
        models = {model["name"]: model for model in requests.get(f"{address}/models", timeout=30).json()["models"]}
        assert {name: model["long_text"] for name, model in models.items()} == {
            "head_tail": "head_tail",
            "mean": "windows",
            "max": "windows",
        }


@pytest.fixture(scope="module")
def repositories(long_exports, tmp_path_factory):
    """Way -> model repository."""
    folder = tmp_path_factory.mktemp("repositories")
    for way, export in long_exports.items():
        command = ["--export_dir", str(export), "--output_dir", str(folder / way), "--max_batch_size", "8"]
        build_models.main(command)
    return {way: folder / way for way in long_exports}


def through_triton(folder, predictor, python_model, texts):
    """Answers of a repository's Python models, with `predictor` in the place of ONNX Runtime's backend."""
    tokenizer = python_model(folder / "tokenizer")
    ((ids, error),) = tokenizer.execute([as_input(texts)])
    assert error is None
    if not (folder / "seqcls_windows").is_dir():
        logits, windows = predictor.run_batch(ids), None
    else:
        utils, sizes = sys.modules["triton_python_backend_utils"], []

        def execute(inputs):
            sizes.append(len(inputs["input_ids"]))
            return types.SimpleNamespace(has_error=lambda: False, logits=predictor.run_batch(inputs))

        utils.TRITONSERVER_MEMORY_CPU, utils.PreferredMemory = 0, lambda *place: place
        utils.InferenceRequest = lambda inputs, **options: types.SimpleNamespace(exec=lambda: execute(dict(inputs)))
        utils.get_output_tensor_by_name = lambda response, name: types.SimpleNamespace(
            as_numpy=lambda: response.logits
        )
        config = read_config(folder / "seqcls_windows")
        model = python_model(folder / "seqcls_windows")
        parts = [{name: values[some] for name, values in ids.items()} for some in (slice(0, 2), slice(2, None))]
        (first, _), (second, _) = model.execute(parts)
        logits, windows = (
            np.concatenate([first[name], second[name]]) for name in (config["output"][0]["name"], "window")
        )
        assert max(sizes) <= 8
    postprocess = python_model(folder / "seqcls_postprocess")
    ((answers, _),) = postprocess.execute([{postprocess.logits: logits}])
    return [label.decode("utf-8") for label in answers["label"][:, 0]], answers["probabilities"], windows


@pytest.mark.parametrize("way", WAYS)
def test_triton_s_models(repositories, long_exports, python_model, way):
    predictor, folder = Predictor(long_exports[way], "onnx"), repositories[way]
    labels, probabilities, windows = through_triton(folder, predictor, python_model, ASKED)
    answers = predictor.classify(ASKED)
    assert labels == [label for label, _ in answers]
    np.testing.assert_allclose(probabilities, predictor.probabilities(ASKED), atol=1e-5)
    if windows is not None:
        numbers = window_numbers(answers)
        assert [tuple(row) if row[1] > 1 else None for row in windows.tolist()] == numbers
    # Texts that fit are asked of the graph as they ever were.
    short, _, _ = through_triton(folder, predictor, python_model, ["头疼挂什么科"] * 3)
    assert short == [predictor.classify("头疼挂什么科")[0].label] * 3


@needs_triton
def test_a_real_triton_reads_windows(repositories, long_exports, tmp_path):
    import tritonclient.grpc as triton

    with running_triton(VENV, repositories["max"], tmp_path) as server:
        given = triton.InferInput("INPUT", [len(ASKED), 1], "BYTES")
        given.set_data_from_numpy(as_input(ASKED)["INPUT"])
        answer = triton.InferenceServerClient(server.grpc).infer("seqcls", [given])
    expected = Predictor(long_exports["max"], "onnx").classify(ASKED)
    assert [label.decode("utf-8") for label in answer.as_numpy("label")[:, 0]] == [label for label, _ in expected]
    np.testing.assert_allclose(answer.as_numpy("confidence")[:, 0], [score for _, score in expected], atol=1e-4)
    assert [tuple(row) if row[1] > 1 else None for row in answer.as_numpy("window").tolist()] == window_numbers(
        expected
    )
