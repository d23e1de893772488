"""PaddleNLP's flags, and the checks of flags that scripts share, without importing paddle, which takes seconds."""

import argparse
import ast
import dataclasses
import difflib
import enum
import functools
import importlib.metadata
import importlib.util
import json
import math
import os
import sys
import typing
from fractions import Fraction
from pathlib import Path

from core.cpu import paddle_version
from utils import UsageError

# Names that --metric_for_best_model may have, with or without eval_ before them.
METRIC_NAMES = ("accuracy", "macro_precision", "macro_recall", "macro_f1", "loss")

# Compression strategies that give a usable model on this stack.
SUPPORTED_STRATEGIES = ("dynabert", "dynabert+ptq", "ptq", "distill")

# Parts of strategies that PaddleNLP names and that give none here, with the reason.
REFUSED_STRATEGIES = {
    "qat": "the INT8 graph that the library exports after it scores lower than was logged, is slower than float32 on "
    "a CPU, and cannot be loaded by Taskflow",
    "embeddings": "the library's quantisation of embeddings fails with this Paddle",
}

# Who makes the widths of --strategy dynabert: core/compress.py, or PaddleSlim as PaddleNLP documents it.
PRUNERS = ("builtin", "paddleslim")

# ------------------------------------------------------------------------------------------------------------ parsing


def load_module(name, path):
    """Import a file, once, under a name of its own: more than one folder has a utils.py and a train.py."""
    if getattr(sys.modules.get(name), "__file__", None) == str(path):
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


# Where PaddleNLP declares its arguments; each class is a subclass of TrainingArguments.
ARGUMENT_FILES = {
    "CompressionArguments": "trainer/compression_args.py",
    "PromptTuningArguments": "prompt/prompt_args.py",
}


def load_argument_classes(name="CompressionArguments"):
    """Give PaddleNLP's argument parser and one of its classes of arguments without importing PaddleNLP.

    Importing them the usual way imports paddle: 4 to 10 seconds before `--help` or a typing error is answered.
    Their fields are plain declarations, so they are read from the installed source files; checks that need paddle
    (`__post_init__`) are left out and run later, when the real class is made.

    Args:
        name (str): of ARGUMENT_FILES.

    Returns:
        tuple[type, type]: PdArgumentParser and a dataclass with the fields of that class.

    Raises:
        UsageError: paddlenlp is not installed.
    """
    spec = importlib.util.find_spec("paddlenlp")
    if spec is None:
        raise UsageError("paddlenlp is not installed; run: pip install -r requirements.txt")
    folder = Path(spec.submodule_search_locations[0])
    parser_module = load_module("_paddlenlp_argparser", folder / "trainer" / "argparser.py")
    return parser_module.PdArgumentParser, _declared_class(folder, name)


@functools.cache  # a third of a second
def _declared_class(folder, name):
    """One of ARGUMENT_FILES' classes, from PaddleNLP's folder."""
    namespace = {name: getattr(typing, name) for name in ("Any", "Dict", "List", "Optional", "Union")}
    namespace.update(dataclass=dataclasses.dataclass, field=dataclasses.field, Enum=enum.Enum, __name__=__name__)
    for file in ("trainer/trainer_utils.py", "trainer/training_args.py", ARGUMENT_FILES[name]):
        tree = ast.parse((folder / file).read_text(encoding="utf-8"), str(folder / file))
        wanted = [node for node in tree.body if isinstance(node, ast.ClassDef) and _is_declaration(node)]
        exec(compile(ast.Module(wanted, []), str(folder / file), "exec"), namespace)
    return namespace[name]


def _is_declaration(node):
    """Keep enums as they are and argument classes reduced to their fields."""
    if node.name == "TrainingArguments" or node.name in ARGUMENT_FILES:
        node.body = [item for item in node.body if isinstance(item, ast.AnnAssign)]
        return True
    return node.name == "ExplicitEnum" or any(getattr(base, "id", None) == "ExplicitEnum" for base in node.bases)


