"""How well training data supports a sample, and which texts are worth a label: for sparse.py."""

import numpy as np

from analysis.vectors import nearest
from core.answers import softmax
from core.selection import badge, smallest_margins


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


def support_of(sparse_features, features, flags):
    """rank_supporting with the flags, and a word where the threshold is too high."""
    rows, reaching = rank_supporting(sparse_features, features, flags.rationale_num_support, flags.support_threshold)
    if reaching < flags.support_num:
        print(
            f"{reaching:,} samples reach --support_threshold {flags.support_threshold}; the next most similar follow"
        )
    return rows


def most_worth_labelling(flags, classifier, texts, sparse_features):
    """The --support_num texts that are most worth a label, by --annotate_strategy; the best first."""
    logits, features = classifier.run(texts, "unlabelled texts")
    if flags.annotate_strategy == "support":
        rows = support_of(sparse_features, features, flags)
    elif flags.annotate_strategy == "margin":
        rows = smallest_margins(softmax(logits), flags.support_num)
    else:
        rows = badge(softmax(logits), features, flags.support_num, flags.seed)
    return [texts[row] for row in rows[: flags.support_num].tolist()]
