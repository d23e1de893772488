"""Accuracy and recall of hits, for evaluate.py and for train.py's choice of the best checkpoint."""

import numpy as np

from retrieval_based import data
from retrieval_based.utils import vote

RECALL_AT = (1, 5, 10, 20)
# For choosing the best checkpoint, before anything can be chosen on its own hits.
TRAINING_TEMPERATURE = 0.05


def recall_at(truth, label_ids, ks=RECALL_AT):
    """The share of queries with a hit of their label among the first k: dict[int, float].

    Args:
        truth: class ids [n].
        label_ids (np.ndarray): the hits' [n, hits], best first; -1 for none.
    """
    right = label_ids == np.asarray(truth)[:, None]
    return {k: float(right[:, :k].any(axis=1).mean()) for k in ks}


def training_metrics(hits, truth, labels, is_names):
    """What train.py logs and chooses the best checkpoint by: dict[str, float] with recall@k and accuracy.

    Args:
        hits (list[list[Hit]]): of each dev text.
        truth: class ids [n].
        labels (list[str]): in class order.
        is_names (bool): the corpus is label names, so the first hit is the answer; else all of them vote.
    """
    found, values = [[hit.label for hit in row] for row in hits], [[hit.score for hit in row] for row in hits]
    scores, label_ids = data.hit_arrays(found, values, labels)
    k = 1 if is_names else scores.shape[1]
    shares = vote.vote(scores, label_ids, len(labels), k, TRAINING_TEMPERATURE)
    metrics = {f"recall@{k}": value for k, value in recall_at(truth, label_ids).items()}
    return {**metrics, "accuracy": vote.accuracy(shares, truth)}


def recalled_arrays(recalled, names):
    """Scores and label ids of the hits (see data.hit_arrays), and class ids of the queries."""
    scores, label_ids = data.hit_arrays(recalled.labels, recalled.scores, names)
    ids = {label: index for index, label in enumerate(names)}
    return scores, label_ids, np.array([ids[label] for label in recalled.truth])