# Where our defaults are not the library's: output_dir is required there, and its dynabert+ptq does not run.
DEFAULTS = {"output_dir": "checkpoint", "strategy": "dynabert"}


def parse_arguments(parser_class, classes, argv, description, defaults=DEFAULTS):
    """Parse `argv` into one object a class; `defaults` replace those of the classes' fields.

    Raises:
        UsageError: an unknown flag, a missing or malformed value; no list in a notebook, which has flags of its own.
    """
    if argv is None:
        refuse_notebook_flags()

    class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
        pass

    parser = parser_class(classes, description=description, formatter_class=HelpFormatter, allow_abbrev=False)
    flags = []
    for action in parser._actions:
        flags += action.option_strings
        if action.dest in defaults:
            action.required, action.default = False, defaults[action.dest]

    def fail(message):
        raise UsageError(f"{message}; see --help")

    parser.error = fail
    *objects, unknown = parser.parse_args_into_dataclasses(argv, return_remaining_strings=True)
    if unknown:
        close = difflib.get_close_matches(unknown[0].split("=")[0], flags, n=1)
        hint = f"did you mean {close[0]}?" if close else "see --help"
        raise UsageError(f"unknown argument {unknown[0]}; {hint}")
    return objects


def parse_argv(parser, argv):
    """What a script's own parser makes of main()'s list, or of the command line where that is None.

    Args:
        parser (argparse.ArgumentParser): the script's.
        argv (list[str] | None): flags and values.

    Returns:
        argparse.Namespace: the flags.

    Raises:
        UsageError: None in a notebook, with the flags that a list has to have.
    """
    if argv is None:
        actions = [action for action in parser._actions if action.option_strings and action.dest != "help"]
        wanted = [action for action in actions if action.required] or actions[:1]
        refuse_notebook_flags(
            [part for action in wanted for part in (action.option_strings[0], *["…"] * (action.nargs != 0))]
        )
    return parser.parse_args(argv)


def refuse_notebook_flags(example=("--do_train", "--output_dir", "checkpoint")):
    """Raise UsageError, with an example of a list, where sys.argv is a notebook kernel's, not a user's."""
    program, *flags = sys.argv
    if "ipykernel" in program or any(Path(flag).match("kernel-*.json") for flag in flags):
        raise UsageError(
            "main() without a list reads the command line, which in a notebook is the kernel's own; pass the flags as "
            f"a list: main({json.dumps(list(example), ensure_ascii=False)})"
        )


# ------------------------------------------------------------------------------------------------------------- checks


def at_least(args, **least):
    """What is wrong with numbers that may not be below a limit.

    Args:
        args: an object with the flags.
        **least (int): flag=limit; a flag that is None was not given.

    Returns:
        list[str]: a message a flag.
    """
    values = {name: getattr(args, name) for name in least}
    return [
        f"--{name} {value}: must be at least {least[name]}"
        for name, value in values.items()
        if value is not None and value < least[name]
    ]


def boolean(text):
    """The type of an argparse flag that takes True or False."""
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text}: give True or False")
    return text.lower() == "true"


