"""deploy/triton_serving: the repository is right by itself, and a real Triton gives Taskflow's answers with it."""

import json
import os
import random
import shutil
import signal
import sys
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest
from tests.helpers import LABELS, ROOT, load_script
from test_export import export_flags
from triton_server import REGION, running_triton

import export
import train
from predictor import Predictor
from utils import UsageError

pytest.importorskip("tritonclient.grpc", reason="tritonclient is not installed")
build_models = load_script("deploy/triton_serving/build_models.py")
client = load_script("deploy/triton_serving/seqcls_grpc_client.py")

VENV = ROOT / ".venv-triton"
needs_triton = pytest.mark.skipif(
    not list(VENV.glob("lib/python*/site-packages/pytriton")),
    reason="no .venv-triton; run: make .venv-triton/.installed",
)
TEXTS = ["头疼挂什么科", "医保卡能刷吗", "高血压患者能不能喝咖啡，一天最多几杯？" * 5]


@pytest.fixture(scope="module")
def export_dir(trained_once, tmp_path_factory):
    """The trained tiny model with its ONNX graph; max_length is 32."""
    data, checkpoint = trained_once
    folder = tmp_path_factory.mktemp("triton") / "export"
    train.main(export_flags(data, checkpoint, folder, "onnx"))
    return folder


@pytest.fixture(scope="module")
def models(export_dir):
    """The generated model repository."""
    folder = export_dir.with_name("models")
    build_models.main(["--export_dir", str(export_dir), "--output_dir", str(folder), "--max_batch_size", "16"])
    return folder


@pytest.fixture(scope="module")
def predictor(export_dir):
    return Predictor(export_dir, "onnx")


def read_config(folder):
    """config.pbtxt as Triton reads it and as it hands it to Python models."""
    from google.protobuf import json_format, text_format
    from tritonclient.grpc import model_config_pb2

    config = text_format.Parse((folder / "config.pbtxt").read_text("utf-8"), model_config_pb2.ModelConfig())
    return json_format.MessageToDict(config, preserving_proto_field_name=True)


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

    def load(folder):
        model = load_script(folder / "1" / "model.py").TritonPythonModel()
        args = {"model_config": json.dumps(read_config(folder)), "model_repository": str(folder), "model_version": "1"}
        model.initialize(args)
        return model

    return load


def as_input(texts):
    return {"INPUT": np.array([text.encode("utf-8") for text in texts], dtype=object)[:, None]}


def odd_texts(count):
    """Texts of every part of Unicode between known words, special tokens, long ones, empty ones."""
    rng = random.Random(0)
    pieces = ["头疼", "怎么办", "a", "CT", "é", "e\u0301", " ", "\t", "\n", "\u3000", "[SEP]", "[MASK]", "[pad]",
              "[S\u0378EP]", "[[CLS]]", "##", "ＡＢ１", "①", "β", "İ", "\u200b", "\x00", "\ufffd", "🤒", "👨‍👩‍👧",
              "한국", "ありがとう", "ไข้", "ü", "ﬃ", "x" * 101, "x" * 100]  # fmt: skip
    texts = ["", " ", "\x00", "\u0378", "头" * 500, "x " * 200, *pieces]
    while len(texts) < count:
        size = rng.choice([1, 3, 8, 40])
        planes = rng.choice([0x250, 0x3000, 0x10000, 0x3FFFF, 0x110000])
        codes = [rng.randrange(planes) for _ in range(size)]
        parts = [chr(code) for code in codes if not 0xD800 <= code < 0xE000] + rng.choices(pieces, k=size)
        rng.shuffle(parts)
        texts.append("".join(parts))
    return texts


# --------------------------------------------------------------------------------------------- without a server


