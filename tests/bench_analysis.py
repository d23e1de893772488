"""How many wrong labels each method of analysis/dirty.py finds; run by `make bench-analysis`.

    python tests/bench_analysis.py --data_dir ../shared/kuake_qic --work_dir .bench/analysis

For each seed 500 training samples are drawn and the labels of 100 of them replaced by other ones; a model is trained
on them (8 epochs, learning rate 1e-4, batch 16). Printed is the precision among the 50, 100 and 150 most suspicious
samples, mean and standard deviation over the seeds; at 100 it is the recall too. By chance it would be 20 %.
"""

import argparse
import subprocess
import sys
import types
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "analysis")]
from utils import read_examples, read_labels, write_lines  # noqa: E402

SAMPLES, WRONG, FOUND = 500, 100, (50, 100, 150)
FLAGS = ["--num_train_epochs", "8", "--learning_rate", "1e-4", "--per_device_train_batch_size", "16",
         "--save_strategy", "no", "--logging_steps", "20", "--disable_tqdm", "True", "--device", "cpu"]  # fmt: skip


def make_folder(source, folder, seed):
    """Write SAMPLES training samples, WRONG of them with a wrong label; the numbers of those."""
    labels = read_labels(source / "label.txt")
    texts, ids = read_examples(source / "train.txt", labels)
    random = np.random.RandomState(seed)
    rows = random.permutation(len(texts))[:SAMPLES]
    wrong = set(random.permutation(SAMPLES)[:WRONG].tolist())
    lines = []
    for number, row in enumerate(rows.tolist()):
        label = labels[ids[row]]
        if number in wrong:
            label = random.choice([other for other in labels if other != label])
        lines.append(f"{texts[row]}\t{label}")
    dev = (source / "dev.txt").read_text(encoding="utf-8").splitlines()
    write_lines(folder, {"train.txt": lines, "dev.txt": dev, "label.txt": labels})
    return np.array(sorted(wrong))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, required=True)
    parser.add_argument("--work_dir", type=Path, default=Path(".bench/analysis"))
    parser.add_argument("--model_name_or_path", default="data/offline_encoder")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    args = parser.parse_args()
    import dirty
    from classifier import Classifier, read_model_labels

    precision = {method: [] for method in dirty.METHODS}
    for seed in args.seeds:
        folder, checkpoint = args.work_dir / f"data_{seed}", args.work_dir / f"checkpoint_{seed}"
        wrong = make_folder(args.data_dir, folder, seed)
        command = ["train.py", "--do_train", "--data_dir", folder.resolve(), "--output_dir", checkpoint.resolve(),
                   "--model_name_or_path", args.model_name_or_path, "--seed", seed, *FLAGS]  # fmt: skip
        subprocess.run([sys.executable, *map(str, command)], cwd=ROOT, check=True)
        flags = types.SimpleNamespace(device="cpu", dataset_dir=folder, params_path=checkpoint, max_seq_length=128,
                                      batch_size=32, seed=3, label_file="label.txt")  # fmt: skip
        labels = read_model_labels(flags)
        texts, ids = read_examples(folder / "train.txt", labels)
        ids = np.array(ids)
        model = Classifier(flags, labels)
        suspicion = {
            "confident_learning": dirty.confident_learning(texts, ids, len(labels), flags.seed)[0],
            "representer_points": dirty.representer_points(model.run(texts)[1], ids, len(labels))[0],
            "loss": 1 - model.probabilities(texts)[np.arange(len(ids)), ids],
        }
        for method, values in suspicion.items():
            precision[method].append([np.isin(dirty.find_dirty(values, number, -1), wrong).mean() for number in FOUND])
    print(f"| method | {' | '.join(f'precision at {number}' for number in FOUND)} |\n| --- {'| --- ' * len(FOUND)}|")
    for method, values in precision.items():
        cells = [f"{100 * mean:.1f} ± {100 * sd:.1f}"
                 for mean, sd in zip(np.mean(values, axis=0), np.std(values, axis=0, ddof=1))]  # fmt: skip
        print(f"| {method} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
