"""retrieval_based/utils/vector_insert.py: inserts that are killed and taken up again, on every kind of index."""

import os
import signal
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest

from retrieval_based.utils import config, vector_insert
from retrieval_based.utils.index import open_index
from tests.helpers import ROOT

pytest.importorskip("pymilvus", reason="pymilvus is not installed")
pytest.importorskip("hnswlib", reason="hnswlib is not installed")

DIM = 24
COUNT = 1500
# In a process of its own, with vectors that stand in for a model's; prints what is safe.
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
from retrieval_based.utils import config, vector_insert
from tests.retrieval_based.test_vector_insert import COUNT, DIM, StandIn, label_of
config.INSERT_BATCH = 50
vector_insert.SAVE_ROWS = 200
index = vector_insert.open_index(sys.argv[2], DIM, "a", config.Graph(m=8), collection=sys.argv[3])
texts = [f"文本 {number}" for number in range(COUNT)]
print("start", flush=True)
for done, written in vector_insert.insert(index, StandIn(), texts, [label_of(text) for text in texts], "v1"):
    print(done, written, flush=True)
index.close()
"""


class StandIn:
    """Vectors that depend on the text alone; what a model gives has no part in how an insert is taken up again."""

    def encode(self, texts):
        seeds = [zlib.crc32(text.encode("utf-8")) for text in texts]
        return np.array([np.random.RandomState(seed).randn(DIM) for seed in seeds], dtype="float32")


def label_of(text):
    return f"类 {int(text.split()[1]) % 7}"


def run_insert(uri, collection, kill_after=None):
    """Run SCRIPT; after `kill_after` reports, kill -9 it in the middle of the next batch.

    Returns:
        tuple[list[str], bool]: the reports, and whether it was killed before its end.
    """
    options = {"stdout": subprocess.PIPE, "encoding": "utf-8", "env": {**os.environ, "OMP_NUM_THREADS": "1"}}
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, ROOT, uri, collection], **options)
    try:
        assert process.stdout.readline() == "start\n"
        reports = []
        for line in process.stdout:
            reports.append(line)
            if len(reports) == kill_after:
                time.sleep(0.003)
                process.send_signal(signal.SIGKILL)
        return reports, process.wait() == -signal.SIGKILL
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("kind", ["hnsw", "lite", pytest.param("server", marks=pytest.mark.slow)])
def test_a_killed_insert_loses_nothing_and_goes_on(kind, request, tmp_path):
    name = f"insert_{time.monotonic_ns()}"
    uri = {"hnsw": str(tmp_path / "index"), "lite": str(tmp_path / "milvus.db")}.get(kind)
    uri = uri or request.getfixturevalue("milvus").uri
    safe = 0
    for kill_after in (2, 3):
        reports, killed = run_insert(uri, name, kill_after)
        assert killed
        safe = max(safe, int(reports[-1].split()[0]))
        index = open_index(uri, DIM, "a", collection=name)
        first = [f"文本 {number}" for number in range(safe)]
        there = index.stored([config.content_id(text) for text in first])
        assert there == {config.content_id(text): (label_of(text), "v1") for text in first}
        assert safe <= len(index) < COUNT
        kept = len(index)
        index.close()
    reports, killed = run_insert(uri, name)
    assert not killed
    assert [int(number) for number in reports[-1].split()] == [COUNT, COUNT - kept]
    index = open_index(uri, DIM, "a", collection=name)
    assert len(index) == COUNT
    assert index.labels() == {f"类 {number}": len(range(number, COUNT, 7)) for number in range(7)}
    probe = [f"文本 {number}" for number in range(0, COUNT, 150)]
    hits = index.search(StandIn().encode(probe), 1)
    assert [found[0].score for found in hits] == pytest.approx([1] * len(probe), abs=1e-5)
    if kind == "server":
        index._client.drop_collection(name, timeout=30)
    index.close()


def test_what_has_changed_is_written(tmp_path):
    index = open_index(str(tmp_path / "index"), DIM, "a")
    encoded = []

    class Counting(StandIn):
        def encode(self, texts):
            encoded.append(list(texts))
            return super().encode(texts)

    assert list(vector_insert.insert(index, Counting(), ["甲", "乙", "甲"], ["一", "二", "三"])) == [(2, 2)]
    assert index.labels() == {"三": 1, "二": 1}  # of a text that is there twice, the last
    assert list(vector_insert.insert(index, Counting(), ["甲", "乙", "丙"], ["一", "二", "三"])) == [(3, 2)]
    assert encoded == [["甲", "乙"], ["甲", "丙"]] and index.labels() == {"一": 1, "三": 1, "二": 1}
    assert list(vector_insert.insert(index, Counting(), ["甲"], ["一"], "v2")) == [(1, 1)]
    assert list(vector_insert.insert(index, Counting(), ["甲"], ["一"], "v2")) == [(1, 0)]
