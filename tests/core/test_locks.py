"""core/locks.py: one process at a time, whatever became of the one before."""

import json
import os
import signal
import subprocess
import sys

import pytest

from core import locks
from tests.helpers import ROOT
from utils import UsageError

HOLD = """
import sys
from core.locks import locked_folder
with locked_folder(sys.argv[1]):
    print("held", flush=True)
    input()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds tmp_path / "out"."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "out"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()


def test_the_second_process_is_refused_and_takes_over_after_a_kill(holder, tmp_path):
    out = tmp_path / "out"
    for attempt in (lambda: locks.refuse_if_locked(out), lambda: locks.locked_folder(out).__enter__()):
        with pytest.raises(UsageError, match=f"process {holder.pid} on .* is training there; .*--output_dir"):
            attempt()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (out / locks.LOCK_FILE).is_file()  # stale
    locks.refuse_if_locked(out)
    with locks.locked_folder(out), locks.locked_folder(f"{out}/."):
        assert json.loads((out / locks.LOCK_FILE).read_text())["pid"] == os.getpid()
    assert not list(out.iterdir())


def test_a_holder_that_ends_leaves_nothing(holder, tmp_path):
    holder.communicate(b"\n")
    assert holder.returncode == 0 and not list((tmp_path / "out").iterdir())


def test_where_the_file_system_has_no_locks_the_pid_decides(tmp_path, monkeypatch):
    def unsupported(*args):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locks.fcntl, "lockf", unsupported)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    path, here = tmp_path / locks.LOCK_FILE, locks.socket.gethostname()
    alive, gone = (os.getppid(), here), [(ended.pid, here), (os.getpid(), here)]
    for pid, host in (alive, *gone, (1, "elsewhere")):
        path.write_text(json.dumps({"pid": pid, "host": host}))
        if (pid, host) not in gone:
            with pytest.raises(UsageError, match=f"process {pid} on {host}"):
                locks.refuse_if_locked(tmp_path)
        else:
            locks.refuse_if_locked(tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write there"), locks.locked_folder(tmp_path / "file" / "out"):
        pass
