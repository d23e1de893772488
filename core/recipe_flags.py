"""The training recipes' flags, and what is wrong with them; nothing here needs paddle."""

import math
from dataclasses import dataclass, field, fields
from typing import Optional

from utils import UsageError

# Of --ngram_features, which has a number for each n-gram and label.
MAX_NGRAM_LABELS = 1000

# What --logit_adjustment can be chosen by: the other metrics do not ask for rare classes.
BALANCED_METRICS = ("macro_f1", "macro_recall")

# --recipe -> the flags that it sets, of RecipeArguments and core.stage_flags.StageArguments (core/named_recipes.py).
NAMED_RECIPES = {
    "plain": {},
    "strong": {"do_pretrain": True, "ngram_features": True, "pooling": "mean", "head_learning_rate": 1e-3},
}
# What they cost, as measured: tests/bench/README.md, 9.
COSTS = {
    "strong": "it takes 2.7 times as long as --recipe plain on 2,000 texts of KUAKE-QIC, less where more are labelled "
    "(tests/bench/README_en.md, 9)",
}


@dataclass
class RecipeArguments:
    """What a training may do beside plain cross entropy; each is off by default, and of use to --do_train alone."""

    recipe: Optional[str] = field(
        default=None,
        metadata={
            "help": "Sets several of these flags and of the stages' at once, which are printed when the training "
            "starts; what you give beside it wins. "
            + "; ".join(
                f"{name}: {' '.join(f'--{flag} {value}' for flag, value in values.items()) or 'none of them'}"
                for name, values in NAMED_RECIPES.items()
            )
            + "."
        },
    )
    rdrop_alpha: float = field(
        default=0.0,
        metadata={"help": "R-Drop: weight of the difference between two answers under dropout; 1 to 5 are usual."},
    )
    adversarial: str = field(
        default="none",
        metadata={"help": "fgm: each step learns from word embeddings moved against it too, at twice the time."},
    )
    adversarial_epsilon: Optional[float] = field(
        default=None, metadata={"help": "Norm of that move; None means 1.0. Needs --adversarial fgm."}
    )
    multi_sample_dropout: int = field(
        default=1, metadata={"help": "Dropout masks of the classifier in each step, whose losses are averaged."}
    )
    label_smoothing: float = field(
        default=0.0, metadata={"help": "Share of each label's probability given to all classes alike, such as 0.1."}
    )
    layerwise_lr_decay: float = field(
        default=1.0,
        metadata={"help": "Each layer learns at this share of the rate of the layer above it, such as 0.9."},
    )
    head_learning_rate: Optional[float] = field(
        default=None, metadata={"help": "Rate of the pooler and the classifier; None means --learning_rate."}
    )
    ema_decay: float = field(
        default=0.0,
        metadata={
            "help": "Evaluate, save and export a running average of the weights, which keeps this share of "
            "itself in each step, such as 0.999; less at the start."
        },
    )
    pooling: Optional[str] = field(
        default=None,
        metadata={
            "help": "What the classifier reads: cls, the first token, or mean, all of them; None means as the "
            "given model does, which is cls for a pretrained one."
        },
    )
    ngram_features: Optional[bool] = field(
        default=None,
        metadata={
            "help": "True: add a logistic regression on the training texts' tokens and pairs of tokens to the "
            "classifier, in the same graph; None means as the given model has it, which a pretrained one does not."
        },
    )
    class_weight: str = field(
        default="none",
        metadata={"help": "balanced: a text counts more the rarer its class is, so that all classes count alike."},
    )
    logit_adjustment: bool = field(
        default=False,
        metadata={
            "help": "Lower frequent classes' scores, as much as is best for --metric_for_best_model macro_f1 "
            "on dev; kept in the saved classifier's bias."
        },
    )


def changed(flags):
    """The flags that are not at their defaults: dict of values by name. --recipe itself changes nothing."""
    names = {item.name: item.default for item in fields(RecipeArguments) if item.name != "recipe"}
    return {name: getattr(flags, name) for name, default in names.items() if getattr(flags, name) != default}


def wants_ngrams(flags, trained_ngrams):
    """Whether a training fits n-gram features: as the flag says, else as the given model has them."""
    return trained_ngrams if flags.ngram_features is None else flags.ngram_features


def check_ngram_labels(labels):
    """Refuse n-gram features for too many labels.

    Raises:
        UsageError: naming how many are possible.
    """
    if len(labels) > MAX_NGRAM_LABELS:
        raise UsageError(
            f"--ngram_features: {len(labels)} labels; it has a number for each n-gram and label, which is too "
            f"much for more than {MAX_NGRAM_LABELS}; give --ngram_features False, or leave it out"
        )


