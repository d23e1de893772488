"""server.py by the documented commands, in its own process."""

import concurrent.futures
import json
import os
import signal
import socket
import subprocess
import sys

import pytest
import requests

from tests.deploy.asking import classify, refuses, wait_until, waiting
from tests.deploy.running import SIMPLE_SERVING, run_light, server_process
from tests.helpers import LABELS, load_script


def run_client(port, *flags):
    command = [sys.executable, "client.py", "--port", str(port), *flags]
    return subprocess.run(command, cwd=SIMPLE_SERVING, capture_output=True, encoding="utf-8", timeout=240)


def log_of(folder):
    return (folder / "log").read_text(encoding="utf-8")


def end_in_the_middle(port, process, texts, folder):
    """SIGTERM while a long request runs, which gets its answer all the same."""
    address = f"http://127.0.0.1:{port}"
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        large = pool.submit(classify, address, texts * 100, "cls_multi_class")
        wait_until(lambda: waiting(address, "cls_multi_class") == 1)
        process.send_signal(signal.SIGTERM)
        wait_until(lambda: "Shutting down" in log_of(folder))
        assert not large.done()
        assert len(large.result()["label"]) == 100 * len(texts)
    assert process.wait(60) in (0, -signal.SIGTERM)


def test_documented_commands_and_a_graceful_end(exports, texts, tmp_path):
    """`paddlenlp server server:app …`, `python client.py`, and SIGTERM while a long request runs."""
    command = ["paddlenlp", "server", "server:app", "--host", "127.0.0.1", "--port", "{port}"]
    environment = {"SERVING_MODELS": str(exports["paddle"][0])}
    with server_process(command, SIMPLE_SERVING, environment, tmp_path / "log") as (port, process):
        client = run_client(port)
        assert client.returncode == 0, client.stderr
        assert [json.loads(line)["label"] in LABELS for line in client.stdout.splitlines()] == [True, True]
        end_in_the_middle(port, process, texts, tmp_path)
    assert '"event": "stopped"' in log_of(tmp_path) and "Traceback" not in log_of(tmp_path)


def test_uvicorn_in_kubernetes_takes_up_a_new_export_and_ends_gracefully(exports, many_classes, texts, tmp_path):
    """`uvicorn server:app`, the variables of a service called serving, SIGHUP, SIGTERM, a client that never reads."""
    command = ["uvicorn", "server:app", "--host", "127.0.0.1", "--port", "{port}"]
    models = f"cls_multi_class={exports['paddle'][0]},many={many_classes}"
    environment = {"SERVING_MODELS": models, "SERVING_SEND_SECONDS": "3"}
    environment |= {"SERVING_PORT": "tcp://10.0.0.1:80", "SERVING_SERVICE_HOST": "10.0.0.1"}
    with server_process(command, SIMPLE_SERVING, environment, tmp_path / "log") as (port, process):
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: log_of(tmp_path).count('"event": "ready"') == 4)
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
        assert requests.get(f"http://127.0.0.1:{port}/", headers=upgrade, timeout=30).status_code == 200
        deaf = never_reading(port, texts)
        end_in_the_middle(port, process, texts, tmp_path)
        deaf.close()
    lines = [json.loads(line) for line in log_of(tmp_path).splitlines() if "upgrade" in line or "read for" in line]
    assert lines[0]["event"] == "Unsupported upgrade request." and lines[-1]["connections"] == 1
    assert '"event": "stopped"' in log_of(tmp_path) and "Traceback" not in log_of(tmp_path)


def never_reading(port, texts):
    """A connection that asks for much and reads nothing."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", port))
    content = json.dumps({"data": {"text": (texts * 20)[:400]}, "parameters": {"top_k": 0}}).encode()
    head = f"POST /models/many HTTP/1.1\r\nHost: a\r\nContent-Length: {len(content)}\r\n\r\n"
    connection.sendall(head.encode() + content)
    return connection


@pytest.mark.alone
def test_several_processes_end_gracefully(exports, texts, tmp_path):
    """`uvicorn server:app --workers 2`: a long request, SIGTERM to the parent, and nobody waits 40 ms for an ACK."""
    command = ["uvicorn", "server:app", "--host", "127.0.0.1", "--port", "{port}", "--workers", "2"]
    environment = {"SERVING_MODELS": str(exports["paddle"][0]), "SERVING_WORKERS": "1"}
    with server_process(command, SIMPLE_SERVING, environment, tmp_path / "log") as (port, process):
        wait_until(lambda: log_of(tmp_path).count('"event": "ready"') == 2, 90)
        with requests.Session() as session:
            url = f"http://127.0.0.1:{port}/health/live"
            seconds = [session.get(url, timeout=30).elapsed.total_seconds() for _ in range(15)]
        assert sorted(seconds)[7] < 0.03
        end_in_the_middle(port, process, texts, tmp_path)
    assert log_of(tmp_path).count('"event": "stopped"') == 2 and "Traceback" not in log_of(tmp_path)


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
        client = run_client(port, "--retries", "20")
        assert client.returncode == 0, client.stderr
        assert requests.get(f"{address}/health", timeout=30).status_code == 200
        assert classify(address, texts, "cls_multi_class") == before


def test_a_folder_that_is_not_there_is_one_message(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SERVING_MODELS", str(tmp_path / "nowhere"))
    with pytest.raises(SystemExit) as caught:
        load_script("deploy/simple_serving/server.py")
    message = f"{tmp_path / 'nowhere'}: no such directory; give what train.py --do_export or --do_compress wrote\n"
    assert caught.value.code == 2 and capsys.readouterr().err == message


def test_a_wrong_setting_is_answered_at_once():
    code, _, error = run_light(SIMPLE_SERVING / "server.py", SERVING_WORKERS="0", SERVING_MODELS="")
    assert code == 2 and error == "SERVING_WORKERS=0: give a whole number above 0\n"
