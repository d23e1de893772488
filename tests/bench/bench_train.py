"""Speed and accuracy of training, on real data; run by `make bench-train` and `make bench-quality`.

    python tests/bench/bench_train.py speed --data_dir ../shared/kuake_qic --torch_python .venv-torch/bin/python
    python tests/bench/bench_train.py quality --data_dir ../shared/kuake_qic --seeds 1 2 3
    OMP_NUM_THREADS=1 python tests/bench/bench_train.py parts --data_dir ../shared/kuake_qic --steps 10

speed: one epoch (or --steps of it: batches are in random order, so any number of them is a fair sample) of
  plain    PaddleNLP as it comes: random batches, one thread, no setting of core/cpu.py or core/quick_training.py
  ours     train.py with its defaults
  torch    HuggingFace transformers + PyTorch, the same architecture, tokens, batch size, dropout, AdamW, clipping:
           random batches with dynamic padding, and the length-grouped batches of train.py
quality: dev accuracy of train.py for each seed, beside TF-IDF (characters, 1-3-grams) + LinearSVC.
parts: what each part of core/quick_training.py brings to a step, see step_parts.py.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository's root

from tests.bench.machine import BATCH_SIZE, cpu_name
from utils import exit_on_usage_error, read_examples, read_labels

ROOT = Path(__file__).resolve().parents[2]
ENCODER = ROOT / "data" / "offline_encoder"
QUALITY_FLAGS = (
    "--do_eval --num_train_epochs 4 --learning_rate 1e-4 --evaluation_strategy epoch --save_strategy epoch "
    "--save_total_limit 1 --load_best_model_at_end --metric_for_best_model accuracy --logging_steps 20"
).split()


# The package core without its first lines, which set what Paddle reads, and without a quick training.
NO_CPU_SETTINGS = (
    "import types; core = types.ModuleType('core'); core.__path__ = ['core']; sys.modules['core'] = core\n"
    "from core import quick_training; quick_training.can_be_quick = lambda: False"
)


def train_command(data_dir, output_dir, *flags, without_cpu_settings=False):
    patch = NO_CPU_SETTINGS if without_cpu_settings else ""
    code = f"import sys; {patch}\nimport train; sys.argv[0] = 'train.py'; train.main(sys.argv[1:])"
    sizes = ["--per_device_train_batch_size", BATCH_SIZE, "--per_device_eval_batch_size", BATCH_SIZE]
    paths = ["--data_dir", data_dir, "--model_name_or_path", ENCODER, "--output_dir", output_dir]
    own = ["--device", "cpu", "--max_length", "128", "--disable_tqdm", "True"]
    return [sys.executable, "-c", code, "--do_train", *paths, *sizes, *own, *flags]


def run(command, **environment):
    """Run a command in the repository; None as a variable's value removes it. Prints its output when it fails."""
    variables = {**os.environ, **{key: value for key, value in environment.items() if value is not None}}
    for key in [key for key, value in environment.items() if value is None]:
        variables.pop(key, None)
    result = subprocess.run([str(part) for part in command], cwd=ROOT, env=variables, capture_output=True, text=True)
    if result.returncode:
        sys.exit(result.stdout[-3000:] + result.stderr[-3000:])
    return result.stdout


def paddle_speed(data_dir, steps, plain):
    """Samples a second of train.py, as its Trainer reports them."""
    with tempfile.TemporaryDirectory() as folder:
        flags = ["--num_train_epochs", "1", "--evaluation_strategy", "no", "--save_strategy", "no"]
        flags += ["--logging_steps", "1000", "--learning_rate", "1e-4"]
        flags += ["--max_steps", steps] if steps else []
        flags += ["--group_by_length", "False"] if plain else []
        variables = dict.fromkeys(["MKL_DEBUG_CPU_TYPE", "FLAGS_use_stride_kernel", "OMP_NUM_THREADS"])
        if plain:
            variables["OMP_NUM_THREADS"] = "1"
        run(train_command(data_dir, folder, *flags, without_cpu_settings=plain), **variables)
        return json.loads((Path(folder) / "train_results.json").read_text())["train_samples_per_second"]


