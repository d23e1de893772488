"""client.py: against server.py itself, and against servers that fail in known ways."""

import collections
import http.server
import json
import threading
import time

import pytest

from core.predictor import Predictor
from deploy.simple_serving import client
from deploy.simple_serving.application import create_app
from deploy.simple_serving.settings import Settings
from tests.deploy.running import free_port, server_thread
from tests.helpers import LABELS
from utils import UsageError, read_examples


@pytest.fixture(scope="module")
def address(trained_once):
    """A server of trained_once, at /models/cls_multi_class."""
    with server_thread(create_app(Settings(models=str(trained_once[1] / "export")))) as address:
        yield f"{address}/models/cls_multi_class"


@pytest.fixture
def scripted(monkeypatch):
    """A function from answers (status, headers, body, seconds before it) to a server that gives them, one a request.

    It returns the address and the list of the bodies that came in. Pauses are noted in it and not slept.
    """
    started, received = [], []
    monkeypatch.setattr(client.time, "sleep", lambda seconds: received.append(seconds))
    sleep = time.sleep

    def start(*answers):
        waiting = list(answers)

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                status, headers, body, delay = waiting.pop(0)
                threading.Event().wait(delay)
                if status is None:
                    return  # the connection closes without an answer
                self.send_response(status)
                for name, value in {**headers, "Content-Length": len(body)}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        started.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/models/a", received

    yield start
    for server in started:
        server.shutdown()
        server.server_close()
    monkeypatch.setattr(client.time, "sleep", sleep)


ANSWER = json.dumps({"result": {"label": ["a", "b"], "confidence": [0.9, 0.8], "label_id": [0, 1]}}).encode()


def test_two_example_texts(address, trained_once, capsys):
    client.main(["--url", address, "--max_seq_len", "128", "--batch_size", "32"])
    expected = Predictor(trained_once[1] / "export").classify(client.EXAMPLES)
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for line, text, (label, score) in zip(printed, client.EXAMPLES, expected):
        assert line == {"text": text, "label": label, "confidence": pytest.approx(score, abs=1e-5)}


