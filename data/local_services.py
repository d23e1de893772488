"""Servers that data/annotate.py starts on 127.0.0.1: their processes, and JSON questions to them."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

from utils import UsageError, staged_files, write_json

STOP_SECONDS, TAIL_LINES = 20, 8


class ServiceError(Exception):
    """A server refused a request or did not answer; the message says what it said."""


def refuse_taken_port(port, flag):
    """Raise UsageError where something listens on a port of 127.0.0.1 already."""
    with socket.socket() as probe:
        if os.name != "nt":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise UsageError(
                f"{flag} {port}: something listens there already; stop it, or choose another port"
            ) from None


def write_private(folder, name, content):
    """Write a JSON file that nobody else may read, not even for a moment."""
    with staged_files(folder) as stage:
        (stage / name).touch(mode=0o600, exist_ok=False)
        write_json(stage / name, content)


def die_with_parent():
    """Ask the system to end this process when the one that started it ends, however that happens (Linux)."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


class Service:
    """A process of ours, which ends with this one.

    Args:
        name (str): for messages.
        command (list): program and arguments.
        log (Path): what it prints is added there.
        environment (dict | None): of the process; None: this one's.
        cwd (Path | None): where it runs.
    """

    def __init__(self, name, command, log, environment=None, cwd=None):
        self.name, self.command, self.log = name, list(map(str, command)), log
        self.options, self.process = {"env": environment, "cwd": cwd}, None

    def start(self):
        """Start the process; `wait_until` waits for it."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
            # A session of its own: Ctrl+C in the terminal is for annotate.py, which ends the others in order.
            own = {"start_new_session": True} if os.name != "nt" else {}
            own.update({"preexec_fn": die_with_parent} if sys.platform == "linux" else {})
            self.process = subprocess.Popen(self.command, **streams, **own, **self.options)

    def wait_until(self, answers, seconds, on_wait=None):
        """Wait until `answers()` is true.

        Args:
            answers (Callable[[], bool]): asked again and again.
            seconds (float): at most.
            on_wait (Callable[[], None] | None): called between two questions.

        Raises:
            UsageError: the process ended, or time is up; with the last lines of its log.
        """
        end = time.monotonic() + seconds
        while not answers():
            self.check()
            if time.monotonic() > end:
                raise UsageError(f"{self.name} did not start within {seconds} seconds; the end of {self.tail()}")
            if on_wait:
                on_wait()
            time.sleep(0.3)

    def check(self):
        """Raise UsageError where the process has ended, with the last lines of its log."""
        if self.process is not None and self.process.poll() is not None:
            raise UsageError(f"{self.name} ended with {self.process.returncode}; the end of {self.tail()}")

    def tail(self):
        """The log's name and its last lines."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines() if self.log.is_file() else []
        return "\n".join([f"{self.log}:", *lines[-TAIL_LINES:]])

    def stop(self):
        """End the process: SIGTERM, and SIGKILL where that is not enough."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS)
            self.process.kill()
            self.process.wait()
        self.process = None


def ask(method, url, body=None, headers=None, seconds=120):
    """Ask a server of this machine.

    Args:
        method (str): of HTTP.
        url (str): its address.
        body: what is sent as JSON; None: nothing.
        headers (dict | None): more of them.
        seconds (float): to wait.

    Returns:
        the JSON that it answers, or None where that is empty.

    Raises:
        ServiceError: it refuses, does not answer, or answers something else.
    """
    data = None if body is None else json.dumps(body).encode("ascii")
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **(headers or {})}, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever proxy the environment names
    try:
        with opener.open(request, timeout=seconds) as response:
            content = response.read()
        return json.loads(content) if content.strip() else None
    except urllib.error.HTTPError as error:
        told = error.read().decode("utf-8", "replace")[:300]
        raise ServiceError(f"{method} {url}: refused ({error.code}): {told}") from None
    except (OSError, ValueError) as error:
        raise ServiceError(f"{method} {url}: no answer ({error})") from None
