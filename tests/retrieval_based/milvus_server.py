"""A real Milvus 2.3.5 on 127.0.0.1 without Docker, by the wheel `milvus`, which has an environment of its own.

    make .venv-milvus/.installed
    python tests/retrieval_based/milvus_server.py --port 19530 --data_dir milvus_data       # until Ctrl+C or SIGTERM

    server = Milvus(ROOT / ".venv-milvus", folder)
    server.start()                                                                          # in tests
    pymilvus.MilvusClient(server.uri)
    server.kill()                                                                           # kill -9
    server.stop()

No setting of this Milvus makes it listen on one address: its nine ports are open to the network. So it runs in a
network namespace (Linux), whose only interface is its own loopback, and this process relays one port of 127.0.0.1.
Data and logs are in the folder, where another start finds them.
"""

import argparse
import asyncio
import contextlib
import ctypes
import errno
import fcntl
import functools
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
# Inside the namespace nothing else is listening.
INNER_PORT, HEALTH_PORT = 19530, 9091
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
READY = "Milvus listens on"
LIBC = ctypes.CDLL(None, use_errno=True)


def end_with_parent(sent):
    """In the child: get the signal `sent` when the parent is killed and cannot stop it itself (Linux)."""
    pr_set_pdeathsig = 1
    LIBC.prctl(pr_set_pdeathsig, sent)


def enter_namespace():
    """Leave the network for one that has a loopback interface only; sockets that are open stay where they are.

    Raises:
        OSError: this machine does not allow it.
    """
    user, group = os.getuid(), os.getgid()
    if LIBC.unshare(CLONE_NEWNET):
        # Not root: a user namespace, in which this process is.
        if LIBC.unshare(CLONE_NEWUSER | CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "network namespaces are not allowed here")
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1", encoding="ascii")
    siocsifflags, iff_up = 0x8914, 0x1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        fcntl.ioctl(probe, siocsifflags, struct.pack("16sh14x", b"lo", iff_up))


def start_wrapper(venv, folder):
    """Start the wheel's milvus-server inside the namespace, and wait until it is healthy.

    Returns:
        subprocess.Popen: the wrapper, which ends its server on SIGINT, but not on SIGTERM.

    Raises:
        RuntimeError: it stopped; with the end of its logs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Where each data folder would get 246 MB of programs of its own, uncompressed for 5 s.
    programs = venv / "milvus-programs"
    programs.mkdir(exist_ok=True)
    if not os.path.lexists(folder / "bin"):
        (folder / "bin").symlink_to(programs)
    command = [venv / "bin" / "milvus-server", "--data", folder, "--proxy-port", INNER_PORT]
    for part in ("proxy", "rootCoord", "queryCoord", "queryNode", "indexNode", "dataCoord", "dataNode"):
        command += ["--extra-config", f"{part}.ip=127.0.0.1"]  # where the parts look for each other
    with (folder / "wrapper.log").open("wb") as log:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
        ending = functools.partial(end_with_parent, signal.SIGINT)
        wrapper = subprocess.Popen(list(map(str, command)), preexec_fn=ending, **pipes)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while wrapper.poll() is None:
        with contextlib.suppress(urllib.error.URLError, OSError):
            if b"OK" in opener.open(f"http://127.0.0.1:{HEALTH_PORT}/healthz", timeout=5).read():
                return wrapper
        time.sleep(0.1)
    raise RuntimeError(f"Milvus stopped: {(folder / 'wrapper.log').read_text(errors='replace')[-2000:]}")


async def relay(listener):
    """Connect every client of `listener` with the server in the namespace."""

    async def copy(reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 18):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def connect(reader, writer):
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", INNER_PORT)
        except OSError:
            writer.close()
            return
        await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))

    server = await asyncio.start_server(connect, sock=listener)
    await server.serve_forever()


def main(argv=None):
    """Serve until a signal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=19530, help="(default: 19530)")
    parser.add_argument("--data_dir", type=Path, default=Path("milvus_data"), help="(default: milvus_data)")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv-milvus", help="(default: .venv-milvus)")
    args = parser.parse_args(argv)
    if not (args.venv / "bin" / "milvus-server").is_file():
        sys.exit(f"{args.venv}: no milvus-server; run: make .venv-milvus/.installed")
    for stopping in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stopping, lambda *_: sys.exit(0))
    listener = socket.create_server(("127.0.0.1", args.port))
    try:
        enter_namespace()
    except OSError as error:
        sys.exit(f"{error.strerror}: this server would be open to the whole network, so it is not started")
    wrapper = start_wrapper(args.venv.absolute(), args.data_dir.absolute())
    try:
        print(f"{READY} http://127.0.0.1:{args.port}", flush=True)
        asyncio.run(relay(listener))
    finally:
        wrapper.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            wrapper.wait(10)


class Milvus:
    """A server for tests, in a process group of its own.

    Args:
        venv (Path): the environment that has the wheel.
        folder (Path): data and logs.

    Attributes:
        uri (str): on a free port, the same after another start.
    """

    def __init__(self, venv, folder):
        self.folder, self.venv, self.process = folder, venv, None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self.port}"

    def start(self, deadline=120):
        """Return when it is ready.

        Raises:
            PermissionError: this machine allows no network namespaces.
            RuntimeError: it stopped, or is not ready within `deadline` seconds.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / "relay.log"
        command = [sys.executable, __file__, "--port", str(self.port), "--venv", self.venv, "--data_dir", self.folder]
        with log.open("wb") as out:
            pipes = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": out}
            ending = functools.partial(end_with_parent, signal.SIGTERM)
            self.process = subprocess.Popen(command, start_new_session=True, preexec_fn=ending, **pipes)
        end = time.monotonic() + deadline
        while READY not in log.read_text(encoding="utf-8", errors="replace"):
            if self.process.poll() is not None or time.monotonic() > end:
                self.kill()
                text = log.read_text(encoding="utf-8", errors="replace")
                if "not allowed" in text:
                    raise PermissionError(errno.EPERM, text)
                raise RuntimeError(f"Milvus is not ready: {text[-2000:]}")
            time.sleep(0.1)

    def kill(self):
        """kill -9 of the relay, the wrapper and the server."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """End it in order, and what is left of it by force."""
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        self.kill()


if __name__ == "__main__":
    main()
