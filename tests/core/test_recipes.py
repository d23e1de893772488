"""The parts of the recipes against their formulas, and what they leave behind."""

import copy
from types import SimpleNamespace

import numpy as np
import paddle
import pytest
from scipy.special import log_softmax, softmax

from core import families, heads, recipes
from core.recipe_flags import RecipeArguments
from core.trainer import compute_metrics, seed_dropout
from tests.core.foreign_models import tiny_classifier
from utils import UsageError

IDS = np.random.default_rng(0).integers(5, 60, (6, 12))
TRUTH = np.array([0, 1, 2, 2, 1, 2])


@pytest.fixture
def model():
    model = families.mask_padding(tiny_classifier("ernie", spread=0.1, num_hidden_layers=2))
    model.train()
    return model


def without_dropout(model):
    for layer in model.sublayers():
        if isinstance(layer, paddle.nn.Dropout):
            layer.p = 0.0
        elif isinstance(layer, paddle.nn.MultiHeadAttention):
            layer.dropout = 0.0
    return model


def loss_of(model, **flags):
    recipe = recipes.Recipe(RecipeArguments(**flags), TRUTH, 3)
    with recipe.applied(model, 1e-4):
        seed_dropout(1, 0, 0)
        loss, logits = recipe.loss(model, {"input_ids": paddle.to_tensor(IDS)}, paddle.to_tensor(TRUTH[:, None]))
    assert logits.shape == [6, 3]
    return loss


def logits_of(model, copies=1):
    """As the dropout of loss_of draws them: float64 [copies, 6, 3]."""
    seed_dropout(1, 0, 0)
    with paddle.no_grad():
        logits = model(paddle.to_tensor(np.concatenate([IDS] * copies)))
    return logits.numpy().astype("float64").reshape(copies, 6, 3)


def entropy(logits):
    return -log_softmax(logits, axis=-1)[np.arange(6), TRUTH]


# ------------------------------------------------------------------------------------------------------------- losses


def test_rdrop(model):
    one, other = logits_of(model, copies=2)
    p, q = softmax(one, axis=1), softmax(other, axis=1)
    kl = ((p * np.log(p / q)).sum(1) + (q * np.log(q / p)).sum(1)).mean() / 2
    assert kl > 1e-4
    plain = np.mean([entropy(one).mean(), entropy(other).mean()])
    assert float(loss_of(model, rdrop_alpha=3.0)) == pytest.approx(plain + 3 * kl, rel=1e-5)
    without_dropout(model)
    assert float(loss_of(model, rdrop_alpha=3.0)) == pytest.approx(entropy(logits_of(model)[0]).mean(), rel=1e-6)


def test_label_smoothing_and_class_weights(model):
    logits = logits_of(model)[0]
    target = np.full((6, 3), 0.3 / 3)
    target[np.arange(6), TRUTH] += 0.7
    losses = -(target * log_softmax(logits, axis=1)).sum(1)
    assert float(loss_of(model, label_smoothing=0.3)) == pytest.approx(losses.mean(), rel=1e-5)
    weights = np.array([6 / (3 * 1), 6 / (3 * 2), 6 / (3 * 3)])
    np.testing.assert_allclose(recipes.balanced_weights(np.array([1, 2, 3])), weights)
    np.testing.assert_allclose(recipes.balanced_weights(np.array([2, 0, 4])), [1.5, 1, 0.75])
    balanced = float(loss_of(model, class_weight="balanced"))
    assert balanced == pytest.approx((entropy(logits) * weights[TRUTH]).mean(), rel=1e-5)
    both = float(loss_of(model, class_weight="balanced", label_smoothing=0.3))
    assert both == pytest.approx((losses * weights[TRUTH]).mean(), rel=1e-5)


@pytest.mark.parametrize("family", ["ernie", "roberta", "distilbert"])
def test_multi_sample_dropout(family):
    """One run of the encoder, several of the head: p = 0 is plain, else the losses' mean over different masks."""
    model = families.mask_padding(tiny_classifier(family, spread=0.3))
    model.train()
    inside = {id(layer) for layer in model.base_model.sublayers()}
    head = [layer for layer in model.sublayers() if isinstance(layer, paddle.nn.Dropout) and id(layer) not in inside]
    calls = []
    hook = model.base_model.register_forward_post_hook(lambda layer, inputs, output: calls.append(output))
    with recipes.sampled_head(model, 4):
        logits = model(paddle.to_tensor(IDS)).reshape([4, 6, 3]).numpy()
        states = [output if family == "distilbert" else output[0] for output in calls]
        assert all(np.array_equal(states[0].numpy(), state.numpy()) for state in states)
        assert all(np.abs(logits[0] - other).max() > 1e-4 for other in logits[1:])
        model.eval()
        assert model(paddle.to_tensor(IDS)).shape == [6, 3]
        model.train()
    hook.remove()
    assert "forward" not in vars(model) and "forward" not in vars(model.base_model)
    for layer in head:
        layer.p = 0.0
    plain = loss_of(model)
    assert float(loss_of(model, multi_sample_dropout=4)) == pytest.approx(float(plain), rel=1e-6)
    both = loss_of(model, multi_sample_dropout=4, rdrop_alpha=2.0)
    assert float(both) == pytest.approx(float(loss_of(model, rdrop_alpha=2.0)), rel=1e-5)


