"""Find training samples whose label is probably wrong, the most suspicious first.

    cd analysis
    python dirty.py --device gpu --dataset_dir ../data --params_path ../checkpoint/ --train_file train.txt \\
        --dirty_file train_dirty.txt --rest_file train_dirty_rest.txt --dirty_num 100

Written into --dataset_dir: --dirty_file with the --dirty_num most suspicious samples, --rest_file with all others,
both as <text><Tab><label>. Correct the first (data/doccano.py --text_file), or train on the second alone.

--method says how suspicious a sample is, from 0 to 1:
  confident_learning  how unlikely its label is for a model that has not seen it: TF-IDF of 1 to 3 characters and
                      logistic regression on the other folds, ranked by cleanlab (Northcutt et al. 2021). The
                      default: it finds most (README), and needs no trained model.
  representer_points  the weight with which it pulls its own prediction towards its label: representer points (Yeh
                      et al. 2018, arXiv 1811.09720) of a logistic regression on the trained model's features
  loss                how unlikely its label is for the trained model itself
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository's root

from analysis.flags import check_flags, make_parser, next_command, read_model_labels
from core.any_file import read_any_examples
from core.arguments import parse_argv, require_packages
from core.origins import origin_counts, read_origins
from utils import UsageError, exit_on_usage_error, read_labels, shortened, write_lines

METHODS = ("confident_learning", "representer_points", "loss")


def find_dirty(suspicion, dirty_num, threshold):
    """The numbers of the most suspicious samples, at most `dirty_num`, with a suspicion above `threshold`."""
    order = np.argsort(-suspicion, kind="stable")[:dirty_num]
    return order[suspicion[order] > threshold]


def parse_flags(argv):
    """The flags, checked.

    Raises:
        UsageError: a flag out of range, one file for two purposes, cleanlab is not installed.
    """
    parser = make_parser(__doc__, batch_size=16)
    add = parser.add_argument
    add("--method", choices=METHODS, default=METHODS[0], help=f"default: {METHODS[0]}")
    add("--dirty_num", type=int, default=100, help="samples to take out at most (default: 100)")
    add("--dirty_threshold", type=float, default=0, help="take out only those more suspicious than this (default: 0)")
    add("--dirty_file", default="train_dirty.txt", help="written into --dataset_dir (default: train_dirty.txt)")
    add("--rest_file", default="train_dirty_rest.txt", help="written into --dataset_dir (train_dirty_rest.txt)")
    flags = parse_argv(parser, argv)
    check_flags(flags, dirty_num=1)
    if not 0 <= flags.dirty_threshold < 1:
        raise UsageError(f"--dirty_threshold {flags.dirty_threshold}: give a number from 0 to below 1")
    if flags.train_file in (flags.dirty_file, flags.rest_file) or flags.dirty_file == flags.rest_file:
        raise UsageError("--dirty_file and --rest_file: give two names that are not that of --train_file")
    if flags.method == "confident_learning":
        require_packages(f"--method {flags.method}", "cleanlab")
    return flags


def main(argv=None):
    flags = parse_flags(argv)
    needs_model = flags.method != "confident_learning"
    labels = read_model_labels(flags) if needs_model else read_labels(flags.dataset_dir / flags.label_file)
    texts, ids = read_any_examples(flags.dataset_dir / flags.train_file, labels)
    ids = np.array(ids)
    if needs_model:
        from analysis.model_suspicion import suspicion_of_model  # needs paddle, which takes seconds

        suspicion, probabilities = suspicion_of_model(flags, labels, texts, ids)
    else:
        from analysis.confident_learning import confident_learning, estimated_errors  # takes seconds too

        suspicion, probabilities = confident_learning(texts, ids, len(labels), flags.seed)
        number = estimated_errors(ids, probabilities)
        if number is not None:
            print(f"cleanlab takes about {number:,} of {len(ids):,} labels for wrong")

    dirty = find_dirty(suspicion, flags.dirty_num, flags.dirty_threshold)
    rest = np.setdiff1d(np.arange(len(ids)), dirty)
    lines = [f"{text}\t{labels[class_id]}" for text, class_id in zip(texts, ids.tolist())]
    contents = {flags.dirty_file: [lines[row] for row in dirty], flags.rest_file: [lines[row] for row in rest]}
    write_lines(flags.dataset_dir, contents, "--dataset_dir")
    for row in dirty[:10].tolist():
        other = labels[int(probabilities[row].argmax())]
        print(f"{suspicion[row]:.3f}  {labels[ids[row]]} (rather {other}?)  {shortened(texts[row])}")
    dirty_path = flags.dataset_dir / flags.dirty_file
    print(f"{len(dirty):,} samples in {dirty_path}, {len(rest):,} in {flags.rest_file}")
    if origins := read_origins((flags.dataset_dir / flags.train_file).parent):
        names = [labels[class_id] for class_id in ids.tolist()]
        everything, own = (
            origin_counts([texts[row] for row in rows], [names[row] for row in rows], origins)
            for rows in (range(len(texts)), dirty.tolist())
        )
        for origin, count in everything.items():
            print(f"of the {count:,} labels from {origin}, {own.get(origin, 0):,} are among the suspicious ones")
    if len(dirty) == 0:
        print(f"No sample is more suspicious than {flags.dirty_threshold}; lower --dirty_threshold to see some.")
        return
    to_annotate = ("--text_file", dirty_path, "--export_file", flags.dataset_dir / "to_annotate.jsonl")
    print(f"Next, to correct them: {next_command('data/doccano.py', *to_annotate)}")
    rest_alone = ("--do_train", "--data_dir", flags.dataset_dir, "--train_path", flags.dataset_dir / flags.rest_file)
    print(f"or, to train without them: {next_command('train.py', *rest_alone)}")


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
