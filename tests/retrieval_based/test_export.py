"""retrieval_based/export.py: the graph's inputs, and the hash that tells models apart."""

import json

import numpy as np
import paddle
import pytest

from core.predictor import GraphRunner
from retrieval_based import export_model, train
from retrieval_based.base_model import Embedder
from retrieval_based.export import export_encoder
from retrieval_based.utils.extractor import FeatureExtractor
from tests.retrieval_based.helpers import call, train_flags
from utils import UsageError


def test_an_encoder_without_token_types(texts, tiny_ernie_m, tmp_path):
    train.main(train_flags(texts, tiny_ernie_m, tmp_path, "--epochs", "1", "--pooling", "cls"))
    folder = tmp_path / "export"
    call(export_model, "--params_path", tmp_path / "model_best", "--output_path", folder)
    found = FeatureExtractor(folder).encode(["头疼", "多少钱"])
    expected = Embedder(str(tmp_path / "model_best")).vectors(["头疼", "多少钱"])
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    "name, inputs", [("tiny_model", ["input_ids", "token_type_ids"]), ("tiny_ernie_m", ["input_ids"])]
)
def test_the_graph_s_inputs_are_the_encoder_s(name, inputs, request, tmp_path):
    """In both formats; ERNIE-M takes no token types."""
    paddle.utils.unique_name.switch()
    embedder = Embedder(str(request.getfixturevalue(name)), max_seq_length=16)
    export_encoder(embedder, tmp_path, ["paddle", "onnx"])
    runners = [GraphRunner(tmp_path, format) for format in ("paddle", "onnx")]
    assert [sorted(runner.input_names) for runner in runners] == [inputs, inputs]  # by name: the order is Paddle's
    expected = embedder.vectors(["头疼" * 20, "多少钱"])
    for runner in runners:
        np.testing.assert_allclose(runner.outputs(runner.encode(["头疼" * 20, "多少钱"])), expected, atol=1e-5)


def test_the_hash_tells_models_apart(once, exported, tmp_path):
    """The same with and without ONNX; another for other weights; a changed file is refused."""
    hashes = {name: FeatureExtractor(exported / name).model_hash for name in ("onnx", "paddle")}
    assert len(set(hashes.values())) == 1
    folder = tmp_path / "export"
    for step in (4, 8):
        types = ["paddle", "onnx"] if step == 4 else ["paddle"]
        paths = ["--params_path", once / f"model_{step}", "--output_path", folder]
        call(export_model, *paths, "--export_type", *types)
        assert (folder / "model.onnx").is_file() == (step == 4)  # the other model's would be left
        hashes[step] = FeatureExtractor(folder).model_hash
    assert len(set(hashes.values())) == 3
    changed = bytearray((folder / "model.pdiparams").read_bytes())
    changed[-1] ^= 1
    (folder / "model.pdiparams").write_bytes(changed)
    with pytest.raises(UsageError, match="the model is not the one of dual_encoder.json"):
        FeatureExtractor(folder)
    (folder / "model.pdiparams").write_bytes(changed[:-1])
    with pytest.raises(UsageError, match="model.pdiparams: missing or cut short"):
        FeatureExtractor(folder)
    settings = json.loads((folder / "dual_encoder.json").read_text("utf-8"))
    del settings["model_hash"]
    (folder / "dual_encoder.json").write_text(json.dumps(settings), encoding="utf-8")
    for path in (folder, tmp_path):
        with pytest.raises(UsageError, match="dual_encoder.json: missing, or without model_hash"):
            FeatureExtractor(path)