def training_problems(data_args, args):
    """What is wrong with the flags that every training has.

    Args:
        data_args: with early_stopping and early_stopping_patience.
        args: PaddleNLP's TrainingArguments, or their fields.

    Returns:
        list[str]: messages.
    """
    problems = []
    metric = args.metric_for_best_model
    if metric is not None and metric.replace("eval_", "", 1) not in METRIC_NAMES:
        problems.append(f"--metric_for_best_model {metric}: not known; use one of {', '.join(METRIC_NAMES)}")
    if data_args.early_stopping and not args.load_best_model_at_end:
        problems.append("--early_stopping True needs --load_best_model_at_end, which finds the best model")
    evaluation_strategy, save_strategy = plain(args.evaluation_strategy), plain(args.save_strategy)
    if evaluation_strategy == "no" and args.do_eval:
        evaluation_strategy = "steps"  # the library's own rule
    if args.load_best_model_at_end and evaluation_strategy != save_strategy:
        problems.append(
            "--load_best_model_at_end needs --evaluation_strategy and --save_strategy to be the same, not "
            f"{evaluation_strategy} and {save_strategy}; give both, for example epoch"
        )
    if plain(args.optim) != "adamw":
        problems.append("--optim: this PaddleNLP only has adamw")
    if args.to_static and paddle_version().startswith("3."):
        problems.append("--to_static True: PaddleNLP 2.8.1 cannot compile a training with Paddle 3; leave it out")
    problems += at_least(data_args, early_stopping_patience=1)
    problems += unusable_flags(args)
    batches = {"per_device_train_batch_size": 1, "per_device_eval_batch_size": 1, "gradient_accumulation_steps": 1}
    problems += at_least(args, **batches, logging_steps=1, save_steps=1, eval_steps=0, eval_accumulation_steps=1)
    problems += at_least(args, dataloader_num_workers=0, weight_decay=0, warmup_steps=0)
    for name in ("learning_rate", "num_train_epochs"):
        if not 0 < getattr(args, name) < math.inf:
            problems.append(f"--{name} {getattr(args, name)}: must be above 0 and finite")
    return problems


# What --report_to may name, and the packages of which it needs one.
REPORTS = {"visualdl": ("visualdl",), "tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",)}


def unusable_flags(args):
    """Flags of the library that would end in a traceback, or be ignored, in these scripts.

    Args:
        args: PaddleNLP's TrainingArguments, or their fields.

    Returns:
        list[str]: messages.
    """
    problems = []
    if not 0 <= args.seed < 2**32:
        problems.append(f"--seed {args.seed}: must be from 0 to {2**32 - 1}")
    if args.prediction_loss_only:
        problems.append("--prediction_loss_only: an evaluation here always has predictions; leave it out")
    if args.label_names and list(args.label_names) != ["labels"]:
        problems.append(f"--label_names {' '.join(args.label_names)}: the classes are called labels; leave it out")
    reports = args.report_to if isinstance(args.report_to, list) else [args.report_to or "none"]
    for name in reports:
        if name not in REPORTS and reports not in (["all"], ["none"]):
            problems.append(f"--report_to {name}: not known; use none, all, or some of {', '.join(REPORTS)}")
        elif name in REPORTS and not any(map(importlib.util.find_spec, REPORTS[name])):
            problems.append(f"--report_to {name}: not installed; run: pip install {REPORTS[name][0]}, or leave it out")
    for name in ("adam_beta1", "adam_beta2"):
        if not 0 <= getattr(args, name) < 1:
            problems.append(f"--{name} {getattr(args, name)}: must be at least 0 and below 1")
    if args.lr_scheduler_type == "polynomial" and not args.lr_end < args.learning_rate:
        problems.append(f"--lr_end {args.lr_end}: must be below --learning_rate, {args.learning_rate}")
    if args.past_index >= 0:
        problems.append(f"--past_index {args.past_index}: these models have no past; leave it out")
    if args.minimum_eval_times and not args.eval_steps:
        problems.append("--minimum_eval_times lowers --eval_steps; give that, and --evaluation_strategy steps")
    metric = (args.metric_for_best_model or "loss").replace("eval_", "", 1)
    if args.greater_is_better is not None and args.greater_is_better == (metric == "loss"):
        best = "lowest" if metric == "loss" else "highest"
        problems.append(f"--greater_is_better {args.greater_is_better}: the best {metric} is the {best}; leave it out")
    if args.hybrid_parallel_topo_order not in (None, "pp_first", "sharding_first"):
        problems.append(f"--hybrid_parallel_topo_order {args.hybrid_parallel_topo_order}: pp_first or sharding_first")
    return problems + parallel_problems(args)