def for_fingerprint(flags, trained_pooling, trained_ngrams=False):
    """What decides a training's result: the flags that change something. Old runs, without these flags, have none.

    Args:
        flags (RecipeArguments): the run's.
        trained_pooling (str): what the model that is started from reads.
        trained_ngrams (bool): whether it has n-gram features.
    """
    values = changed(flags)
    pooling = values.pop("pooling", None) or trained_pooling
    values.pop("ngram_features", None)
    if wants_ngrams(flags, trained_ngrams):
        values["ngram_features"] = True
    if flags.adversarial == "fgm":
        values["adversarial_epsilon"] = epsilon(flags)
    return values if pooling == "cls" else {**values, "pooling": pooling}


def epsilon(flags):
    """The norm of the adversarial move."""
    return 1.0 if flags.adversarial_epsilon is None else flags.adversarial_epsilon


def recipe_problems(flags, args, trained_ngrams=False):
    """What is wrong with the flags.

    Args:
        flags (RecipeArguments): as parsed.
        args: PaddleNLP's TrainingArguments, or their fields.
        trained_ngrams (bool): whether the model that is started from has n-gram features.

    Returns:
        list[str]: messages.
    """
    given = changed(flags)
    if not args.do_train:
        model = "; the model says itself what it reads" if given.keys() & {"pooling", "ngram_features"} else ""
        names = [f"--{name}" for name in [*["recipe"] * (flags.recipe is not None), *given]]
        return [f"{' '.join(names)}: for a training; add --do_train, or leave it out{model}"] if names else []
    problems = []
    choices = {"adversarial": ("none", "fgm"), "class_weight": ("none", "balanced"), "pooling": (None, "cls", "mean")}
    choices["recipe"] = (None, *NAMED_RECIPES)
    for name, allowed in choices.items():
        if getattr(flags, name) not in allowed:
            known = " or ".join(filter(None, allowed))
            problems.append(f"--{name} {getattr(flags, name)}: not known; use {known}")
    ranges = {
        "rdrop_alpha": (lambda value: 0 <= value < math.inf, "at least 0 and finite"),
        "adversarial_epsilon": (lambda value: 0 < value < math.inf, "above 0 and finite"),
        "multi_sample_dropout": (lambda value: 1 <= value <= 64, "from 1 to 64"),
        "label_smoothing": (lambda value: 0 <= value < 1, "at least 0 and below 1"),
        "layerwise_lr_decay": (lambda value: 0 < value <= 1, "above 0 and at most 1"),
        "head_learning_rate": (lambda value: 0 < value < math.inf, "above 0 and finite"),
        "ema_decay": (lambda value: 0 <= value < 1, "at least 0 and below 1"),
    }
    for name, (fits, wanted) in ranges.items():
        value = getattr(flags, name)
        if value is not None and not fits(value):
            problems.append(f"--{name} {value}: must be {wanted}")
    return problems + combination_problems(flags, args, trained_ngrams)


def combination_problems(flags, args, trained_ngrams):
    """What does not go together: list[str]."""
    problems = []
    if flags.adversarial_epsilon is not None and flags.adversarial == "none":
        problems.append("--adversarial_epsilon does nothing without --adversarial fgm; add that, or leave it out")
    metric = (args.metric_for_best_model or "loss").replace("eval_", "", 1)
    if flags.logit_adjustment and metric not in BALANCED_METRICS:
        problems.append(
            f"--logit_adjustment True is chosen by --metric_for_best_model, and {metric} does not ask for rare "
            f"classes; give --metric_for_best_model {' or '.join(BALANCED_METRICS)}"
        )
    if flags.logit_adjustment and flags.class_weight == "balanced":
        problems.append("--class_weight balanced and --logit_adjustment True mend the same twice; give one of them")
    if args.to_static and flags.multi_sample_dropout > 1:
        problems.append("--multi_sample_dropout does not work with --to_static True; leave out one of them")
    if args.to_static and wants_ngrams(flags, trained_ngrams):
        way = "leave out one of them" if flags.ngram_features else "the model has them: give --ngram_features False"
        problems.append(f"--ngram_features does not work with --to_static True; {way}")
    if args.sharding and (flags.ema_decay or flags.adversarial != "none"):
        problems.append("--ema_decay and --adversarial need whole weights in each process; leave out --sharding")
    return problems
