"""How fast, how exact and how large are the indexes of retrieval_based/? Run by `make bench-retrieval`.

    python tests/bench_index.py --data_dir ../shared/kuake_qic
    python tests/bench_index.py --data_dir ../shared/kuake_qic --sizes 10000 --engines hnswlib lite

Vectors: 384 numbers, means of the token states of the offline encoder. The first are those of the texts of train.txt
and data.txt. Each further one is that of a text drawn from these, plus the difference of two other texts' vectors,
scaled so that its cosine with its text is on average that of a text and its nearest other text: so clusters stay, and
noise lies in the directions in which texts differ. Queries are 200 texts of dev.txt, one at a time, top 10.

Engines: numpy (comparison of all), hnswlib (HnswIndex, M 16, ef_construction 100), lite (MilvusIndex on a file, which
compares all) and server (MilvusIndex on a real server, HNSW with the same numbers; its times include the relay of
tests/retrieval_based/milvus_server.py).

Columns: seconds to insert in batches and to build the index; MB on disk; MB of memory that the engine's process alone
has; for a graph, the candidates of a search (ef); median and 95th percentile of a query in ms; recall@10 beside
numpy's. A cell that is in --work_dir is not measured again. Each is measured in a process of its own; a million
vectors take up to 8 GB.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "retrieval_based")]
import utils  # noqa: E402
from utils import read_cases, read_json, staged_files, write_json  # noqa: E402

FOLDER = ROOT / "retrieval_based"
SIZES = [10_000, 100_000, 1_000_000]
ENGINES = ["numpy", "hnswlib", "lite", "server"]
LITE_LIMIT = 100_000
QUERIES, TOP_K, CHUNK = 200, 10, 10_000
HNSW = {"m": 16, "ef_construction": 100}
EFS = (64, 256, 1024)


# ------------------------------------------------------------------------------------------------------------- vectors


def encode_texts(args):
    """Unit vectors of the real texts and of the queries, computed once: float32 [texts, dim], [queries, dim]."""
    path = args.work_dir / "texts.npz"
    if not path.is_file():
        utils.prepare_cpu()
        base = utils.load_module("retrieval_base_model", FOLDER / "base_model.py")
        names = {"rows": ("train.txt", "data.txt"), "queries": ("dev.txt",)}
        texts = {what: list(dict.fromkeys(text for name in files for _, text, *_ in read_cases(args.data_dir / name)))
                 for what, files in names.items()}  # fmt: skip
        chosen = np.random.RandomState(0).permutation(len(texts["queries"]))[:QUERIES]
        texts["queries"] = [texts["queries"][row] for row in chosen]
        embedder = base.Embedder(args.model_name_or_path, pooling="mean", output_emb_size=0, max_seq_length=64)
        with staged_files(args.work_dir) as stage:
            np.savez(stage / path.name, **{what: embedder.vectors(lines) for what, lines in texts.items()})
    content = np.load(path)
    return unit(content["rows"]), unit(content["queries"])


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("float32")


def nearest_cosine(vectors):
    """The mean cosine of a vector and its nearest other one, of 1,000 drawn."""
    rows = np.random.RandomState(1).permutation(len(vectors))[:1000]
    cosines = vectors[rows] @ vectors.T
    cosines[np.arange(len(rows)), rows] = -1
    return float(cosines.max(axis=1).mean())


def more_vectors(vectors, count, random, cosine):
    """Vectors of texts that might be: float32 [count, dim] (see the top of this file)."""
    origin, one, other = random.randint(len(vectors), size=(3, count))
    noise = vectors[one] - vectors[other]
    noise -= (noise * vectors[origin]).sum(axis=1, keepdims=True) * vectors[origin]
    length = np.maximum(np.linalg.norm(noise, axis=1, keepdims=True), 1e-6)
    spread = np.sqrt(1 / cosine**2 - 1) * random.uniform(0.5, 1.5, (count, 1))
    return unit(vectors[origin] + spread * noise / length)


def write_vectors(args, size):
    """The file of `size` vectors and the rows of their true nearest to the queries, made once.

    Returns:
        tuple[Path, np.ndarray]: a .npy file; int [queries, TOP_K].
    """
    path, truth = args.work_dir / f"vectors-{size}.npy", args.work_dir / f"nearest-{size}.npy"
    if not (path.is_file() and truth.is_file()):
        real, queries = encode_texts(args)
        random, cosine = np.random.RandomState(2), nearest_cosine(real)
        print(f"{size} vectors: a text and its nearest other have the cosine {cosine:.3f}", file=sys.stderr)
        best, rows = np.zeros((len(queries), 0), "float32"), np.zeros((len(queries), 0), int)
        with staged_files(args.work_dir) as stage:
            file = np.lib.format.open_memmap(stage / path.name, "w+", "float32", (size, real.shape[1]))
            for start in range(0, size, CHUNK):
                count = min(CHUNK, size - start)
                chunk = real[start : start + count]
                if len(chunk) < count:
                    chunk = np.concatenate([chunk, more_vectors(real, count - len(chunk), random, cosine)])
                file[start : start + count] = chunk
                cosines = queries @ chunk.T
                best = np.concatenate([best, cosines], axis=1)
                rows = np.concatenate([rows, np.broadcast_to(np.arange(start, start + count), cosines.shape)], axis=1)
                order = np.argsort(-best, axis=1, kind="stable")[:, :TOP_K]
                best, rows = np.take_along_axis(best, order, 1), np.take_along_axis(rows, order, 1)
            file.flush()
            np.save(stage / truth.name, rows)
    return path, np.load(truth)


# --------------------------------------------------------------------------------------------------------------- cells


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
        index.upsert([f"text {row}" for row in rows], [f"label {row % 100}" for row in rows],
                     np.array(vectors[rows.start : rows.stop]), progress=False)  # fmt: skip
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
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*")
               if path.is_file() and not path.is_symlink()) / 1e6  # fmt: skip


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
    import psutil

    config = utils.load_module("retrieval_config", FOLDER / "utils" / "config.py")
    _, queries = encode_texts(args)
    path, truth = write_vectors(args, size)
    vectors, this = np.load(path, mmap_mode="r"), psutil.Process()
    with tempfile.TemporaryDirectory(dir=args.work_dir) as folder:
        folder, server, dim = Path(folder), None, vectors.shape[1]
        try:
            if engine == "server":
                from milvus_server import Milvus

                server = Milvus(ROOT / ".venv-milvus", folder / "server")
                server.start()
            uri = {"hnswlib": str(folder / "index"), "lite": str(folder / "milvus.db")}.get(engine)
            before, start = private_mb([this]), time.perf_counter()
            if engine == "numpy":
                index = NumpyIndex(vectors)
            else:
                index = config.open_index(uri or server.uri, dim, "bench", **HNSW)
                insert_all(index, vectors)
            if server:
                wait_for_graph(index)
            seconds = time.perf_counter() - start
            searches = []
            for ef in EFS if engine in ("hnswlib", "server") else [None]:
                index._ef = ef  # of both kinds of index; else --hnsw_ef sets it when the index is opened
                found, times = time_queries(index, queries)
                recall = np.mean([len(set(row) & set(true)) / TOP_K for row, true in zip(found, truth.tolist())])
                searches.append({"ef": ef, "median": float(np.median(times)), "p95": float(np.percentile(times, 95)),
                                 "recall": float(recall)})  # fmt: skip
            others = this.children(recursive=True)
            memory = private_mb(others) if engine in ("lite", "server") else private_mb([this]) - before
            disk = folder_mb(folder) if engine != "numpy" else path.stat().st_size / 1e6
            if engine != "numpy":
                index.close()
        finally:
            if server:
                server.stop()
    return {"build": seconds, "disk": disk, "memory": memory, "searches": searches}


def cell(args, engine, size):
    """One cell, from --work_dir or in a process of its own."""
    path = args.work_dir / f"{engine}, {size}.json"
    if not read_json(path):
        write_vectors(args, size)
        command = [sys.executable, __file__, "--cell", engine, str(size), "--data_dir", args.data_dir, "--work_dir",
                   args.work_dir, "--model_name_or_path", args.model_name_or_path]  # fmt: skip
        subprocess.run(list(map(str, command)), check=True)
    return read_json(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data_dir", type=Path, default=Path("../shared/kuake_qic"), help="has train.txt, data.txt, dev.txt")
    add("--work_dir", type=Path, default=Path(".bench/index"))
    add("--model_name_or_path", default="data/offline_encoder")
    add("--sizes", type=int, nargs="+", default=SIZES)
    add("--engines", nargs="+", default=ENGINES, choices=ENGINES, help="lite is measured to 100,000 vectors")
    add("--cell", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.work_dir.mkdir(parents=True, exist_ok=True)
    if args.cell:
        engine, size = args.cell[0], int(args.cell[1])
        content = measure(args, engine, size)
        with staged_files(args.work_dir) as stage:
            write_json(stage / f"{engine}, {size}.json", content)
        # What paddle and gRPC leave running at the exit is of no interest.
        sys.stdout.flush()
        os._exit(0)
    print("| engine | vectors | build s | disk MB | memory MB | ef | query ms | 95 % | recall@10 |\n|" + " --- |" * 9)
    for size in args.sizes:
        for engine in args.engines:
            if engine != "lite" or size <= LITE_LIMIT:
                row = cell(args, engine, size)
                for one in row["searches"]:
                    print(f"| {engine} | {size:,} | {row['build']:.1f} | {row['disk']:.0f} | {row['memory']:.0f} | "
                          f"{one['ef'] or '–'} | {one['median']:.2f} | {one['p95']:.2f} | {one['recall']:.3f} |",
                          flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