def test_the_repository(models, export_dir):
    made_from = json.loads((models / "repository.json").read_text("utf-8"))
    assert made_from["labels"] == LABELS and made_from["max_length"] == 32
    on_disk = {str(path.relative_to(models)) for path in models.rglob("*") if path.is_file()}
    assert on_disk == set(made_from["files"])
    assert (models / "seqcls_model" / "1" / "model.onnx").read_bytes() == (export_dir / "model.onnx").read_bytes()
    configs = {
        name: read_config(models / name) for name in ("tokenizer", "seqcls_model", "seqcls_postprocess", "seqcls")
    }
    assert {config["max_batch_size"] for config in configs.values()} == {16}
    assert [tensor["name"] for tensor in configs["seqcls_model"]["input"]] == ["input_ids", "token_type_ids"]
    assert all("dynamic_batching" in configs[name] for name in list(configs)[:3])
    assert [(tensor["name"], tensor["dims"]) for tensor in configs["seqcls"]["output"]] == [
        ("label", ["1"]), ("confidence", ["1"]), ("probabilities", ["3"]),
    ]  # fmt: skip
    assert str(ROOT) not in "".join(path.read_text("utf-8") for path in models.rglob("*.p[by]*"))


def test_ids_are_those_of_the_predictor(models, predictor, python_model):
    model = python_model(models / "tokenizer")
    texts = odd_texts(800)
    expected = predictor.encode(texts)
    batches = [texts[start : start + 7] for start in range(0, len(texts), 7)]
    responses = [response for start in range(0, len(batches), 5)
                 for response in model.execute([as_input(batch) for batch in batches[start : start + 5]])]  # fmt: skip
    rows = [row for tensors, error in responses for row in tensors["input_ids"]]
    assert len(rows) == len(texts)
    for text, row, feature in zip(texts, rows, expected):
        ids = feature["input_ids"]
        assert row[: len(ids)].tolist() == ids, ascii(text)
        assert set(row[len(ids) :]) <= {predictor.pad_token_id} and len(row) in (16, 32)
    assert not any(tensors["token_type_ids"].any() for tensors, _ in responses)
    # Requests that were tokenised together are equally long, so that their next step can be one batch.
    assert (
        len({tensors["input_ids"].shape[1] for tensors, _ in model.execute([as_input(["头"]), as_input(TEXTS)])}) == 1
    )


def test_a_request_that_is_not_utf8_fails_alone(models, python_model):
    bad = {"INPUT": np.array([[b"\xff"]], dtype=object)}
    good, error, last = python_model(models / "tokenizer").execute([as_input(TEXTS), bad, as_input(TEXTS[:1])])
    assert "not UTF-8" in error[1] and error[0] == {}
    assert good[1] is None and good[0]["input_ids"][0].tolist() == last[0]["input_ids"][0].tolist()
    (alone,) = python_model(models / "tokenizer").execute([bad])
    assert "not UTF-8" in alone[1]


def test_the_tokenizer_of_another_version_is_refused(models, python_model, monkeypatch):
    monkeypatch.setattr("tokenizers.__version__", "0.0.1")
    with pytest.raises(Exception, match=r"tokenizers 0.0.1 is installed.*pip install tokenizers==\d"):
        python_model(models / "tokenizer")


def test_labels_are_those_of_the_predictor(models, predictor, python_model):
    model = python_model(models / "seqcls_postprocess")
    texts = odd_texts(60)
    logits = predictor.logits(predictor.encode(texts))
    name = read_config(models / "seqcls_postprocess")["input"][0]["name"]
    (tensors, _), (more, _) = model.execute([{name: logits[:50]}, {name: logits[50:]}])
    labels = [label.decode("utf-8") for label in np.concatenate([tensors["label"], more["label"]])[:, 0]]
    expected = predictor.classify(texts)
    assert labels == [label for label, _ in expected]
    confidence = np.concatenate([tensors["confidence"], more["confidence"]])[:, 0]
    np.testing.assert_allclose(confidence, [score for _, score in expected], atol=1e-6)
    np.testing.assert_allclose(tensors["probabilities"], predictor.probabilities(texts[:50]), atol=1e-6)


