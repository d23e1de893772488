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

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))
from aug import STRATEGIES, add_flags, check_flags, make_augmenter  # noqa: E402
from classifier import Classifier, check_positive, make_parser, nearest, read_model_labels, softmax  # noqa: E402

from utils import (  # noqa: E402
    UsageError,
    exit_on_usage_error,
    read_cases,
    read_examples,
    shortened,
    write_lines,
)

ANNOTATE_STRATEGIES = ("badge", "margin", "support")


def find_sparse(dev_features, train_features, rationale_num, number):
    """The dev samples with the least support.

    Args:
        dev_features, train_features (np.ndarray): float [samples, hidden].
        rationale_num (int): training samples that are averaged.
        number (int): dev samples wanted.

    Returns:
        tuple[np.ndarray, np.ndarray]: row numbers, the least supported first, and the support of all dev samples.
    """
    support = nearest(dev_features, train_features, rationale_num)[1].mean(axis=1)
    return np.argsort(support, kind="stable")[:number], support


def rank_supporting(sparse_features, features, rationale_num, threshold):
    """The rows that are among the `rationale_num` most similar ones of a sparse sample, the most useful first.

    A row is as useful as the sum of its similarities. Those of at least `threshold` come first: how similar features
    are depends on the model, and with some of them no text is as similar as that to a sparse one.

    Returns:
        tuple[np.ndarray, int]: the rows, and how many of them reach the threshold.
    """
    rows, scores = nearest(sparse_features, features, rationale_num)
    found, enough = {}, scores >= threshold
    for some in (enough, ~enough):
        total = np.bincount(rows[some], weights=scores[some], minlength=len(features))
        order = np.argsort(-total, kind="stable")
        found.update(dict.fromkeys(order[total[order] > 0].tolist()))
    return np.array(list(found), dtype=np.int64), len(np.unique(rows[enough]))


def smallest_margins(probabilities, number):
    """The rows whose two most likely classes are closest together."""
    two = np.sort(probabilities, axis=1)[:, -2:]
    return np.argsort(two[:, 1] - two[:, 0], kind="stable")[:number]


def badge(probabilities, features, number, seed):
    """Rows by k-means++ on the gradients that their most likely labels would have at the last layer.

    A gradient is (probabilities - one-hot of the likeliest class) times the features: long where the model is
    unsure, and of another direction where it is unsure of something else. Distances are computed from the two
    factors, never from the [classes x hidden] product.
    """
    random = np.random.RandomState(seed)
    error = probabilities.copy()
    error[np.arange(len(error)), error.argmax(axis=1)] -= 1
    features = features.astype(np.float64)
    length = (error**2).sum(axis=1) * (features**2).sum(axis=1)

    def distances(row):
        return np.maximum(length + length[row] - 2 * (error @ error[row]) * (features @ features[row]), 0)

    chosen = [int(length.argmax())]
    nearest_one = distances(chosen[0])
    while len(chosen) < min(number, len(features)):
        nearest_one[nearest_one < 1e-9 * length.max()] = 0  # copies, but for rounding
        if not nearest_one.any():
            break
        chosen.append(int(random.choice(len(features), p=nearest_one / nearest_one.sum())))
        nearest_one = np.minimum(nearest_one, distances(chosen[-1]))
    return np.array(chosen)


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


def support_of(sparse_features, features, args):
    """rank_supporting with the flags, and a word where the threshold is too high."""
    rows, reaching = rank_supporting(sparse_features, features, args.rationale_num_support, args.support_threshold)
    if reaching < args.support_num:
        print(f"{reaching:,} samples reach --support_threshold {args.support_threshold}; the next most similar follow")
    return rows


def choose_to_annotate(args, classifier, train_texts, sparse_features):
    """The texts of --unlabeled_file that are most worth labelling; those of the training data are left out."""
    known = set(train_texts)
    texts = [text for text in dict.fromkeys(case[1] for case in read_cases(args.dataset_dir / args.unlabeled_file))
             if text not in known]  # fmt: skip
    if not texts:
        raise UsageError(f"{args.dataset_dir / args.unlabeled_file}: all texts are in {args.train_file}; add new ones")
    logits, features = classifier.run(texts, "unlabelled texts")
    if args.annotate_strategy == "support":
        rows = support_of(sparse_features, features, args)
    elif args.annotate_strategy == "margin":
        rows = smallest_margins(softmax(logits), args.support_num)
    else:
        rows = badge(softmax(logits), features, args.support_num, args.seed)
    return [texts[row] for row in rows[: args.support_num].tolist()]


def main(argv=None):
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
    add_flags(parser, ("duplicate", *STRATEGIES))
    parser.set_defaults(create_n=1)
    args = parser.parse_args(argv)
    check_positive(args, "rationale_num_sparse", "rationale_num_support", "sparse_num", "support_num")
    if not -1 <= args.support_threshold <= 1:
        raise UsageError(f"--support_threshold {args.support_threshold}: give a cosine, from -1 to 1")
    inputs = {args.train_file, args.dev_file, args.label_file, args.unlabeled_file}
    if len(inputs | {args.sparse_file, args.support_file}) != len(inputs) + 2:
        raise UsageError("--sparse_file and --support_file: give two names that no other flag has")
    check_flags(args)
    labels = read_model_labels(args)
    train = read_examples(args.dataset_dir / args.train_file, labels)
    dev = read_examples(args.dataset_dir / args.dev_file, labels)
    augmenter = None if args.annotate else make_augmenter(args, train[0])

    classifier = Classifier(args, labels)
    train_features = classifier.run(train[0], "training texts")[1]
    dev_features = classifier.run(dev[0], "dev texts")[1]
    sparse, support = find_sparse(dev_features, train_features, args.rationale_num_sparse, args.sparse_num)
    for row in sparse[:10].tolist():
        print(f"{support[row]:.3f}  {labels[dev[1][row]]}  {shortened(dev[0][row])}")
    print(f"{len(sparse):,} dev samples with a support of {support[sparse].mean():.3f}; of all: {support.mean():.3f}")

    if args.annotate:
        lines = choose_to_annotate(args, classifier, train[0], dev_features[sparse])
    else:
        order = support_of(dev_features[sparse], train_features, args)
        lines = augmented(order, train, labels, augmenter, args.support_num)
    sparse_lines = [f"{dev[0][row]}\t{labels[dev[1][row]]}" for row in sparse.tolist()]
    contents = {args.sparse_file: sparse_lines, args.support_file: lines}
    write_lines(args.dataset_dir, contents, "--dataset_dir")
    what = "texts to annotate" if args.annotate else "new samples"
    print(f"{len(lines):,} {what} in {args.dataset_dir / args.support_file}")
    if len(lines) < args.support_num:
        print("Fewer than --support_num: there are no more of them.")


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
