"""Split one labelled file into train, dev and test, or into k folds.

    python data/split.py --input_file all.txt --save_dir my_data                      # 80 %, 10 %, 10 %
    python data/split.py --input_file all.txt --save_dir my_data --splits 0.9 0.1 0   # no test.txt
    python data/split.py --input_file all.txt --save_dir my_folds --folds 5           # my_folds/fold_1 … fold_5

Every label is split in the same proportions. Texts that are the same or nearly the same stay together on one side, so
that dev and test measure what the model does with texts that it has not seen. Each fold is dev once; the others are
its train. The same --seed gives the same files.

Texts are not kept in memory but in a temporary file beside --save_dir; README.md says what ten millions of them take.
"""

import argparse
import shlex
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository's root
from core.arguments import at_least, parse_argv
from data.near_duplicates import check_threshold
from data.sample_files import read_samples
from data.splitting import FOLD_FILES, PART_FILES, check_splits, write_folds, write_parts
from data.stored_texts import scratch_folder
from utils import UsageError, check_save_dir, exit_on_usage_error, read_labels, read_lines


def parse_flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add(
        "--input_file",
        type=Path,
        required=True,
        help="<text>, a tab, <label> a line; or CSV, JSON, Parquet, …, see convert.py",
    )
    add("--save_dir", type=Path, required=True, help="the folder for the files")
    add("--splits", type=float, nargs="*", default=[0.8, 0.1, 0.1], help="shares of train, dev, test (0.8 0.1 0.1)")
    add("--folds", type=int, help="write this many folds instead")
    add("--label_file", type=Path, help="label.txt whose order to keep; default: the order of appearance")
    near = "similarity, 0 to 1, from which texts stay together; 0: only equal ones (default: 0.8)"
    add("--near_duplicate_threshold", type=float, default=0.8, help=near)
    add("--seed", type=int, default=1000, help="of the order and the draws (default: 1000)")
    trust = "the columns are texts and labels, whatever they look like"
    add("--trust_columns", action="store_true", help=trust)
    add("--force", action="store_true", help="replace files that --save_dir already has")
    flags = parse_argv(parser, argv)
    flags.splits = check_splits(flags.splits)
    check_threshold(flags.near_duplicate_threshold)
    problems = at_least(flags, folds=2)
    if problems:
        raise UsageError(problems[0])
    return flags


def split(flags, scratch):
    """Read, divide and write the samples.

    Args:
        flags (argparse.Namespace): the command's.
        scratch (str | None): see data.stored_texts.scratch_folder.
    """
    labels = read_labels(flags.label_file) if flags.label_file else None
    texts, ids, labels, columns = read_samples(flags.input_file, labels, scratch)
    problems = [] if flags.trust_columns else columns.problems()
    if problems:
        places = (f"{flags.input_file}:{number}" if number else flags.input_file for number, _ in problems)
        raise UsageError("\n".join(f"{place}: {message}" for place, (_, message) in zip(places, problems)))
    if len(labels) < 2:
        raise UsageError(f"{flags.input_file}: only one label; a classifier needs at least two")
    del columns
    options = {"seed": flags.seed, "threshold": flags.near_duplicate_threshold}
    if flags.label_file:
        options["more"] = {"label.txt": read_lines(flags.label_file)}  # label==word stays
    if flags.folds:
        write_folds(flags.save_dir, texts, ids, labels, flags.folds, **options)
    else:
        write_parts(flags.save_dir, texts, ids, labels, flags.splits, **options)


def main(argv=None):
    flags = parse_flags(argv)
    folders = [flags.save_dir / f"fold_{fold + 1}" for fold in range(flags.folds or 0)]
    for folder in folders:
        check_save_dir(folder, FOLD_FILES, flags.force)
    if not folders:
        check_save_dir(flags.save_dir, PART_FILES, flags.force)
    scratch = scratch_folder(flags.save_dir)
    try:
        split(flags, scratch)
    except OSError as error:
        place = scratch or tempfile.gettempdir()
        hint = "the samples are kept there meanwhile; free some space, or choose another --save_dir"
        raise UsageError(f"{place}: {error.strerror}; {hint}") from None
    print(f"next: python data/check.py --dataset_dir {shlex.quote(str(folders[0] if folders else flags.save_dir))}")


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
