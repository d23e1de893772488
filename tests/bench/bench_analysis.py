"""Does analysis/ make a model better? The published experiments, done again; run by `make bench-analysis`.

    python tests/bench/bench_analysis.py --data_dir ../shared/kuake_qic --work_dir .bench/analysis

For each seed 500 training samples are drawn. Every model is trained from the same encoder, the offline one with 6
layers, for the same 256 steps of 16 samples (learning rate 1.5e-4), so that more data does not mean more training; a
training that is already in --work_dir is not repeated. Printed are accuracies on dev in percent, mean and standard
deviation over the seeds:

support   new samples from analysis/sparse.py, by augmentation strategy
annotate  50 and 100 of the other training samples with their labels, by the strategy that chose them
dirty     labels of 100 of the 500 replaced by other ones; analysis/dirty.py's first 50, 100 and 150 put right; and
          how many of them were wrong, by method (at 100 that is the recall too; by chance it would be 20)
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository's root

from utils import read_examples, read_labels, read_lines, write_lines

ROOT = Path(__file__).resolve().parents[2]
SAMPLES, WRONG, FOUND, ANNOTATED = 500, 100, (50, 100, 150), (50, 100)
FLAGS = (
    "--do_train --do_eval --max_steps 256 --learning_rate 1.5e-4 --save_strategy no --per_device_train_batch_size 16 "
    "--per_device_eval_batch_size 32 --logging_steps 64 --disable_tqdm True --device cpu"
).split()


def run_script(script, *flags, **environment):
    """Run a script of the repository; its output is shown where it fails."""
    command, environment = [sys.executable, script, *map(str, flags)], {**os.environ, **environment}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, encoding="utf-8")
    if run.returncode:
        raise RuntimeError(f"{script}: {run.stdout[-2000:]}{run.stderr[-2000:]}")


class Bench:
    """The data, and trainings on parts of it.

    Args:
        args: data_dir, work_dir, model_name_or_path.
    """

    def __init__(self, args):
        self.args = args
        self.labels = read_labels(args.data_dir / "label.txt")
        texts, ids = read_examples(args.data_dir / "train.txt", self.labels)
        self.samples = [(text, self.labels[class_id]) for text, class_id in zip(texts, ids)]
        self.truth = dict(self.samples)
        self.dev = read_lines(args.data_dir / "dev.txt")

    def draw(self, seed):
        """All samples in the order of this seed: the first SAMPLES are the training data."""
        return [self.samples[row] for row in np.random.RandomState(seed).permutation(len(self.samples))]

    def with_wrong_labels(self, seed):
        """The training data with WRONG wrong labels."""
        random, samples = np.random.RandomState(seed), self.draw(seed)[:SAMPLES]
        for row in random.permutation(SAMPLES)[:WRONG]:
            text, label = samples[row]
            samples[row] = text, random.choice([other for other in self.labels if other != label])
        return samples

    def folder(self, name, seed):
        return self.args.work_dir / f"{name}_{seed}"

    def train(self, jobs):
        """Train and evaluate; one process a core.

        Args:
            jobs (list[tuple]): (name, seed, samples).

        Returns:
            list[float]: accuracies in percent.
        """
        threads = os.cpu_count() or 1
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda job: self._train(*job), jobs))

    def train_base(self, seeds):
        """Accuracies without anything added."""
        return self.train([("base", seed, self.draw(seed)[:SAMPLES]) for seed in seeds])

    def _train(self, name, seed, samples):
        data, checkpoint = (self.folder(name, seed).resolve() / part for part in ("data", "checkpoint"))
        lines = [f"{text}\t{label}" for text, label in samples]
        write_lines(data, {"train.txt": lines, "dev.txt": self.dev, "label.txt": self.labels})
        paths = ["--data_dir", data, "--output_dir", checkpoint, "--model_name_or_path", self.args.model_name_or_path]
        run_script("train.py", *paths, "--seed", seed, *FLAGS, OMP_NUM_THREADS="1")
        accuracy = 100 * json.loads((checkpoint / "eval_results.json").read_text())["eval_accuracy"]
        print(f"{name}, seed {seed}: {accuracy:.2f}", file=sys.stderr, flush=True)
        return accuracy

    def tool(self, script, name, seed, *flags):
        """Run a script of analysis/ on the data and the model of a training; the folder of its files."""
        folder = self.folder(name, seed).resolve()
        paths = ["--dataset_dir", folder / "data", "--params_path", folder / "checkpoint"]
        run_script(f"analysis/{script}.py", *paths, "--device", "cpu", "--batch_size", 32, *flags)
        return folder / "data"


def print_table(title, rows):
    """Print name -> one value a seed (or one list a seed), as mean ± standard deviation."""
    print(f"\n| {title} |\n|{' --- |' * len(title.split(' | '))}")
    for name, values in rows.items():
        values = np.atleast_2d(np.array(values).T)
        cells = [f"{row.mean():.2f} ± {row.std(ddof=1) if len(row) > 1 else 0:.2f}" for row in values]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def run_support(bench, seeds):
    from analysis.augmenter import STRATEGIES

    none, jobs, strategies = bench.train_base(seeds), [], ("duplicate", *STRATEGIES)
    for strategy in strategies:
        for seed in seeds:
            data = bench.tool("sparse", "base", seed, "--aug_strategy", strategy)
            new = [tuple(line.split("\t")) for line in read_lines(data / "support.txt")]
            jobs.append((strategy, seed, bench.draw(seed)[:SAMPLES] + new))
    accuracies = np.reshape(bench.train(jobs), (len(strategies), len(seeds)))
    rows = {"none": none, **dict(zip(strategies, accuracies))}
    print_table("100 new samples for the sparse ones | accuracy", rows)


def run_annotate(bench, seeds):
    from analysis.sparse import ANNOTATE_STRATEGIES

    none, jobs, strategies = bench.train_base(seeds), [], ("random", *ANNOTATE_STRATEGIES)
    for strategy in strategies:
        for seed in seeds:
            samples = bench.draw(seed)
            chosen = [text for text, _ in samples[SAMPLES:]]
            if strategy != "random":
                data = bench.folder("base", seed) / "data"
                write_lines(data, {"data.txt": chosen})
                bench.tool("sparse", "base", seed, "--annotate", "--annotate_strategy", strategy)
                chosen = read_lines(data / "support.txt")
            for number in ANNOTATED:
                new = [(text, bench.truth[text]) for text in chosen[:number]]
                jobs.append((f"{strategy}{number}", seed, samples[:SAMPLES] + new))
    accuracies = np.reshape(bench.train(jobs), (len(strategies), len(seeds), len(ANNOTATED)))
    rows = {"none": [[value] * len(ANNOTATED) for value in none], **dict(zip(strategies, accuracies))}
    print_table("annotated | " + " | ".join(map(str, ANNOTATED)), rows)


def run_dirty(bench, seeds):
    from analysis.dirty import METHODS

    jobs = [("noisy", seed, bench.with_wrong_labels(seed)) for seed in seeds]
    noisy, precision, jobs = bench.train(jobs), {method: [] for method in METHODS}, []
    for seed in seeds:
        samples = bench.with_wrong_labels(seed)
        for method in METHODS:
            data = bench.tool("dirty", "noisy", seed, "--method", method, "--dirty_num", str(max(FOUND)))
            found = [line.split("\t") for line in read_lines(data / "train_dirty.txt")]
            wrong = np.array([bench.truth[text] != label for text, label in found])
            precision[method].append([100 * wrong[:number].mean() for number in FOUND])
            if method == METHODS[0]:
                for number in FOUND:
                    right = {text for text, _ in found[:number]}
                    corrected = [(text, bench.truth[text] if text in right else label) for text, label in samples]
                    jobs.append((f"clean{number}", seed, corrected))
    print_table("wrong among the found | " + " | ".join(map(str, FOUND)), precision)
    cleaned = np.reshape(bench.train(jobs), (len(seeds), len(FOUND)))
    rows = {"none": noisy, **{f"{number} found put right": cleaned[:, row] for row, number in enumerate(FOUND)}}
    print_table("100 of 500 labels wrong | accuracy", rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"support": run_support, "annotate": run_annotate, "dirty": run_dirty}
    parser.add_argument("parts", nargs="*", default=list(parts), help=f"some of: {', '.join(parts)} (default: all)")
    parser.add_argument("--data_dir", type=Path, required=True)
    parser.add_argument("--work_dir", type=Path, default=Path(".bench/analysis"))
    parser.add_argument("--model_name_or_path", default="data/offline_encoder_6")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    args = parser.parse_args()
    if unknown := set(args.parts) - set(parts):
        parser.error(f"{' '.join(sorted(unknown))}: choose from {', '.join(parts)}")
    bench = Bench(args)
    for part in args.parts:
        parts[part](bench, args.seeds)


if __name__ == "__main__":
    main()
