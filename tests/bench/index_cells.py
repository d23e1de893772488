"""The measurement of one index by bench_index.py."""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

from retrieval_based.utils.config import Graph
from retrieval_based.utils.index import open_index
from tests.bench.index_vectors import CHUNK, TOP_K, encode_texts, write_vectors
from tests.retrieval_based.milvus_server import Milvus

ROOT = Path(__file__).resolve().parents[2]
HNSW = Graph(m=16)
EFS = (64, 256, 1024)


class NumpyIndex:
    """Comparison with all, as the other indexes' exactness is measured by."""

    def __init__(self, vectors):
        self.vectors = np.array(vectors)

    def search(self, vectors, top_k):
        scores = (self.vectors @ vectors.T)[:, 0]
        rows = np.argpartition(-scores, top_k)[:top_k]
        return [rows[np.argsort(-scores[rows])]]


def insert_all(index, vectors):
    """Insert vectors under names that say their row."""
    for start in range(0, len(vectors), CHUNK):
        rows = range(start, min(start + CHUNK, len(vectors)))
        texts, labels = [f"text {row}" for row in rows], [f"label {row % 100}" for row in rows]
        index.upsert(texts, labels, np.array(vectors[rows.start : rows.stop]), progress=False)
        print(f"{rows.stop} of {len(vectors)}", file=sys.stderr, flush=True)
    index.save()


def wait_for_graph(index, deadline=3600):
    """Until a server has built the graph of all its closed segments and searches in it."""
    client, end = index._client, time.monotonic() + deadline
    while client.describe_index(index.collection, "vector").get("pending_index_rows", 0):
        if time.monotonic() > end:
            raise RuntimeError("the server does not finish its index")
        time.sleep(0.5)
    client.release_collection(index.collection)
    client.load_collection(index.collection, timeout=deadline)


def private_mb(processes):
    """Memory that processes alone have."""
    return sum(process.memory_full_info().uss for process in processes) / 1e6


def folder_mb(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum(path.stat().st_blocks for path in files) * 512 / 1e6


def time_queries(index, queries):
    """Rows found [queries][TOP_K], and milliseconds [queries]; the first ten are asked twice, to warm up."""
    for query in queries[:10]:
        index.search(query[None], TOP_K)
    found, times = [], []
    for query in queries:
        start = time.perf_counter()
        (hits,) = index.search(query[None], TOP_K)
        times.append(1000 * (time.perf_counter() - start))
        found.append([int(hit.text.split()[1]) if hasattr(hit, "text") else int(hit) for hit in hits])
    return found, times


def measure(args, engine, size):
    """One cell, in this process: its columns."""
    _, queries = encode_texts(args)
    path, truth = write_vectors(args, size)
    vectors, this = np.load(path, mmap_mode="r"), psutil.Process()
    with tempfile.TemporaryDirectory(dir=args.work_dir) as folder:
        folder, server, dim = Path(folder), None, vectors.shape[1]
        try:
            if engine == "server":
                server = Milvus(ROOT / ".venv-milvus", folder / "server")
                server.start()
            uri = {"hnswlib": str(folder / "index"), "lite": str(folder / "milvus.db")}.get(engine)
            before, start = private_mb([this]), time.perf_counter()
            if engine == "numpy":
                index = NumpyIndex(vectors)
            else:
                index = open_index(uri or server.uri, dim, "bench", HNSW)
                insert_all(index, vectors)
            if server:
                wait_for_graph(index)
            seconds = time.perf_counter() - start
            searches = []
            for ef in EFS if engine in ("hnswlib", "server") else [None]:
                index._ef = ef  # of both kinds of index; else --hnsw_ef sets it when the index is opened
                found, times = time_queries(index, queries)
                recall = np.mean([len(set(row) & set(true)) / TOP_K for row, true in zip(found, truth.tolist())])
                median, p95 = np.percentile(times, [50, 95])
                searches.append({"ef": ef, "median": float(median), "p95": float(p95), "recall": float(recall)})
            others = this.children(recursive=True)
            memory = private_mb(others) if engine in ("lite", "server") else private_mb([this]) - before
            disk = folder_mb(folder) if engine != "numpy" else path.stat().st_size / 1e6
            if engine != "numpy":
                index.close()
        finally:
            if server:
                server.stop()
    return {"build": seconds, "disk": disk, "memory": memory, "searches": searches}