# -------------------------------------------------------------------------------------------------------- adversarial


@pytest.mark.parametrize("family", families.FAMILIES)
def test_fgm_moves_as_far_as_asked_and_puts_back(family):
    model = families.mask_padding(tiny_classifier(family, spread=0.1))
    model.train()
    weight = recipes.word_embeddings(model)
    before, seen = weight.numpy(), []

    def step():
        seen.append(weight.numpy())
        seed_dropout(1, 0, 0)
        loss = paddle.nn.functional.cross_entropy(model(paddle.to_tensor(IDS)), paddle.to_tensor(TRUTH))
        loss.backward()
        seen.append(weight.grad.numpy())
        return float(loss)

    losses = [step()]
    gradient = seen.pop()
    model.clear_gradients()
    seen.clear()
    losses.append(recipes.adversarial_step(step, weight, 0.5))
    assert losses[0] == losses[1]  # the clean loss is reported
    assert len(seen) == 4
    move = seen[2].astype("float64") - before
    assert np.linalg.norm(move) == pytest.approx(0.5, rel=1e-4)
    np.testing.assert_allclose(move, 0.5 * gradient / np.linalg.norm(gradient), atol=1e-6)
    np.testing.assert_array_equal(weight.numpy(), before)
    np.testing.assert_array_equal(seen[0], before)
    assert np.abs(weight.grad.numpy() - gradient).max() > 0  # the second pass adds its own


def test_fgm_while_gradients_accumulate(model):
    """The move follows this batch's gradient alone; all that was there is kept."""
    weight = recipes.word_embeddings(model)

    def step():
        (weight * weight).sum().backward()

    (weight * 3.0).sum().backward()
    start, value = weight.grad.numpy(), weight.numpy().astype("float64")
    recipes.adversarial_step(step, weight, 0.25)
    gradient = 2 * value
    moved = 2 * (value + 0.25 * gradient / np.linalg.norm(gradient))
    np.testing.assert_allclose(weight.grad.numpy(), start + gradient + moved, atol=1e-5)


def test_nothing_moves_along_no_gradient(model):
    weight = recipes.word_embeddings(model)
    for value in (0.0, np.nan, np.inf):
        before = weight.numpy()
        with recipes.moved(weight, paddle.full_like(weight, value), 0.5) as is_moved:
            assert not is_moved and np.array_equal(weight.numpy(), before)


# -------------------------------------------------------------------------------------------------------------- rates


def test_layerwise_rates(model):
    recipe = recipes.Recipe(RecipeArguments(layerwise_lr_decay=0.5, head_learning_rate=3e-3), TRUTH, 3)
    shares = recipe.rates(model, 1e-3)
    wanted = {
        "ernie.embeddings.word_embeddings.weight": 1 / 8,
        "ernie.embeddings.layer_norm.bias": 1 / 8,
        "ernie.encoder.layers.0.self_attn.q_proj.weight": 1 / 4,
        "ernie.encoder.layers.1.norm2.weight": 1 / 2,
        "ernie.pooler.dense.weight": 3,
        "classifier.bias": 3,
    }
    assert {name: shares[name] for name in wanted} == pytest.approx(wanted)
    assert set(shares.values()) == set(wanted.values())
    for flags, head, body in (({}, 1, 1), ({"head_learning_rate": 2e-3}, 2, 1), ({"layerwise_lr_decay": 0.5}, 1, 0.5)):
        shares = recipes.Recipe(RecipeArguments(**flags), TRUTH, 3).rates(model, 1e-3)
        assert shares["classifier.weight"] == head and shares["ernie.encoder.layers.1.linear1.weight"] == body


@pytest.mark.parametrize("family", families.FAMILIES)
def test_rates_of_each_family(family):
    model = families.mask_padding(tiny_classifier(family, num_hidden_layers=2))
    recipe = recipes.Recipe(RecipeArguments(layerwise_lr_decay=0.5), TRUTH, 3)
    if family == "albert":
        with pytest.raises(UsageError, match="AlbertFor.* has no layers with weights of their own"):
            recipe.check(model)
        return
    recipe.check(model)
    shares = recipe.rates(model, 1e-3)
    assert set(shares.values()) == {1, 1 / 2, 1 / 4, 1 / 8}
    assert shares[next(name for name in shares if name.endswith("word_embeddings.weight"))] == 1 / 8
    assert list(shares) == [name for name, _ in model.named_parameters()]


