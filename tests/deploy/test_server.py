"""server.py: real requests to a real server, in this process; the documented command, in its own."""

import concurrent.futures
import http.client
import json
import logging
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import requests
from tests.helpers import LABELS, ROOT, load_script, train_flags
from malformed import BAD_BODIES, GOOD_BODIES, malformed
from running import SIMPLE_SERVING, server_process, server_thread

from predictor import Predictor
from utils import UsageError, read_examples, write_json

JSON = {"Content-Type": "application/json"}
OTHER_LABELS = ["甲", "乙", "丙"]


@pytest.fixture(scope="module")
def texts(trained_once):
    return read_examples(trained_once[0] / "dev.txt", LABELS)[0]


@pytest.fixture(scope="module")
def exports(trained_once, tiny_ernie_m, tmp_path_factory):
    """Name -> (folder, format): each kind of export, and one with other labels."""
    import paddle
    from paddlenlp.transformers import ErnieMForSequenceClassification

    import export
    import train
    import trainer

    data, checkpoint = trained_once
    folder = tmp_path_factory.mktemp("exports")
    flags = train_flags(data, checkpoint, folder / "out", "--do_export", "--export_model_dir", folder / "onnx")
    flags.remove("--do_train")
    train.main([*map(str, flags), "--export_type", "onnx", "onnx_int8"])
    shutil.copytree(checkpoint / "export", folder / "pruned")
    for path in (folder / "pruned").glob("model.*"):
        path.rename(path.with_name(f"pruned_{path.name}"))
    shutil.copytree(checkpoint / "export", folder / "renamed")
    write_json(folder / "renamed" / "id2label.json", dict(enumerate(OTHER_LABELS)))
    parity = json.loads((folder / "renamed" / "parity.json").read_text(encoding="utf-8"))
    write_json(folder / "renamed" / "parity.json", {**parity, "labels": OTHER_LABELS})
    paddle.seed(1)
    multilingual = ErnieMForSequenceClassification.from_pretrained(str(tiny_ernie_m), num_classes=3)
    weight = multilingual.classifier.weight
    weight.set_value(weight * 100)  # else all answers are nearly the same
    _, tokenizer = trainer.load_config_and_tokenizer(str(tiny_ernie_m))
    export.export_classifier(multilingual, tokenizer, LABELS, 24, folder / "ernie_m")
    return {
        "paddle": (checkpoint / "export", "paddle"),
        "onnx": (folder / "onnx", "onnx"),
        "int8": (folder / "onnx", "onnx_int8"),
        "pruned": (folder / "pruned", "paddle"),
        "renamed": (folder / "renamed", "paddle"),
        "ernie_m": (folder / "ernie_m", "paddle"),
    }


@pytest.fixture(scope="module")
def address(simple_server, exports):
    """One server with all of them; its limits are the default ones."""
    entries = [f"{name}={folder}@{format}" for name, (folder, format) in exports.items()]
    with server_thread(simple_server.create_app(simple_server.Settings(models=",".join(entries)))) as address:
        yield address


@pytest.fixture
def serve(simple_server, trained_once):
    """A function that starts a server of trained_once with other settings: (address, its models)."""
    opened = []

    def start(**settings):
        settings = {"models": f"one={trained_once[1] / 'export'}", **settings}
        app = simple_server.create_app(simple_server.Settings(**settings))
        opened.append(server_thread(app))
        return opened[-1].__enter__(), app.state.models

    yield start
    for context in opened:
        context.__exit__(None, None, None)


def classify(address, texts, name="paddle", **parameters):
    content = {"data": {"text": texts}, "parameters": parameters}
    response = requests.post(f"{address}/models/{name}", json=content, timeout=60)
    assert response.status_code == 200, response.text
    return response.json()["result"]


def send(address, body, headers=JSON, path="/models/paddle"):
    """(status, JSON) of a POST of bytes."""
    response = requests.post(address + path, data=body, headers=headers, timeout=60)
    return response.status_code, response.json()


