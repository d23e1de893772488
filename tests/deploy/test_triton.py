"""A real Triton gives Taskflow's answers with the generated repository."""

import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import requests
import tritonclient.grpc as triton

from core.predictor import Predictor
from deploy.simple_serving.application import create_app
from deploy.simple_serving.settings import Settings
from deploy.triton_serving import build_models
from deploy.triton_serving import seqcls_grpc_client as client
from deploy.triton_serving.connection import Client
from tests.deploy.exporting import TEXTS, as_input, odd_texts, readable
from tests.deploy.running import server_thread
from tests.deploy.triton_server import REGION, running_triton
from tests.helpers import LABELS, ROOT
from utils import UsageError

VENV = ROOT / ".venv-triton"
needs_triton = pytest.mark.skipif(
    not list(VENV.glob("lib/python*/site-packages/pytriton")),
    reason="no .venv-triton; run: make .venv-triton/.installed",
)


def own_copy(models, folder):
    """The repository once more: Triton's Python leaves bytecode in it, and other tests list what is in theirs."""
    return shutil.copytree(models, folder / "models")


@pytest.fixture(scope="module")
def server(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("triton_server")
    with running_triton(VENV, own_copy(models, folder), folder) as running:
        yield running
    assert running.process.poll() is not None
    assert not list(Path("/dev/shm").glob(f"{REGION}_{os.getpid()}_*"))


@needs_triton
def test_200_texts_get_taskflows_answers(server, export_dir, sample_lines, taskflow):
    lines = [*sample_lines["dev"], *sample_lines["train"]]
    texts = [*TEXTS, *dict.fromkeys(line.split("\t")[0] for line in lines)][:200]
    assert len(texts) == 200
    expected = [result["predictions"][0] for result in taskflow(export_dir, is_static_model=True)(texts)]
    connection = Client(server.grpc)
    assert connection.max_batch_size == 16
    answers = [answer for start in range(0, 200, 16) for answer in connection.classify(texts[start : start + 16])]
    assert [label for label, _ in answers] == [prediction["label"] for prediction in expected]
    np.testing.assert_allclose([score for _, score in answers], [one["score"] for one in expected], atol=1e-4)

    # The same from eight clients at once, a text a request, so that Triton batches texts of many lengths.
    together = {}

    def ask(part):
        mine = Client(server.grpc)
        together.update({text: mine.classify([text])[0] for text in texts[part::8]})

    threads = [threading.Thread(target=ask, args=(part,)) for part in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert [together[text][0] for text in texts] == [label for label, _ in answers]
    np.testing.assert_allclose([together[text][1] for text in texts], [score for _, score in answers], atol=1e-5)


@needs_triton
def test_odd_texts_and_http(server, predictor):
    texts = readable(odd_texts(60))[:48]
    connection = Client(server.grpc)
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
    connection = Client(server.grpc)
    before = connection.classify(TEXTS)
    with pytest.raises(UsageError, match="batch-size must be <= 16"):
        connection.classify(["头疼"] * 17)
    bad = triton.InferInput("INPUT", [1, 1], "BYTES")
    bad.set_data_from_numpy(np.array([[b"\xff\xfe"]], dtype=object))
    with pytest.raises(UsageError, match=r"INPUT\[1\]: there is nothing to read in it"):
        connection.classify(["头疼", ""])
    with pytest.raises(UsageError, match="INPUT is not UTF-8"):
        connection.call(connection.connection.infer, "seqcls", [bad])
    assert connection.classify(TEXTS) == before


@needs_triton
def test_the_most_probable_classes_by_name(server, predictor):
    """Triton's own classification extension: value:index:label."""
    connection = Client(server.grpc)
    given = triton.InferInput("INPUT", [1, 1], "BYTES")
    given.set_data_from_numpy(as_input(TEXTS[:1])["INPUT"])
    wanted = [triton.InferRequestedOutput("probabilities", class_count=2)]
    (rows,) = connection.connection.infer("seqcls", [given], outputs=wanted).as_numpy("probabilities")
    expected = predictor.probabilities(TEXTS[:1])[0].argsort()[::-1][:2]
    assert [row.decode("utf-8").split(":")[1:] for row in rows] == [[str(i), LABELS[i]] for i in expected]


@needs_triton
def test_simple_serving_answers_the_same_client_alike(server, export_dir):
    """tritonclient's HTTP client, the same calls: what Triton gives, and what simple_serving gives."""
    try:
        import tritonclient.http as http
    except RuntimeError as why:  # its own
        pytest.skip(f"{why}; run: pip install -r tests/requirements.txt")
    given = http.InferInput("INPUT", [len(TEXTS), 1], "BYTES")
    given.set_data_from_numpy(as_input(TEXTS)["INPUT"])
    classes = [http.InferRequestedOutput("probabilities", class_count=2)]
    in_json = [http.InferRequestedOutput(name, binary_data=False) for name in ("label", "probabilities")]

    def ask(address):
        with http.InferenceServerClient(address) as connection:
            metadata = connection.get_model_metadata("seqcls")
            config = connection.get_model_config("seqcls")
            results = [connection.infer("seqcls", [given], outputs=outputs) for outputs in (None, classes, in_json)]
            return metadata, config, results

    with server_thread(create_app(Settings(models=f"seqcls={export_dir}@onnx", max_texts=16))) as address:
        metadata, config, results = ask(address.removeprefix("http://"))
    expected_metadata, expected_config, expected = ask(server.http)
    for name in ("name", "versions", "inputs", "outputs"):
        assert metadata[name] == expected_metadata[name], name
    for name in ("name", "max_batch_size"):
        assert config[name] == expected_config[name]
    for kind in ("input", "output"):
        rows = [[tensor[key] for key in ("name", "data_type", "dims")] for tensor in config[kind]]
        assert rows == [[tensor[key] for key in ("name", "data_type", "dims")] for tensor in expected_config[kind]]
    for own, theirs in zip(results, expected):
        outputs = {output["name"]: output for output in theirs.get_response()["outputs"]}
        assert {output["name"] for output in own.get_response()["outputs"]} == set(outputs)
        for name, output in outputs.items():
            assert own.get_output(name)["datatype"] == output["datatype"]
            found, wanted = own.as_numpy(name), theirs.as_numpy(name)
            assert found.shape == wanted.shape and found.dtype == wanted.dtype
            if wanted.dtype == np.float32:
                np.testing.assert_allclose(found, wanted, atol=1e-5)
            elif own is results[1]:
                assert [row.split(b":")[1:] for row in found.ravel()] == [
                    row.split(b":")[1:] for row in wanted.ravel()
                ]
            else:
                assert found.tolist() == wanted.tolist()


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
    with running_triton(VENV, own_copy(models, tmp_path), tmp_path, explicit=True) as server:
        connection = Client(server.grpc, timeout=60)
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
        answers = Client(server.grpc).classify(TEXTS)
    expected = Predictor(ernie_m, "onnx").classify(TEXTS)
    assert [label for label, _ in answers] == [label for label, _ in expected]
    np.testing.assert_allclose([score for _, score in answers], [score for _, score in expected], atol=1e-5)
