"""The loss of the dual encoder: in-batch negatives over all processes, but never of the query's own label."""

import numpy as np
import paddle
from paddle.autograd import PyLayer

from core.processes import count_processes, own_number


class GatherRows(PyLayer):
    """The rows of all processes, in the order of their ranks, with the gradient that each process gets from all.

    paddle.distributed.all_gather alone has no gradient: here every process's share of it is summed and the own rows
    are taken.
    """

    @staticmethod
    def forward(ctx, rows):
        ctx.count = len(rows)
        parts = []
        paddle.distributed.all_gather(parts, rows.detach())
        return paddle.concat(parts)

    @staticmethod
    def backward(ctx, gradient):
        gradient = gradient.clone()
        paddle.distributed.all_reduce(gradient)
        start = own_number() * ctx.count
        return gradient[start : start + ctx.count]


def gather(rows):
    """float [batch, dim] of this process -> float [processes * batch, dim]; as it is in one process."""
    return GatherRows.apply(rows) if count_processes() > 1 else rows


def gather_ids(ids):
    """Class ids [batch] of this process -> np.ndarray [processes * batch]."""
    ids = paddle.to_tensor(np.asarray(ids))
    if count_processes() == 1:
        return ids.numpy()
    parts = []
    paddle.distributed.all_gather(parts, ids)
    return np.concatenate([part.numpy() for part in parts])


def in_batch_loss(queries, query_labels, candidates, candidate_labels, own, margin, scale):
    """Cross-entropy over (cosine - margin where it is the query's own candidate) * scale.

    Of the candidates of the query's label only its own counts: the others are no negatives.

    Args:
        queries (paddle.Tensor): unit vectors [n, dim].
        query_labels: class ids [n].
        candidates (paddle.Tensor): unit vectors [m, dim]; a candidate is the positive of some query.
        candidate_labels: class ids [m].
        own: the candidate that is the positive of each query [n].
        margin, scale (float): the larger, the farther apart the labels come; the larger, the more the hardest count.

    Returns:
        paddle.Tensor: the mean over the queries.
    """
    similarity = paddle.matmul(queries, candidates, transpose_y=True)
    query_labels, candidate_labels, own = map(np.asarray, (query_labels, candidate_labels, own))
    is_own = own[:, None] == np.arange(len(candidate_labels))
    same = query_labels[:, None] == candidate_labels[None]
    shift = -margin * is_own - 1e4 * (same & ~is_own)
    logits = (similarity + paddle.to_tensor(shift.astype("float32"))) * scale
    return paddle.nn.functional.cross_entropy(logits, paddle.to_tensor(own.astype("int64")))


def batch_loss(queries, texts, names, label_ids, margin, scale):
    """The loss of a batch whose queries have another text, their label's name, or both as positives.

    All of them, of all processes, are candidates. A name stands there once, however many texts of its label there
    are: otherwise frequent labels would be pushed away more often than drawn near.

    Args:
        queries (paddle.Tensor): unit vectors of this process [n, dim].
        texts (paddle.Tensor | None): of the texts that are their positives [n, dim].
        names (paddle.Tensor | None): of their labels' names [n, dim], rows of one label being the same.
        label_ids: class ids of this process [n].
        margin, scale (float): as for in_batch_loss.

    Returns:
        paddle.Tensor: the mean over the queries of this process, and over both positives.
    """
    label_ids, all_ids = np.asarray(label_ids), gather_ids(label_ids)
    candidates, candidate_labels, owns = [], [], []
    if texts is not None:
        candidates.append(gather(texts))
        candidate_labels.append(all_ids)
        owns.append(own_number() * len(label_ids) + np.arange(len(label_ids)))
    if names is not None:
        labels, first = np.unique(all_ids, return_index=True)
        candidates.append(paddle.index_select(gather(names), paddle.to_tensor(first.astype("int64"))))
        owns.append(sum(map(len, candidate_labels)) + np.searchsorted(labels, label_ids))
        candidate_labels.append(labels)
    candidates, candidate_labels = paddle.concat(candidates), np.concatenate(candidate_labels)
    losses = [in_batch_loss(queries, label_ids, candidates, candidate_labels, own, margin, scale) for own in owns]
    return sum(losses) / len(losses)
