"""export.py: the formats give the model's own answers, and a folder holds all that a predictor needs."""

import json
import shutil
from pathlib import Path

import numpy as np
import paddle
import pytest

import train
from core import export, loading
from core.predictor import Predictor, available_formats
from tests.helpers import LABELS
from utils import UsageError


def test_ernie_m_is_exported_without_token_types(tmp_path, tiny_model):
    from paddlenlp.transformers import ErnieMConfig, ErnieMForSequenceClassification

    config = ErnieMConfig(
        vocab_size=2000, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=66, num_labels=3,
    )  # fmt: skip
    model = ErnieMForSequenceClassification(config)
    assert not loading.uses_token_types(model) and loading.max_positions(config) == 64
    _, tokenizer = loading.load_config_and_tokenizer(str(tiny_model))
    export.export_classifier(model, tokenizer, LABELS, 16, tmp_path / "export")
    predictor = load_predictor(tmp_path / "export")
    assert predictor.get_input_names() == ["input_ids"]
    ids = np.array([[1, 9, 8, 7, 2]])
    with paddle.no_grad():
        expected = model(paddle.to_tensor(ids)).numpy()
    np.testing.assert_allclose(run_predictor(predictor, ids), expected, atol=1e-5)


# --------------------------------------------------------------------------------------- export and Taskflow


def load_predictor(folder):
    from paddle.inference import Config, create_predictor

    config = Config(str(folder / "model.pdmodel"), str(folder / "model.pdiparams"))
    config.disable_gpu()
    config.disable_glog_info()
    return create_predictor(config)


def run_predictor(predictor, *inputs):
    for name, value in zip(predictor.get_input_names(), inputs):
        predictor.get_input_handle(name).copy_from_cpu(value.astype(np.int64))
    predictor.run()
    return predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()


@pytest.fixture(scope="module")
def static_and_dynamic(trained_once):
    from paddlenlp.transformers import AutoModelForSequenceClassification

    _, checkpoint = trained_once
    model = AutoModelForSequenceClassification.from_pretrained(str(checkpoint))
    model.eval()

    def dynamic(ids):
        with paddle.no_grad():
            return model(paddle.to_tensor(ids), token_type_ids=paddle.zeros(ids.shape, dtype="int64")).numpy()

    predictor = load_predictor(checkpoint / "export")
    return lambda ids: run_predictor(predictor, ids, np.zeros_like(ids)), dynamic


