"""retrieval_based/model.py: the loss against its formula, in one process and in two."""

import numpy as np
import paddle
import pytest

from retrieval_based import model as losses
from tests.helpers import ROOT, run_python


def unit(rng, *shape):
    vectors = rng.randn(*shape).astype("float32")
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def formula(queries, labels, texts, names, margin, scale):
    """The loss written out: for each query and positive, over it and all candidates of other labels."""
    total = []
    for row, label in enumerate(labels):
        own = [side[row] for side in (texts, names) if side is not None]
        negatives = []
        if texts is not None:
            negatives += [texts[other] for other in range(len(labels)) if labels[other] != label]
        if names is not None:
            others = sorted(set(labels) - {label})
            negatives += [names[list(labels).index(other)] for other in others]
        for positive in own:
            right = np.exp(scale * (queries[row] @ positive - margin))
            wrong = sum(np.exp(scale * (queries[row] @ negative)) for negative in negatives)
            total.append(-np.log(right / (right + wrong)))
    return np.mean(total)


@pytest.mark.parametrize("positives", ["text", "label", "both"])
def test_the_loss_is_its_formula(positives):
    """Texts of a query's label, its name among them, are no negatives, and a name counts once."""
    rng = np.random.RandomState(0)
    labels = np.array([0, 1, 0, 2, 2, 0, 3])
    queries, texts, names = unit(rng, 7, 5), unit(rng, 7, 5), unit(rng, 4, 5)[labels]
    texts = None if positives == "label" else texts
    names = None if positives == "text" else names
    tensors = [None if side is None else paddle.to_tensor(side) for side in (texts, names)]
    loss = losses.batch_loss(paddle.to_tensor(queries), *tensors, labels, 0.2, 10.0)
    assert float(loss) == pytest.approx(formula(queries, labels, texts, names, 0.2, 10.0), rel=1e-5)
    alone = losses.batch_loss(paddle.to_tensor(queries), *tensors, np.zeros(7, int), 0.2, 10.0)
    assert float(alone) == pytest.approx(0, abs=1e-6)  # all of one label: there is no negative


TWO = """
import sys, numpy as np, paddle
sys.path.insert(0, {root!r})
from core.processes import average_gradients
from retrieval_based import model as losses
paddle.set_device("cpu")
if paddle.distributed.get_world_size() > 1:
    paddle.distributed.init_parallel_env()
content = np.load({data!r})
rank, count = (paddle.distributed.get_rank(), 2) if paddle.distributed.get_world_size() > 1 else (0, 1)
part = slice(rank * 8 // count, (rank + 1) * 8 // count)
layer = paddle.nn.Linear(5, 4)
layer.weight.set_value(content["weight"])
embed = lambda rows: paddle.nn.functional.normalize(layer(paddle.to_tensor(rows)), axis=-1)
labels = content["labels"][part]
sides = [embed(content[name][part]) for name in ("queries", "texts")]
loss = losses.batch_loss(*sides, embed(content["names"][labels]), labels, 0.2, 10.0)
loss.backward()
average_gradients(layer.parameters())
np.savez({data!r} + f".{{count}}.{{rank}}.npz", loss=float(loss), grad=layer.weight.grad.numpy())
"""


def test_two_processes_have_the_loss_and_the_gradient_of_one(tmp_path):
    """Of the joined batch: the mean of both losses, and on both the whole gradient."""
    rng = np.random.RandomState(0)
    path = tmp_path / "data.npz"
    weight, labels = rng.randn(5, 4).astype("float32"), np.array([0, 1, 0, 2, 1, 1, 3, 0])
    sides = {name: rng.randn(8, 5).astype("float32") for name in ("queries", "texts", "names")}
    np.savez(path, weight=weight, labels=labels, **sides)
    script = tmp_path / "two.py"
    script.write_text(TWO.format(root=str(ROOT), data=str(path)), encoding="utf-8")
    launch = ["-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", str(tmp_path / "log")]
    for flags in ([], launch):
        run = run_python(*flags, script, cwd=tmp_path, timeout=200)
        assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    one, *two = (np.load(f"{path}.{name}.npz") for name in ("1.0", "2.0", "2.1"))
    assert float(one["loss"]) == pytest.approx(np.mean([part["loss"] for part in two]), rel=1e-5)
    for part in two:
        np.testing.assert_allclose(part["grad"], one["grad"], rtol=1e-4, atol=1e-6)
        assert abs(float(part["loss"]) - float(one["loss"])) > 1e-3
