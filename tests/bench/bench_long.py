"""What to do with texts that are longer than a model reads at once? Run by `make bench-long`.

    python tests/bench/bench_long.py --data_dir ../shared/kuake_qic --model_name_or_path checkpoint
    python tests/bench/bench_long.py --data_dir ../shared/kuake_qic --lengths 128 --ways truncate max --train 160

The set: a document is 10 to 60 short questions one after the other, of which --evidence neighbours have the document's
label and all others the label --filler, which says nothing of a topic. Where the neighbours stand is drawn evenly over
the document, and so are the labels over the documents; documents of --filler have nothing else. Questions of training
documents come from train.txt, those of the others from dev.txt, so that no question is in both.

Ways, each trained with train.py on the same documents for --epochs passes, and measured on the others:

truncate    the first tokens
head_tail   the first and the last tokens
mean, max   --long_text windows with that --window_pooling

--model_name_or_path is a model that was trained on the single questions: then a few hundred documents are enough to
learn where to look. Nothing is chosen by the documents that are measured. Printed: accuracy, macro-F1, tokens of a
document that are read, seconds of the training, and milliseconds a document of the evaluation, in Paddle without an
export. A cell that is already in --work_dir is not repeated.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository's root

from utils import UsageError, exit_on_usage_error, format_table, read_examples, read_json, read_labels, write_lines

ROOT = Path(__file__).resolve().parents[2]
WAYS = {
    "truncate": ["--long_text", "truncate"],
    "head_tail": ["--long_text", "head_tail"],
    "mean": ["--long_text", "windows", "--window_pooling", "mean"],
    "max": ["--long_text", "windows", "--window_pooling", "max"],
}
# Questions of a document, from … to.
QUESTIONS = 10, 60


def parse_flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data_dir", type=Path, default=ROOT.parent / "shared" / "kuake_qic", help="train.txt, dev.txt, label.txt")
    add("--model_name_or_path", default="checkpoint", help="trained on the questions (default: %(default)s)")
    add("--work_dir", type=Path, default=Path(".bench/long"), help="(default: %(default)s)")
    add("--filler", default="其他", help="the label of questions that say nothing (default: %(default)s)")
    add("--evidence", type=int, default=4, help="neighbours with the document's label (default: %(default)s)")
    add("--train", type=int, default=400, help="documents to train on (default: %(default)s)")
    add("--test", type=int, default=300, help="documents to measure on (default: %(default)s)")
    add("--epochs", type=int, default=2, help="(default: %(default)s)")
    add("--lengths", type=int, nargs="+", default=[128, 256, 512], help="values of --max_length")
    add("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="(default: all)")
    add("--seed", type=int, default=1, help="of documents and trainings (default: %(default)s)")
    return parser.parse_args(argv)


def documents(texts, label_ids, filler, evidence, count, seed):
    """Documents with their labels; see the top of this file.

    Args:
        texts (list[str]), label_ids (list[int]): the questions.
        filler (int): the class that says nothing.
        evidence (int): questions of a document with its label.
        count (int): of documents.
        seed (int): of all that is drawn.

    Returns:
        list[tuple[str, int, float]]: text, class, and where its evidence begins, from 0 to 1.
    """
    random, label_ids = np.random.RandomState(seed), np.array(label_ids)
    pools = {label: np.flatnonzero(label_ids == label) for label in np.unique(label_ids)}
    labels, result = sorted(pools), []
    for number in range(count):
        label, size = labels[number % len(labels)], random.randint(QUESTIONS[0], QUESTIONS[1] + 1)
        rows = random.choice(pools[filler], size)
        place = random.randint(0, size - evidence + 1)
        rows[place : place + evidence] = random.choice(pools[label], evidence, replace=False)
        result.append(("。".join(texts[row] for row in rows), label, place / size))
    return [result[place] for place in random.permutation(count)]


def write_set(args, folder):
    """Write train.txt, dev.txt and label.txt of documents.

    Raises:
        UsageError: --filler is no label.
    """
    labels = read_labels(args.data_dir / "label.txt")
    if args.filler not in labels:
        raise UsageError(f"--filler {args.filler}: not in {args.data_dir / 'label.txt'}; give one of its labels")
    files = {"label.txt": labels}
    for seed, (split, count) in enumerate({"train": args.train, "dev": args.test}.items()):
        questions = read_examples(args.data_dir / f"{split}.txt", labels)
        own = documents(*questions, labels.index(args.filler), args.evidence, count, [args.seed, seed])
        files[f"{split}.txt"] = [f"{text}\t{labels[label]}" for text, label, _ in own]
    write_lines(folder, files)


def run(args, data, way, length):
    """Train and measure once: the results of train.py, by their names."""
    output = args.work_dir / f"{way}-{length}"
    done = read_json(output / "all_results.json")
    if "eval_accuracy" in done:
        return done
    flags = {
        "data_dir": data,
        "model_name_or_path": args.model_name_or_path,
        "output_dir": output,
        "max_length": length,
        "num_train_epochs": args.epochs,
        "seed": args.seed,
        "device": "cpu",
        "learning_rate": "1e-4",
        "per_device_train_batch_size": 8,
        "per_device_eval_batch_size": 8,
        "evaluation_strategy": "no",
        "save_strategy": "no",
        "disable_tqdm": "True",
    }
    command = [text for flag, value in flags.items() for text in (f"--{flag}", str(value))]
    command = [sys.executable, "train.py", "--do_train", "--do_eval", "--overwrite_output_dir", *command, *WAYS[way]]
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "encoding": "utf-8"}
    result = subprocess.run(command, cwd=ROOT, env=environment, **streams)
    if result.returncode:
        raise RuntimeError(f"{output.name}: {result.stdout[-3000:]}")
    return read_json(output / "all_results.json")


def tokens_read(texts, way, length):
    """About the tokens that are read of a document, one a character: the mean, and that of the windows' overlaps."""
    from core.long_text_flags import default_stride
    from core.long_texts import LongText

    facts = {"way": "windows", "stride": default_stride(length)} if way in ("mean", "max") else {"way": way}
    return float(np.mean([LongText(facts, length).tokens(len(text)) for text in texts]))


def main(argv=None):
    args = parse_flags(argv)
    args.work_dir = args.work_dir.resolve()
    data = args.work_dir / "data"
    write_set(args, data)
    texts, _ = read_examples(data / "dev.txt", read_labels(data / "label.txt"))
    sizes = [len(text) for text in texts]
    size = f"{min(sizes)} to {max(sizes)} characters, {np.mean(sizes):.0f} on average"
    print(f"{args.train} + {args.test} documents of {size}")
    rows = []
    for length in args.lengths:
        for way in args.ways:
            found = run(args, data, way, length)
            rows.append(
                {
                    "max_length": length,
                    "way": way,
                    "accuracy": f"{found['eval_accuracy']:.2%}",
                    "macro-F1": f"{found['eval_macro_f1']:.2%}",
                    "tokens read": f"{tokens_read(texts, way, length):.0f}",
                    "training, s": f"{found['train_runtime']:.0f}",
                    "ms/document": f"{1000 * found['eval_runtime'] / len(texts):.1f}",
                }
            )
            print(f"{way} {length}: {rows[-1]['accuracy']}", flush=True)
    print("\n".join(format_table(rows)))


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