@pytest.fixture(scope="module")
def ernie_m(tmp_path_factory, sample_lines):
    """An export folder of a random ERNIE-M with a SentencePiece tokenizer trained on the sample data."""
    import sentencepiece
    from paddlenlp.transformers import ErnieMConfig, ErnieMForSequenceClassification, ErnieMTokenizer

    folder = tmp_path_factory.mktemp("ernie_m")
    (folder / "texts.txt").write_bytes(
        "\n".join(line.split("\t")[0] for line in sample_lines["train"]).encode("utf-8")
    )
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "texts.txt"), model_prefix=str(folder / "pieces"), vocab_size=1200, minloglevel=2,
        hard_vocab_limit=False,
    )  # fmt: skip
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "pieces.model"))
    known = [pieces.id_to_piece(index) for index in range(3, pieces.get_piece_size())]
    vocabulary = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]", *known]
    (folder / "vocab.txt").write_bytes(("\n".join(vocabulary) + "\n").encode("utf-8"))
    tokenizer = ErnieMTokenizer(str(folder / "vocab.txt"), str(folder / "pieces.model"))
    config = ErnieMConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=66, num_labels=3,
    )  # fmt: skip
    model = ErnieMForSequenceClassification(config)
    export.export_classifier(model, tokenizer, LABELS, 16, folder / "export", types=("paddle", "onnx"))
    return folder / "export"


def test_ernie_m_has_no_token_types_and_keeps_its_own_tokenizer(ernie_m, tmp_path, python_model, capsys):
    models = tmp_path / "models"
    build_models.main(["--export_dir", str(ernie_m), "--output_dir", str(models)])
    assert "pip install paddlepaddle paddlenlp" in capsys.readouterr().out
    assert [tensor["name"] for tensor in read_config(models / "seqcls_model")["input"]] == ["input_ids"]
    predictor = Predictor(ernie_m, "onnx")
    texts = [*TEXTS, *odd_texts(100)[6:]]
    ((tensors, _),) = python_model(models / "tokenizer").execute([as_input(texts)])
    for row, feature in zip(tensors["input_ids"], predictor.encode(texts)):
        ids = feature["input_ids"]
        assert row.tolist() == ids + [predictor.pad_token_id] * (len(row) - len(ids))


@pytest.fixture
def no_rules(monkeypatch):
    """Leaves out what takes seconds and is not the matter."""
    monkeypatch.setattr(build_models, "character_rules", lambda tokenizer, rust: [])


def test_flags_reach_the_configs(export_dir, tmp_path, no_rules):
    flags = (
        "--device gpu --instances 2 --tokenizer_instances 3 --threads 4 --max_queue_delay 500 --pad_to_multiple_of 8"
    )
    build_models.main(["--export_dir", str(export_dir), "--output_dir", str(tmp_path / "m"), *flags.split()])
    tokenizer, model = (read_config(tmp_path / "m" / name) for name in ("tokenizer", "seqcls_model"))
    assert model["instance_group"] == [{"count": 2, "kind": "KIND_GPU"}]
    assert model["parameters"] == {"intra_op_thread_count": {"string_value": "4"}}
    assert model["dynamic_batching"] == {"max_queue_delay_microseconds": "500"}
    assert tokenizer["instance_group"] == [{"count": 3, "kind": "KIND_CPU"}]
    assert tokenizer["parameters"] == {"pad_to_multiple_of": {"string_value": "8"}}


