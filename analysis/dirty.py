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

sys.path.insert(0, str(Path(__file__).resolve().parent))
from classifier import Classifier, check_positive, make_parser, read_model_labels  # noqa: E402

from utils import (  # noqa: E402
    UsageError,
    exit_on_usage_error,
    read_examples,
    read_labels,
    require_packages,
    shortened,
    write_lines,
)

METHODS = ("confident_learning", "representer_points", "loss")
FOLDS = 5
# Inverse strength of the regularisation for representer points; of 0.001 to 1 it found most (README).
REPRESENTER_C = 0.01


def out_of_fold(texts, ids, num_classes, seed):
    """Class probabilities of each text from a model that was trained on the other folds.

    Args:
        texts (list[str]): the samples.
        ids (np.ndarray): int [n], their class ids.
        num_classes (int): classes in all.
        seed (int): of the folds.

    Returns:
        np.ndarray: float64 [n, num_classes].

    Raises:
        UsageError: all samples have one label, or there are too few.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import make_pipeline

    counts = np.bincount(ids)
    if (counts > 0).sum() < 2 or counts.max() < 2:
        raise UsageError(f"{len(ids)} samples of {(counts > 0).sum()} labels: too few to tell which label is wrong")
    result = np.zeros((len(ids), num_classes))
    folds = StratifiedKFold(min(FOLDS, int(counts.max())), shuffle=True, random_state=seed)
    for train, held_out in folds.split(texts, ids):
        model = make_pipeline(
            TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True),
            LogisticRegression(C=10, max_iter=1000),
        )
        model.fit([texts[row] for row in train], ids[train])
        found = model.predict_proba([texts[row] for row in held_out])
        result[np.ix_(held_out, model.classes_)] = found
    return result


def confident_learning(texts, ids, num_classes, seed):
    """Suspicion by out-of-fold probabilities: 1 minus cleanlab's self-confidence; and the probabilities."""
    from cleanlab.rank import get_label_quality_scores

    probabilities = out_of_fold(texts, ids, num_classes, seed)
    return 1 - get_label_quality_scores(ids, probabilities, method="self_confidence"), probabilities


def representer_points(features, ids, num_classes):
    """Suspicion by representer weights, and the probabilities of the refitted last layer.

    With L2 regularisation the last layer is a sum over the training samples, each weighted by minus the gradient of
    its loss with respect to its logits, up to a constant: for its own label 1 - p(label).

    Args:
        features (np.ndarray): float [n, hidden], what the classifier layer sees.
        ids (np.ndarray): int [n].
        num_classes (int): classes in all.

    Returns:
        tuple[np.ndarray, np.ndarray]: float64 [n] and [n, num_classes].
    """
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(ids)) < 2:
        raise UsageError("all samples have one label; nothing can be told from them")
    model = LogisticRegression(C=REPRESENTER_C, max_iter=5000).fit(features, ids)
    probabilities = np.zeros((len(ids), num_classes))
    probabilities[:, model.classes_] = model.predict_proba(features)
    return 1 - probabilities[np.arange(len(ids)), ids], probabilities


def find_dirty(suspicion, dirty_num, threshold):
    """The numbers of the most suspicious samples, at most `dirty_num`, with a suspicion above `threshold`."""
    order = np.argsort(-suspicion, kind="stable")[:dirty_num]
    return order[suspicion[order] > threshold]


def estimated_errors(ids, probabilities):
    """How many labels cleanlab takes for wrong; None where it cannot tell (a class that is never predicted)."""
    from cleanlab.filter import find_label_issues

    try:
        return int(find_label_issues(ids, probabilities, n_jobs=1).sum())
    except (ValueError, IndexError):
        return None


def main(argv=None):
    parser = make_parser(__doc__, batch_size=16)
    add = parser.add_argument
    add("--method", choices=METHODS, default=METHODS[0], help=f"default: {METHODS[0]}")
    add("--dirty_num", type=int, default=100, help="samples to take out at most (default: 100)")
    add("--dirty_threshold", type=float, default=0, help="take out only those more suspicious than this (default: 0)")
    add("--dirty_file", default="train_dirty.txt", help="written into --dataset_dir (default: train_dirty.txt)")
    add("--rest_file", default="train_dirty_rest.txt", help="written into --dataset_dir (train_dirty_rest.txt)")
    args = parser.parse_args(argv)
    check_positive(args, "dirty_num")
    if not 0 <= args.dirty_threshold < 1:
        raise UsageError(f"--dirty_threshold {args.dirty_threshold}: give a number from 0 to below 1")
    if args.train_file in (args.dirty_file, args.rest_file) or args.dirty_file == args.rest_file:
        raise UsageError("--dirty_file and --rest_file: give two names that are not that of --train_file")
    needs_model = args.method != "confident_learning"
    if not needs_model:
        require_packages(f"--method {args.method}", "cleanlab")
    labels = read_model_labels(args) if needs_model else read_labels(args.dataset_dir / args.label_file)
    texts, ids = read_examples(args.dataset_dir / args.train_file, labels)
    ids = np.array(ids)

    if args.method == "confident_learning":
        suspicion, probabilities = confident_learning(texts, ids, len(labels), args.seed)
        number = estimated_errors(ids, probabilities)
        if number is not None:
            print(f"cleanlab takes about {number:,} of {len(ids):,} labels for wrong")
    else:
        classifier = Classifier(args, labels)
        if args.method == "representer_points":
            features = classifier.run(texts, "training texts")[1]
            suspicion, probabilities = representer_points(features, ids, len(labels))
        else:
            probabilities = classifier.probabilities(texts, "training texts")
            suspicion = 1 - probabilities[np.arange(len(ids)), ids]

    dirty = find_dirty(suspicion, args.dirty_num, args.dirty_threshold)
    rest = np.setdiff1d(np.arange(len(ids)), dirty)
    lines = [f"{text}\t{labels[class_id]}" for text, class_id in zip(texts, ids.tolist())]
    contents = {args.dirty_file: [lines[row] for row in dirty], args.rest_file: [lines[row] for row in rest]}
    write_lines(args.dataset_dir, contents, "--dataset_dir")
    for row in dirty[:10].tolist():
        other = labels[int(probabilities[row].argmax())]
        print(f"{suspicion[row]:.3f}  {labels[ids[row]]} (rather {other}?)  {shortened(texts[row])}")
    if len(dirty) == 0:
        print(f"No sample is more suspicious than {args.dirty_threshold}; lower --dirty_threshold to see some.")
    print(f"{len(dirty):,} samples in {args.dataset_dir / args.dirty_file}, {len(rest):,} in {args.rest_file}")


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