# --------------------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize("name", ["paddle", "onnx", "int8", "pruned", "renamed", "ernie_m"])
def test_each_model_answers_as_itself(address, exports, texts, name):
    predictor = Predictor(*exports[name], num_threads=1, batch_size=1)
    expected = predictor.probabilities(texts)
    result = classify(address, texts, name)
    best = expected.argmax(axis=1)
    assert result["label_id"] == best.tolist()
    assert result["label"] == [(OTHER_LABELS if name == "renamed" else LABELS)[index] for index in best]
    np.testing.assert_allclose(result["confidence"], expected.max(axis=1), atol=1e-5)


def test_all_classes_on_request(address, exports, texts):
    expected = Predictor(*exports["paddle"], num_threads=1).probabilities(texts[:4])
    assert set(classify(address, texts[:4])) == {"label", "confidence", "label_id"}
    top = classify(address, texts[:4], top_k=0)["top"]
    for row, found in zip(expected, top):
        assert [entry["label_id"] for entry in found] == np.argsort(-row, kind="stable").tolist()
        assert [entry["label"] for entry in found] == [LABELS[entry["label_id"]] for entry in found]
        np.testing.assert_allclose([entry["confidence"] for entry in found], np.sort(row)[::-1], atol=1e-5)
    assert [entry[:2] for entry in top] == classify(address, texts[:4], top_k=2)["top"]


def test_max_seq_len_cuts_as_the_tokenizer_does(address, exports, texts, tmp_path):
    shutil.copytree(exports["paddle"][0], tmp_path / "short")
    config = json.loads((tmp_path / "short" / "tokenizer_config.json").read_text(encoding="utf-8"))
    write_json(tmp_path / "short" / "tokenizer_config.json", {**config, "model_max_length": 6})
    expected = Predictor(tmp_path / "short", num_threads=1).probabilities(texts).max(axis=1)
    np.testing.assert_allclose(classify(address, texts, max_seq_len=6)["confidence"], expected, atol=1e-5)
    exported = classify(address, texts)["confidence"]
    assert np.abs(np.array(exported) - expected).max() > 1e-3
    np.testing.assert_allclose(classify(address, texts, max_seq_len=10_000)["confidence"], exported, atol=1e-5)


def test_many_threads_get_their_own_answers(address, exports, texts):
    """Paddle's predictor is not thread-safe: a shared one gives others' answers, or ends the process."""
    expected = {name: Predictor(*exports[name], num_threads=1).probabilities(texts) for name in ("paddle", "onnx")}
    rng = random.Random(3)
    jobs = [(rng.choice(["paddle", "onnx"]), rng.choices(range(len(texts)), k=rng.choice([1, 1, 3, 40])))
            for _ in range(80)]  # fmt: skip

    def ask(job):
        name, indices = job
        found = classify(address, [texts[index] for index in indices], name)
        np.testing.assert_allclose(found["confidence"], expected[name][indices].max(axis=1), atol=1e-5)
        assert found["label_id"] == expected[name][indices].argmax(axis=1).tolist()

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, jobs))


def test_what_is_served(address, exports):
    content = requests.get(f"{address}/models", timeout=60).json()
    assert [model["name"] for model in content["models"]] == list(exports)
    assert content["models"][0] == {"name": "paddle", "labels": LABELS, "max_seq_len": 32, "format": "paddle"}
    assert content["models"][-1]["max_seq_len"] == 24 and content["limits"]["max_texts"] == 10_000


# ------------------------------------------------------------------------------------------------------- bad input


def test_known_bad_input_is_refused_with_a_reason(address):
    for name, body in BAD_BODIES.items():
        status, content = send(address, body)
        assert status in (400, 413, 422), (name, status, content)
        assert content["error"]["status"] == status and len(content["error"]["message"]) > 5, name


def test_plain_input_is_answered(address):
    for name, body in GOOD_BODIES.items():
        assert send(address, body)[0] == 200, name


