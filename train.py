"""Train, evaluate, export, compress and use a text classifier: every text has exactly one of n >= 2 labels.

One card or CPU:
    python train.py --do_train --do_eval --do_export --model_name_or_path ernie-3.0-tiny-medium-v2-zh \\
        --output_dir checkpoint --device gpu --num_train_epochs 100 --early_stopping True --learning_rate 3e-5 \\
        --metric_for_best_model accuracy --load_best_model_at_end --evaluation_strategy epoch --save_strategy epoch \\
        --save_total_limit 1

Several cards:
    unset CUDA_VISIBLE_DEVICES; python -m paddle.distributed.launch --gpus 0,1 train.py --do_train …

Without a model hub: python data/build_encoder.py, then --model_name_or_path data/offline_encoder.
What a trained model gets wrong: python train.py --do_eval --debug True --model_name_or_path checkpoint
A model over a file of any format: python train.py --do_predict --test_path texts.csv --model_name_or_path checkpoint

--output_dir defaults to checkpoint for a training, and to the model's own directory for all else.
"""

import contextlib
import functools
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from core.any_file import read_any_examples
from core.arguments import (
    DEFAULTS,
    REFUSED_STRATEGIES,
    SUPPORTED_STRATEGIES,
    at_least,
    check_widths,
    load_argument_classes,
    parse_arguments,
    pruner_problems,
    require_onnx,
    require_packages,
    training_problems,
    uses_dev,
)
from core.checkpoints import (
    EXPORT_TYPES,
    check_export_target,
    read_model_config,
    run_fingerprint,
    starting_weights,
    trained_labels,
    trained_long_text,
    trained_max_length,
    trained_ngrams,
    trained_pooling,
    trained_separator,
)
from core.checks import check_batch, check_safetensors, check_writable, data_warnings, dev_at_hand, read_dev
from core.cpu import end_one_of_several
from core.distill_flags import distill_problems, distills, student_folder
from core.label_paths import separator_problems
from core.locks import locked_folder, refuse_if_locked
from core.log import LEVELS, set_log_level
from core.long_text_flags import check_long_text, long_text_facts, long_text_for_fingerprint, long_text_problems
from core.named_recipes import naming_what_recipe_sets, parse_with_recipe
from core.predict_flags import (
    PredictArguments,
    export_folder,
    lacks_export,
    predict,
    predict_problems,
    prepare_prediction,
    tells_windows,
)
from core.recipe_flags import (
    RecipeArguments,
    check_ngram_labels,
    for_fingerprint,
    recipe_problems,
    wants_ngrams,
)
from core.run_flags import DATA_DIR, MAX_LENGTH, DataArguments, ModelArguments
from core.stage_flags import StageArguments, needs_dev, stage_problems, stages
from core.unlabelled import PRETRAINED, Unlabelled, prepare_unlabelled, stages_for_fingerprint
from utils import UsageError, exit_on_usage_error, read_labels

# train.py's own flags, in groups; PaddleNLP's are the last group, behind them.
FLAGS = (ModelArguments, DataArguments, PredictArguments, RecipeArguments, StageArguments)


@dataclass
class Data:
    """What the label and data files hold; a part that this run does not need is None."""

    labels: Optional[list]
    train: Optional[tuple]
    dev: Optional[tuple]
    test: Optional[tuple]
    export_dev: Optional[tuple] = None  # dev where only an export's calibration has a use for it
    why_no_dev: str = ""  # where there is none


@dataclass
class Run:
    """All that a run depends on: the five groups of flags, the data, and what makes it this run."""

    model_flags: ModelArguments
    data_flags: DataArguments
    recipe_flags: RecipeArguments
    stage_flags: StageArguments
    args: "CompressionArguments"  # noqa: F821  (PaddleNLP's)
    data: Data
    unlabelled: Optional[Unlabelled]
    max_length: int
    fingerprint: Optional[dict]
    prediction: Optional["Prediction"] = None  # noqa: F821  (core.batch_run's)


