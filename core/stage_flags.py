"""The flags of what train.py does around a fine-tuning, and what is wrong with them; nothing here needs paddle.

Three stages, each off by default: a masked-language training before it, rounds of pseudo-labels after it, and several
seeds that are distilled into one model.
"""

import math
import os
from dataclasses import dataclass, field, fields
from typing import Optional

from core.distill_flags import distills


@dataclass
class StageArguments:
    """What a training may do before and after the fine-tuning; each is off by default, and needs --do_train."""

    do_pretrain: bool = field(
        default=False,
        metadata={
            "help": "First train the encoder to predict masked words of train and of --unlabelled_path; the result is "
            "<output_dir>/pretrained, and fine-tuning starts from it. For models of every family, with [MASK] in the "
            "vocabulary."
        },
    )
    unlabelled_path: Optional[str] = field(
        default=None,
        metadata={
            "help": "Texts without labels, one a line; None means data.txt of --data_dir where train_path is in that "
            "folder too and the file is there."
        },
    )
    pretrain_epochs: int = field(default=2, metadata={"help": "Passes of --do_pretrain over the texts."})
    pretrain_learning_rate: float = field(default=2e-4, metadata={"help": "Highest learning rate of --do_pretrain."})
    mlm_probability: float = field(default=0.15, metadata={"help": "Share of a text's tokens that are masked."})
    pseudo_labels: bool = field(
        default=False,
        metadata={
            "help": "After the fine-tuning, train again on train and on those unlabelled texts of whose labels the "
            "model is sure."
        },
    )
    pseudo_rounds: int = field(default=2, metadata={"help": "Times that this is done, each with the newest model."})
    pseudo_confidence: float = field(
        default=0.9, metadata={"help": "How sure the model must be of a text, by its probabilities calibrated on dev."}
    )
    pseudo_ratio: float = field(
        default=1.0,
        metadata={"help": "Texts that a class gets at most for each labelled one that it has, the surest first."},
    )
    num_teachers: int = field(
        default=0,
        metadata={
            "help": "Train this many models, with --seed and the seeds after it, and distil their mean into one of "
            "the same size; 0 or at least 2."
        },
    )
    distill_temperature: float = field(
        default=1.0, metadata={"help": "What teachers' and student's logits are divided by in the distillation."}
    )


# What switches a stage on -> the flags that have a part in it alone.
PARTS = {
    "do_pretrain": ("pretrain_epochs", "pretrain_learning_rate", "mlm_probability"),
    "pseudo_labels": ("pseudo_rounds", "pseudo_confidence", "pseudo_ratio"),
    "num_teachers": ("distill_temperature",),
}
SWITCHES = {
    "do_pretrain": "--do_pretrain",
    "pseudo_labels": "--pseudo_labels True",
    "num_teachers": "--num_teachers 3",
}


def stages(flags):
    """The switches of the stages that are asked for: list[str]."""
    return [name for name in PARTS if getattr(flags, name)]


def needs_dev(flags):
    """Whether a stage measures models on dev, and one of them calibrates on it."""
    return bool(flags.pseudo_labels or flags.num_teachers)


def stage_problems(flags, args):
    """What is wrong with the flags.

    Args:
        flags (StageArguments): as parsed.
        args: PaddleNLP's TrainingArguments, or their fields.

    Returns:
        list[str]: messages.
    """
    given = [item.name for item in fields(StageArguments) if getattr(flags, item.name) != item.default]
    if distills(args):
        given = [name for name in given if name != "unlabelled_path"]
    if not args.do_train:
        names = " ".join(f"--{name}" for name in given)
        more = "; an encoder alone is trained by data/build_encoder.py --mlm_texts" * flags.do_pretrain
        return [f"{names}: for a training; add --do_train, or leave it out{more}"] if given else []
    problems, asked = [], stages(flags)
    for stage, names in PARTS.items():
        idle = [f"--{name}" for name in names if name in given]
        if stage not in asked and idle:
            problems.append(f"{' '.join(idle)}: nothing without {SWITCHES[stage]}; add that, or leave it out")
    if flags.unlabelled_path and not asked and not distills(args):
        problems.append(f"--unlabelled_path: nothing reads it; add one of {', '.join(SWITCHES.values())}")
    ranges = {
        "pretrain_epochs": (lambda value: value >= 1, "at least 1"),
        "pretrain_learning_rate": (lambda value: 0 < value < math.inf, "above 0 and finite"),
        "mlm_probability": (lambda value: 0 < value < 1, "above 0 and below 1"),
        "pseudo_rounds": (lambda value: 1 <= value <= 20, "from 1 to 20"),
        "pseudo_confidence": (lambda value: 0 <= value < 1, "at least 0 and below 1"),
        "pseudo_ratio": (lambda value: 0 < value < math.inf, "above 0 and finite"),
        "num_teachers": (lambda value: value == 0 or 2 <= value <= 100, "0, or from 2 to 100"),
        "distill_temperature": (lambda value: 0 < value < math.inf, "above 0 and finite"),
    }
    for name, (fits, wanted) in ranges.items():
        if not fits(getattr(flags, name)):
            problems.append(f"--{name} {getattr(flags, name)}: must be {wanted}")
    return problems + combination_problems(flags, args)


def combination_problems(flags, args):
    """What does not go together: list[str]."""
    problems, asked = [], stages(flags)
    if flags.pseudo_labels and flags.num_teachers:
        problems.append(
            "--pseudo_labels True and --num_teachers: teachers answer the unlabelled texts already; give one of them"
        )
    if flags.num_teachers and args.seed + flags.num_teachers > 2**32:
        problems.append(f"--seed {args.seed}: leaves no seeds for {flags.num_teachers} teachers; give a smaller one")
    if asked and int(os.environ.get("PADDLE_NNODES", "1")) > 1:
        names = ", ".join(SWITCHES[name].split()[0] for name in asked)
        problems.append(
            f"{names}: on one machine only, since the processes share files in --output_dir; start train.py without "
            "--nnodes, or leave these flags out"
        )
    path = args.resume_from_checkpoint
    if needs_dev(flags) and path and path.lower() not in ("true", "false"):
        problems.append(
            f"--resume_from_checkpoint {path}: there are several trainings in --output_dir, each of which finds its "
            "own checkpoint; leave it out"
        )
    return problems