@pytest.mark.parametrize(
    "changes, field, message",
    [
        ({"data": {"text": ["a", None]}}, "data.text[1]", "null instead of a text"),
        ({"data": {"text": ["a", " "]}}, "data.text[1]", "there is nothing to read in it; leave it out"),
        ({"data": {"text": ["a\ud800"]}}, "data.text[0]", "character 1 is half of a surrogate pair; send whole chara"),
        ({"data": {"text": []}}, "data.text", "empty instead of a list with at least one text"),
        ({"data": {"text": ["a"], "text_pair": ["b"]}}, "data.text_pair", "this model classifies single texts"),
        ({"parameters": {"batch_size": "32"}}, "parameters.batch_size", "'32'; give a whole number from 1"),
        ({"parameters": {"topk": 1}}, "parameters", "'topk' is not known; use max_seq_len, batch_size, top_k"),
        ({"more": 1}, None, "'more' is not known; use data, parameters"),
    ],
)
def test_the_reason_says_where(address, changes, field, message):
    status, content = send(address, json.dumps({"data": {"text": ["a"]}, **changes}))
    assert status == 422 and content["error"].get("field") == field and content["error"]["message"].startswith(message)


def test_random_damage_breaks_nothing(address, texts):
    before = classify(address, texts)
    rng, statuses = random.Random(3), []
    for _ in range(400):
        path, headers, body = malformed(rng)
        statuses.append(send(address, body, headers, path.format(path="/models/paddle"))[0])
    assert set(statuses) <= {200, 400, 404, 413, 415, 422} and statuses.count(200) < 100
    assert classify(address, texts) == before


def test_paths_methods_and_kinds(address):
    good = GOOD_BODIES["as documented"]
    assert send(address, good, path="/models/other")[1]["error"]["message"].startswith(
        "no model 'other'; served: paddl"
    )
    for status, (method, path) in {404: ("GET", "/nowhere"), 405: ("PUT", "/models/paddle")}.items():
        response = requests.request(method, address + path, timeout=60)
        assert (response.status_code, response.json()["error"]["status"]) == (status, status)
    status, content = send(address, good, {"Content-Type": "text/plain"})
    assert status == 415 and "Content-Type: application/json" in content["error"]["message"]
    assert send(address, good, {"Content-Type": "Application/JSON; charset=utf-8"})[0] == 200


def test_a_body_that_is_too_large_or_too_slow(serve):
    address, _ = serve(max_body_bytes=1000, body_seconds=1)
    path = "/models/one"
    assert send(address, b"x" * 1001, path=path)[0] == 413
    assert send(address, iter([b"x" * 600] * 2), path=path)[0] == 413  # chunks: no length is announced
    assert send(address, GOOD_BODIES["as documented"], path=path)[0] == 200
    connection = http.client.HTTPConnection(address[7:], timeout=60)
    connection.putrequest("POST", path)
    connection.putheader("Content-Length", "100")
    connection.endheaders(b"{")
    assert connection.getresponse().status == 408
    connection.close()


def test_limits_on_texts(serve):
    address, _ = serve(max_texts=2, max_characters=5)
    for given, status in ((["a"] * 2, 200), (["a"] * 3, 413), (["a" * 5], 200), (["a" * 6], 413)):
        assert send(address, json.dumps({"data": {"text": given}}), path="/models/one")[0] == status


# -------------------------------------------------------------------------------------------------------- fairness


def test_one_text_does_not_wait_for_ten_thousand(address, texts):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        large = pool.submit(classify, address, (texts * 500)[:10_000])
        wait_until(lambda: waiting(address) == 1)
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            classify(address, texts[:1])
            seconds.append(time.perf_counter() - start)
        assert not large.done()
        assert sorted(seconds)[2] < 0.3
        assert large.result()["label"] == (classify(address, texts)["label"] * 500)[:10_000]