def main(argv=None):
    """Do what the flags ask for, in the order train, evaluate, export, compress, compare, predict.

    Raises:
        UsageError: what the user can mend.
    """
    run = parse_all(argv)
    args = run.args
    writes = (args.do_train or args.do_compress) and args.should_save
    with (
        locked_folder(args.output_dir) if writes else contextlib.nullcontext(),
        naming_what_recipe_sets(run.recipe_flags, run.stage_flags),
    ):
        metrics = work(run)
    if args.should_save:
        print("\n".join(closing_lines(run, metrics)))
    if run.prediction:
        print("\n".join(predict(run.prediction, export_folder(run.model_flags, args), args.device)))


def work(run):
    """What main does once the flags and the data are checked.

    Returns:
        dict: the metrics of an evaluation, else empty.
    """
    from core import pipeline  # needs paddle, which takes seconds
    from core.stages import train_in_stages

    args, model_flags = run.args, run.model_flags
    asked = (args.do_train, args.do_eval, args.do_export, args.do_compress, model_flags.do_parity)
    if not (any(asked) or model_flags.save_safetensors):
        return {}  # a prediction by an export that is there
    finished, checkpoint = pipeline.find_start(args, run.fingerprint)
    if args.do_train and not finished:
        trainer = train_in_stages(run, checkpoint)
    else:
        trainer = pipeline.prepare(run, args.output_dir if finished else model_flags.model_name_or_path)
    if model_flags.save_safetensors and args.should_save:
        pipeline.save_safetensors(run)
    metrics = {}
    if args.do_eval and run.data_flags.debug:
        metrics = pipeline.evaluate_in_detail(trainer, run)
    elif args.do_eval:
        metrics = pipeline.evaluate(trainer)
    if args.do_export:
        pipeline.export(trainer, run)
    if args.do_compress:
        from core.compress import compress
        from core.distill import distill

        facts = pipeline.export_facts_of(run)
        know = functools.partial(pipeline.confidence_facts, trainer, run)
        try:
            made = ()
            if distills(args):
                distill(trainer, run, facts, know)
            else:
                made = compress(trainer, run.data.labels, model_flags.export_type, facts, model_flags.pruner, know)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("interrupted; the same command starts the compression over") from None
        for export in made or ():
            pipeline.describe_export(trainer, run, *export)
    if model_flags.do_parity and not pipeline.check_parity(trainer, run):
        sys.exit(1)
    return metrics


def parse_all(argv):
    """Parse and check the flags, read the data, then import paddle.

    Returns:
        Run: what main works on.

    Raises:
        UsageError: for the flags and the data before any heavy import.
    """
    parser_class, light_arguments = load_argument_classes()
    parse = functools.partial(parse_arguments, parser_class, (*FLAGS, light_arguments), argv, __doc__)
    (*flags, light), defaults = parse_with_recipe(parse)
    encoder, recipe_flags, stage_flags = flags[0].model_name_or_path, *flags[3:]
    if not light.do_train and Path(encoder).is_dir():
        # What is written of a model goes beside it, not into another one's folder.
        defaults = {**DEFAULTS, "output_dir": encoder}
        *_, light = parse(defaults)
    with naming_what_recipe_sets(recipe_flags, stage_flags):
        return prepare(argv, flags, light, defaults)


