"""core/quick_layers.py: an encoder layer's training step against Paddle's own, and when it is left to Paddle."""

import copy
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from paddle.nn import functional as F

from core import quick_layers

BATCH, TOKENS, HIDDEN = 3, 5, 16


def make_layer(dropout=0.0, **options):
    paddle.seed(3)
    options = {"attn_dropout": dropout, "act_dropout": 0, "activation": "gelu", **options}
    layer = paddle.nn.TransformerEncoderLayer(HIDDEN, 2, 32, dropout=dropout, **options)
    for parameter in layer.parameters():  # LayerNorms and biases that are not 1 and 0
        parameter.set_value(parameter + 0.1 * paddle.randn(parameter.shape))
    layer.train()
    return layer


def make_inputs(seed=5):
    random = np.random.default_rng(seed)
    states = paddle.to_tensor(random.normal(size=[BATCH, TOKENS, HIDDEN]).astype("float32"), stop_gradient=False)
    mask = np.zeros([BATCH, 1, 1, TOKENS], "float32")
    mask[0, :, :, 3:] = -1e4
    return states, paddle.to_tensor(mask)


def run(layer, mask=True):
    """The output, and the gradients of the input and of each parameter."""
    states, given = make_inputs()
    out = layer(states, given if mask else None)
    (out * paddle.to_tensor(np.random.default_rng(7).normal(size=out.shape).astype("float32"))).sum().backward()
    return [out.numpy(), states.grad.numpy(), *(parameter.grad.numpy() for parameter in layer.parameters())]


def quick(layer):
    assert len(quick_layers.make_quick(paddle.nn.LayerList([layer]))) == 1
    return layer


@pytest.fixture
def refuses(monkeypatch):
    """Let the quick way fail the test."""

    def fail(*args):
        raise AssertionError("was not left to Paddle")

    monkeypatch.setattr(quick_layers._Layer, "apply", fail)


@pytest.mark.parametrize("mask", [True, False])
def test_output_and_gradients_are_paddles(mask):
    layer = make_layer()
    for own, given in zip(run(quick(copy.deepcopy(layer)), mask), run(layer, mask)):
        np.testing.assert_allclose(own, given, rtol=2e-5, atol=2e-5)


def test_gradients_with_dropout_are_paddles_of_the_same_masks(monkeypatch):
    layer, masks, draw = make_layer(0.3), [], quick_layers.keep_mask

    def noted(*args):
        masks.append(draw(*args))
        return masks[-1]

    monkeypatch.setattr(quick_layers, "keep_mask", noted)
    own = run(quick(copy.deepcopy(layer)))
    assert [mask.shape for mask in masks] == [(BATCH, 2, TOKENS, TOKENS), *[(BATCH * TOKENS, HIDDEN)] * 2]
    assert all(0 < (mask == 0).mean() < 0.6 for mask in masks)

    def dropout(x, p=0.5, **options):
        return x * paddle.to_tensor(masks.pop(0)).reshape(x.shape) if p else x

    monkeypatch.setattr(F, "dropout", dropout)
    for value, given in zip(own, run(layer)):
        np.testing.assert_allclose(value, given, rtol=2e-5, atol=2e-5)
    assert not masks


class FirstToken(paddle.nn.Layer):
    """A classifier with a config, as make_quick asks for: it reads the first token, or the mean."""

    def __init__(self, mean=False, dropout=0.0):
        super().__init__()
        self.config, self.mean = SimpleNamespace(pad_token_id=0, num_labels=2), mean
        self.words, self.head = paddle.nn.Embedding(9, HIDDEN), paddle.nn.Linear(HIDDEN, 2)
        self.layers = paddle.nn.LayerList([make_layer(dropout), make_layer(dropout)])

    def forward(self, ids):
        states = self.words(ids)
        for layer in self.layers:
            states = layer(states)
        return self.head(states.mean(axis=1) if self.mean else states[:, 0])


IDS = paddle.to_tensor([[1, 2, 3, 4], [5, 6, 7, 0], [8, 1, 0, 0]])


@pytest.fixture
def firsts(monkeypatch):
    """Whether each call of the quick way computes the first token alone."""
    found, apply = [], quick_layers._Layer.apply

    def noted(*args):
        found.append(args[3])
        return apply(*args)

    monkeypatch.setattr(quick_layers._Layer, "apply", noted)
    return found


def gradients(model):
    (model(IDS) * paddle.to_tensor([[1.0, 2.0], [-1.0, 3.0], [0.5, 0.0]])).sum().backward()
    return [parameter.grad.numpy() for parameter in model.parameters()]