def test_only_a_generated_folder_is_replaced(export_dir, tmp_path, no_rules):
    flags = ["--export_dir", str(export_dir), "--output_dir", str(tmp_path / "models")]
    (tmp_path / "models").mkdir()
    build_models.main(flags)
    config = tmp_path / "models" / "seqcls" / "config.pbtxt"
    config.write_text("broken")
    build_models.main(flags)
    assert read_config(config.parent)["platform"] == "ensemble"
    mine = tmp_path / "models" / "other_model" / "config.pbtxt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(UsageError, match="other_model.config.pbtxt: not made by build_models.py"):
        build_models.main(flags)
    assert mine.read_text() == "mine"
    with pytest.raises(UsageError, match="models.seqcls.config.pbtxt: is a file"):
        build_models.main([*flags[:3], str(config)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["models"]


def test_what_cannot_be_served_is_refused(trained_once, export_dir, tmp_path, monkeypatch):
    output = ["--output_dir", str(tmp_path / "models")]
    with pytest.raises(UsageError, match="no export folder"):
        build_models.main(["--export_dir", str(tmp_path), *output])
    with pytest.raises(UsageError, match=r"model.onnx: no such file; .*--export_type paddle onnx$"):
        build_models.main(["--export_dir", str(trained_once[1] / "export"), *output])
    with pytest.raises(UsageError, match=r"model_int8.onnx: no such file"):
        build_models.main(["--export_dir", str(export_dir), "--format", "onnx_int8", *output])
    with pytest.raises(SystemExit):
        build_models.main(["--max_batch_size", "0"])
    other = tmp_path / "other"
    shutil.copytree(export_dir, other)
    parity = json.loads((other / "parity.json").read_text())
    parity["probabilities"][0] = [1.0, 0.0, 0.0]
    (other / "parity.json").write_text(json.dumps(parity))
    with pytest.raises(UsageError, match="gives other answers than parity.json says"):
        build_models.main(["--export_dir", str(other), *output])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other"]


def test_the_client_without_a_server(capsys):
    with pytest.raises(UsageError, match="127.0.0.1:9: the model seqcls is not ready there"):
        client.main(["--url", "127.0.0.1:9", "--timeout", "2"])
    for flags in (["--batch_size", "0"], ["--timeout", "0"], ["--file", "x", "--texts", "y"]):
        with pytest.raises(SystemExit):
            client.main(flags)


# ----------------------------------------------------------------------------------------------- a real server


@pytest.fixture(scope="module")
def server(models, tmp_path_factory):
    with running_triton(VENV, models, tmp_path_factory.mktemp("triton_server")) as running:
        yield running
    assert running.process.poll() is not None
    assert not list(Path("/dev/shm").glob(f"{REGION}_{os.getpid()}_*"))


@needs_triton
def test_200_texts_get_taskflows_answers(server, export_dir, sample_lines, taskflow):
    lines = [*sample_lines["dev"], *sample_lines["train"]]
    texts = [*TEXTS, *dict.fromkeys(line.split("\t")[0] for line in lines)][:200]
    assert len(texts) == 200
    expected = [result["predictions"][0] for result in taskflow(export_dir, is_static_model=True)(texts)]
    connection = client.Client(server.grpc)
    assert connection.max_batch_size == 16
    answers = [answer for start in range(0, 200, 16) for answer in connection.classify(texts[start : start + 16])]
    assert [label for label, _ in answers] == [prediction["label"] for prediction in expected]
    np.testing.assert_allclose([score for _, score in answers], [one["score"] for one in expected], atol=1e-4)

    # The same from eight clients at once, a text a request, so that Triton batches texts of many lengths.
    together = {}

    def ask(part):
        mine = client.Client(server.grpc)
        together.update({text: mine.classify([text])[0] for text in texts[part::8]})

    threads = [threading.Thread(target=ask, args=(part,)) for part in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert [together[text][0] for text in texts] == [label for label, _ in answers]
    np.testing.assert_allclose([together[text][1] for text in texts], [score for _, score in answers], atol=1e-5)


@needs_triton
def test_odd_texts_and_http(server, predictor):
    import requests

    texts = odd_texts(48)
    connection = client.Client(server.grpc)
    answers = [answer for start in range(0, 48, 16) for answer in connection.classify(texts[start : start + 16])]
    assert [label for label, _ in answers] == [label for label, _ in predictor.classify(texts)]
    body = {"inputs": [{"name": "INPUT", "shape": [2, 1], "datatype": "BYTES", "data": TEXTS[:2]}]}
    outputs = requests.post(f"http://{server.http}/v2/models/seqcls/infer", json=body, timeout=30).json()["outputs"]
    data = {output["name"]: output["data"] for output in outputs}
    assert data["label"] == [label for label, _ in predictor.classify(TEXTS[:2])]
    np.testing.assert_allclose(
        np.reshape(data["probabilities"], (2, 3)), predictor.probabilities(TEXTS[:2]), atol=1e-5
    )


@needs_triton
def test_bad_requests_are_answered_and_do_no_harm(server):
    import tritonclient.grpc as triton

    connection = client.Client(server.grpc)
    before = connection.classify(TEXTS)
    with pytest.raises(UsageError, match="batch-size must be <= 16"):
        connection.classify(["头疼"] * 17)
    bad = triton.InferInput("INPUT", [1, 1], "BYTES")
    bad.set_data_from_numpy(np.array([[b"\xff\xfe"]], dtype=object))
    with pytest.raises(UsageError, match="INPUT is not UTF-8"):
        connection.call(connection.connection.infer, "seqcls", [bad])
    assert connection.classify(TEXTS) == before


@needs_triton
def test_the_most_probable_classes_by_name(server, predictor):
    """Triton's own classification extension: value:index:label."""
    import tritonclient.grpc as triton

    connection = client.Client(server.grpc)
    given = triton.InferInput("INPUT", [1, 1], "BYTES")
    given.set_data_from_numpy(as_input(TEXTS[:1])["INPUT"])
    wanted = [triton.InferRequestedOutput("probabilities", class_count=2)]
    (rows,) = connection.connection.infer("seqcls", [given], outputs=wanted).as_numpy("probabilities")
    expected = predictor.probabilities(TEXTS[:1])[0].argsort()[::-1][:2]
    assert [row.decode("utf-8").split(":")[1:] for row in rows] == [[str(i), LABELS[i]] for i in expected]


@needs_triton
def test_the_client_prints_a_line_a_text(server, predictor, tmp_path, capsys):
    client.main(["--url", server.grpc, "--wait", "10"])
    lines = capsys.readouterr().out.splitlines()
    for line, text, (label, score) in zip(lines, client.EXAMPLES, predictor.classify(client.EXAMPLES)):
        assert line.startswith(f"text: {text}\tlabel: {label}\tconfidence: ")
        assert float(line.rpartition(" ")[2]) == pytest.approx(score, abs=1e-4)
    texts = [f"头疼{number}" for number in range(40)]
    (tmp_path / "texts.txt").write_bytes("\n".join(texts).encode("utf-8"))
    client.main(["--url", server.grpc, "--file", str(tmp_path / "texts.txt")])
    printed = [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()]
    assert printed == [f"text: {text}" for text in texts]


@needs_triton
@pytest.mark.slow
def test_a_killed_stub_comes_back_by_unload_and_load(models, tmp_path):
    with running_triton(VENV, models, tmp_path, explicit=True) as server:
        connection = client.Client(server.grpc, timeout=60)
        before = connection.classify(TEXTS)
        (stub,) = server.stubs("tokenizer")
        os.kill(stub, signal.SIGKILL)
        time.sleep(1)
        with pytest.raises(UsageError, match="(?i)stub"):
            connection.classify(TEXTS)
        assert connection.is_ready()  # what Triton itself says does not tell
        connection.connection.unload_model("tokenizer")
        connection.connection.load_model("tokenizer")
        assert connection.classify(TEXTS) == before
    assert not server.stubs("tokenizer")
    assert not list(Path("/dev/shm").glob(f"{REGION}_{os.getpid()}_{server.http.partition(':')[2]}*"))


@needs_triton
@pytest.mark.slow
def test_ernie_m_in_triton(ernie_m, tmp_path):
    """With PaddleNLP beside Triton: the models run in this environment's Python."""
    build_models.main(["--export_dir", str(ernie_m), "--output_dir", str(tmp_path / "models")])
    python_env = Path(sys.executable).parent.parent
    (tmp_path / "server").mkdir()
    with running_triton(VENV, tmp_path / "models", tmp_path / "server", python_env=python_env) as server:
        answers = client.Client(server.grpc).classify(TEXTS)
    expected = Predictor(ernie_m, "onnx").classify(TEXTS)
    assert [label for label, _ in answers] == [label for label, _ in expected]
    np.testing.assert_allclose([score for _, score in answers], [score for _, score in expected], atol=1e-5)
