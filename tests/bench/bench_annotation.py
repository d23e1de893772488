"""How many labels deploy/annotation needs: KUAKE-QIC's training labels answered by an oracle.

    python tests/bench/bench_annotation.py --data_dir ../shared/kuake_qic --encoder data/offline_encoder
    python tests/bench/bench_annotation.py --data_dir ../shared/kuake_qic --encoder data/offline_encoder \\
        --baseline_sizes 250 500 750 1000 --baseline_seeds 1

The quick model of core/quick_model.py chooses texts by each of --strategies, as data/annotate.py does: --queue texts
wait in the tool, chosen before the newest model was there, and a model is fitted after every --retrain_every labels.
All accuracies are those on dev.txt, by which models are compared meanwhile too. The baseline is train.py on random
lines. Finished runs are kept in --work_dir, and so are the vectors; the same command goes on.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository's root

import numpy as np

from core.quick_model import MOST_UNLABELLED, Fit
from deploy.annotation.flags import STRATEGIES
from deploy.annotation.journal import one_line
from deploy.annotation.loop import CANDIDATES, ORDERED, choose
from deploy.annotation.vectors import Encoder, Vectors
from utils import (
    exit_on_usage_error,
    read_examples,
    read_json,
    read_label_words,
    staged_files,
    write_json,
    write_lines,
)

ROOT, TARGETS = Path(__file__).resolve().parents[2], (0.70, 0.75)
TRAIN_FLAGS = (
    "--do_train --do_eval --device cpu --learning_rate 1e-4 --per_device_train_batch_size 16 --num_train_epochs 10 "
    "--evaluation_strategy epoch --save_strategy epoch --load_best_model_at_end --metric_for_best_model accuracy "
    "--save_total_limit 1 --logging_steps 50 --max_length 128 --disable_tqdm True"
).split()


class Data:
    """KUAKE-QIC with vectors; train without repeated texts."""

    def __init__(self, args):
        folder = args.data_dir
        words = read_label_words(folder / "label.txt")
        self.labels = list(words)
        parts = {name: read_examples(folder / f"{name}.txt", self.labels) for name in ("train", "dev")}
        self.oracle = dict(zip(map(one_line, parts["train"][0]), parts["train"][1]))
        self.texts = list(self.oracle)
        args.work_dir.mkdir(parents=True, exist_ok=True)
        vectors = Vectors(Encoder(args.encoder, 128), args.work_dir)
        dev_texts = list(map(one_line, parts["dev"][0]))
        vectors.add([*words.values(), *dev_texts, *self.texts])
        self.words, self.dev = vectors.of(words.values()), (vectors.of(dev_texts), np.array(parts["dev"][1]))
        self.train = vectors.of(self.texts)


def simulate(data, strategy, seed, args):
    """Label with an oracle; [labels, accuracy of the newest model on dev, of the best so far] after every model.

    The best so far is that with the highest accuracy on dev, which is what takes over where there is a dev.txt.
    """
    random, ids = np.random.RandomState(seed), np.array([data.oracle[text] for text in data.texts])
    order = random.permutation(len(ids))  # that of the vectors' computation, of which the first are unlabelled texts
    labelled, waiting, curve, best = [], [], [], 0.0
    while len(labelled) < args.most:
        done = set(labelled)
        others = [row for row in order.tolist() if row not in done]
        fit = Fit(
            data.train.take(labelled),
            ids[labelled],
            data.words,
            data.train.take(others[:MOST_UNLABELLED]),
            data.dev,
            seed,
        )
        model, right = fit.model()
        best = max(best, float(right.mean()))
        curve.append([len(labelled), float(right.mean()), best])
        in_tool = set(waiting)
        left = [row for row in random.permutation(others).tolist() if row not in in_tool][:CANDIDATES]
        ranked = choose(model, data.train.take(left), ORDERED, strategy, seed)
        queue = [left[row] for row in ranked.tolist()]
        for _ in range(args.retrain_every):
            while len(waiting) < args.queue:
                waiting.append(queue.pop(0))
            labelled.append(waiting.pop(0))
        if best >= TARGETS[-1] + 0.005:
            break
    return curve


def needed(curve, target):
    """The least labels with which the best model so far reaches a target; None where none does."""
    return next((labels for labels, _, best in curve if best >= target), None)


def baseline(data, size, seed, args):
    """train.py on `size` random lines: accuracy on dev.txt."""
    folder = (args.work_dir / f"train-{size}-{seed}").absolute()
    rows = np.random.RandomState(seed).permutation(len(data.texts))[:size]
    lines = [f"{data.texts[row]}\t{data.labels[data.oracle[data.texts[row]]]}" for row in rows.tolist()]
    write_lines(folder, {"train.txt": lines})
    source = args.data_dir.absolute()
    paths = ["--data_dir", folder, "--dev_path", source / "dev.txt", "--label_path", source / "label.txt"]
    paths += ["--output_dir", folder / "output", "--model_name_or_path", args.encoder.absolute(), "--seed", seed]
    command = [sys.executable, ROOT / "train.py", *TRAIN_FLAGS, *paths]
    with (folder / "train.log").open("ab") as log:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        code = subprocess.run(list(map(str, command)), cwd=ROOT, env=environment, stdout=log, stderr=log).returncode
    if code:
        raise SystemExit(f"{folder / 'train.log'}: train.py ended with {code}")
    history = read_json(folder / "output" / "trainer_state.json")["log_history"]
    return max(row["eval_accuracy"] for row in history if "eval_accuracy" in row)


def kept(path, make):
    """What a run gave, from its file; else run it and keep it."""
    if not path.is_file():
        value = make()
        with staged_files(path.parent) as stage:
            write_json(stage / path.name, value)
    return json.loads(path.read_text(encoding="utf-8"))


def parse_flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data_dir", type=Path, required=True, help="KUAKE-QIC")
    add("--encoder", type=Path, default=Path("data/offline_encoder"))
    add("--work_dir", type=Path, default=Path(".bench/annotation"))
    add("--strategies", nargs="+", default=list(STRATEGIES), choices=STRATEGIES)
    add("--seeds", type=int, nargs="+", default=[1, 2, 3])
    add("--retrain_every", type=int, default=20)
    add("--queue", type=int, default=10)
    add("--most", type=int, default=2000, help="labels at which a simulation ends (default: %(default)s)")
    add("--baseline_sizes", type=int, nargs="*", default=[], help="random lines that train.py gets, one training each")
    add("--baseline_seeds", type=int, nargs="*", default=[1, 2, 3])
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_flags(argv)
    data = Data(args)
    for strategy in args.strategies:
        rows = {}
        for seed in args.seeds:
            name = f"{strategy}-{args.retrain_every}-{args.queue}-{args.most}-{seed}.json"
            rows[seed] = kept(args.work_dir / name, lambda s=strategy, n=seed: simulate(data, s, n, args))
            found = ", ".join(f"{target:.0%}: {needed(rows[seed], target)}" for target in TARGETS)
            print(f"quick model, {strategy}, seed {seed}: {found} labels", flush=True)
    for size in args.baseline_sizes:
        for seed in args.baseline_seeds:
            path = args.work_dir / f"train-{size}-{seed}.json"
            accuracy = kept(path, lambda n=size, s=seed: baseline(data, n, s, args))
            print(f"train.py, {size} random lines, seed {seed}: {accuracy:.2%}", flush=True)


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