def torch_speed(torch_python, batches, threads):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "batches.json"
        config = json.loads((ENCODER / "config.json").read_text())
        path.write_text(json.dumps({"batches": batches, "threads": threads, "config": config}))
        script = Path(__file__).with_name("torch_epoch.py")
        return float(run([torch_python, script, path]).split()[-1])


def speed(args):
    data = [Path(args.data_dir) / name for name in ("train.txt", "label.txt")]
    texts, ids = read_examples(data[0], read_labels(data[1]))
    from tests.bench.epoch_batches import EpochBatches

    epoch = EpochBatches(str(ENCODER), texts, ids, args.steps)
    threads = int(os.environ["OMP_NUM_THREADS"])
    print(
        f"{platform.processor() or platform.machine()}, {cpu_name()}, {threads} threads; {len(texts)} texts, "
        f"{epoch.mean_length:.1f} tokens each; {args.steps or 'all'} steps of {BATCH_SIZE}; padded tokens a "
        f"real one: {epoch.padding(False):.2f} random, {epoch.padding(True):.2f} grouped",
        flush=True,
    )
    result = {}

    def report(name, value):
        result[name] = value
        print(f"{name:45s} {value:7.1f} samples/s", flush=True)

    report("ours", paddle_speed(args.data_dir, args.steps, plain=False))
    if args.torch_python and "torch_random" in args.against:
        report("PyTorch, random batches", torch_speed(args.torch_python, epoch.batches(False), threads))
    if args.torch_python and "torch_grouped" in args.against:
        report("PyTorch, length-grouped batches", torch_speed(args.torch_python, epoch.batches(True), threads))
    if "plain" in args.against:
        report("PaddleNLP plain, random batches, 1 thread", paddle_speed(args.data_dir, args.steps, plain=True))
    for name, value in result.items():
        if name != "ours":
            print(f"ours / {name}: {result['ours'] / value:.2f}")


def quality(args):
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    labels = read_labels(Path(args.data_dir) / "label.txt")
    splits = [read_examples(Path(args.data_dir) / f"{split}.txt", labels) for split in ("train", "dev")]
    features = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True)
    baseline = make_pipeline(features, LinearSVC(C=0.5)).fit(*splits[0])
    print(f"TF-IDF + LinearSVC: dev accuracy {baseline.score(*splits[1]):.2%}", flush=True)
    scores = []
    for seed in args.seeds:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            run(train_command(args.data_dir, folder, *QUALITY_FLAGS, "--seed", seed))
            history = json.loads((Path(folder) / "trainer_state.json").read_text())["log_history"]
            scores.append(json.loads((Path(folder) / "all_results.json").read_text())["eval_accuracy"])
        epochs = " ".join(f"{entry['eval_accuracy']:.2%}" for entry in history if "eval_accuracy" in entry)
        minutes = (time.perf_counter() - start) / 60
        print(f"seed {seed}: dev accuracy {scores[-1]:.2%} (by epoch: {epochs}; {minutes:.1f} minutes)", flush=True)
    spread = np.std(scores, ddof=1) if len(scores) > 1 else float("nan")
    print(f"mean of {len(scores)} seeds: {np.mean(scores):.2%}, standard deviation {spread * 100:.2f} points")


def parts(args):
    texts, ids = read_examples(Path(args.data_dir) / "train.txt", read_labels(Path(args.data_dir) / "label.txt"))
    from tests.bench.step_parts import measure

    measure(args.encoder, texts, ids, args.steps)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("speed")
    command.add_argument("--data_dir", required=True)
    command.add_argument("--torch_python", help="python of an environment with torch and transformers")
    command.add_argument("--steps", type=int, default=0, help="batches to run; 0: the whole epoch")
    rivals = ("torch_random", "torch_grouped", "plain")
    command.add_argument("--against", nargs="+", default=rivals, choices=rivals, help="default: all of them")
    command = commands.add_parser("quality")
    command.add_argument("--data_dir", required=True)
    command.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    command = commands.add_parser("parts")
    command.add_argument("--data_dir", required=True)
    command.add_argument("--encoder", default=str(ENCODER), help="directory of a model")
    command.add_argument("--steps", type=int, default=10, help="of each row, after a first one")
    args = parser.parse_args()
    with exit_on_usage_error():
        {"speed": speed, "quality": quality, "parts": parts}[args.command](args)
