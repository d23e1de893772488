"""Which way is best with few labels? Run by `make bench-few-shot`.

    python tests/bench/bench_few_shot.py --data_dir ../shared
    python tests/bench/bench_few_shot.py --data_dir ../shared --sets tnews --ways fine-tuning setfit --seeds 1 2
    python tests/bench/bench_few_shot.py --data_dir ../shared --sets kuake_qic --shots 64

Data: tnews (240 training samples, 15 labels with their words; test 2,010) and 16 samples a label of KUAKE-QIC
(--shots: another number), drawn by the seed, with as many others for dev (11 labels, which are their own words; test:
its dev, 1,955). Labels of test are used for the accuracy alone. Ways, all on the same encoder:

fine-tuning       train.py, the epoch that is best on dev
prompt            few-shot/train.py, with a masked-language-model head (--mlm_model)
prompt, scrambled the same with the rows of label words as PaddleNLP sets them (see make_verbalizer)
prompt, R-Drop    the same with --use_rdrop True
frozen            few-shot/setfit.py --max_steps 0 --ngram_weight 0: a linear head on the encoder as it is
setfit            few-shot/setfit.py --ngram_weight 0
frozen, data.txt  few-shot/setfit.py --max_steps 0, with unlabelled texts beside the labelled ones
setfit, data.txt  few-shot/setfit.py, with unlabelled texts
words, data.txt   few-shot/setfit.py without train.txt: label words and unlabelled texts

Unlabelled texts: KUAKE-QIC's own data.txt (1,994, none of which is in test). tnews has none: the texts of test take
their place, without labels, as when all that is to be predicted is at hand.

Printed are accuracies on test in percent, mean and standard deviation over the seeds. A run that is already in
--work_dir is not repeated; one process a core.
"""

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository's root

from utils import read_examples, read_json, read_labels, read_lines, write_json, write_lines

ROOT = Path(__file__).resolve().parents[2]
SHOTS = 16
EVERY_EPOCH = (
    "--evaluation_strategy epoch --save_strategy epoch --save_total_limit 1 --load_best_model_at_end "
    "--metric_for_best_model accuracy --early_stopping True --early_stopping_patience 5 --num_train_epochs 20 "
    "--per_device_train_batch_size 16 --per_device_eval_batch_size 32 --disable_tqdm True"
)
FINE_TUNING = f"train.py --do_train --do_eval --do_export {EVERY_EPOCH} --learning_rate 1e-4 --max_length 128".split()
PROMPT = (
    f"few-shot/train.py --do_train --do_predict {EVERY_EPOCH} --learning_rate 1e-4 --ppt_learning_rate 1e-3 "
    "--max_seq_length 128 --prompt"
).split()
SETFIT = "few-shot/setfit.py --do_train --do_predict --max_seq_length 128".split()
SCRAMBLED = """
import sys
from pathlib import Path
from core.arguments import load_module
parts = load_module("few_shot_utils", Path("few-shot/utils.py").resolve())
parts.make_verbalizer = parts.SoftVerbalizer
load_module("few_shot_train", Path("few-shot/train.py").resolve()).main(sys.argv[1:])
"""
# Way -> command; {prompt} is the set's.
WAYS = {
    "fine-tuning": FINE_TUNING,
    "prompt": [*PROMPT, "{prompt}"],
    "prompt, scrambled": ["-c", SCRAMBLED, *PROMPT[1:], "{prompt}"],
    "prompt, R-Drop": [*PROMPT, "{prompt}", "--use_rdrop", "True"],
    "frozen": [*SETFIT, "--max_steps", "0", "--ngram_weight", "0"],
    "setfit": [*SETFIT, "--ngram_weight", "0"],
    "frozen, data.txt": [*SETFIT, "--max_steps", "0"],
    "setfit, data.txt": SETFIT,
    "words, data.txt": SETFIT,
}
PROMPTS = {"tnews": "这条新闻标题的主题是", "kuake_qic": "这个问题想问的是"}


