"""A classifier that answers texts of several windows (core/long_texts.py) in training and evaluation.

A batch with such texts has input_ids [texts, windows, tokens], empty windows being all padding: the model then reads
the windows, and gives one row of logits a text. A batch without them is the plain model's matter.
"""

import contextlib
import functools

import paddle
from paddlenlp.utils.log import logger

from core.long_texts import KEY

# Windows that are run together in an evaluation.
EVAL_WINDOWS = 64


class Windows:
    """Mixed into a classifier: see the top of this file."""

    rows_at_once = None

    def forward(self, input_ids=None, **options):
        if input_ids is None or input_ids.ndim != 3:
            return self.window_forward(input_ids, **options)
        texts, windows, tokens = input_ids.shape
        is_there = (input_ids != self.config.pad_token_id).any(axis=-1)
        rows = paddle.nonzero(is_there.reshape([-1])).reshape([-1])
        flat = {"input_ids": input_ids, **{name: value for name, value in options.items() if value is not None}}
        flat = {name: paddle.gather(value.reshape([-1, tokens]), rows) for name, value in flat.items()}
        step = self.rows_at_once or len(rows)
        parts = [
            self.window_forward(**{name: value[start : start + step] for name, value in flat.items()})
            for start in range(0, len(rows), step)
        ]
        logits = (parts[0] if len(parts) == 1 else paddle.concat(parts)).astype("float32")
        place = (paddle.cumsum(is_there.reshape([-1]).astype("int64")) - 1).clip(min=0)
        logits = paddle.gather(logits, place).reshape([texts, windows, -1])
        is_there = is_there.unsqueeze(-1)
        if getattr(self.config, KEY)["pooling"] == "max":
            return paddle.where(is_there, logits, paddle.full_like(logits, -1e30)).max(axis=1)
        is_there = is_there.astype("float32")
        return (logits * is_there).sum(axis=1) / is_there.sum(axis=1)


@functools.cache
def windows_class(model_class):
    content = {"window_forward": model_class.forward, "__module__": model_class.__module__, "of_a_window": model_class}
    # For core.loading.uses_token_types, which asks for the names of the inputs.
    content["plain_forward"] = getattr(model_class, "plain_forward", model_class.forward)
    return type(model_class)(model_class.__name__, (Windows, model_class), content)


def set_long_text(model, facts):
    """Let a classifier read long texts so; its config.json will say it.

    Args:
        model (PretrainedModel): a classifier as core.loading.load_model gives it; changed in place.
        facts (dict | None): see core.long_text_flags.long_text_facts; where its pooling is None, it is mean until
            choose_pooling has looked at dev.

    Returns:
        PretrainedModel: the same.
    """
    if facts is None:
        if getattr(model.config, KEY, None) is not None:
            delattr(model.config, KEY)
        return model
    if facts["way"] == "windows":
        facts = {**facts, "pooling": facts["pooling"] or "mean"}
        if not isinstance(model, Windows):
            model.__class__ = windows_class(type(model))
    setattr(model.config, KEY, facts)
    return model


@contextlib.contextmanager
def one_window(model):
    """The plain classifier, of one window, for a while: that is what a graph is made of."""
    own = type(model)
    if isinstance(model, Windows):
        model.__class__ = own.of_a_window
    try:
        yield model
    finally:
        model.__class__ = own


@contextlib.contextmanager
def few_at_once(model):
    """Let an evaluation run EVAL_WINDOWS windows at a time, however many its texts have."""
    is_long = isinstance(model, Windows)
    if is_long:
        vars(model)["rows_at_once"] = EVAL_WINDOWS
    try:
        yield
    finally:
        if is_long:
            del vars(model)["rows_at_once"]


def choose_pooling(trainer):
    """Pool the windows as is better on dev by --metric_for_best_model, else accuracy; of equals, by the mean.

    Args:
        trainer (ClassificationTrainer): trained; all processes call this.

    Returns:
        dict: window_pooling, for the results; empty without dev.
    """
    dev, facts = trainer.eval_dataset, getattr(trainer.model.config, KEY)
    if dev is None:
        logger.info("The windows of a text are pooled by their mean: there is no dev data in this run to choose by")
        return {}
    metric = (trainer.args.metric_for_best_model or "accuracy").replace("eval_", "", 1)
    scores = {}
    for pooling in ("mean", "max"):
        facts["pooling"] = pooling
        scores[pooling] = trainer.predict(dev).metrics[f"test_{metric}"]
    sign = -1 if metric == "loss" else 1
    facts["pooling"] = best = max(scores, key=lambda pooling: sign * scores[pooling])
    told = ", ".join(f"{pooling} {score:.4f}" for pooling, score in scores.items())
    logger.info(
        f"The windows of a text are pooled by their {best}, which is best on dev ({metric}: {told}). They were "
        "trained by their mean: where what decides stands in one place of a text, try --window_pooling max"
    )
    return {"window_pooling": best}
