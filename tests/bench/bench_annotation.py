"""How many labels deploy/annotation needs: KUAKE-QIC's training labels answered by an oracle.

    python tests/bench/bench_annotation.py --data_dir ../shared/kuake_qic --encoder data/offline_encoder
    python tests/bench/bench_annotation.py --data_dir ../shared/kuake_qic --encoder data/offline_encoder \\
        --strategies badge --train_sizes 100 200 300

The quick model of core/quick_model.py chooses texts by each of --strategies, as data/annotate.py does: --queue texts
wait in the tool, chosen before the newest model was there, and a model is fitted after every --retrain_every labels.
All its accuracies are those on dev.txt, by which models are compared meanwhile too. --train_sizes: train.py on so many
of the labels that the strategy asked for, and on as many random lines; dev.txt is answered once, after the last epoch.
Finished runs are kept in --work_dir, and so are the vectors; the same command goes on.
"""

import argparse
import json
import os
import shlex
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
    "--evaluation_strategy no --save_strategy no --logging_steps 50 --max_length 128 --disable_tqdm True"
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
    """Label with an oracle.

    Returns:
        dict: curve, after every model [labels, accuracy of the newest model on dev, of the best so far]; labelled, the
            rows of data.texts in their order.

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
    return {"curve": curve, "labelled": labelled}


def needed(curve, target):
    """The least labels with which the best model so far reaches a target; None where none does."""
    return next((labels for labels, _, best in curve if best >= target), None)


def train(data, name, rows, seed, args):
    """train.py on some rows of data.texts, in a folder of --work_dir: accuracy on dev.txt."""
    folder = (args.work_dir / name).absolute()
    lines = [f"{data.texts[row]}\t{data.labels[data.oracle[data.texts[row]]]}" for row in rows]
    write_lines(folder, {"train.txt": lines})
    source = args.data_dir.absolute()
    paths = ["--data_dir", folder, "--dev_path", source / "dev.txt", "--label_path", source / "label.txt"]
    paths += ["--output_dir", folder / "output", "--model_name_or_path", args.encoder.absolute(), "--seed", seed]
    command = [sys.executable, ROOT / "train.py", *TRAIN_FLAGS, *shlex.split(args.train_flags), *paths]
    with (folder / "train.log").open("ab") as log:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        code = subprocess.run(list(map(str, command)), cwd=ROOT, env=environment, stdout=log, stderr=log).returncode
    if code:
        raise SystemExit(f"{folder / 'train.log'}: train.py ended with {code}")
    return read_json(folder / "output" / "eval_results.json")["eval_accuracy"]


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
    add("--train_sizes", type=int, nargs="*", default=[], help="labels that train.py gets, chosen and random ones")
    add("--train_flags", default="", help="more flags of train.py, in one string; with them, use another --work_dir")
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_flags(argv)
    data = Data(args)
    for strategy in args.strategies:
        for seed in args.seeds:
            name = f"{strategy}-{args.retrain_every}-{args.queue}-{args.most}-{seed}"
            run = kept(args.work_dir / f"{name}.json", lambda s=strategy, n=seed: simulate(data, s, n, args))
            found = ", ".join(f"{target:.0%}: {needed(run['curve'], target)}" for target in TARGETS)
            print(f"quick model, {strategy}, seed {seed}: {found} labels", flush=True)
            # `random` is another order than the tool's: nothing of a quick model is in it.
            orders = {
                name: run["labelled"],
                "random": np.random.RandomState(seed).permutation(len(data.texts)).tolist(),
            }
            for size in args.train_sizes:
                for order, rows in orders.items():
                    folder = f"train-{order}-{size}-{seed}"
                    path = args.work_dir / f"{folder}.json"
                    accuracy = kept(path, lambda f=folder, r=rows[:size], n=seed: train(data, f, r, n, args))
                    print(f"train.py, {order}, {size} labels, seed {seed}: {accuracy:.2%}", flush=True)


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
