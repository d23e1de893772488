"""How fast, how exact and how large are the indexes of retrieval_based/? Run by `make bench-retrieval`.

    python tests/bench/bench_index.py --data_dir ../shared/kuake_qic
    python tests/bench/bench_index.py --data_dir ../shared/kuake_qic --sizes 10000 --engines hnswlib lite

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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository's root

from tests.bench.index_vectors import write_vectors
from utils import read_json, staged_files, write_json

SIZES = [10_000, 100_000, 1_000_000]
ENGINES = ["numpy", "hnswlib", "lite", "server"]
LITE_LIMIT = 100_000


def cell(args, engine, size):
    """One cell, from --work_dir or in a process of its own."""
    path = args.work_dir / f"{engine}, {size}.json"
    if not read_json(path):
        write_vectors(args, size)
        paths = ["--data_dir", args.data_dir, "--work_dir", args.work_dir]
        command = [sys.executable, __file__, "--cell", engine, size, *paths]
        subprocess.run([*map(str, command), "--model_name_or_path", args.model_name_or_path], check=True)
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
        from tests.bench.index_cells import measure

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
                built = f"{row['build']:.1f} | {row['disk']:.0f} | {row['memory']:.0f}"
                for one in row["searches"]:
                    asked = f"{one['ef'] or '–'} | {one['median']:.2f} | {one['p95']:.2f} | {one['recall']:.3f}"
                    print(f"| {engine} | {size:,} | {built} | {asked} |", flush=True)


if __name__ == "__main__":
    main()
