"""What makes training quicker on a CPU, switched on in one place; see core/quick_layers.py and core/quick_adamw.py."""

import contextlib

import paddle
from paddlenlp.transformers import LinearDecayWithWarmup

from core import quick_adamw, quick_layers


def can_be_quick():
    """Whether this is a Paddle and a device that it was made and measured for; elsewhere nothing is changed."""
    return paddle.get_device() == "cpu" and paddle.__version__.startswith("2.")


@contextlib.contextmanager
def quick_training(model, wanted=True):
    """Let a model train quickly for a while; its weights, gradients and states are what and where they were.

    Args:
        model (paddle.nn.Layer): its TransformerEncoderLayers are; all else in it stays as it is.
        wanted (bool): False changes nothing.
    """
    layers = quick_layers.make_quick(model) if wanted and can_be_quick() else []
    try:
        yield
    finally:
        quick_layers.make_plain(layers)


def quick_optimizer(optimizer):
    """The same optimizer, which makes its steps quickly where it is a plain AdamW."""
    return quick_adamw.make_quick(optimizer) if can_be_quick() else optimizer


def adamw(parameters, learning_rate, steps, warmup_share=0.0, weight_decay=0.01):
    """AdamW for what the Trainer does not train: weight decay on matrices alone, gradients cut to norm 1.

    Args:
        parameters (Iterable): parameters that are trained.
        learning_rate (float): its highest value; it rises over warmup_share of the steps, then falls to 0.
        steps (int): of the whole training.
        warmup_share (float): from 0 to 1.
        weight_decay (float): of matrices; biases and LayerNorms have none.

    Returns:
        tuple: the optimizer and its schedule, whose step() follows the optimizer's.
    """
    schedule = LinearDecayWithWarmup(learning_rate, steps, warmup_share)
    parameters = list(parameters)
    decayed = {parameter.name for parameter in parameters if parameter.ndim > 1}
    optimizer = paddle.optimizer.AdamW(
        schedule,
        parameters=parameters,
        weight_decay=weight_decay,
        apply_decay_param_fun=decayed.__contains__,
        grad_clip=paddle.nn.ClipGradByGlobalNorm(1.0),
    )
    return quick_optimizer(optimizer), schedule