def test_work_is_dropped_when_its_client_has_gone(address, texts):
    content = json.dumps({"data": {"text": (texts * 500)[:10_000]}}).encode()
    connection = http.client.HTTPConnection(address[7:])
    connection.request("POST", "/models/paddle", content, JSON)
    wait_until(lambda: waiting(address) == 1)
    connection.close()
    start = time.perf_counter()
    wait_until(lambda: waiting(address) == 0)
    assert time.perf_counter() - start < 1
    assert (
        'serving_requests_total{model="paddle",status="499"} 1.0'
        in requests.get(f"{address}/metrics", timeout=60).text
    )


def test_overload_is_refused_with_a_time_to_come_back(serve, texts):
    address, _ = serve(max_waiting_texts=100)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        large = pool.submit(classify, address, (texts * 50)[:3000], "one")
        wait_until(lambda: waiting(address, "one") == 1)
        response = requests.post(f"{address}/models/one", GOOD_BODIES["as documented"], headers=JSON, timeout=60)
        assert response.status_code == 503 and response.headers["Retry-After"] == "2"
        assert "texts wait already" in response.json()["error"]["message"]
        assert len(large.result()["label"]) == 3000
    classify(address, texts, "one")


def waiting(address, name="paddle"):
    return requests.get(f"{address}/health", timeout=60).json()["models"][name]["waiting_requests"]


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# ----------------------------------------------------------------------------------------- health, metrics, logs, key


def test_health_tells_of_the_self_check(address):
    response = requests.get(f"{address}/health", timeout=60)
    content = response.json()
    assert response.status_code == 200 and content["ready"]
    assert re.fullmatch(r"probabilities within \S+ of parity.json", content["models"]["paddle"]["self_check"])
    assert requests.get(f"{address}/health/live", timeout=60).json() == {"alive": True}


def test_a_failure_is_an_answer_and_a_dead_thread_is_seen(serve, texts):
    address, models = serve(workers=1)
    predictor = models["one"].predictors[0]
    run_batch, body = predictor.run_batch, GOOD_BODIES["as documented"]

    def fail(batch):
        raise error

    predictor.run_batch, error = fail, MemoryError()
    status, content = send(address, body, path="/models/one")
    assert status == 500 and content["error"]["message"] == "the server failed on this request; its log has the reason"
    predictor.run_batch = run_batch
    classify(address, texts, "one")
    assert requests.get(f"{address}/health", timeout=60).status_code == 200

    predictor.run_batch, error = fail, SystemExit()
    status, content = send(address, body, path="/models/one")
    assert status == 503 and content["error"]["message"] == "the model has stopped"
    for path, key in (("/health", "ready"), ("/health/live", "alive")):
        response = requests.get(address + path, timeout=60)
        assert response.status_code == 503 and response.json()[key] is False
    assert send(address, body, path="/models/one")[0] == 503


@pytest.fixture
def lines(simple_server):
    """What server.py logs while a test runs, as parsed JSON."""
    found = []

    class Handler(logging.Handler):
        def emit(self, record):
            found.append(json.loads(simple_server.JsonLines().format(record)))

    handler = Handler()
    logging.getLogger("serving").addHandler(handler)
    yield found
    logging.getLogger("serving").removeHandler(handler)


def test_metrics_and_logs(serve, texts, lines):
    address, _ = serve()
    classify(address, texts[:7], "one")
    send(address, b"{", path="/models/one")
    metrics = requests.get(f"{address}/metrics", timeout=60).text
    for line in ('requests_total{model="one",status="200"} 1.0', 'requests_total{model="one",status="400"} 1.0',
                 'texts_total{model="one"} 7.0', 'turn_texts_sum{model="one"} 7.0',
                 'request_seconds_count{model="one"} 1.0', 'waiting_texts{model="one"} 0.0'):  # fmt: skip
        assert f"\nserving_{line}\n" in metrics
    wait_until(lambda: len([line for line in lines if line["event"] == "request"]) == 2)
    ready, answered, refused = lines
    assert ready["event"] == "ready" and ready["path"] == "/models/one"
    assert answered["status"] == 200 and answered["texts"] == 7 and answered["model"] == "one" and answered["ms"] > 0
    assert refused["status"] == 400 and refused["error"].startswith("not JSON")
    assert not any(text in json.dumps(lines, ensure_ascii=False) for text in texts)