def test_static_graph_equals_dynamic_graph(static_and_dynamic):
    static, dynamic = static_and_dynamic
    rng = np.random.default_rng(0)
    for length in (3, 17, 32):
        ids = rng.integers(5, 60, (4, length))
        ids[1, length // 2 :] = 0
        np.testing.assert_allclose(static(ids), dynamic(ids), atol=1e-5)


def test_the_graph_cuts_long_texts_as_training_did(static_and_dynamic):
    """Longer than max_length (32), and longer than the position embeddings (128)."""
    static, dynamic = static_and_dynamic
    rng = np.random.default_rng(1)
    ids = rng.integers(5, 60, (3, 150))
    ids[:, 0] = 1
    ids[0, 149] = 2  # 150 tokens, cut
    ids[1, 31], ids[1, 32:] = 2, 0  # exactly 32, whole
    ids[2, 10], ids[2, 11:] = 2, 0  # short
    cut = ids[:, :32].copy()
    cut[0, 31] = 2
    np.testing.assert_allclose(static(ids), dynamic(cut), atol=1e-5)


def test_taskflow_on_the_export_and_on_the_checkpoint(trained, taskflow):
    data, checkpoint = trained
    rows = [line.split("\t") for line in (data / "dev.txt").read_text(encoding="utf-8").splitlines()]
    texts = [text for text, _ in rows]
    static = taskflow(checkpoint / "export", is_static_model=True)(texts)
    assert [result["text"] for result in static] == texts
    labels = [result["predictions"][0]["label"] for result in static]
    accuracy = sum(label == truth for label, (_, truth) in zip(labels, rows)) / len(rows)
    expected = json.loads((checkpoint / "all_results.json").read_text())["eval_accuracy"]
    assert accuracy == pytest.approx(expected, abs=1e-9)
    json.dumps(static)  # label names, not numpy integers

    dynamic = taskflow(checkpoint, is_static_model=False, batch_size=8, max_length=32)(texts)
    for one, other in zip(static, dynamic):
        assert one["predictions"][0]["label"] == other["predictions"][0]["label"]
        assert one["predictions"][0]["score"] == pytest.approx(other["predictions"][0]["score"], abs=1e-4)
    renamed = taskflow(checkpoint / "export", is_static_model=True, id2label={0: "A", 1: "B", 2: "C"})(texts[:1])
    assert renamed[0]["predictions"][0]["label"] == "ABC"[LABELS.index(labels[0])]


def test_taskflow_cuts_a_long_text_as_training_did(trained, taskflow):
    _, checkpoint = trained
    text = "孩子发烧咳嗽是怎么回事" * 40
    classify = taskflow(checkpoint / "export", is_static_model=True, max_length=1024)
    cut = taskflow(checkpoint / "export", is_static_model=True, max_length=32)
    score = lambda results: results[0]["predictions"][0]["score"]  # noqa: E731
    assert score(classify([text])) == pytest.approx(score(cut([text])), abs=1e-6)


# ------------------------------------------------------------------------------------------ ONNX, INT8, the contract


@pytest.fixture(scope="module")
def exported(trained_once, tmp_path_factory):
    """(data, checkpoint, folder): the trained model exported in every format."""
    data, checkpoint = trained_once
    folder = tmp_path_factory.mktemp("exported") / "export"
    train.main(export_flags(data, checkpoint, folder, "onnx", "onnx_int8"))
    return data, checkpoint, folder


def export_flags(data, checkpoint, folder, *types):
    return [
        *(
            f"--do_export --device cpu --data_dir {data} --model_name_or_path {checkpoint} --output_dir "
            f"{checkpoint} --export_model_dir {folder} --export_type"
        ).split(),
        *types,
    ]


def parity_flags(data, checkpoint, folder):
    return (
        f"--do_parity --device cpu --data_dir {data} --model_name_or_path {checkpoint} --output_dir "
        f"{checkpoint} --export_model_dir {folder}"
    ).split()


def test_the_folder_says_what_it_is(exported):
    _, _, folder = exported
    content = json.loads((folder / "export.json").read_text())
    assert content["max_length"] == 32 and content["num_labels"] == 3
    assert content["versions"]["paddlepaddle"] == paddle.__version__
    sizes = {path.name: path.stat().st_size for path in folder.iterdir() if path.name != "export.json"}
    assert content["files"] == sizes
    by_format = {row["format"]: row for row in content["metrics"]["dev"]}
    assert {"dynamic", "paddle", "onnx", "onnx_int8"} <= by_format.keys() and content["metrics"]["samples"] == 60
    assert by_format["onnx"]["label_agreement"] == 1.0


def test_parity_json_holds_the_dynamic_graph_s_answers(exported):
    """Every format gives them, texts above max_length and with unknown characters included."""
    _, _, folder = exported
    stored = json.loads((folder / "parity.json").read_text())
    assert stored["labels"] == LABELS
    for format, tolerance in {"paddle": 1e-5, "onnx": 1e-5, "onnx_int8": 0.2}.items():
        given = Predictor(folder, format).probabilities(stored["texts"])
        assert np.abs(given - np.array(stored["probabilities"])).max() < tolerance


def test_the_parity_check_prints_a_table_and_passes(exported, log):
    data, checkpoint, folder = exported
    train.main(parity_flags(data, checkpoint, folder))
    lines = log
    start = next(index for index, line in enumerate(lines) if "same label" in line)
    table = {line.split()[0]: line.split() for line in lines[start + 1 :]}
    for format in ("paddle", "onnx"):
        assert table[format][3] == "100.00%" and float(table[format][4]) <= 1e-4
    assert table["dynamic"][2] == table["paddle"][2]


def test_the_parity_check_fails_on_another_model_s_graph(exported, tmp_path, trained):
    """The export of a model whose head was changed afterwards."""
    data, _, folder = exported
    _, checkpoint = trained
    state = paddle.load(str(checkpoint / "model_state.pdparams"))
    state["classifier.bias"] = state["classifier.bias"] + paddle.to_tensor([0.0, 0.001, 0.0])
    paddle.save(state, str(checkpoint / "model_state.pdparams"))
    shutil.copytree(folder, tmp_path / "export")
    with pytest.raises(SystemExit) as error:
        train.main(parity_flags(data, checkpoint, tmp_path / "export"))
    assert error.value.code == 1


def test_the_parity_check_without_an_export(trained):
    data, checkpoint = trained
    shutil.rmtree(checkpoint / "export")
    with pytest.raises(UsageError, match="export: no such directory; give what train.py --do_export"):
        train.main(parity_flags(data, checkpoint, checkpoint / "export"))


def test_the_first_token_layer_is_exact_and_used(exported):
    """The graph's last layer multiplies one token only, and the model itself is left as it was."""
    import onnx
    import onnxruntime

    _, checkpoint, folder = exported
    model = onnx.load(str(folder / "model.onnx"))
    weights = {tensor.name for tensor in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in weights]
    for node in products:
        info = onnx.helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, None)
        model.graph.output.append(info)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    ids = np.array([[1, 5, 6, 7, 2]])
    outputs = session.run([node.output[0] for node in products], {"input_ids": ids, "token_type_ids": ids * 0})
    lengths = [value.shape[1] for value in outputs if value.ndim == 3]
    # Two layers of six products; of the last one's, only keys and values are made for all tokens.
    assert sorted(lengths) == [1] * 4 + [5] * 8
    config, _ = loading.load_config_and_tokenizer(str(checkpoint))
    model = loading.load_model(str(checkpoint), config, LABELS)
    model.eval()
    ids = {"input_ids": paddle.to_tensor([[1, 5, 6, 2]])}
    last = model.base_model.encoder.layers[-1]
    with export.first_token_only(model, ids):
        assert isinstance(model.base_model.encoder.layers[-1], export.FirstTokenLayer)
    assert model.base_model.encoder.layers[-1] is last


