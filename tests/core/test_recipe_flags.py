"""The recipes' flags: what is refused, and which of them make another training."""

from types import SimpleNamespace

import pytest

from core.recipe_flags import RecipeArguments, changed, check_ngram_labels, for_fingerprint, recipe_problems
from utils import UsageError

ARGS = {"do_train": True, "metric_for_best_model": "macro_f1", "to_static": False, "sharding": ""}


def problems(args=None, **flags):
    return recipe_problems(RecipeArguments(**flags), SimpleNamespace(**{**ARGS, **(args or {})}))


def test_what_is_fine():
    assert problems() == [] == problems({"do_train": False})
    every = {
        "rdrop_alpha": 4.0,
        "adversarial": "fgm",
        "adversarial_epsilon": 0.5,
        "multi_sample_dropout": 5,
        "label_smoothing": 0.1,
        "layerwise_lr_decay": 0.9,
        "head_learning_rate": 1e-3,
        "ema_decay": 0.999,
        "pooling": "mean",
        "class_weight": "balanced",
        "ngram_features": True,
    }
    assert problems(**every) == [] and changed(RecipeArguments(**every)) == every
    assert problems({"metric_for_best_model": "eval_macro_recall"}, logit_adjustment=True) == []


@pytest.mark.parametrize(
    "flags, args, problem",
    [
        ({"rdrop_alpha": -1.0}, {}, "--rdrop_alpha -1.0: must be at least 0 and finite"),
        ({"rdrop_alpha": float("nan")}, {}, "--rdrop_alpha nan"),
        ({"adversarial": "pgd"}, {}, "--adversarial pgd: not known; use none or fgm"),
        ({"adversarial": "fgm", "adversarial_epsilon": 0.0}, {}, "--adversarial_epsilon 0.0: must be above 0"),
        ({"adversarial_epsilon": 1.0}, {}, "does nothing without --adversarial fgm"),
        ({"multi_sample_dropout": 0}, {}, "--multi_sample_dropout 0: must be from 1 to 64"),
        ({"label_smoothing": 1.0}, {}, "--label_smoothing 1.0: must be at least 0 and below 1"),
        ({"layerwise_lr_decay": 0.0}, {}, "--layerwise_lr_decay 0.0: must be above 0 and at most 1"),
        ({"head_learning_rate": 0.0}, {}, "--head_learning_rate 0.0: must be above 0"),
        ({"ema_decay": 1.0}, {}, "--ema_decay 1.0: must be at least 0 and below 1"),
        ({"pooling": "max"}, {}, "--pooling max: not known; use cls or mean"),
        ({"class_weight": "sqrt"}, {}, "--class_weight sqrt: not known; use none or balanced"),
        (
            {"logit_adjustment": True},
            {"metric_for_best_model": "accuracy"},
            "give --metric_for_best_model macro_f1 or",
        ),
        ({"logit_adjustment": True}, {"metric_for_best_model": None}, "and loss does not ask for rare classes"),
        ({"logit_adjustment": True, "class_weight": "balanced"}, {}, "mend the same twice"),
        ({"multi_sample_dropout": 2}, {"to_static": True}, "--to_static True; leave out one of them"),
        ({"ema_decay": 0.9}, {"sharding": "stage1"}, "leave out --sharding"),
        ({"label_smoothing": 0.1}, {"do_train": False}, "--label_smoothing: for a training; add --do_train"),
        ({"ngram_features": True}, {"to_static": True}, "--ngram_features does not work with --to_static True"),
        ({"ngram_features": True}, {"do_train": False}, "the model says itself what it reads"),
        ({"pooling": "cls"}, {"do_train": False}, "the model says itself what it reads"),
    ],
)
def test_what_is_refused(flags, args, problem):
    (message,) = problems(args, **flags)
    assert problem in message


def test_flags_at_their_defaults_leave_the_fingerprint_alone():
    """Trainings of before there were these flags have none of them, and are not foreign."""
    assert for_fingerprint(RecipeArguments(), "cls") == {}
    assert for_fingerprint(RecipeArguments(pooling="cls", rdrop_alpha=0.0, multi_sample_dropout=1), "cls") == {}
    assert for_fingerprint(RecipeArguments(pooling="cls"), "mean") == {}
    assert for_fingerprint(RecipeArguments(), "mean") == {"pooling": "mean"}
    assert for_fingerprint(RecipeArguments(pooling="mean", ema_decay=0.9), "cls") == {
        "pooling": "mean",
        "ema_decay": 0.9,
    }
    assert for_fingerprint(RecipeArguments(ngram_features=True), "cls") == {"ngram_features": True}
    assert for_fingerprint(RecipeArguments(), "cls", trained_ngrams=True) == {"ngram_features": True}
    assert for_fingerprint(RecipeArguments(ngram_features=False), "cls", trained_ngrams=True) == {}
    given, default = (RecipeArguments(adversarial="fgm", adversarial_epsilon=value) for value in (1.0, None))
    assert (
        for_fingerprint(given, "cls")
        == for_fingerprint(default, "cls")
        == {"adversarial": "fgm", "adversarial_epsilon": 1.0}
    )


def test_ngrams_of_many_labels():
    check_ngram_labels(["a"] * 1000)
    with pytest.raises(
        UsageError, match="--ngram_features: 1001 labels; .* more than 1000; give --ngram_features False"
    ):
        check_ngram_labels(["a"] * 1001)