def test_texts_are_logged_when_asked_for(serve, texts, lines):
    address, _ = serve(log_texts=1)
    classify(address, texts[:2], "one")
    wait_until(lambda: lines[-1]["event"] == "request")
    assert lines[-1]["text"] == texts[:2]


def test_the_api_key(serve):
    address, _ = serve(api_key="秘密 key")
    body, key = GOOD_BODIES["as documented"], "秘密 key".encode()
    for headers in ({}, {"X-API-Key": "other"}, {"Authorization": "Bearer other"}, {"X-API-Key": b"\xff"}):
        response = requests.post(f"{address}/models/one", body, headers={**JSON, **headers}, timeout=60)
        assert response.status_code == 401 and response.headers["WWW-Authenticate"] == "Bearer"
        assert "API key" in response.json()["error"]["message"]
    for headers in ({"X-API-Key": key}, {"Authorization": b"Bearer " + key}):
        assert requests.post(f"{address}/models/one", body, headers={**JSON, **headers}, timeout=60).status_code == 200
    for path, status in {"/models": 401, "/metrics": 401, "/health": 200, "/health/live": 200, "/": 200}.items():
        assert requests.get(address + path, timeout=60).status_code == status


# -------------------------------------------------------------------------------------------------------- settings


def test_settings_from_the_environment(simple_server):
    read = simple_server.Settings.from_environment
    assert read({"PATH": "x"}) == simple_server.Settings()
    assert read({"SERVING_MAX_TEXTS": " 5 ", "SERVING_API_KEY": "k", "SERVING_LOG_TEXTS": "0"}).max_texts == 5
    wrong = {"SERVING_MAX_TEXT": "5", "SERVING_WORKERS": "0", "SERVING_MAX_TEXTS": "many", "SERVING_FORMAT": "tflite"}
    with pytest.raises(UsageError) as caught:
        read(wrong)
    for part in (
        "SERVING_MAX_TEXT: not known",
        "SERVING_WORKERS=0: give",
        "SERVING_MAX_TEXTS=many: give",
        "auto, paddle",
    ):
        assert part in str(caught.value)


def test_the_readme_lists_every_setting(simple_server):
    rows = re.findall(
        r"^\| `SERVING_(\w+)` \| (\S+) \|", (SIMPLE_SERVING / "README.md").read_text(encoding="utf-8"), re.M
    )
    settings = {name.upper(): value for name, value in vars(simple_server.Settings()).items()}
    computed = {"MODELS", "WORKERS", "THREADS", "API_KEY"}
    assert {name for name, _ in rows} | computed == settings.keys()
    for name, default in rows:
        if name not in computed:
            assert default.strip("`") == str(settings[name])


def test_which_models_are_served(simple_server):
    def folders(models, format="auto"):
        return {name: (str(path), kind) for name, (path, kind) in
                simple_server.Settings(models=models, format=format).folders().items()}  # fmt: skip

    assert folders("") == {"cls_multi_class": (str(ROOT / "checkpoint" / "export"), "auto")}
    assert folders("a/b") == {"cls_multi_class": ("a/b", "auto")}
    assert folders("x=a@b, y=C:/c@onnx_int8", "paddle") == {"x": ("a@b", "paddle"), "y": ("C:/c", "onnx_int8")}
    for models, message in {
        "x=a,x=b": "the name is there twice",
        "a b=c": "not a usable name",
        ",": "SERVING_MODELS",
    }.items():
        with pytest.raises(UsageError, match=message):
            folders(models)