def test_a_head_that_reads_every_token_keeps_the_whole_layer(tiny_model):
    from paddlenlp.transformers import ErnieForTokenClassification

    model = ErnieForTokenClassification.from_pretrained(str(tiny_model))
    model.eval()
    last = model.base_model.encoder.layers[-1]
    with export.first_token_only(model, {"input_ids": paddle.to_tensor([[1, 5, 6, 2]])}):
        assert model.base_model.encoder.layers[-1] is last


def test_int8_products_really_run_in_integers(exported):
    import onnx

    _, _, folder = exported
    names = [node.op_type for node in onnx.load(str(folder / "model_int8.onnx")).graph.node]
    # Two layers of six products. Those of attention, of the pooler and of the classifier stay in float32: trap, the
    # pooler alone, rounded, changed more labels than all products at tokens.
    assert names.count("MatMulIntegerToFloat") == 12 and names.count("MatMul") == 4 + 2
    assert (folder / "model_int8.onnx").stat().st_size < (folder / "model.onnx").stat().st_size


def test_int8_answers_do_not_depend_on_the_batch(exported):
    _, _, folder = exported
    texts = ["头疼挂什么科", "做一次核磁共振多少钱", "发烧"]
    together = Predictor(folder, "onnx_int8").probabilities(texts)
    alone = np.concatenate([Predictor(folder, "onnx_int8").probabilities([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_exporting_fewer_formats_removes_the_old_ones(exported, tmp_path):
    """A model.onnx of an older model would give that model's answers."""
    data, checkpoint, folder = exported
    shutil.copytree(folder, tmp_path / "export")
    (tmp_path / "export" / "own.onnx").write_bytes(b"mine")
    train.main(export_flags(data, checkpoint, tmp_path / "export", "paddle"))
    assert available_formats(tmp_path / "export")[0] == "paddle"
    names = {path.name for path in (tmp_path / "export").iterdir()}
    assert "own.onnx" in names and not {"model.onnx", "model_int8.onnx"} & names


@pytest.mark.parametrize("damage", ["empty", "raises"])
def test_a_failed_conversion_is_an_error_and_leaves_the_old_export(exported, tmp_path, monkeypatch, damage):
    """paddle2onnx reports success and leaves an empty file."""
    import paddle2onnx

    data, checkpoint, folder = exported
    shutil.copytree(folder, tmp_path / "export")
    before = {path.name: path.read_bytes() for path in (tmp_path / "export").iterdir()}

    def fail(model, params, save_file, **options):
        if damage == "raises":
            raise RuntimeError("unsupported operator")
        Path(save_file).write_bytes(b"")

    monkeypatch.setattr(paddle2onnx, "export", fail)
    with pytest.raises(UsageError, match="conversion to ONNX failed.*use --export_type paddle"):
        train.main(export_flags(data, checkpoint, tmp_path / "export", "onnx"))
    assert {path.name: path.read_bytes() for path in (tmp_path / "export").iterdir()} == before


def test_onnx_without_its_libraries_is_refused_before_anything_is_loaded(trained_once, tmp_path, monkeypatch):
    import importlib.metadata

    installed = importlib.metadata.version

    def version(name):
        if name == "paddle2onnx":
            raise importlib.metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(UsageError, match="paddle2onnx.*deploy/requirements.txt"):
        train.parse_all(export_flags(*trained_once, tmp_path / "export", "onnx"))


def test_an_unknown_format(trained_once, tmp_path):
    with pytest.raises(UsageError, match="--export_type tensorrt: not known; use some of paddle, onnx, onnx_int8"):
        train.parse_all(export_flags(*trained_once, tmp_path / "export", "tensorrt"))
