"""Find dev samples that little training data supports, and get data that supports them.

    cd analysis
    python sparse.py --device gpu --dataset_dir ../data --params_path ../checkpoint/ --aug_strategy substitute
    python sparse.py --device gpu --dataset_dir ../data --params_path ../checkpoint/ --annotate \\
        --unlabeled_file data.txt

Support is the mean similarity of a dev sample's --rationale_num_sparse most similar training samples (by features,
arXiv 2104.04128); the --sparse_num dev samples with the least go into --sparse_file. Then, into --support_file:

- without --annotate: new samples, made (see aug.py) of the training samples that are most similar to the sparse ones
- with --annotate: the --support_num texts of --unlabeled_file that are most worth labelling (data/doccano.py
  --text_file takes them); --annotate_strategy says how they are chosen:
    badge    texts on which the model is unsure and which differ from each other (Ash et al. 2020, arXiv 1906.03671)
    margin   texts with the least distance between the probabilities of the first and the second class
    support  texts most similar to the sparse dev samples
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository's root

from analysis.augmenter import STRATEGIES, add_change_flags, check_change_flags, make_augmenter, refuse_nothing
from analysis.flags import check_flags, make_parser, next_command, read_model_labels
from core.any_file import read_any_examples
from core.arguments import parse_argv
from utils import UsageError, exit_on_usage_error, read_cases, shortened, write_lines

ANNOTATE_STRATEGIES = ("badge", "margin", "support")


def augmented(order, train, labels, augmenter, number):
    """New samples of the training samples in `order`, until there are `number`.

    Returns:
        list[str]: <text><Tab><label> lines.
    """
    texts, ids = train
    lines = []
    for row in order.tolist():
        lines += [f"{text}\t{labels[ids[row]]}" for text in augmenter.augment(texts[row])]
        if len(lines) >= number:
            break
    return lines[:number]


def read_unlabelled(flags, train_texts):
    """The texts of --unlabeled_file, each once; those of the training data are left out.

    Raises:
        UsageError: nothing is left, or see read_cases.
    """
    path, known = flags.dataset_dir / flags.unlabeled_file, set(train_texts)
    texts = [text for text in dict.fromkeys(text for _, text, *_ in read_cases(path)) if text not in known]
    if not texts:
        raise UsageError(f"{path}: all texts are in {flags.train_file}; add new ones")
    return texts


def parse_flags(argv):
    """The flags, checked.

    Raises:
        UsageError: a flag out of range, flags that exclude each other, one file for two purposes.
    """
    parser = make_parser(__doc__, batch_size=16)
    add = parser.add_argument
    add("--rationale_num_sparse", type=int, default=3, help="training samples that are averaged (default: 3)")
    add("--rationale_num_support", type=int, default=6, help="samples looked at for each sparse one (default: 6)")
    add("--sparse_num", type=int, default=100, help="dev samples with the least support (default: 100)")
    add("--support_num", type=int, default=100, help="samples to make or to choose (default: 100)")
    add("--support_threshold", type=float, default=0.7, help="least similarity to a sparse sample (default: 0.7)")
    add("--sparse_file", default="sparse.txt", help="written into --dataset_dir (default: sparse.txt)")
    add("--support_file", default="support.txt", help="written into --dataset_dir (default: support.txt)")
    add("--annotate", action="store_true", help="choose texts of --unlabeled_file instead of making samples")
    add("--unlabeled_file", default="data.txt", help="in --dataset_dir: one text a line (default: data.txt)")
    add("--annotate_strategy", choices=ANNOTATE_STRATEGIES, default=ANNOTATE_STRATEGIES[0])
    add_change_flags(parser, ("duplicate", *STRATEGIES))
    parser.set_defaults(create_n=1)
    flags = parse_argv(parser, argv)
    check_flags(flags, rationale_num_sparse=1, rationale_num_support=1, sparse_num=1, support_num=1)
    if not -1 <= flags.support_threshold <= 1:
        raise UsageError(f"--support_threshold {flags.support_threshold}: give a cosine, from -1 to 1")
    inputs = {flags.train_file, flags.dev_file, flags.label_file, flags.unlabeled_file}
    if len(inputs | {flags.sparse_file, flags.support_file}) != len(inputs) + 2:
        raise UsageError("--sparse_file and --support_file: give two names that no other flag has")
    check_change_flags(flags)
    return flags


def main(argv=None):
    flags = parse_flags(argv)
    labels = read_model_labels(flags)
    train = read_any_examples(flags.dataset_dir / flags.train_file, labels)
    dev = read_any_examples(flags.dataset_dir / flags.dev_file, labels)
    unlabelled = read_unlabelled(flags, train[0]) if flags.annotate else None
    augmenter = None if flags.annotate else make_augmenter(flags)

    from analysis.classifier import Classifier  # needs paddle, which takes seconds
    from analysis.support import find_sparse, most_worth_labelling, support_of

    classifier = Classifier(flags, labels)
    train_features = classifier.run(train[0], "training texts")[1]
    dev_features = classifier.run(dev[0], "dev texts")[1]
    sparse, support = find_sparse(dev_features, train_features, flags.rationale_num_sparse, flags.sparse_num)
    if flags.annotate:
        lines = most_worth_labelling(flags, classifier, unlabelled, dev_features[sparse])
    else:
        order = support_of(dev_features[sparse], train_features, flags)
        lines = augmented(order, train, labels, augmenter, flags.support_num)
        if not lines:
            refuse_nothing(flags, [train[0][row] for row in order])
    sparse_lines = [f"{dev[0][row]}\t{labels[dev[1][row]]}" for row in sparse.tolist()]
    contents = {flags.sparse_file: sparse_lines, flags.support_file: lines}
    write_lines(flags.dataset_dir, contents, "--dataset_dir")

    for row in sparse[:10].tolist():
        print(f"{support[row]:.3f}  {labels[dev[1][row]]}  {shortened(dev[0][row])}")
    print(f"{len(sparse):,} dev samples with a support of {support[sparse].mean():.3f}; of all: {support.mean():.3f}")
    tell_next(flags, len(lines))


def tell_next(flags, number):
    """Print what was found, and the command that uses it."""
    path = flags.dataset_dir / flags.support_file
    print(f"{number:,} {'texts to annotate' if flags.annotate else 'new samples'} in {path}")
    if number < flags.support_num:
        print("Fewer than --support_num: there are no more of them.")
    if flags.annotate:
        export_file = flags.dataset_dir / "to_annotate.jsonl"
        command = next_command("data/doccano.py", "--text_file", path, "--export_file", export_file)
        print(f"Next: {command}")
    else:
        data = ("--data_dir", flags.dataset_dir, "--train_path", "MORE.txt")
        print(
            f"Next: {next_command('train.py', '--do_train', *data)}, MORE.txt being {flags.train_file} and "
            f"{flags.support_file} in one file"
        )


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