@pytest.mark.parametrize(
    "file, change, message",
    [
        ("parity.json", {"labels": OTHER_LABELS}, "its labels are not those of id2label.json"),
        ("parity.json", {"probabilities": [[1, 0, 0]] * 7}, "not the model that was exported: a probability is"),
    ],
)
def test_an_export_that_is_not_what_it_was(simple_server, exports, tmp_path, file, change, message):
    shutil.copytree(exports["paddle"][0], tmp_path / "export")
    content = json.loads((tmp_path / "export" / file).read_text(encoding="utf-8"))
    write_json(tmp_path / "export" / file, {**content, **change})
    with pytest.raises(UsageError, match=message):
        simple_server.create_app(simple_server.Settings(models=str(tmp_path / "export")))


def test_the_default_format_and_an_export_without_parity(simple_server, exports, tmp_path):
    shutil.copytree(exports["onnx"][0], tmp_path / "export")
    (tmp_path / "export" / "parity.json").unlink()
    model = simple_server.Model("one", tmp_path / "export", "auto", simple_server.Settings())
    assert model.format == "onnx" and model.self_check.startswith("not compared: no parity.json")
    assert model.may_pad
    assert not simple_server.Model("two", exports["ernie_m"][0], "auto", simple_server.Settings()).may_pad


# ------------------------------------------------------------------------------------------- the documented commands


def test_documented_commands_and_a_graceful_end(exports, texts, tmp_path):
    """`paddlenlp server server:app …`, `python client.py`, and SIGTERM while a long request runs."""
    command = ["paddlenlp", "server", "server:app", "--host", "127.0.0.1", "--port", "{port}"]
    environment = {"SERVING_MODELS": str(exports["paddle"][0])}
    with server_process(command, SIMPLE_SERVING, environment, tmp_path / "log") as (port, process):
        client = subprocess.run(
            [sys.executable, "client.py", "--port", str(port)], cwd=SIMPLE_SERVING, capture_output=True,
            encoding="utf-8", timeout=120,
        )  # fmt: skip
        assert client.returncode == 0, client.stderr
        assert [json.loads(line)["label"] in LABELS for line in client.stdout.splitlines()] == [True, True]
        address = f"http://127.0.0.1:{port}"
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            large = pool.submit(classify, address, texts * 100, "cls_multi_class")
            wait_until(lambda: waiting(address, "cls_multi_class") == 1)
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: refuses(port))
            assert not large.done()
            assert len(large.result()["label"]) == 100 * len(texts)
        assert process.wait(60) in (0, -signal.SIGTERM)
    log = (tmp_path / "log").read_text(encoding="utf-8")
    assert '"event": "stopped"' in log and "Traceback" not in log


@pytest.mark.slow
def test_a_killed_server_comes_back_with_the_loop_of_the_readme(exports, texts, tmp_path):
    """kill -9 in the middle of requests: not ready, started again, the client's retries bridge it, same answers."""
    server = "paddlenlp server server:app --host 127.0.0.1 --port {port}"
    loop = ["sh", "-c", f"while true; do {server} & echo $! > {tmp_path / 'pid'}; wait $!; sleep 1; done"]
    environment = {"SERVING_MODELS": str(exports["paddle"][0])}
    with server_process(loop, SIMPLE_SERVING, environment, tmp_path / "log") as (port, _):
        address = f"http://127.0.0.1:{port}"
        before = classify(address, texts, "cls_multi_class")
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
        wait_until(lambda: refuses(port))
        client = subprocess.run(
            [sys.executable, "client.py", "--port", str(port), "--retries", "20"], cwd=SIMPLE_SERVING,
            capture_output=True, encoding="utf-8", timeout=240,
        )  # fmt: skip
        assert client.returncode == 0, client.stderr
        assert requests.get(f"{address}/health", timeout=30).status_code == 200
        assert classify(address, texts, "cls_multi_class") == before


def refuses(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return False
    except OSError:
        return True


def test_a_folder_that_is_not_there_is_one_message(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SERVING_MODELS", str(tmp_path / "nowhere"))
    with pytest.raises(SystemExit) as caught:
        load_script("deploy/simple_serving/server.py")
    message = f"{tmp_path / 'nowhere'}: no such directory; give what train.py --do_export or --do_compress wrote\n"
    assert caught.value.code == 2 and capsys.readouterr().err == message
