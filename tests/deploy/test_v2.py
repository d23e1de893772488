"""v2.py: the protocol that Triton and KServe speak, asked by tritonclient's own HTTP client."""

import concurrent.futures
import gzip
import json

import numpy as np
import pytest
import requests

from core.predictor import Predictor
from deploy.simple_serving.application import create_app
from deploy.simple_serving.settings import Settings
from tests.deploy.asking import JSON, classify, wait_until, waiting
from tests.deploy.running import server_thread
from tests.helpers import LABELS

try:
    import tritonclient.http as triton
except (ImportError, RuntimeError):  # it says so in the second way
    triton = None
needs_client = pytest.mark.skipif(
    triton is None, reason="tritonclient without its HTTP part; run: pip install -r tests/requirements.txt"
)


@pytest.fixture(scope="module")
def predictor(trained_once):
    return Predictor(trained_once[1] / "export")


@pytest.fixture(scope="module")
def address(trained_once):
    with server_thread(create_app(Settings(models=f"one={trained_once[1] / 'export'}", max_texts=50))) as address:
        yield address


@pytest.fixture
def client(address):
    with triton.InferenceServerClient(address.removeprefix("http://")) as client:
        yield client


def as_inputs(texts, binary=True):
    given = triton.InferInput("INPUT", [len(texts), 1], "BYTES")
    given.set_data_from_numpy(np.array([text.encode() for text in texts], dtype=object)[:, None], binary_data=binary)
    return [given]


def check(result, predictor, texts):
    """The three outputs are the predictor's answers."""
    expected = predictor.probabilities(texts)
    labels = [label.decode() if isinstance(label, bytes) else label for label in result.as_numpy("label").ravel()]
    assert labels == [LABELS[index] for index in expected.argmax(axis=1)]
    assert result.as_numpy("label").shape == result.as_numpy("confidence").shape == (len(texts), 1)
    assert result.as_numpy("probabilities").dtype == result.as_numpy("confidence").dtype == np.float32
    np.testing.assert_allclose(result.as_numpy("probabilities"), expected, atol=1e-5)
    np.testing.assert_allclose(result.as_numpy("confidence")[:, 0], expected.max(axis=1), atol=1e-5)


@needs_client
def test_what_the_client_asks_about_server_and_model(client):
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("one")
    assert client.is_model_ready("one", "1") and not client.is_model_ready("one", "2")
    assert not client.is_model_ready("other")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    outputs = [{"name": "label", "datatype": "BYTES", "shape": [-1, 1]}]
    outputs += [{"name": "confidence", "datatype": "FP32", "shape": [-1, 1]}]
    assert client.get_model_metadata("one") == {
        "name": "one",
        "versions": ["1"],
        "platform": "paddle",
        "inputs": [{"name": "INPUT", "datatype": "BYTES", "shape": [-1, 1]}],
        "outputs": [*outputs, {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]}],
    }
    assert client.get_model_config("one", "1")["max_batch_size"] == 50


