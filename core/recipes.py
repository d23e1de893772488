"""What the flags of core/recipe_flags.py do in a training: losses, adversarial steps, rates, averages, the bias.

core.trainer.ClassificationTrainer calls it; without a recipe it trains as PaddleNLP does. All that is random is drawn
from Paddle's generator, which core.trainer.seed_dropout sets before each step.
"""

import contextlib
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import paddle
from paddle.nn import functional as F
from paddlenlp.trainer import TrainerCallback
from paddlenlp.utils.log import logger

from core.heads import final_linear
from core.processes import take_first
from core.recipe_flags import BALANCED_METRICS
from utils import UsageError

# In a checkpoint, beside the averaged weights of --ema_decay: those that the training goes on from. By its name it is
# one of the optimizer's files, which go when the training is finished (core.checkpoints.OPTIMIZER_FILE).
RAW_WEIGHTS_FILE = "optimizer_raw_weights.pdparams"

# Strengths of the logit adjustment that are tried on dev; 1 is the theory's.
TAUS = np.linspace(0.0, 2.0, 41)


class Recipe:
    """What a training does beside plain cross entropy.

    Args:
        flags (RecipeArguments): checked.
        label_ids: of the training data, int [samples].
        num_labels (int): classes.
    """

    def __init__(self, flags, label_ids, num_labels):
        self.flags = flags
        self.counts = np.bincount(np.asarray(label_ids), minlength=num_labels)
        self.weights = None
        if flags.class_weight == "balanced":
            self.weights = paddle.to_tensor(balanced_weights(self.counts), "float32")

    def check(self, model):
        """Refuse a model on which a flag would do nothing.

        Raises:
            UsageError: naming the flag.
        """
        if self.flags.adversarial != "none":
            word_embeddings(model)
        if self.flags.layerwise_lr_decay != 1:
            number_of_layers(model)
        if self.flags.multi_sample_dropout > 1 and not head_dropouts(model):
            raise UsageError(
                f"--multi_sample_dropout: {type(model).__name__} has no dropout in front of its classifier (for most "
                "kinds, classifier_dropout or hidden_dropout_prob in config.json); leave it out"
            )
        dropouts = [layer for layer in model.sublayers() if isinstance(layer, paddle.nn.Dropout)]
        attentions = [layer for layer in model.sublayers() if isinstance(layer, paddle.nn.MultiHeadAttention)]
        shares = [layer.p for layer in dropouts] + [layer.dropout for layer in attentions]
        if self.flags.rdrop_alpha and not any(shares):
            raise UsageError("--rdrop_alpha: this model has no dropout, so its two answers are one; leave it out")

    @contextlib.contextmanager
    def applied(self, model, learning_rate):
        """Change a model for the time of its training: the parameters' rates, the classifier's dropout."""
        parameters = model.parameters()
        old_rates = [parameter.optimize_attr["learning_rate"] for parameter in parameters]
        for parameter, rate in zip(parameters, self.rates(model, learning_rate).values()):
            parameter.optimize_attr["learning_rate"] = rate
        samples = self.flags.multi_sample_dropout
        try:
            with sampled_head(model, samples) if samples > 1 else contextlib.nullcontext():
                yield
        finally:  # a pruning in the same run has an optimizer of its own
            for parameter, rate in zip(parameters, old_rates):
                parameter.optimize_attr["learning_rate"] = rate

    def rates(self, model, learning_rate):
        """Each parameter's share of the learning rate: dict by name, in the order of the model's parameters."""
        names = [name for name, _ in model.named_parameters()]
        decay, own = self.flags.layerwise_lr_decay, self.flags.head_learning_rate
        layers = number_of_layers(model) if decay != 1 else 0
        shares = {}
        for name in names:
            if is_head(model, name):
                shares[name] = own / learning_rate if own else 1.0
            else:
                shares[name] = decay ** (layers + 1 - depth(name, layers)) if decay != 1 else 1.0
        return shares

    def loss(self, model, inputs, labels):
        """The loss of a training step.

        Args:
            model: in training mode; maybe wrapped for several processes, whose gradients want one call a step.
            inputs (dict): tensors [batch, tokens].
            labels: class ids [batch] or [batch, 1].

        Returns:
            tuple: the loss, and logits [batch, classes].
        """
        copies, samples = (2 if self.flags.rdrop_alpha else 1), self.flags.multi_sample_dropout
        labels = labels.reshape([-1])
        if copies > 1:
            inputs = {name: paddle.concat([value, value]) for name, value in inputs.items()}
        logits = model(**inputs).astype("float32")
        groups = logits.reshape([samples, copies, len(labels), -1])
        loss = cross_entropy(logits, labels.tile([samples * copies]), self.flags.label_smoothing, self.weights)
        if copies > 1:
            loss = loss + self.flags.rdrop_alpha * symmetric_kl(groups[:, 0], groups[:, 1])
        return loss, groups[0, 0]


