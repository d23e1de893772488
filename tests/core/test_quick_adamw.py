"""core/quick_adamw.py: AdamW's steps, cutting and states against Paddle's own."""

import numpy as np
import paddle
import pytest
from paddle.nn import ClipGradByGlobalNorm, ClipGradByValue

from core.quick_adamw import QuickAdamW, QuickClip, make_quick


def make_model():
    paddle.seed(4)
    model = paddle.nn.Sequential(paddle.nn.Embedding(50, 8), paddle.nn.Linear(8, 9), paddle.nn.Linear(9, 3))
    model[1].weight.optimize_attr["learning_rate"] = 0.5  # as layerwise decay does it
    return model


def make_optimizer(model, clip=1.0, weight_decay=0.0, schedule=None):
    decayed = {parameter.name for parameter in model.parameters() if parameter.ndim > 1}
    return paddle.optimizer.AdamW(
        schedule or 1e-2,
        parameters=model.parameters(),
        weight_decay=weight_decay,
        apply_decay_param_fun=decayed.__contains__,
        grad_clip=ClipGradByGlobalNorm(clip) if isinstance(clip, float) else clip,
    )


def steps(model, optimizer, seeds=range(6)):
    for seed in seeds:
        ids = paddle.to_tensor(np.random.default_rng(seed).integers(0, 40, [4, 6]))
        (model(ids) ** 2).sum().backward()
        optimizer.step()
        optimizer.clear_grad()


def states(model, optimizer):
    """A model's weights and an optimizer's numbers, in the order of the parameters."""
    numbers = {name: value for name, value in optimizer.state_dict().items() if isinstance(value, paddle.Tensor)}
    return [*(weight.numpy() for weight in model.parameters()), *(value.numpy() for value in numbers.values())]


@pytest.mark.parametrize("clip", [0.01, 1e6, None, ClipGradByValue(0.01)])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_steps_are_paddles(clip, weight_decay):
    models = make_model(), make_model()
    optimizers = make_optimizer(models[0], clip, weight_decay), make_optimizer(models[1], clip, weight_decay)
    assert type(make_quick(optimizers[1])) is QuickAdamW
    for pair in zip(models, optimizers):
        steps(*pair)
    plain, own = (states(*pair) for pair in zip(models, optimizers))
    assert len(plain) == len(own) == 5 * 5
    for value, given in zip(own, plain):
        np.testing.assert_allclose(value, given, rtol=1e-5, atol=2e-7)


def test_a_loaded_state_goes_on_bit_for_bit():
    model = make_model()
    optimizer = make_quick(make_optimizer(model, weight_decay=0.1))
    with paddle.utils.unique_name.guard():  # the states' names are counted by process
        steps(model, optimizer, range(3))
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    numbers = {name: value.clone() for name, value in optimizer.state_dict().items()}
    steps(model, optimizer, range(3, 6))
    expected = states(model, optimizer)
    model.set_state_dict(weights)
    again = make_quick(make_optimizer(model, weight_decay=0.1))
    again.set_state_dict(numbers)
    with paddle.utils.unique_name.guard():
        steps(model, again, range(3, 6))
    assert all(np.array_equal(*pair) for pair in zip(states(model, again), expected))


def test_parameters_without_a_gradient_stay():
    model = make_model()
    model[1].weight.stop_gradient = True
    optimizer, before = make_quick(make_optimizer(model)), [weight.numpy() for weight in model.parameters()]
    steps(model, optimizer, [1])
    moved = [not np.array_equal(old, new.numpy()) for old, new in zip(before, model.parameters())]
    assert moved == [True, False, True, True, True]


def test_a_gradient_within_the_limit_is_not_touched():
    weight = paddle.create_parameter([3], "float32")
    for value, expected in ((0.1, 0.1), (4.0, 1 / 3**0.5), (float("nan"), float("nan"))):
        gradient = paddle.full([3], value)
        assert QuickClip(1.0)([(weight, gradient)])[0][1] is gradient
        np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-6)


def test_what_it_was_not_made_for_stays():
    model = make_model()
    other = paddle.optimizer.Adam(1e-3, parameters=model.parameters())
    assert type(make_quick(other)) is paddle.optimizer.Adam

    class Own(ClipGradByGlobalNorm):
        pass

    assert type(make_quick(make_optimizer(model, Own(1.0)))._grad_clip) is Own


def test_groups_of_parameters_are_left_to_paddle():
    models, results = (make_model(), make_model()), []
    for model, is_quick in zip(models, (False, True)):
        groups = [
            {"params": [model[0].weight], "learning_rate": 0.1},
            {"params": [*model[1].parameters(), *model[2].parameters()]},
        ]
        optimizer = paddle.optimizer.AdamW(1e-2, parameters=groups)
        steps(model, make_quick(optimizer) if is_quick else optimizer)
        results.append([weight.numpy() for weight in model.parameters()])
    for value, given in zip(*results):
        assert np.array_equal(value, given)
