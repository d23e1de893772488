"""What a classifier's head reads of a text, and the layer that it ends with.

PaddleNLP's heads read the state of the first token, through the encoder's pooler where it has one. With mean pooling
the same layers read the mean of all tokens' states instead, so weights keep their names and shapes.
"""

import functools

import paddle

from utils import UsageError

# In config.json: what the head reads, "mean"; where it is not there, the first token.
POOLING = "classifier_pooling"

# What config.json calls a classifier with mean pooling. PaddleNLP's own loading, Taskflow's too, finds no class by it
# and ends with an error: it would read the first token, and answer otherwise than the model was trained to.
MEAN_CLASS = "MeanPooledForSequenceClassification"


def masked_mean(states, input_ids, pad_token_id):
    """The mean of the token states without padding: [batch, hidden] from [batch, tokens, hidden]."""
    mask = (input_ids != pad_token_id).astype(states.dtype).unsqueeze(-1)
    return (states * mask).sum(axis=1) / mask.sum(axis=1)


class MeanPooling:
    """Mixed into an encoder: what is read of its first token is the mean of all tokens."""

    pools_mean = True

    def forward(self, *args, **options):
        input_ids = args[0] if args else options["input_ids"]
        outputs = self.states_forward(*args, **options)
        has_more = isinstance(outputs, (tuple, dict))  # ELECTRA and DistilBERT give the states alone
        states = outputs[0] if has_more else outputs
        mean = masked_mean(states, input_ids, self.config.pad_token_id).unsqueeze(1)
        return with_mean(self, outputs, mean) if has_more else mean


def with_mean(encoder, outputs, mean):
    """An encoder's outputs, with the mean in the place of the first token.

    Args:
        encoder: the encoder, with or without a pooler.
        outputs (tuple | ModelOutput): states, what the pooler made of them, and more.
        mean: [batch, 1, hidden].
    """
    pooler = getattr(encoder, "pooler", None)
    if pooler is None:
        name, place, value = "last_hidden_state", 0, mean
    elif isinstance(pooler, paddle.nn.Linear):  # ALBERT's
        name, place, value = "pooler_output", 1, encoder.pooler_activation(pooler(mean[:, 0]))
    else:
        name, place, value = "pooler_output", 1, pooler(mean)
    if isinstance(outputs, tuple):
        return (*outputs[:place], value, *outputs[place + 1 :])
    outputs[name] = value
    return outputs


@functools.cache
def mean_pooled_class(encoder_class):
    content = {"states_forward": encoder_class.forward, "__module__": encoder_class.__module__}
    # For core.loading.uses_token_types, which asks for the names of the inputs.
    content["plain_forward"] = getattr(encoder_class, "plain_forward", encoder_class.forward)
    return type(encoder_class)(encoder_class.__name__, (MeanPooling, encoder_class), content)


@functools.cache
def mean_class(model_class):
    return type(model_class)(MEAN_CLASS, (model_class,), {"__module__": model_class.__module__})


def set_pooling(model, pooling=None):
    """Let a classifier's head read the first token (cls) or the mean of all (mean); its config.json will say so.

    Args:
        model (PretrainedModel): a classifier as PaddleNLP built it; changed in place.
        pooling (str | None): cls or mean; None means what its config says.

    Returns:
        PretrainedModel: the same.
    """
    known = getattr(model.config, POOLING, None)
    pooling = pooling or known or "cls"
    if pooling == "mean":
        encoder = model.base_model
        encoder.__class__ = mean_pooled_class(type(encoder))
        model.__class__ = mean_class(type(model))
    if pooling == "mean" or known:
        setattr(model.config, POOLING, pooling)
    return model


def reads_all_tokens(model):
    """Whether a classifier's head reads more of the last layer than the first token, by its pooling."""
    return getattr(model.base_model, "pools_mean", False)


def final_linear(model, num_labels):
    """The last linear layer with an output a label, whose input are a text's features.

    Raises:
        UsageError: the model has none.
    """
    layers = [layer for layer in model.sublayers() if isinstance(layer, paddle.nn.Linear)]
    layers = [layer for layer in layers if layer.weight.shape[1] == num_labels]
    if not layers:
        raise UsageError(f"{type(model).__name__}: no linear layer with {num_labels} outputs")
    return layers[-1]