# ------------------------------------------------------------------------------------------------------------- losses


def cross_entropy(logits, labels, smoothing=0.0, weights=None):
    """Mean cross entropy against (1 - smoothing) on the label and smoothing / classes on each class.

    Args:
        logits: float [samples, classes].
        labels: class ids [samples].
        smoothing (float): from 0 to below 1.
        weights: float [classes], or None. The sum is divided by the number of samples, not by that of their weights,
            which would differ from batch to batch.
    """
    log_p = F.log_softmax(logits, axis=-1)
    losses = -paddle.take_along_axis(log_p, labels.unsqueeze(-1), axis=-1).squeeze(-1)
    if smoothing:
        losses = (1 - smoothing) * losses - smoothing * log_p.mean(axis=-1)
    if weights is not None:
        losses = losses * paddle.gather(weights, labels)
    return losses.mean()


def symmetric_kl(one, other):
    """R-Drop's term (arXiv 2106.14448, eq. 2): half of KL(p|q) + KL(q|p), the mean over samples.

    Args:
        one, other: logits [..., classes].
    """
    log_p, log_q = F.log_softmax(one, axis=-1), F.log_softmax(other, axis=-1)
    # KL(p|q) + KL(q|p) = sum (p - q)(log p - log q)
    return 0.5 * ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(axis=-1).mean()


def balanced_weights(counts):
    """Weights by which all classes count alike, 1 for the average text: samples / (classes * count).

    A class without a text has no part: the others' weights are as if it was not there.
    """
    present = counts > 0
    return np.where(present, counts.sum() / (present.sum() * np.maximum(counts, 1)), 1.0)


# ------------------------------------------------------------------------------------------------ dropout, embeddings


@contextlib.contextmanager
def sampled_head(model, samples):
    """Let a model in training mode run its head several times on one run of its encoder (arXiv 1905.09788).

    Its forward then gives logits [samples * batch, classes]: all of the first dropout mask, then of the second, ….
    """
    plain, encoder = model.forward, model.base_model

    def forward(*args, **options):
        if not model.training:
            return plain(*args, **options)
        encode, kept = encoder.forward, []

        def once(*args, **options):
            if not kept:
                kept.append(encode(*args, **options))
            return kept[0]

        vars(encoder)["forward"] = once
        try:
            return paddle.concat([plain(*args, **options) for _ in range(samples)])
        finally:
            del vars(encoder)["forward"]  # the class's is there again

    # Not by an assignment: PaddleNLP's models wrap a forward that they are given in one that adds an argument.
    vars(model)["forward"] = forward
    try:
        yield
    finally:
        del vars(model)["forward"]


def head_dropouts(model):
    """The dropout layers between a model's encoder and its answer, those that are used (TinyBERT's is not)."""
    inside, used = {id(layer) for layer in model.base_model.sublayers()}, []
    layers = [layer for layer in model.sublayers() if isinstance(layer, paddle.nn.Dropout) and id(layer) not in inside]
    hooks = [layer.register_forward_pre_hook(lambda layer, inputs: used.append(layer)) for layer in layers]
    model.eval()
    with paddle.no_grad():
        model(paddle.full([1, 3], model.config.pad_token_id + 1, "int64"))
    for hook in hooks:
        hook.remove()
    return [layer for layer in used if layer.p > 0]