def test_of_the_last_layer_the_first_token_alone_is_computed(firsts):
    model = FirstToken()
    plain = gradients(copy.deepcopy(model))
    quick_layers.make_quick(model)
    for own, given in zip(gradients(model), plain):
        np.testing.assert_allclose(own, given, rtol=2e-5, atol=2e-5)
    assert firsts == [False, True]
    assert model.training


def test_dropout_of_the_first_token_alone(firsts):
    model = FirstToken(dropout=0.3)
    quick_layers.make_quick(model)
    answers = []
    for seed in (1, 1, 2):
        paddle.seed(seed)
        answers.append(model(IDS).numpy())
    assert np.array_equal(answers[0], answers[1])
    assert not np.array_equal(answers[0], answers[2])
    assert set(firsts) == {False, True}


def test_all_tokens_are_computed_for_a_mean_and_for_a_listener(firsts):
    model = FirstToken(mean=True)
    quick_layers.make_quick(model)
    gradients(model)
    model = FirstToken()
    quick_layers.make_quick(model)
    states = []
    model.layers[-1].register_forward_post_hook(lambda layer, inputs, output: states.append(output))
    gradients(model)
    assert firsts == [False] * 4
    assert states[0].numpy()[:, 1:].any()


def test_dropout_depends_on_paddles_seed_alone():
    layer = quick(make_layer(0.3))
    outputs = []
    for seed in (1, 1, 2):
        paddle.seed(seed)
        outputs.append([run(layer)[0], run(layer)[0]])
    assert np.array_equal(outputs[0], outputs[1])
    assert not np.array_equal(outputs[0], outputs[2])
    assert not np.array_equal(outputs[0][0], outputs[0][1])


def test_a_mask_drops_its_share_and_keeps_the_mean():
    mask = quick_layers.keep_mask(np.random.SFC64(1), [1000, 999], 0.1)
    assert mask.dtype == np.float32
    assert set(np.unique(mask)) == {np.float32(0), np.float32(1 / 0.9)}
    assert abs((mask == 0).mean() - 0.1) < 0.002
    assert np.abs((mask == 0).mean(axis=0) - 0.1).max() < 0.06
    assert np.array_equal(mask, quick_layers.keep_mask(np.random.SFC64(1), [1000, 999], 0.1))
    assert not np.array_equal(mask, quick_layers.keep_mask(np.random.SFC64(2), [1000, 999], 0.1))
    assert quick_layers.keep_mask(np.random.SFC64(1), [3], 0.0) is None


def test_two_steps_add_up_their_gradients():
    layer = quick(make_layer())
    once = run(layer)[2:]
    for first, both in zip(once, run(layer)[2:]):
        np.testing.assert_allclose(both, 2 * first, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "options", [{"normalize_before": True}, {"activation": "relu"}, {"act_dropout": 0.1}, {"bias_attr": False}]
)
def test_other_layers_are_left_to_paddle(options, refuses):
    layer = make_layer(**options)
    expected = copy.deepcopy(layer)
    paddle.seed(1)
    value = quick(layer)(*make_inputs())
    paddle.seed(1)
    assert np.array_equal(value.numpy(), expected(*make_inputs()).numpy())


def test_what_is_no_plain_training_step_is_left_to_paddle(refuses, monkeypatch):
    layer, (states, mask) = quick(make_layer()), make_inputs()
    with paddle.no_grad():
        layer(states, mask)
    with monkeypatch.context() as patch:  # as --bf16 has it, which not every processor can
        level = SimpleNamespace(_amp_level=quick_layers.paddle_core.AmpLevel.O1)
        patch.setattr(quick_layers, "_dygraph_tracer", lambda: level)
        layer(states, mask)
    assert len(layer(states, mask, cache=layer.gen_cache(states))) == 2
    layer(states.detach(), mask)
    layer.eval()
    layer(states, mask)
    layer.train()
    hook = layer.linear1.register_forward_post_hook(lambda layer, inputs, output: None)
    layer(states, mask)
    hook.remove()
    layer.linear1.weight.stop_gradient = True
    layer(states, mask)
    layer.linear1.weight.stop_gradient = False
    with pytest.raises(AssertionError, match="was not left"):
        layer(states, mask)


def test_make_plain_takes_it_back(refuses):
    layer = make_layer()
    model = paddle.nn.LayerList([layer])
    layers = quick_layers.make_quick(model)
    assert layers == [layer]
    assert quick_layers.make_quick(model) == []  # twice is once
    quick_layers.make_plain(layers)
    layer(*make_inputs())


def test_a_view_is_the_tensors_own_memory():
    tensor = paddle.ones([2, 3])
    quick_layers.view(tensor)[1] = 5
    assert tensor.numpy().tolist() == [[1, 1, 1], [5, 5, 5]]
