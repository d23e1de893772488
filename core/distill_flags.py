"""The flags of --strategy distill, and what is wrong with them; nothing here needs paddle."""

import math
import re
from pathlib import Path

STRATEGY = "distill"


def distills(args):
    """Whether a run makes a student; args: PaddleNLP's CompressionArguments, or their fields."""
    return bool(args.do_compress and args.strategy == STRATEGY)


def student_layers(student):
    """The number of layers that --student layers:4 asks for, or None."""
    match = re.fullmatch(r"layers:([1-9][0-9]{0,2})", student)
    return int(match[1]) if match else None


def student_folder(output_dir, student):
    """Where a student goes: distill_ngram or distill_layers_4 in output_dir."""
    return Path(output_dir) / f"distill_{student.replace(':', '_')}"


def distill_problems(flags, args):
    """What is wrong with --student, --made_texts and --cascade_loss.

    Args:
        flags (ModelArguments): as parsed.
        args: PaddleNLP's CompressionArguments, or their fields.

    Returns:
        list[str]: messages.
    """
    problems = []
    if flags.student != "ngram" and not student_layers(flags.student):
        problems.append(f"--student {flags.student}: not known; use ngram, or layers:4 for four of the model's layers")
    if not 0 <= flags.cascade_loss < math.inf:
        problems.append(f"--cascade_loss {flags.cascade_loss}: points of accuracy; must be at least 0")
    if not 0 <= flags.made_texts < math.inf:
        problems.append(f"--made_texts {flags.made_texts}: texts made for each text that is there; must be at least 0")
    changed = [
        name
        for name in ("student", "made_texts", "cascade_loss")
        if getattr(flags, name) != type(flags).__dataclass_fields__[name].default
    ]
    if distills(args) and "made_texts" in changed and flags.student != "ngram":
        problems.append("--made_texts: has a part in --student ngram only; leave it out")
    if not distills(args):
        for name in changed:
            problems.append(f"--{name}: has a part in --do_compress --strategy {STRATEGY} only; add that")
    elif args.width_mult_list:
        problems.append(f"--width_mult_list: --strategy {STRATEGY} prunes nothing; leave one of the two out")
    return problems
