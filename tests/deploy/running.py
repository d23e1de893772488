"""Start a server, wait until it answers, and end it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import uvicorn

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
SIMPLE_SERVING, TRITON_SERVING = DEPLOY / "simple_serving", DEPLOY / "triton_serving"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port, process, seconds):
    """Return when something listens.

    Raises:
        RuntimeError: the process has ended, or the time is over.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise RuntimeError(f"{process.args}: not up on port {port} after {seconds} s, exit code {process.poll()}")


@contextlib.contextmanager
def server_process(command, cwd, environment, log, seconds=120):
    """A server in a process group of its own.

    Args:
        command (list[str]): {port} in it is replaced.
        cwd, log (Path): where it runs, and the file that its output goes to.
        environment (dict[str, str]): added to this process's own.
        seconds (float): until it must listen.

    Yields:
        tuple[int, subprocess.Popen]: the port and the process.
    """
    port = free_port()
    command = [part.format(port=port) for part in command]
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        **environment,
    }
    with log.open("wb") as output:
        streams = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": subprocess.STDOUT}
        process = subprocess.Popen(command, cwd=cwd, env=environment, start_new_session=True, **streams)
    try:
        wait_for_port(port, process, seconds)
        yield port, process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def run_light(path, *flags, **environment):
    """Run a script of deploy/ as a user does: (exit code, stdout, stderr).

    Raises:
        AssertionError: it imported what takes seconds.
    """
    command = [sys.executable, "-X", "importtime", path.name, *flags]
    environment = {**os.environ, **environment}
    run = subprocess.run(command, cwd=path.parent, env=environment, capture_output=True, encoding="utf-8", timeout=60)
    lines = run.stderr.splitlines(keepends=True)
    imported = {line.split("|")[-1].strip().split(".")[0] for line in lines if line.startswith("import time:")}
    assert not imported & {"paddle", "paddlenlp", "onnxruntime", "scipy", "sklearn"}
    return run.returncode, run.stdout, "".join(line for line in lines if not line.startswith("import time:"))


@contextlib.contextmanager
def server_thread(app):
    """uvicorn in a thread of this process; yields its address."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()