def prepare(argv, flags, light, defaults):
    """What parse_all does once the flags are parsed.

    Args:
        argv (list[str] | None): the flags and values.
        flags (list): an object of each class in FLAGS.
        light: PaddleNLP's flags, as they were parsed without paddle.
        defaults (dict): that they were parsed with.

    Returns:
        Run: what main works on.
    """
    model_flags, data_flags, predict_flags, recipe_flags, stage_flags = flags
    check_flags(model_flags, data_flags, recipe_flags, stage_flags, light, predict_flags)
    if light.do_predict and lacks_export(model_flags, light):
        light.do_export = True  # by which it predicts
    set_log_level(data_flags.log_level)
    quantises = light.do_compress and "ptq" in light.strategy
    require_onnx([*model_flags.export_type, *(["onnx_int8"] if quantises else [])])
    if model_flags.pruner == "paddleslim":
        require_packages("--pruner paddleslim", "paddleslim", requirements="core/requirements-compress.txt")
    trained = None if light.do_train else trained_max_length(model_flags.model_name_or_path)
    max_length = data_flags.max_length or trained or MAX_LENGTH
    long_text = trained_long_text(model_flags.model_name_or_path)
    long_text = long_text_facts(data_flags, long_text, max_length, light.do_train)
    check_long_text(long_text, max_length)
    data = read_data(model_flags, data_flags, light, recipe_flags.logit_adjustment or needs_dev(stage_flags))
    check_outputs(model_flags, light)
    prediction = None
    if light.do_predict:
        has_windows = tells_windows(model_flags, light, long_text)
        prediction = prepare_prediction(
            predict_flags, data_flags.test_path, data.labels, light.output_dir, has_windows
        )
    encoder = model_flags.model_name_or_path
    if light.do_train and wants_ngrams(recipe_flags, trained_ngrams(encoder)):
        check_ngram_labels(data.labels)
    unlabelled = prepare_unlabelled(stage_flags, data_flags, encoder, max_length, light, data.train)
    data_flags.label_separator = data_flags.label_separator or trained_separator(encoder)

    from paddlenlp.trainer import CompressionArguments, PdArgumentParser, TrainingArguments
    from paddlenlp.utils.log import logger

    from core.loading import set_device

    try:
        *_, args = parse_arguments(PdArgumentParser, (*FLAGS, CompressionArguments), argv, __doc__, defaults)
    except (ValueError, AssertionError) as error:
        raise UsageError(str(error) or "the library refuses a flag without saying why; see --help") from None
    args.device, args.do_export = set_device(args.device, args.fp16), light.do_export
    if stages(stage_flags) and (args.resume_from_checkpoint or "").lower() == "true":
        args.resume_from_checkpoint = None  # each stage finds its own; output_dir itself has none until the last one
    if args.should_log and (args.do_train or args.do_compress):
        dev = data.dev if uses_dev(light) else None
        for warning in data_warnings(data.labels, data.train, dev, data_flags.train_path, data_flags.dev_path):
            logger.warning(warning)
    fingerprint = None
    if args.do_train:
        names = ("group_by_length", "early_stopping", "early_stopping_patience")
        own = {name: getattr(data_flags, name) for name in names}
        own.update(max_length=max_length, model_name_or_path=encoder)
        own.update(starting_weights(encoder, args.output_dir))
        own.update(for_fingerprint(recipe_flags, trained_pooling(encoder), trained_ngrams(encoder)))
        own.update(stages_for_fingerprint(stage_flags, unlabelled))
        own.update(long_text_for_fingerprint(long_text, data_flags))
        fingerprint = run_fingerprint(args, TrainingArguments, [data.labels, data.train, data.dev], **own)
    flags = model_flags, data_flags, recipe_flags, stage_flags
    return Run(*flags, args, data, unlabelled, max_length, fingerprint, prediction)


