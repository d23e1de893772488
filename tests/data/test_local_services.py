"""data/local_services.py: processes end with us, and what goes wrong is told."""

import http.server
import socket
import sys
import threading

import pytest

from data.local_services import Service, ServiceError, ask, refuse_taken_port
from utils import UsageError


def test_a_process_that_ends_tells_why(tmp_path):
    service = Service("it", [sys.executable, "-c", "raise SystemExit('no such database')"], tmp_path / "it.log")
    service.start()
    with pytest.raises(UsageError, match="it ended with 1; the end of .*it.log:\nno such database"):
        service.wait_until(lambda: False, 30)
    service.stop()


def test_a_process_is_stopped(tmp_path):
    service = Service("it", [sys.executable, "-c", "import time; time.sleep(100)"], tmp_path / "it.log")
    service.start()
    process = service.process
    service.check()
    service.stop()
    assert process.poll() is not None


def test_questions_and_refusals():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/well" else 403)
            self.end_headers()
            self.wfile.write(b'{"a": 1}')

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    assert ask("GET", f"{address}/well") == {"a": 1}
    with pytest.raises(ServiceError, match="refused \\(403\\)"):
        ask("GET", f"{address}/ill")
    with pytest.raises(UsageError, match=f"--port {server.server_port}: something listens there"):
        refuse_taken_port(server.server_port, "--port")
    server.shutdown()
    server.server_close()
    with pytest.raises(ServiceError, match="no answer"):
        ask("GET", f"{address}/well")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    refuse_taken_port(port, "--port")