def word_embeddings(model):
    """The weight of a model's word embeddings.

    Raises:
        UsageError: it has none that can be found.
    """
    layer = getattr(getattr(model.base_model, "embeddings", None), "word_embeddings", None)  # ERNIE-M, DistilBERT
    with contextlib.suppress(NotImplementedError):
        layer = model.base_model.get_input_embeddings()
    if not isinstance(layer, paddle.nn.Embedding):
        raise UsageError(f"--adversarial fgm: {type(model).__name__} has no word embeddings to be found; leave it out")
    return layer.weight


@contextlib.contextmanager
def moved(weight, gradient, norm):
    """Move a weight along its gradient for a while (arXiv 1605.07725, eq. 6), then put back exactly what it was.

    Args:
        weight: a parameter.
        gradient: of its shape; where it is 0 or not finite nothing moves.
        norm (float): of the move.

    Yields:
        bool: whether it was moved.
    """
    length = float(paddle.linalg.norm(gradient.astype("float32")))
    if not 0 < length < float("inf"):
        yield False
        return
    kept = weight.detach().clone()
    with paddle.no_grad():
        paddle.assign(weight + (gradient.astype("float32") * (norm / length)).astype(weight.dtype), weight)
    try:
        yield True
    finally:
        with paddle.no_grad():
            paddle.assign(kept, weight)


def adversarial_step(step, weight, norm):
    """Learn from a batch as it is, then from its word embeddings moved against it; the gradients add up.

    Args:
        step (Callable): forward and backward of the batch; gives its loss.
        weight: the word embeddings.
        norm (float): of the move.

    Returns:
        The loss of the batch as it is.
    """
    # With gradient accumulation there may be one already, which is not this batch's.
    before = None if weight.grad is None else weight.grad.clone()
    weight.clear_gradient(False)
    loss = step()
    gradient = weight.grad.clone()
    if before is not None:
        # All processes join the sum at the next backward, which follows.
        paddle.assign(gradient + before, weight.grad)
    with moved(weight, gradient, norm) as is_moved:
        if is_moved:
            step()
    return loss


# -------------------------------------------------------------------------------------------------------------- rates


def is_head(model, name):
    """Whether a parameter is above the last layer: the pooler's, or the classifier's."""
    prefix = f"{model.base_model_prefix}."
    return not name.startswith(prefix) or name.startswith(f"{prefix}pooler")


def layer_number(name):
    """The number of the layer that a parameter is in, or None."""
    match = re.search(r"\.layers?\.(\d+)\.", name)
    return int(match[1]) if match else None


def number_of_layers(model):
    """How many layers an encoder has whose weights are their own.

    Raises:
        UsageError: all share theirs, as ALBERT's do.
    """
    numbers = [layer_number(name) for name, _ in model.named_parameters() if not is_head(model, name)]
    numbers = [number for number in numbers if number is not None]
    if not numbers:
        raise UsageError(
            f"--layerwise_lr_decay: {type(model).__name__} has no layers with weights of their own; leave it out"
        )
    return max(numbers) + 1


def depth(name, layers):
    """How far above the input a parameter of the encoder is: 0 embeddings, 1 the first layer, …, `layers` the last."""
    number = layer_number(name)
    if number is not None:
        return number + 1
    return 0 if "embedding" in name or "relative" in name else layers


# ----------------------------------------------------------------------------------------------------------- averages


