"""retrieval_based/utils/index_lock.py: one writer at a time, whatever became of the one before."""

import os
import socket
import subprocess
import sys

import pytest

from retrieval_based.utils import index_lock
from retrieval_based.utils.index_lock import LOCK_FILE, FolderLock
from tests.helpers import ROOT
from utils import UsageError

HOLD = """
import sys
from retrieval_based.utils.index_lock import FolderLock
FolderLock(sys.argv[1]).acquire()
print("held", flush=True)
input()
"""


def test_another_process_is_named_and_a_killed_one_followed(tmp_path):
    command = [sys.executable, "-c", HOLD, tmp_path / "index"]
    other = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(UsageError, match=f"index: process {other.pid} on .* is writing the index there; wait"):
            FolderLock(tmp_path / "index").acquire()
    finally:
        other.kill()
        other.communicate()
    assert (tmp_path / "index" / LOCK_FILE).is_file()  # left by the kill
    lock = FolderLock(tmp_path / "index")
    with lock.held():
        assert (tmp_path / "index" / LOCK_FILE).read_text("utf-8") == f"{os.getpid()} {socket.gethostname()}"
        with lock.held():
            pass
        with pytest.raises(UsageError, match=f"process {os.getpid()} on"):
            FolderLock(tmp_path / "index").acquire()
    assert not list((tmp_path / "index").iterdir())


def test_only_an_empty_folder_of_its_own_goes(tmp_path):
    with FolderLock(tmp_path / "new" / "index").held():
        assert (tmp_path / "new" / "index" / LOCK_FILE).is_file()
    assert not (tmp_path / "new" / "index").exists()
    (tmp_path / "new").rmdir()
    (tmp_path / "file").write_text("", encoding="utf-8")
    lock = FolderLock(tmp_path)
    lock.acquire()
    lock.release()
    lock.release()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with pytest.raises(UsageError, match="cannot write the index there"):
        FolderLock(tmp_path / "file").acquire()


@pytest.mark.skipif(index_lock.fcntl is None, reason="Windows always has locks")
def test_where_the_file_system_has_no_locks_the_process_decides(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(index_lock.fcntl, "flock", unsupported)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here = socket.gethostname()
    for pid, host, may_live in (
        (os.getppid(), here, True),
        (ended.pid, "elsewhere", True),
        (ended.pid, here, False),
        (os.getpid(), here, False),
    ):
        (tmp_path / LOCK_FILE).write_text(f"{pid} {host}", encoding="utf-8")
        lock = FolderLock(tmp_path)
        if may_live:
            with pytest.raises(UsageError, match=f"process {pid} on {host}"):
                lock.acquire()
        else:
            lock.acquire()
            lock.release()
