"""How well does a semantic index classify, take new labels and reject unknown texts? Run by `make bench-retrieval`.

    python tests/bench/bench_retrieval.py --data_dir ../shared/kuake_qic
    python tests/bench/bench_retrieval.py --data_dir ../shared/kuake_qic --parts accuracy --seeds 1 2 3

A tenth of train.txt, by the seed and stratified, is dev: all that is chosen (epoch, neighbours, temperature, weight,
threshold) is chosen there. The figures are on --data_dir's dev.txt. Parts:

accuracy     label-name index, vote of the training texts, classifier (train.py as in `make bench-quality`), both
             together, and what they say where they disagree
new_labels   an encoder trained on all labels but three, which then are added by their training texts alone, beside
             one that was trained on all
open_set     the same encoder with its labels alone: are the three others' texts seen to be unknown?

A step that is already in --work_dir, with the same command, is not repeated; one process a core. What --dual_flags
changes has them in its name, so that encoders trained otherwise share the data and the classifier.
"""

import argparse
import operator
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository's root

from utils import write_json

PARTS = ("accuracy", "new_labels", "open_set")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, required=True, help="train.txt, dev.txt (the test), label.txt")
    parser.add_argument("--work_dir", type=Path, default=Path(".bench/retrieval"))
    parser.add_argument("--model_name_or_path", default="data/offline_encoder")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--dual_flags", default="", help='more for retrieval_based/train.py: "--positives text"')
    parser.add_argument("--classifier_flags", default="", help="more for train.py")
    parser.add_argument("--max_train_samples", type=int, default=0, help="of train.txt; 0: all, to be tried quickly")
    parser.add_argument("--max_test_samples", type=int, default=0, help="of dev.txt; 0: all")
    args = parser.parse_args()
    args.model_name_or_path = Path(args.model_name_or_path).resolve()
    from tests.bench.retrieval_steps import RECALLS, Bench, named

    benches = [Bench(args, seed) for seed in args.seeds]
    for bench in benches:
        bench.write_data()
    jobs = []
    for bench in benches:
        if {"accuracy", "new_labels"} & set(args.parts):
            jobs.append((bench.train_dual, "dual", "."))
        if {"new_labels", "open_set"} & set(args.parts):
            jobs.append((bench.train_dual, "dual_few", "few"))
        if "accuracy" in args.parts:
            jobs.append((bench.train_classifier,))
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        list(pool.map(lambda job: job[0](*job[1:]), jobs))
        recalls = dict.fromkeys(recall for part in args.parts for recall in RECALLS[part])
        list(pool.map(lambda job: job[0].recalled(*job[1]), [(bench, one) for bench in benches for one in recalls]))
        results = {part: list(pool.map(operator.methodcaller(part), benches)) for part in args.parts}
    write_json(args.work_dir / f"{named('results', args)}.json", {"seeds": args.seeds, **results})
    for part, rows in results.items():
        print(f"\n| {part} | {', '.join(f'seed {seed}' for seed in args.seeds)} | mean |\n| --- | --- | --- |")
        for name in rows[0]:
            values = [row[name] for row in rows]
            print(f"| {name} | {', '.join(f'{value:.4g}' for value in values)} | {np.mean(values):.4g} |")
    if set(args.parts) - {"accuracy"}:
        for bench in benches:
            print(f"\nLeft out with seed {bench.seed}: {' '.join(bench.left_out)}")


if __name__ == "__main__":
    main()