def parallel_problems(args):
    """What is wrong with the flags by which several processes share one model, instead of the data.

    Args:
        args: PaddleNLP's TrainingArguments, or their fields.

    Returns:
        list[str]: messages.
    """
    problems = []
    for name in ("tensor_parallel_degree", "pipeline_parallel_degree", "sep_parallel_degree"):
        if getattr(args, name) > 1:
            problems.append(
                f"--{name} {getattr(args, name)}: the library cannot cut these models into pieces, and each fits on a "
                "card; leave it out: the processes of paddle.distributed.launch share the data"
            )
    if int(os.environ.get("PADDLE_TRAINERS_NUM", "1")) == 1:
        several = {name: getattr(args, name, -1) for name in ("sharding_parallel_degree", "sharding_degree")}
        several = {"sharding": args.sharding, **{name: value for name, value in several.items() if value > 1}}
        several.update(enable_auto_parallel=args.enable_auto_parallel, local_rank=args.local_rank + 1)
        for name, given in several.items():
            if given:
                problems.append(
                    f"--{name} {getattr(args, name)}: is for several processes, and this is one; start them with "
                    "python -m paddle.distributed.launch, or leave it out"
                )
    return problems


def plain(value):
    """An enum's value, or the string that argparse left."""
    return getattr(value, "value", value)


def uses_dev(args):
    """True when this run evaluates: on request, during training, or for compression."""
    return args.do_eval or args.do_compress or plain(args.evaluation_strategy) != "no"


def check_widths(width_mult_list, num_heads):
    """Refuse a width that leaves a fraction of an attention head.

    Args:
        width_mult_list (list[str]): such as 3/4 or 0.75.
        num_heads (int): attention heads of the full model.

    Returns:
        list[str]: the widths as fractions in lowest terms, which PaddleNLP's own evaluation of them takes.

    Raises:
        UsageError: naming the widths that are possible.
    """
    widths = []
    for text in width_mult_list:
        try:
            width = Fraction(text)
        except (ValueError, ZeroDivisionError):
            width = Fraction(0)
        if not 0 < width <= 1 or (width * num_heads).denominator != 1:
            possible = " ".join(str(Fraction(heads, num_heads)) for heads in range(1, num_heads + 1))
            raise UsageError(f"--width_mult_list {text}: the model has {num_heads} heads; use some of: {possible}")
        widths.append(str(width))
    return widths


def pruner_problems(pruner, args):
    """What is wrong with --pruner.

    Args:
        pruner (str): its value.
        args: PaddleNLP's CompressionArguments, or their fields.

    Returns:
        list[str]: messages.
    """
    if pruner not in PRUNERS:
        return [f"--pruner {pruner}: not known; use one of {', '.join(PRUNERS)}"]
    if pruner == "builtin":
        return []
    problems, flag = [], f"--pruner {pruner}"
    if not args.do_compress:
        problems.append(f"{flag}: has a part in compression only; add --do_compress")
    elif "dynabert" not in args.strategy:
        problems.append(f"{flag}: --strategy {args.strategy} prunes nothing; leave one of the two out")
    for name, given in {
        "--gradient_accumulation_steps": args.gradient_accumulation_steps > 1,
        "--fp16": args.fp16,
        "--bf16": args.bf16,
    }.items():
        if given:
            problems.append(f"{flag}: the library's pruning would ignore {name}; leave it out")
    if paddle_version().startswith("3."):
        problems.append(f"{flag}: PaddleSlim 2.6.0 is made for Paddle 2; leave it out")
    return problems


def require_packages(what, *names, requirements="analysis/requirements.txt"):
    """Raise UsageError where optional packages are missing: before the work, not after it.

    Args:
        what (str): the script or flag that needs them.
        names (str): of the packages, as pip knows them.
        requirements (str): the file that has them.
    """
    missing = []
    for name in names:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        raise UsageError(f"{what} needs {', '.join(missing)}, not installed here; run: pip install -r {requirements}")


def require_onnx(types):
    """Raise UsageError when a format other than paddle is asked for and its libraries are not installed."""
    if set(types) - {"paddle"}:
        require_packages("ONNX", "paddle2onnx", "onnx", "onnxruntime", requirements="deploy/requirements.txt")