def test_a_file_of_texts(address, trained_once, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("core.progress.LINE_INTERVAL", 0)
    data, checkpoint = trained_once
    texts, _ = read_examples(data / "dev.txt", LABELS)
    output = tmp_path / "new" / "result.jsonl"
    client.main(
        ["--url", address, "--file", str(data / "dev.txt"), "--output", str(output), "--chunk", "7", "--top_k", "0"]
    )
    lines = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [line["text"] for line in lines] == texts
    assert [line["label"] for line in lines] == [name for name, _ in Predictor(checkpoint / "export").classify(texts)]
    assert all({entry["label"] for entry in line["top"]} == set(LABELS) for line in lines)
    shown = capsys.readouterr()
    assert f"{len(texts)} answers are in {output}" in shown.out and f"{len(texts)}/{len(texts)}" in shown.err
    counts = collections.Counter(line["label"] for line in lines).most_common()
    unsure = sum(line["confidence"] < 0.5 for line in lines)
    named = ", ".join(f"{label} {count}" for label, count in counts)
    assert f"{named}; {unsure} with a confidence below 0.5: read these first\n" in shown.out


def test_a_refused_text_is_named_and_nothing_is_written(address, tmp_path):
    file = tmp_path / "texts.txt"
    file.write_text("头疼\n" * 3 + "长" * 10_001 + "\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"texts.txt: in texts 3 to 4: .*413: 10001 characters.*\(data.text\[1\]\)"):
        client.main(["--url", address, "--file", str(file), "--chunk", "2"])
    assert [path.name for path in tmp_path.iterdir()] == ["texts.txt"]


def test_busy_and_broken_servers_are_asked_again(scripted, capsys):
    busy, broken = (503, {"Retry-After": "7"}, b'{"error": {"message": "busy"}}', 0), (None, {}, b"", 0)
    url, received = scripted(busy, broken, (502, {}, b"<html>", 0), (200, {}, ANSWER, 0))
    client.main(["--url", url])
    bodies = [item for item in received if isinstance(item, dict)]
    pauses = [item for item in received if not isinstance(item, dict)]
    assert len(bodies) == 4 and bodies.count(bodies[0]) == 4
    assert bodies[0]["data"] == {"text": client.EXAMPLES, "text_pair": None}
    assert bodies[0]["parameters"] == {"batch_size": 32, "top_k": 1}
    for pause, least in zip(pauses, (7, 1, 2)):
        assert least <= pause <= 1.25 * least
    shown = capsys.readouterr()
    assert "503: busy; trying again in" in shown.err and json.loads(shown.out.splitlines()[1])["label"] == "b"


def test_a_server_that_stays_busy(scripted):
    url, received = scripted(*[(503, {}, b"", 0)] * 3)
    with pytest.raises(UsageError, match=r"503: it answered '' \(tried 3 times\)"):
        client.main(["--url", url, "--retries", "2"])
    assert len(received) == 5


@pytest.mark.parametrize(
    "answer, message",
    [
        ((404, {}, b'{"error": {"message": "no model \'a\'; served: b"}}', 0), "404: no model 'a'; served: b"),
        ((401, {}, b"no", 0), "401: it answered 'no'"),
        ((500, {}, b"Internal", 0), "500: it answered 'Internal'"),
        ((200, {}, b"<html>", 0), "'<html>' is no answer of server.py; correct --url"),
        ((200, {}, b'{"result": {"label": ["a"], "confidence": [1]}}', 0), "is no answer of server.py"),
    ],
)
def test_other_answers_are_not_asked_for_again(scripted, answer, message):
    url, received = scripted(answer)
    with pytest.raises(UsageError) as caught:
        client.main(["--url", url])
    assert message in str(caught.value) and len(received) == 1


def test_no_answer_in_time_and_no_server(scripted):
    url, _ = scripted((200, {}, ANSWER, 1), (200, {}, ANSWER, 0))
    client.main(["--url", url, "--timeout", "0.3"])
    with pytest.raises(UsageError, match=r"no connection; is the server running there\?"):
        client.main(["--port", str(free_port()), "--retries", "1"])
    with pytest.raises(UsageError, match="correct --url"):
        client.main(["--url", "no address"])


def test_a_proxy_variable_that_is_in_the_way_is_named(scripted, monkeypatch):
    url, _ = scripted((403, {"Content-Type": "text/html"}, b"<html>denied", 0))
    monkeypatch.setenv("http_proxy", url.rpartition("/models")[0])
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(UsageError, match=r"403: it answered '<html>denied'; \$http_proxy .* set NO_PROXY=127.0.0.1"):
        client.main(["--port", "8189"])
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(UsageError, match=r"no connection; .* set NO_PROXY=127.0.0.1 \(tried 1 times\)"):
        client.main(["--port", "8189", "--retries", "0"])
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(UsageError) as caught:
        client.main(["--port", str(free_port()), "--retries", "0"])
    assert "NO_PROXY" not in str(caught.value)


def test_a_limit_is_sent_and_its_answers_are_told(scripted, tmp_path, capsys):
    result = {"label": ["病", "unknown"], "confidence": [0.9, 0.6], "label_id": [None, None]}
    result |= {"guess": ["病##感冒", "药"], "guess_confidence": [0.5, 0.4], "guess_id": [0, 2]}
    answer = json.dumps({"result": result}).encode()
    url, received = scripted((200, {}, answer, 0), (200, {}, answer, 0), (200, {}, ANSWER, 0))
    client.main(["--url", url, "--min_confidence", "0.7"])
    assert received[0]["parameters"] == {"batch_size": 32, "top_k": 1, "min_confidence": 0.7}
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == {
        "text": client.EXAMPLES[0],
        "label": "病",
        "confidence": 0.9,
        "guess": "病##感冒",
        "guess_confidence": 0.5,
    }
    (tmp_path / "texts.txt").write_text("头疼\n咳嗽\n", encoding="utf-8")
    client.main(["--url", url, "--min_confidence", "0.7", "--file", str(tmp_path / "texts.txt")])
    assert capsys.readouterr().out.splitlines()[-1].startswith("病 1, unknown 1; 1 unknown, surer than 0.7 of nothing")
    with pytest.raises(UsageError, match="is no answer of server.py"):  # one that knows nothing of limits
        client.main(["--url", url, "--min_confidence", "0.7"])


def test_an_ipv6_address():
    assert client.parse_flags(["--host", "::1"]).url == "http://[::1]:8189/models/cls_multi_class"
    assert client.parse_flags(["--host", "[::1]"]).url == "http://[::1]:8189/models/cls_multi_class"


def test_the_key_is_sent(trained_once, monkeypatch, capsys):
    settings = Settings(models=str(trained_once[1] / "export"), api_key="钥匙")
    with server_thread(create_app(settings)) as address:
        url = f"{address}/models/cls_multi_class"
        with pytest.raises(UsageError, match="401: send the API key"):
            client.main(["--url", url])
        client.main(["--url", url, "--api_key", "钥匙"])
        monkeypatch.setenv("SERVING_API_KEY", "钥匙")
        client.main(["--url", url])
    assert len(capsys.readouterr().out.splitlines()) == 4


@pytest.mark.parametrize(
    "flags",
    [
        ["--unknown", "x"],
        ["--unknown", " ", "--min_confidence", "1"],
        ["--chunk", "0"],
        ["--retries", "-1"],
        ["--timeout", "0"],
        ["--output", "x"],
        ["--min_confidence", "2"],
    ],
)
def test_wrong_flags(flags, capsys):
    with pytest.raises(SystemExit) as caught:
        client.main(flags)
    assert caught.value.code == 2 and flags[0] in capsys.readouterr().err