def write_set(name, seed, source, target, shots, unlabelled):
    """Write the data of one run: train.txt, dev.txt, test.txt, label.txt, and data.txt if it has a part in the way."""
    if name == "tnews":
        lines = {split: read_lines(source / "tnews_fewshot" / f"{split}.txt") for split in ("train", "dev", "test")}
        lines["label"] = read_lines(source / "tnews_fewshot" / "label.txt")
    else:
        folder = source / "kuake_qic"
        labels, every = read_labels(folder / "label.txt"), read_lines(folder / "train.txt")
        _, ids = read_examples(folder / "train.txt", labels)
        random, lines = np.random.RandomState(seed), {"train": [], "dev": [], "label": labels}
        for label in range(len(labels)):
            rows = random.permutation(np.flatnonzero(np.array(ids) == label))
            lines["train"] += [every[row] for row in rows[:shots]]
            lines["dev"] += [every[row] for row in rows[shots : 2 * shots]]
        lines["test"] = read_lines(folder / "dev.txt")
    if unlabelled:
        own = source / name / "data.txt"
        lines["data"] = read_lines(own) if own.is_file() else [line.split("\t")[0] for line in lines["test"]]
    write_lines(target, {f"{split}.txt": rows for split, rows in lines.items()})


def run(args, name, way, seed):
    """Train and predict once; accuracy on test in percent."""
    shots = "" if args.shots == SHOTS else f", {args.shots} a label"
    folder = (args.work_dir / f"{name}, {way}, {seed}{shots}").resolve()
    done = read_json(folder / "accuracy.json")
    if done:
        return done["accuracy"]
    data, output = folder / "data", folder / "output"
    write_set(name, seed, args.data_dir, data, args.shots, way.endswith("data.txt"))
    if way.startswith("words"):
        (data / "train.txt").unlink()
    model = args.mlm_model if way.startswith("prompt") else args.model_name_or_path
    command = [part.replace("{prompt}", PROMPTS[name]) for part in WAYS[way]]
    flags = {"data_dir": data, "output_dir": output, "model_name_or_path": model, "seed": seed, "device": "cpu"}
    command += [text for flag, value in flags.items() for text in (f"--{flag}", str(value))]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "encoding": "utf-8"}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, **streams)
    if result.returncode:
        raise RuntimeError(f"{folder.name}: {result.stdout[-3000:]}")
    labels = read_labels(data / "label.txt")
    texts, truth = read_examples(data / "test.txt", labels)
    if way == "fine-tuning":
        from core.predictor import Predictor

        predicted = [label for label, _ in Predictor(output / "export", num_threads=1).classify(texts)]
    else:
        predicted = [line.split("\t")[2] for line in read_lines(output / "predictions.txt")[1:]]
    accuracy = 100 * np.mean([label == labels[index] for label, index in zip(predicted, truth)])
    write_json(folder / "accuracy.json", {"accuracy": accuracy})
    print(f"{folder.name}: {accuracy:.2f}", file=sys.stderr, flush=True)
    return accuracy


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, required=True, help="has tnews_fewshot/ and kuake_qic/")
    parser.add_argument("--work_dir", type=Path, default=Path(".bench/few_shot"))
    parser.add_argument("--model_name_or_path", default="data/offline_encoder")
    parser.add_argument("--mlm_model", default="data/offline_encoder_mlm", help="the same with its head, for prompts")
    parser.add_argument("--sets", nargs="+", default=list(PROMPTS), choices=PROMPTS)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--shots", type=int, default=SHOTS, help="samples a label of KUAKE-QIC (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    args = parser.parse_args()
    if args.shots != SHOTS and "tnews" in args.sets:
        parser.error(f"--shots {args.shots}: tnews has {SHOTS} samples a label; add --sets kuake_qic")
    jobs = [(name, way, seed) for seed in args.seeds for way in args.ways for name in args.sets]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        accuracies = dict(zip(jobs, pool.map(lambda job: run(args, *job), jobs)))
    print(f"| way | {' | '.join(args.sets)} |\n|{' --- |' * (len(args.sets) + 1)}")
    for way in args.ways:
        values = [[accuracies[name, way, seed] for seed in args.seeds] for name in args.sets]
        cells = [f"{np.mean(row):.2f} ± {np.std(row, ddof=1) if len(row) > 1 else 0:.2f}" for row in values]
        print(f"| {way} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
