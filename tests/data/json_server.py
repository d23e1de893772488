"""A small HTTP server on 127.0.0.1 with fixed answers in JSON, for tests of clients."""

import contextlib
import http.server
import json
import threading


@contextlib.contextmanager
def json_server(routes):
    """Serve; yield its address and the list of what it was asked.

    Args:
        routes (dict): (method, path) -> (status, content), or a function from the parsed body to that.

    Yields:
        tuple[str, list]: http://127.0.0.1:port; (method, path, headers, parsed body) of each request so far.
    """
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = json.loads(body) if body else None
            path = self.path.partition("?")[0]
            asked.append((self.command, path, dict(self.headers), body))
            found = routes.get((self.command, path), (404, {"detail": "Not found."}))
            status, content = found(body) if callable(found) else found
            data = content if isinstance(content, bytes) else json.dumps(content, ensure_ascii=False).encode("utf-8")
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_DELETE = answer

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