def closing_lines(run, metrics):
    """What came out of a run, and the command to go on with.

    Args:
        run (Run): what was asked for.
        metrics (dict): with eval_accuracy and eval_macro_f1, or test_…; empty without an evaluation.

    Returns:
        list[str]: lines.
    """
    args, flags = run.args, run.data_flags
    model_dir = args.output_dir if args.do_train else run.model_flags.model_name_or_path
    export_dir = run.model_flags.export_model_dir or os.path.join(args.output_dir, "export")
    data = "" if flags.data_dir == DATA_DIR else f" --data_dir {flags.data_dir}"
    lines = []
    for split in ("eval", "test"):
        if f"{split}_accuracy" in metrics:
            path = flags.dev_path if split == "eval" else flags.test_path
            scores = f"accuracy {metrics[f'{split}_accuracy']:.2%}, macro-F1 {metrics[f'{split}_macro_f1']:.2%}"
            lines.append(f"{path}: {scores}")
    if run.stage_flags.do_pretrain:
        lines.append(f"The encoder that it was fine-tuned from is in {os.path.join(model_dir, PRETRAINED)}")
    if args.do_train:
        lines.append(f"The model is in {model_dir}")
    if args.do_export:
        lines.append(f"The export is in {export_dir}")
    if distills(args):
        student = student_folder(args.output_dir, run.model_flags.student)
        lines.append(f"The student is in {student}, and the table above tells what it can do")
        lines.append("Next, predict with it: README.md, 2.5, or serve it: deploy/README.md")
    elif args.do_compress:
        lines.append(f"The smaller models are in {args.output_dir}, one line each in the table above")
        lines.append("Next, serve one of them: deploy/README.md")
    elif flags.debug:
        lines.append(f"The mistakes are in {flags.bad_case_path}")
        own = f"--dataset_dir {flags.data_dir} --params_path {model_dir}"
        lines.append(f"Next, all of that as a page with charts: python analysis/evaluate.py {own}")
    elif args.do_train or args.do_eval:
        same = f"--model_name_or_path {model_dir} --output_dir {model_dir}{data}"
        lines.append(f"Next, see what it gets wrong: python train.py --do_eval --debug True {same}")
        if not args.do_export:
            lines.append(f"Or export it, to predict with it: python train.py --do_export {same}")
    elif args.do_export:
        lines.append("Next, predict with it: README.md, 2.5, or serve it: deploy/README.md")
    return lines


# ---------------------------------------------------------------------------------------- before any heavy import


def check_flags(model_flags, data_flags, recipe_flags, stage_flags, args, predict_flags=None):
    """Refuse what would fail late, be ignored, or do nothing.

    Raises:
        UsageError: naming all that is wrong.
    """
    encoder = model_flags.model_name_or_path
    has_ngrams = trained_ngrams(encoder)
    problems = training_problems(data_flags, args) + recipe_problems(recipe_flags, args, has_ngrams)
    problems += stage_problems(stage_flags, args) + predict_problems(predict_flags or PredictArguments(), args)
    asked = (args.do_train, args.do_eval, args.do_export, args.do_compress, args.do_predict, model_flags.do_parity)
    if not (any(asked) or model_flags.save_safetensors):
        problems.append(
            "nothing to do; add --do_train, --do_eval, --do_export, --do_compress, --do_predict or --do_parity"
        )
    if data_flags.debug and not args.do_eval:
        problems.append("--debug True reports on an evaluation; add --do_eval")
    if args.do_compress and args.strategy not in SUPPORTED_STRATEGIES:
        parts = args.strategy.split("+")
        reason = next((REFUSED_STRATEGIES[part] for part in parts if part in REFUSED_STRATEGIES), "not a strategy")
        problems.append(f"--strategy {args.strategy}: {reason}; use one of {', '.join(SUPPORTED_STRATEGIES)}")
    problems += pruner_problems(model_flags.pruner, args) + distill_problems(model_flags, args)
    if not (model_flags.calibrate or args.do_export or args.do_compress):
        problems.append("--calibrate False: has a part in an export only; add --do_export or --do_compress")
    unknown = [name for name in model_flags.export_type if name not in EXPORT_TYPES]
    if unknown:
        problems.append(f"--export_type {' '.join(unknown)}: not known; use some of {', '.join(EXPORT_TYPES)}")
    if int(os.environ.get("PADDLE_TRAINERS_NUM", "1")) > 1:
        for flag, asked in {"--do_compress": args.do_compress, "--do_parity": model_flags.do_parity}.items():
            if asked:
                problems.append(f"{flag} works in one process only; run it without paddle.distributed.launch")
    problems += at_least(data_flags, max_length=3) + separator_problems(data_flags.label_separator)
    ngrams = wants_ngrams(recipe_flags, has_ngrams)
    problems += long_text_problems(data_flags, trained_long_text(encoder), args, ngrams, model_flags.pruner)
    if data_flags.log_level not in LEVELS:
        problems.append(f"--log_level {data_flags.log_level}: not known; use one of {', '.join(LEVELS)}")
    if problems:
        raise UsageError("\n".join(problems))
    config = read_model_config(model_flags.model_name_or_path) or {}
    if args.do_compress and args.width_mult_list and "num_attention_heads" in config:
        check_widths(args.width_mult_list, config["num_attention_heads"])


