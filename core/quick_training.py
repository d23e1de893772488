"""What makes training quicker on a CPU, switched on in one place; see core/quick_layers.py and core/quick_adamw.py."""

import contextlib

import paddle

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