def test_rates_act_in_the_optimizer_and_end_with_the_training(model):
    """One step of Adam moves each weight by its rate; a later optimizer knows nothing of it."""
    recipe = recipes.Recipe(RecipeArguments(layerwise_lr_decay=0.5, head_learning_rate=4e-3), TRUTH, 3)
    names = ("ernie.encoder.layers.0.linear1.bias", "ernie.encoder.layers.1.linear1.bias", "classifier.bias")

    def moves():
        optimizer = paddle.optimizer.AdamW(1e-3, parameters=model.parameters(), epsilon=1e-12, weight_decay=0.0)
        parameters = dict(model.named_parameters())
        before = {name: parameters[name].numpy() for name in names}
        logits = model(paddle.to_tensor(IDS))
        paddle.nn.functional.cross_entropy(logits, paddle.to_tensor(TRUTH)).backward()
        optimizer.step()
        optimizer.clear_grad()
        return [float(np.median(np.abs(parameters[name].numpy() - before[name]))) for name in names]

    with recipe.applied(model, 1e-3):
        assert moves() == pytest.approx([1e-3 / 4, 1e-3 / 2, 4e-3], rel=1e-2)
    assert moves() == pytest.approx([1e-3] * 3, rel=1e-2)


# ----------------------------------------------------------------------------------------------- averages, adjustment


def test_averages_by_hand(model, tmp_path):
    averages, state = recipes.WeightAverages(0.25), SimpleNamespace(global_step=0)
    parameter = dict(model.named_parameters())["classifier.weight"]
    raw = average = parameter.numpy().astype("float64")
    averages.begin(model)
    for step in range(1, 5):
        averages.on_step_begin(None, state, None)
        np.testing.assert_allclose(parameter.numpy(), raw, atol=1e-7)
        with paddle.no_grad():
            paddle.assign(parameter + 0.1 * step, parameter)  # what an optimizer does
        raw = parameter.numpy().astype("float64")
        state.global_step = step
        averages.on_step_end(None, state, None)
        kept = min(0.25, (1 + step) / (10 + step))
        average = kept * average + (1 - kept) * raw
        np.testing.assert_allclose(parameter.numpy(), average, atol=1e-6)
    averages.save(model, tmp_path)
    twin = copy.deepcopy(model)
    again = recipes.WeightAverages(0.25)
    again.begin(twin, tmp_path)
    for one, other in ((again.raw, averages.raw), (again.average, averages.average)):
        assert all(np.array_equal(a.numpy(), b.numpy()) for a, b in zip(one, other))


def test_tau_is_the_best_of_those_tried():
    """Logits that are the classes' frequencies and a little more: rare classes are found once that is taken off."""
    counts = np.array([90, 8, 2])
    log_prior = np.log(counts / counts.sum())
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], 30)
    logits = log_prior + 2.5 * np.eye(3)[truth] + rng.normal(size=(90, 3)) * 0.3
    tau, (before, after) = recipes.choose_tau(logits, truth[:, None], log_prior, compute_metrics, "macro_f1")
    assert after["macro_f1"] > before["macro_f1"] + 0.1
    scores = []
    for candidate in np.arange(41) / 20:
        predicted = SimpleNamespace(predictions=logits - candidate * log_prior, label_ids=truth)
        scores.append(compute_metrics(predicted)["macro_f1"])
    assert tau == pytest.approx(np.argmax(scores) / 20) and after["macro_f1"] == max(scores)
    perfect = recipes.choose_tau(20 * np.eye(3)[truth], truth, log_prior, compute_metrics, "macro_f1")
    assert perfect[0] == 0


# ---------------------------------------------------------------------------------------------------------- refusals


def test_models_on_which_a_flag_does_nothing(model):
    def check(model, **flags):
        recipes.Recipe(RecipeArguments(**flags), TRUTH, 3).check(model)

    check(model, rdrop_alpha=1.0, multi_sample_dropout=2, adversarial="fgm", layerwise_lr_decay=0.9)
    with pytest.raises(UsageError, match="--multi_sample_dropout: TinyBertFor.* has no dropout in front"):
        check(tiny_classifier("tinybert"), multi_sample_dropout=2)
    without_dropout(model)
    with pytest.raises(UsageError, match="--rdrop_alpha: this model has no dropout"):
        check(model, rdrop_alpha=1.0)
    with pytest.raises(UsageError, match="--multi_sample_dropout"):
        check(model, multi_sample_dropout=2)
    model.base_model.embeddings.word_embeddings = paddle.nn.Linear(2, 2)
    with pytest.raises(UsageError, match="--adversarial fgm: .* has no word embeddings to be found"):
        check(model, adversarial="fgm")


def test_mean_pooling_goes_with_the_others(model):
    heads.set_pooling(model, "mean")
    assert float(loss_of(model, rdrop_alpha=1.0, multi_sample_dropout=3, label_smoothing=0.1)) > 0