class WeightAverages(TrainerCallback):
    """A running average of the weights, which the model holds whenever no step is under way.

    So all that looks at the model, an evaluation, a checkpoint, the best model, the end, sees the average; the raw
    weights come back when a step begins. With t steps done the average keeps min(decay, (1 + t) / (10 + t)) of itself:
    without that, a short training would end near where it began.
    """

    def __init__(self, decay):
        self.decay, self.parameters, self.raw, self.average = decay, [], [], []

    def begin(self, model, checkpoint=None):
        """Start from the model's weights, or go on from a checkpoint, whose average the model has already."""
        self.parameters = [parameter for parameter in model.parameters() if not parameter.stop_gradient]
        self.average = [parameter.detach().astype("float32").clone() for parameter in self.parameters]
        self.raw = [parameter.detach().clone() for parameter in self.parameters]
        path = Path(checkpoint or "", RAW_WEIGHTS_FILE)
        if checkpoint is None:
            return
        if path.is_file():
            stored = paddle.load(str(path), return_numpy=True)
            names = [name for name, parameter in model.named_parameters() if not parameter.stop_gradient]
            for name, raw in zip(names, self.raw):
                paddle.assign(paddle.to_tensor(stored[name], raw.dtype), raw)
        take_first(self.raw)  # as with the model's own weights

    def on_step_begin(self, args, state, control, **kwargs):
        self.put(self.raw)

    def on_step_end(self, args, state, control, **kwargs):
        step = state.global_step
        self.update(min(self.decay, (1 + step) / (10 + step)))
        self.put(self.average)

    @paddle.no_grad()
    def update(self, kept):
        """Take the raw weights from the model and into the average, which keeps the share `kept` of itself."""
        for parameter, raw, average in zip(self.parameters, self.raw, self.average):
            paddle.assign(parameter, raw)
            paddle.assign(average * kept + raw.astype("float32") * (1 - kept), average)

    @paddle.no_grad()
    def put(self, values):
        """Give the model these weights."""
        for parameter, value in zip(self.parameters, values):
            paddle.assign(value.astype(parameter.dtype), parameter)

    def save(self, model, folder):
        """Write the raw weights into a checkpoint."""
        names = [name for name, parameter in model.named_parameters() if not parameter.stop_gradient]
        paddle.save({name: raw.numpy() for name, raw in zip(names, self.raw)}, str(Path(folder, RAW_WEIGHTS_FILE)))

    def on_train_end(self, args, state, control, **kwargs):
        self.parameters, self.raw, self.average = [], [], []


# --------------------------------------------------------------------------------------------------- logit adjustment


def adjust_logits(trainer):
    """Lower the classifier's bias by tau * log(share of the class in train) (arXiv 2007.07314, eq. 9).

    tau is what is best on dev by --metric_for_best_model; of equals, the smallest. 0 changes nothing.

    Args:
        trainer (ClassificationTrainer): trained; all processes call this.

    Returns:
        dict: logit_adjustment_tau, for the results.
    """
    counts, dev = trainer.recipe.counts, trainer.eval_dataset
    metric = trainer.args.metric_for_best_model.replace("eval_", "", 1)
    output = trainer.predict(dev)
    log_prior = np.log(np.maximum(counts, 1) / counts.sum())
    tau, scores = choose_tau(output.predictions, output.label_ids, log_prior, trainer.compute_metrics, metric)
    bias = final_linear(trainer.model, len(counts)).bias
    bias.set_value((bias.numpy().astype("float64") - tau * log_prior).astype(bias.numpy().dtype))
    told = ", ".join(f"{name} {scores[0][name]:.4f} -> {scores[1][name]:.4f}" for name in (metric, "accuracy"))
    logger.info(f"Logit adjustment: tau {tau:.2f} is best on dev ({told}); it is in the saved classifier's bias")
    return {"logit_adjustment_tau": tau}


def choose_tau(logits, label_ids, log_prior, compute_metrics, metric):
    """The strength that is best by a metric.

    Args:
        logits (np.ndarray): [samples, classes].
        label_ids (np.ndarray): class ids [samples] or [samples, 1].
        log_prior (np.ndarray): [classes].
        compute_metrics (Callable): of predictions and label_ids.
        metric (str): of BALANCED_METRICS.

    Returns:
        tuple[float, tuple[dict, dict]]: tau, and the metrics before and after.
    """
    assert metric in BALANCED_METRICS
    scores = [
        compute_metrics(SimpleNamespace(predictions=logits - tau * log_prior, label_ids=label_ids)) for tau in TAUS
    ]
    best = int(np.argmax([score[metric] for score in scores]))
    return float(TAUS[best]), (scores[0], scores[best])