def check_outputs(model_flags, args):
    """Refuse folders that cannot be written, that another process trains in, or that hold another model's export.

    Raises:
        UsageError: naming the folder.
    """
    if args.do_train or args.do_eval or args.do_compress or (args.do_export and not model_flags.export_model_dir):
        check_writable(args.output_dir, "--output_dir")
    if (args.do_train or args.do_compress) and os.environ.get("PADDLE_TRAINER_ID", "0") == "0":
        refuse_if_locked(args.output_dir)
    model = Path(args.output_dir if args.do_train else model_flags.model_name_or_path)
    if model_flags.save_safetensors:
        check_safetensors(model, args.do_train)
    targets = {}
    if args.do_export:
        flag = "--export_model_dir" if model_flags.export_model_dir else "--output_dir"
        targets[Path(model_flags.export_model_dir or Path(args.output_dir, "export"))] = flag
        check_writable(next(iter(targets)), flag)
    if args.do_compress:
        folder, student = Path(args.output_dir), student_folder(args.output_dir, model_flags.student)
        folders = folder.glob("width_mult_*") if "dynabert" in args.strategy else [folder]
        folders = [student] if distills(args) else folders
        targets.update(dict.fromkeys(folders, "--output_dir"))
    for folder, flag in targets.items():
        if not folder.resolve().is_relative_to(model.resolve()):
            check_export_target(folder, model, args.overwrite_output_dir, flag)


def read_data(model_flags, data_flags, args, needs_dev=False):
    """Read the files that this run needs, and no others; dev too where a recipe chooses by it.

    Without training, the classes are those that the model was trained on, in its order.

    Returns:
        Data: texts and class ids a split.
    """
    calibrates = args.do_export and "onnx_int8" in model_flags.export_type
    evaluates = args.do_eval or model_flags.do_parity
    needs_examples = args.do_train or evaluates or args.do_compress or calibrates
    labels = read_labels(data_flags.label_path) if needs_examples else None
    if not args.do_train:
        labels = trained_labels(model_flags.model_name_or_path, labels, data_flags.label_path)
    needs_train = args.do_train or args.do_compress
    train = read_any_examples(data_flags.train_path, labels) if needs_train else None
    if needs_train:
        check_batch(len(train[0]), args, data_flags.train_path)
    debug_only = data_flags.debug and not needs_train
    needs_dev = needs_dev or calibrates or model_flags.do_parity or (uses_dev(args) and not debug_only)
    dev, spare = None, (None, "")
    if needs_examples and needs_dev:
        dev = read_dev(data_flags.dev_path, labels, data_flags.train_path)
    elif args.do_export and model_flags.calibrate:
        spare = dev_at_hand(data_flags.dev_path, data_flags.label_path, labels)
    test = read_any_examples(data_flags.test_path, labels) if data_flags.debug else None
    return Data(labels, train, dev, test, *spare)


if __name__ == "__main__":
    with exit_on_usage_error():
        main(sys.argv[1:])
    end_one_of_several()