@needs_client
@pytest.mark.parametrize("coding", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_texts_and_answers_in_both_forms(client, predictor, texts, binary, coding):
    wanted = [triton.InferRequestedOutput(name, binary_data=not binary) for name in ("probabilities", "label")]
    wanted.append(triton.InferRequestedOutput("confidence", binary_data=binary))
    options = {"request_compression_algorithm": coding, "response_compression_algorithm": coding}
    for outputs in (None, wanted):
        result = client.infer("one", as_inputs(texts[:9], binary), outputs=outputs, request_id="7", **options)
        check(result, predictor, texts[:9])
        response = result.get_response()
        assert (response["model_name"], response["model_version"], response["id"]) == ("one", "1", "7")


@needs_client
def test_many_requests_at_once_and_the_classification_extension(address, client, predictor, texts):
    name = address.removeprefix("http://")
    with triton.InferenceServerClient(name, concurrency=4) as several:
        asked = [several.async_infer("one", as_inputs([text]), "1", timeout=10**6) for text in texts[:12]]
        for text, request in zip(texts, asked):
            check(request.get_result(), predictor, [text])
    wanted = [triton.InferRequestedOutput("probabilities", class_count=2)]
    rows = client.infer("one", as_inputs(texts[:2]), outputs=wanted).as_numpy("probabilities")
    for row, expected in zip(rows, predictor.probabilities(texts[:2])):
        order = expected.argsort()[::-1][:2]
        assert [entry.decode().split(":")[1:] for entry in row] == [[str(index), LABELS[index]] for index in order]


@needs_client
def test_the_client_gets_the_reason(client, serve):
    def refused(texts, **options):
        with pytest.raises(triton.InferenceServerException) as caught:
            client.infer(options.pop("model_name", "one"), as_inputs(texts), **options)
        return caught.value.status(), caught.value.message()

    assert refused(["头疼", " "]) == ("422", "INPUT[1]: there is nothing to read in it; leave it out")
    assert refused(["a"] * 51) == ("413", "inputs[0].shape: 51 texts; send at most 50 a request")
    assert refused(["a"], model_name="two") == ("404", "no model 'two'; served: one")
    assert refused(["a"], model_version="3") == ("404", "one has no version '3'; ask for 1, or none")
    assert refused(["a"], sequence_id=5)[1].startswith("parameters: 'sequence_id' is not known")
    with_key = serve(api_key="k")[0].removeprefix("http://")
    with triton.InferenceServerClient(with_key) as other:
        assert other.is_server_ready() and not other.is_model_ready("one")
        with pytest.raises(triton.InferenceServerException, match="send the API key") as caught:
            other.infer("one", as_inputs(["a"]))
        assert caught.value.status() == "401"
        headers = {"Authorization": "Bearer k"}
        assert other.infer("one", as_inputs(["a"]), headers=headers).as_numpy("label").shape == (1, 1)


# --------------------------------------------------------------------------------------------- without that client


def body(texts, **more):
    return {"inputs": [{"name": "INPUT", "shape": [len(texts), 1], "datatype": "BYTES", "data": texts}], **more}


def ask(address, data, path="one/infer", **headers):
    return requests.post(f"{address}/v2/models/{path}", data=data, headers={**JSON, **headers}, timeout=60)


def test_plain_json_and_the_log_of_it(address, predictor, texts):
    answer = ask(address, json.dumps(body(texts[:3], outputs=[{"name": "label"}])))
    assert answer.json() == {
        "model_name": "one",
        "model_version": "1",
        "outputs": [
            {
                "name": "label",
                "datatype": "BYTES",
                "shape": [3, 1],
                "data": [label for label, _ in predictor.classify(texts[:3])],
            }
        ],
    }
    short = ask(address, json.dumps(body(texts[:3], parameters={"max_seq_len": 4}))).json()["outputs"][1]["data"]
    assert short == pytest.approx(classify(address, texts[:3], "one", max_seq_len=4)["confidence"], abs=1e-5)
    metrics = requests.get(f"{address}/metrics", timeout=60).text
    assert 'serving_requests_total{model="one",status="200"}' in metrics


def test_errors_have_the_protocol_s_shape(address):
    good = json.dumps(body(["头疼"])).encode()
    cases = {
        415: ask(address, good, **{"Content-Type": "text/plain"}),
        400: ask(address, b"{"),
        422: ask(address, json.dumps(body([]))),
        404: requests.get(f"{address}/v2/nowhere", timeout=60),
        405: requests.get(f"{address}/v2/models/one/infer", timeout=60),
    }
    for status, answer in cases.items():
        assert answer.status_code == status and list(answer.json()) == ["error"], status
        assert isinstance(answer.json()["error"], str)
    assert ask(address, good, **{"Content-Encoding": "br"}).headers["Accept-Encoding"] == "gzip, deflate"
    assert (
        ask(address, good, path="one/nothing").json()["error"]
        == "one has /infer, /ready and /config, and no 'nothing'"
    )


def test_compressed_bodies_that_are_broken_or_burst(serve):
    address, _ = serve(max_body_bytes=1000)
    good, packed = json.dumps(body(["头疼"])).encode(), {"Content-Encoding": "gzip"}
    assert ask(address, gzip.compress(good), **packed).status_code == 200
    for data, status, message in (
        (good, 400, "the body is not gzip"),
        (gzip.compress(good)[:-9], 400, "the body is not whole as gzip: it is cut short"),
        (gzip.compress(good) + b"x", 400, "the body is not whole as gzip: something follows it"),
        (gzip.compress(b" " * 10**5), 413, "the body is larger than 1000 bytes, unpacked"),
    ):
        answer = ask(address, data, **packed)
        assert answer.status_code == status and answer.json()["error"].startswith(message)


def test_a_large_answer_and_limits_like_the_other_route_s(serve, many_classes, texts):
    """40 texts x 1,000 classes are sent in pieces; one that waits behind too many is told to come back."""
    address, models = serve(models=f"one={many_classes}", max_waiting_texts=100, max_scores=50_000)
    answer = ask(address, json.dumps(body(texts[:50] + texts[:1])))
    assert answer.status_code == 413
    assert answer.json()["error"] == (
        "outputs: 51 texts x 1000 classes; send at most 50 texts, or probabilities left out"
    )
    given = texts[:40]
    answer = ask(address, json.dumps(body(given, parameters={"binary_data_output": True})))
    size = int(answer.headers["Inference-Header-Content-Length"])
    head = json.loads(answer.content[:size])
    expected = Predictor(many_classes).probabilities(given)
    length = head["outputs"][2]["parameters"]["binary_data_size"]
    rows = np.frombuffer(answer.content[-length:], "<f4").reshape(40, 1000)
    np.testing.assert_allclose(rows, expected, atol=1e-6)
    assert len(answer.content) == int(answer.headers["Content-Length"])
    plain = ask(address, json.dumps(body(given))).json()["outputs"][2]
    np.testing.assert_allclose(np.reshape(plain["data"], plain["shape"]), expected, atol=1e-6)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        large = pool.submit(ask, address, json.dumps(body((texts * 50)[:3000], outputs=[{"name": "label"}])))
        wait_until(lambda: waiting(address, "one") == 1)
        answer = ask(address, json.dumps(body(["头疼"])))
        assert answer.status_code == 503 and answer.headers["Retry-After"] == "2"
        assert large.result().status_code == 200


def test_a_model_that_has_stopped_is_not_ready(serve):
    address, models = serve(workers=1)
    models["one"].predictors[0].run_batch = None
    models["one"].batcher._failed = True
    for path in ("health/live", "health/ready", "models/one/ready"):
        assert requests.get(f"{address}/v2/{path}", timeout=60).status_code == 503
    assert ask(address, json.dumps(body(["头疼"]))).json() == {"error": "the model has stopped"}
