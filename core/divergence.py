"""A training whose weights are no numbers any more is stopped: its model would give one label to every text."""

import math

import paddle
from paddlenlp.trainer import TrainerCallback

from utils import UsageError


class Diverged(UsageError):
    """Some of the weights are infinite or no number."""


@paddle.no_grad()
def has_numbers(model):
    """Whether all weights of a model are finite numbers; costs one pass over them."""
    sums = [parameter.astype("float32").sum() for parameter in model.parameters() if parameter.size]
    return not sums or math.isfinite(float(paddle.add_n(sums)))


class StopWhenDiverged(TrainerCallback):
    """Look at the weights before they are measured or saved, and where the loss is no number.

    The loss alone says nothing: in float16 single ones are infinite, and their steps are left out.
    """

    def __init__(self, trainer):
        self.trainer = trainer

    def check(self, args, state):
        """Raise Diverged."""
        if not has_numbers(self.trainer.model):
            raise Diverged(
                f"{args.output_dir}: the training has diverged: at step {state.global_step} some weights are no "
                "finite numbers, and nothing of that is saved; give a smaller --learning_rate than "
                f"{args.learning_rate:g}, or more --warmup_ratio. Checkpoints of before stay; --overwrite_output_dir "
                "starts over beside them"
            )

    def on_log(self, args, state, control, logs=None, **kwargs):
        if not math.isfinite((logs or {}).get("loss", 0.0)):
            self.check(args, state)

    def on_step_end(self, args, state, control, **kwargs):
        if control.should_evaluate or control.should_save:
            self.check(args, state)

    on_epoch_end = on_step_end

    def on_train_end(self, args, state, control, **kwargs):
        self.check(args, state)
