"""A training whose weights are no numbers any more ends with a message, and leaves no model behind."""

import paddle
import pytest

import train
from core.divergence import has_numbers
from tests.helpers import train_flags
from utils import UsageError


def test_one_number_is_enough():
    model = paddle.nn.Linear(3, 2)
    assert has_numbers(model) and has_numbers(paddle.nn.ReLU())
    for wrong in (float("nan"), float("inf"), -float("inf")):
        value = model.weight.numpy()
        value[1, 1] = wrong
        model.weight.set_value(value)
        assert not has_numbers(model)


@pytest.mark.parametrize(
    "more",
    [
        "",
        "--evaluation_strategy no --save_strategy no --load_best_model_at_end False --logging_steps 500",
        "--ema_decay 0.9 --adversarial fgm --rdrop_alpha 1 --ngram_features True",
        "--num_teachers 2",
    ],
    ids=["plain", "at the end", "recipes", "teachers"],
)
def test_it_stops(data_dir, tiny_model, tmp_path, more):
    """The model was saved and exported, with the accuracy of its first label."""
    out = tmp_path / "out"
    with pytest.raises(UsageError, match="the training has diverged: at step .*--learning_rate than 1e\\+30"):
        train.main(train_flags(data_dir, tiny_model, out, "--do_export", "--learning_rate", "1e30", *more.split()))
    assert not list(out.rglob("model_state.pdparams")) and not (out / "export").exists()


def test_what_was_saved_before_stays(data_dir, tiny_model, tmp_path, monkeypatch):
    """And a step that is left out, as in float16, is nothing to stop for."""
    from core.trainer import ClassificationTrainer

    step = ClassificationTrainer.training_step

    def break_weights(trainer, model, inputs):
        loss = step(trainer, model, inputs)
        if trainer.state.global_step == 2:
            return loss * float("nan")
        if trainer.state.global_step == 8:
            trainer.model.classifier.weight.set_value(trainer.model.classifier.weight * float("inf"))
        return loss

    monkeypatch.setattr(ClassificationTrainer, "training_step", break_weights)
    with pytest.raises(UsageError, match="at step (9|10) "):
        train.main(train_flags(data_dir, tiny_model, tmp_path / "out"))
    assert (tmp_path / "out" / "checkpoint-6" / "run.json").is_file()
    assert not (tmp_path / "out" / "model_state.pdparams").exists()
