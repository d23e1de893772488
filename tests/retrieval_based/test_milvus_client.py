"""retrieval_based/utils/milvus_client.py: connections, and what is refused before Milvus is asked."""

import shutil
import socket
import sqlite3
import subprocess
import sys
import time

import numpy as np
import pytest

from retrieval_based.utils import milvus_client
from retrieval_based.utils.milvus_util import MilvusIndex
from tests.helpers import ROOT
from utils import UsageError

pytest.importorskip("pymilvus", reason="pymilvus is not installed")

DIM = 24


def test_no_server(capfd):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{probe.getsockname()[1]}"
        start = time.monotonic()
        with pytest.raises(UsageError) as error:
            milvus_client.connect(uri)
    assert time.monotonic() - start < 10
    assert f"{uri}: no Milvus answers there" in str(error.value) and "\n" not in str(error.value)
    assert capfd.readouterr().err == ""


def test_lite_in_another_process(tmp_path, monkeypatch):
    """One message; the process that has it open goes on undisturbed, and after it the file is free."""
    monkeypatch.setattr(milvus_client, "LOCK_TIMEOUT", 0.3)
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from retrieval_based.utils.milvus_util import MilvusIndex\n"
        f"index = MilvusIndex(sys.argv[2], {DIM}, 'a')\n"
        "print('open', flush=True); input()\n"
        f"index.upsert(['甲'], ['乙'], [[1.0] * {DIM}]); print(len(index), flush=True); input()\n"
    )
    path = tmp_path / "milvus.db"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "encoding": "utf-8"}
    other = subprocess.Popen([sys.executable, "-c", script, ROOT, path], **pipes)
    try:
        assert other.stdout.readline() == "open\n"
        for _ in range(2):
            with pytest.raises(UsageError, match="another process has it open; Milvus Lite is for one process"):
                MilvusIndex(str(path), DIM, "a")
        other.stdin.write("\n")
        other.stdin.flush()
        assert other.stdout.readline() == "1\n"
    finally:
        other.kill()
        other.wait()
    monkeypatch.setattr(milvus_client, "LOCK_TIMEOUT", 10)
    index = MilvusIndex(str(path), DIM, "a")
    assert index.labels() == {"乙": 1}
    index.close()


def test_files_that_lite_cannot_open(tmp_path):
    (tmp_path / "text.db").write_text("这不是数据库", encoding="utf-8")
    with pytest.raises(UsageError, match="text.db: not a file of Milvus Lite"):
        MilvusIndex(str(tmp_path / "text.db"), DIM, "a")
    with pytest.raises(UsageError, match="Milvus Lite takes up to 36 letters"):
        MilvusIndex(str(tmp_path / "索引.db"), DIM, "a")
    with pytest.raises(UsageError, match="text.db.*: cannot be opened"):
        MilvusIndex(str(tmp_path / "text.db" / "a.db"), DIM, "a")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A file of Milvus Lite with 500 rows."""
    path = tmp_path_factory.mktemp("lite") / "whole.db"
    index = MilvusIndex(str(path), DIM, "a")
    index.upsert([f"文本 {row}" for row in range(500)], ["类"] * 500, np.random.RandomState(0).randn(500, DIM))
    index.close()
    return path


@pytest.mark.parametrize("damage", ["middle", "first pages", "header", "cut"])
def test_a_damaged_file_of_lite_is_refused_at_once(whole, tmp_path, damage):
    """Milvus Lite would open it without the rows that it cannot read, or let 10 s pass and speak of its socket."""
    path = tmp_path / "milvus.db"
    shutil.copy(whole, path)
    size = path.stat().st_size
    with path.open("r+b") as file:
        if damage == "cut":
            file.truncate(size // 2)
        else:
            file.seek({"middle": size // 2, "first pages": 4096, "header": 16}[damage])
            file.write(b"\0" * {"middle": 30_000, "first pages": 30_000, "header": 200}[damage])
    start = time.monotonic()
    with pytest.raises(
        UsageError, match="milvus.db: the file is damaged .*; bring back a copy of it, or move it away"
    ):
        MilvusIndex(str(path), DIM, "a")
    assert time.monotonic() - start < 5
    assert {name.name for name in tmp_path.iterdir()} == {"milvus.db"}


def test_a_database_of_another_program(tmp_path):
    with sqlite3.connect(tmp_path / "other.db") as database:
        database.execute("CREATE TABLE mine (x)")
    with pytest.raises(UsageError, match="other.db: a database of another program, not of Milvus Lite"):
        MilvusIndex(str(tmp_path / "other.db"), DIM, "a")
    (tmp_path / "empty.db").touch()
    MilvusIndex(str(tmp_path / "empty.db"), DIM, "a").close()


@pytest.mark.parametrize("uri", ["http://host:19530", "HTTPS://host", "Http://1.2.3.4:19530"])
def test_what_is_a_server(uri):
    assert milvus_client.SERVER.match(uri)
