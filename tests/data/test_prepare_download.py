"""data/prepare.py's download from a real HTTP server, and the script as a program."""

import contextlib
import http.server
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from data import prepare
from tests.data.kuake import (
    WRITTEN,
    contents,
    json_files,
    make_tar,
    make_zip,
    txt_files,
)
from tests.helpers import ROOT

pytestmark = pytest.mark.usefixtures("few_rows")

# --------------------------------------------------------------------------------------------------------- download


@pytest.fixture
def serve(monkeypatch):
    """Serve chunks of bytes, a pause before each one; give the address."""
    # A proxy set on this machine would be asked for 127.0.0.1 otherwise.
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    servers = []

    def start(*chunks, pause=0.0, length=None, status=200):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                if length is not False:
                    self.send_header("Content-Length", str(length or sum(map(len, chunks))))
                self.end_headers()
                with contextlib.suppress(OSError):
                    for chunk in chunks:
                        time.sleep(pause)
                        self.wfile.write(chunk)
                        self.wfile.flush()

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        server.block_on_close = False
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/KUAKE_QIC.tar.gz"
        monkeypatch.setattr(prepare, "URL", url)
        return url

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def packed(tmp_path):
    return make_tar(tmp_path / "packed.tar.gz", txt_files()).read_bytes()


def assert_names_both_ways_out(text, url):
    assert text.startswith(f"{url}: cannot be downloaded (")
    assert "try again" in text and "--archive FILE" in text and "\n" not in text


@pytest.mark.parametrize("length", [None, False], ids=["with length", "without length"])
def test_download(tmp_path, serve, packed, length):
    serve(packed, length=length)
    prepare.main(["kuake_qic", "--save_dir", str(tmp_path / "out")])
    assert contents(tmp_path / "out") == WRITTEN


def test_download_shows_its_progress(monkeypatch, serve, packed):
    bars = []

    def bar(**options):
        bars.append(progress_bar(**options))
        return bars[0]

    progress_bar = prepare.progress_bar
    monkeypatch.setattr(prepare, "progress_bar", bar)
    serve(packed)
    assert prepare.download() == packed
    assert [(bar.total, bar.n, bar.desc) for bar in bars] == [(len(packed), len(packed), "KUAKE_QIC.tar.gz")]


def test_a_slow_line_is_waited_for(serve, monkeypatch):
    # Longer than the timeout in all, but never silent for as long.
    monkeypatch.setattr(prepare, "TIMEOUT", 2)
    serve(b"ab", b"cd", b"ef", b"gh", pause=0.7)
    start = time.monotonic()
    assert prepare.download() == b"abcdefgh"
    assert time.monotonic() - start > 2


def test_a_server_that_never_answers(refused, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/a.tar.gz"
        monkeypatch.setattr(prepare, "URL", url)
        start = time.monotonic()
        monkeypatch.setattr(prepare, "TIMEOUT", 0.5)
        text = refused(None)
        assert 0.4 < time.monotonic() - start < 5
    assert_names_both_ways_out(text, url)
    assert "timed out" in text


def test_a_server_that_falls_silent(refused, serve, packed, monkeypatch):
    url = serve(packed[:300], packed[300:], pause=1.5)
    monkeypatch.setattr(prepare, "TIMEOUT", 0.5)
    start = time.monotonic()
    text = refused(None)
    assert time.monotonic() - start < 5
    assert_names_both_ways_out(text, url)


def test_a_download_cut_short(refused, serve, packed):
    url = serve(packed[:300], length=len(packed))
    text = refused(None)
    assert_names_both_ways_out(text, url)
    assert f"closed after 300 of {len(packed)} bytes" in text.replace(",", "")


def test_http_error_and_closed_port(refused, serve):
    url = serve(b"gone", status=404)
    text = refused(None)
    assert_names_both_ways_out(text, url)
    assert "404" in text


def test_closed_port(refused, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/a.tar.gz"
    monkeypatch.setattr(prepare, "URL", url)
    text = refused(None)
    assert_names_both_ways_out(text, url)
    assert "refused" in text


def test_a_login_page_instead_of_the_archive(refused, serve):
    url = serve(b"<html>please log in</html>")
    text = refused(None)
    assert text.startswith(f"{url}: not a .tar.gz") and "--archive FILE" in text


def test_a_download_without_end(refused, serve, monkeypatch):
    monkeypatch.setattr(prepare, "MAX_BYTES", 1000)
    url = serve(b"x" * 5000)
    text = refused(None)
    assert_names_both_ways_out(text, url)
    assert "more than 1,000 bytes" in text


# ------------------------------------------------------------------------------------------------------ as a program


def run_script(*arguments, **environment):
    command = [sys.executable, str(ROOT / "data" / "prepare.py"), *map(str, arguments)]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", **environment}
    return subprocess.run(command, capture_output=True, encoding="utf-8", env=environment, timeout=60)


@pytest.mark.parametrize("case", ["missing", "not an archive", "truncated", "bad JSON", "GBK", "too few rows"])
def test_exit_code_2_and_one_line(tmp_path, case):
    path = tmp_path / "a.zip"
    make_zip(path, json_files())
    if case == "missing":
        path.unlink()
    elif case == "not an archive":
        path.write_text("hello")
    elif case == "truncated":
        path.write_bytes(path.read_bytes()[:-50])
    elif case == "bad JSON":
        make_zip(path, {**json_files(), "KUAKE-QIC/KUAKE-QIC_train.json": "["})
    elif case == "GBK":
        make_zip(path, {**json_files(), "KUAKE-QIC/KUAKE-QIC_train.json": "头疼".encode("gb18030")})
    result = run_script("kuake_qic", "--archive", path, "--save_dir", tmp_path / "out")
    assert result.returncode == 2 and result.stdout == ""
    assert result.stderr.startswith(f"{path}:") and result.stderr.count("\n") == 1
    assert ("expected 6,931" in result.stderr) == (case == "too few rows")
    assert not (tmp_path / "out").exists()


def test_no_network_is_said_quickly(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        proxy = f"http://127.0.0.1:{server.getsockname()[1]}"
    start = time.monotonic()
    result = run_script("kuake_qic", "--save_dir", tmp_path / "out", https_proxy=proxy, HTTPS_PROXY=proxy, no_proxy="")
    assert time.monotonic() - start < 35
    assert result.returncode == 2 and result.stdout == ""
    assert_names_both_ways_out(result.stderr.rstrip("\n"), prepare.URL)


def test_unknown_data_set_and_help(tmp_path):
    result = run_script("kuake", "--save_dir", tmp_path / "out")
    assert result.returncode == 2 and "kuake_qic" in result.stderr
    result = run_script("--help")
    assert result.returncode == 0 and "--archive FILE" in result.stdout and "--force" in result.stdout
    assert "python data/prepare.py kuake_qic" in result.stdout
