"""A real Triton 2.51 on 127.0.0.1, from the wheel nvidia-pytriton in an environment of its own (.venv-triton).

    with running_triton(ROOT / ".venv-triton", models, folder) as server:
        tritonclient.grpc.InferenceServerClient(server.grpc)

    python triton_server.py --export_dir checkpoint/export --port 8000 --grpc_port 8001      # until SIGTERM

The wheel has the server and its Python backend; triton_onnxruntime.py stands in for the ONNX Runtime backend.
"""

import argparse
import contextlib
import ctypes
import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import requests

# Names that this server's shared memory gets, so that what it leaves behind is known.
REGION = "triton_test"
ROOT = Path(__file__).resolve().parents[2]


@dataclasses.dataclass
class Server:
    """A server that is ready; addresses are host:port."""

    process: subprocess.Popen
    http: str
    grpc: str
    log: Path

    def stubs(self, model):
        """Process ids of the Python processes that serve a model."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (folder / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
                ours = command[0].endswith("triton_python_backend_stub") and session_of(folder) == self.process.pid
                if ours and f"/{model}/" in command[1]:
                    found.append(int(folder.name))
        return found


def session_of(folder):
    """The session id in /proc/<pid>/stat."""
    return int((folder / "stat").read_text().rpartition(")")[2].split()[3])


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for probe in sockets:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in sockets]
    finally:
        for probe in sockets:
            probe.close()


def write_backends(package, folder, version):
    """The backends' folder: the wheel's Python backend with its stub, and the stand-in for ONNX Runtime's.

    Args:
        package (Path): the wheel's tritonserver folder.
        folder (Path): to be made.
        version (str): of the models' Python, such as 3.11.
    """
    shutil.copytree(package / "backends", folder)
    stub = folder / "python" / "triton_python_backend_stub"
    shutil.copy(package / "python_backend_stubs" / version / "triton_python_backend_stub", stub)
    stub.chmod(0o755)
    (folder / "onnxruntime").mkdir()
    shutil.copy(Path(__file__).with_name("triton_onnxruntime.py"), folder / "onnxruntime" / "model.py")


@contextlib.contextmanager
def running_triton(venv, models, folder, explicit=False, python_env=None, port=None, grpc_port=None, deadline=120):
    """Start Triton on a model repository, yield a Server when it is ready, stop it and clear up.

    Args:
        venv (Path): the environment that has nvidia-pytriton.
        models (Path): the model repository.
        folder (Path): an empty folder for backends and the log.
        explicit (bool): models are loaded and unloaded by request; seqcls is at the start.
        python_env (Path | None): the environment of the models' Python; None means `venv`.
        port, grpc_port (int | None): of HTTP and gRPC; None means a free one.
        deadline (float): seconds until it must be ready.

    Raises:
        RuntimeError: it stopped or is not ready in time; with the end of its log.
    """
    package = next(venv.absolute().glob("lib/python*/site-packages/pytriton")) / "tritonserver"
    programs = (python_env or venv).absolute() / "bin"
    about = "import sys, sysconfig; print(*sys.version_info[:2], sep='.'); print(sysconfig.get_config_var('LIBDIR'))"
    version, library = subprocess.run(
        [programs / "python", "-c", about], capture_output=True, encoding="utf-8", check=True
    ).stdout.splitlines()
    write_backends(package, folder / "backends", version)
    http, grpc, metrics = free_ports(3)
    http, grpc = port or http, grpc_port or grpc
    region = f"{REGION}_{os.getpid()}_{http}"
    environment = {
        **os.environ,
        # The stub takes the environment whose python is first in PATH, and must not find another libpython.
        "PATH": os.pathsep.join([str(programs), os.environ["PATH"]]),
        "LD_LIBRARY_PATH": os.pathsep.join([library, str(package.parents[1] / "nvidia_pytriton.libs")]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    options = {"model-repository": models, "backend-directory": folder / "backends"}
    for name, number in {"http": http, "grpc": grpc, "metrics": metrics}.items():
        options.update({f"{name}-address": "127.0.0.1", f"{name}-port": number})
    options.update({"allow-gpu-metrics": "false", "exit-timeout-secs": 5})
    options["backend-config"] = f"python,shm-region-prefix-name={region}"
    if explicit:
        options.update({"model-control-mode": "explicit", "load-model": "seqcls"})
    command = [package / "bin" / "tritonserver", *(f"--{name}={value}" for name, value in options.items())]
    started = {"env": environment, "start_new_session": True, "preexec_fn": end_with_parent}
    log = folder / "triton.log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, **started)
    try:
        wait_until_ready(process, http, log, time.monotonic() + deadline)
        yield Server(process, f"127.0.0.1:{http}", f"127.0.0.1:{grpc}", log)
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
        # Stubs outlive a server that was killed, or that waits for one of them.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for path in Path("/dev/shm").glob(f"{region}*"):
            path.unlink(missing_ok=True)


def end_with_parent():
    """In the child: get SIGTERM when the tests are killed and cannot stop it themselves (Linux)."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def wait_until_ready(process, port, log, end):
    while True:
        with contextlib.suppress(requests.RequestException):
            if requests.get(f"http://127.0.0.1:{port}/v2/health/ready", timeout=5).status_code == 200:
                return
        if process.poll() is not None or time.monotonic() > end:
            what = "stopped" if process.poll() is not None else "is not ready in time"
            raise RuntimeError(f"Triton {what}:\n{log.read_text(errors='replace')[-4000:]}")
        time.sleep(0.2)


def main(argv=None):
    """Make the repository of an export folder and serve it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--export_dir", default=os.environ.get("BENCH_EXPORT_DIR", ROOT / "checkpoint" / "export"))
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--grpc_port", type=int, help="default: a free one")
    args, flags = parser.parse_known_args(argv)  # the others are build_models.py's
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        build = [sys.executable, ROOT / "deploy" / "triton_serving" / "build_models.py", *flags]
        subprocess.run([*build, "--export_dir", args.export_dir, "--output_dir", models], check=True)
        (Path(folder) / "server").mkdir()
        folder, ports = Path(folder) / "server", {"port": args.port, "grpc_port": args.grpc_port}
        with running_triton(ROOT / ".venv-triton", models, folder, **ports) as server:
            server.process.wait()


if __name__ == "__main__":
    main()
