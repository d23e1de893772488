"""core/quick_training.py: one switch for a quick training on a CPU."""

import copy

import numpy as np
import paddle
import pytest

from core import families, quick_training
from core.quick_adamw import QuickAdamW
from tests.core.foreign_models import tiny_classifier
from tests.core.test_recipes import without_dropout


def make_optimizer(model):
    return paddle.optimizer.AdamW(1e-3, parameters=model.parameters(), grad_clip=paddle.nn.ClipGradByGlobalNorm(1.0))


def learn(model, optimizer, wanted, steps=4):
    """The losses of a few steps."""
    losses = []
    model.train()
    for seed in range(steps):
        paddle.seed(seed)
        ids = np.random.default_rng(seed).integers(5, 30, [4, 7])
        ids[0, 4:] = model.config.pad_token_id
        with quick_training.quick_training(model, wanted):
            loss = paddle.nn.functional.cross_entropy(model(paddle.to_tensor(ids)), paddle.to_tensor([0, 1, 2, 1]))
            loss.backward()
        optimizer.step()
        optimizer.clear_grad()
        losses.append(float(loss))
    return losses


@pytest.mark.parametrize("family", ["ernie", "bert", "roberta", "ernie_m", "albert", "electra", "distilbert"])
def test_a_training_goes_as_paddles_does(family):
    model = without_dropout(families.mask_padding(tiny_classifier(family, spread=0.1, num_hidden_layers=2)))
    other = copy.deepcopy(model)
    own = learn(model, quick_training.quick_optimizer(make_optimizer(model)), True)
    np.testing.assert_allclose(own, learn(other, make_optimizer(other), False), rtol=1e-4)
    assert len(set(own)) == len(own)


def test_it_is_in_use_and_ends(monkeypatch):
    from core import quick_layers

    used, apply = [], quick_layers._Layer.apply

    def noted(*args):
        used.append(1)
        return apply(*args)

    monkeypatch.setattr(quick_layers._Layer, "apply", noted)
    model = families.mask_padding(tiny_classifier("ernie", num_hidden_layers=2))
    optimizer = quick_training.quick_optimizer(make_optimizer(model))
    assert type(optimizer) is QuickAdamW
    learn(model, optimizer, True, 1)
    assert len(used) == 2
    learn(model, optimizer, False, 1)
    assert len(used) == 2


def test_nothing_changes_on_a_gpu(monkeypatch):
    monkeypatch.setattr(paddle, "get_device", lambda: "gpu:0")
    model = tiny_classifier("ernie", num_hidden_layers=2)
    assert type(quick_training.quick_optimizer(make_optimizer(model))) is paddle.optimizer.AdamW
    with quick_training.quick_training(model):
        assert not any("forward" in vars(layer) for layer in model.sublayers())
