"""Train, evaluate, export and compress a text classifier: every text has exactly one of n >= 2 labels.

One card or CPU:
    python train.py --do_train --do_eval --do_export --model_name_or_path ernie-3.0-tiny-medium-v2-zh \\
        --output_dir checkpoint --device gpu --num_train_epochs 100 --early_stopping True --learning_rate 3e-5 \\
        --metric_for_best_model accuracy --load_best_model_at_end --evaluation_strategy epoch --save_strategy epoch \\
        --save_total_limit 1

Several cards:
    unset CUDA_VISIBLE_DEVICES; python -m paddle.distributed.launch --gpus 0,1 train.py --do_train …

Without a model hub: python data/build_encoder.py, then --model_name_or_path data/offline_encoder.
What a trained model gets wrong: python train.py --do_eval --debug True --model_name_or_path checkpoint
"""

import hashlib
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from utils import (
    EXPORT_FILE,
    EXPORT_TYPES,
    METRIC_NAMES,
    REFUSED_STRATEGIES,
    RUN_FILE,
    SUPPORTED_STRATEGIES,
    UsageError,
    check_widths,
    evaluation_report,
    exit_on_usage_error,
    load_argument_classes,
    parse_arguments,
    prediction_lines,
    prepare_cpu,
    read_examples,
    read_json,
    read_labels,
    read_model_config,
    read_run_file,
    require_onnx,
    staged_files,
    stored_labels,
    write_json,
    write_lines,
)

DATA_DIR = "./data"


@dataclass
class DataArguments:
    """Where the data is and how it becomes batches."""

    data_dir: str = field(default=DATA_DIR, metadata={"help": "Folder from which the paths below default."})
    train_path: str = field(default=f"{DATA_DIR}/train.txt", metadata={"help": "Training data: <text>, tab, <label>."})
    dev_path: str = field(default=f"{DATA_DIR}/dev.txt", metadata={"help": "Data to choose the best model by."})
    test_path: str = field(default=f"{DATA_DIR}/dev.txt", metadata={"help": "Data of --do_eval --debug True."})
    label_path: str = field(default=f"{DATA_DIR}/label.txt", metadata={"help": "One label a line, in class order."})
    bad_case_path: str = field(
        default=f"{DATA_DIR}/bad_case.txt", metadata={"help": "Where --debug True writes wrongly predicted samples."}
    )
    max_length: int = field(default=128, metadata={"help": "Tokens kept of a text, [CLS] and [SEP] included."})
    group_by_length: bool = field(
        default=True, metadata={"help": "Train on batches of texts of similar length: less padding, faster."}
    )
    debug: bool = field(
        default=False, metadata={"help": "With --do_eval: report every class and write the wrongly predicted samples."}
    )
    early_stopping: bool = field(default=False, metadata={"help": "Stop when the metric no longer improves."})
    early_stopping_patience: int = field(
        default=4, metadata={"help": "Stop after this many evaluations without progress."}
    )

    def __post_init__(self):
        if self.data_dir != DATA_DIR:
            for name in ("train_path", "dev_path", "test_path", "label_path", "bad_case_path"):
                path = getattr(self, name)
                if path == type(self).__dataclass_fields__[name].default:
                    setattr(self, name, str(Path(self.data_dir) / Path(path).name))


@dataclass
class ModelArguments:
    """Which model to start from and where its export goes."""

    model_name_or_path: str = field(
        default="ernie-3.0-tiny-medium-v2-zh",
        metadata={
            "help": "A PaddleNLP model name, or a directory: a checkpoint, data/offline_encoder, a HuggingFace BERT."
        },
    )
    export_model_dir: Optional[str] = field(
        default=None, metadata={"help": "Folder for the static graph; None means <output_dir>/export."}
    )
    export_type: list[str] = field(
        default_factory=lambda: ["paddle"],
        metadata={
            "help": "Formats of an export or a pruned model, one or more of paddle, onnx, onnx_int8 (8-bit integers, "
            "calibrated on dev). The Paddle graph is always written."
        },
    )
    do_parity: bool = field(
        default=False,
        metadata={
            "help": "Compare all formats of an export folder with the model itself on dev. The folder is "
            "--export_model_dir, <model_name_or_path>/export, or the model's own where it holds a static graph."
        },
    )


@dataclass
class Data:
    """What the label and data files hold; a part that this run does not need is None."""

    labels: Optional[list]
    train: Optional[tuple]
    dev: Optional[tuple]
    test: Optional[tuple]


@dataclass
class Arguments:
    """All that a run depends on: the three groups of flags, the data, and what makes it this run."""

    model: ModelArguments
    data: DataArguments
    training: "CompressionArguments"  # noqa: F821  (PaddleNLP's)
    texts: Data
    fingerprint: Optional[dict]


def main(argv=None):
    """Run the script. Raises UsageError for what the user can mend."""
    run(parse_all(argv))


def parse_all(argv):
    """Parse and check the flags, read the data, then import paddle.

    Raises:
        UsageError: for the flags and the data before any heavy import.
    """
    parser_class, light_arguments = load_argument_classes()
    classes = (ModelArguments, DataArguments)
    model_args, data_args, light_args = parse_arguments(parser_class, (*classes, light_arguments), argv, __doc__)
    check_arguments(model_args, data_args, light_args)
    quantises = light_args.do_compress and "ptq" in light_args.strategy
    require_onnx([*model_args.export_type, *(["onnx_int8"] if quantises else [])])
    # The parity check is an evaluation that also looks at the export.
    light_args.do_eval = light_args.do_eval or model_args.do_parity
    if not light_args.do_train and not any(flag.split("=")[0] == "--max_length" for flag in argv or sys.argv[1:]):
        data_args.max_length = trained_max_length(model_args.model_name_or_path) or data_args.max_length
    texts = read_data(model_args, data_args, light_args)

    prepare_cpu()
    from paddlenlp.trainer import CompressionArguments, PdArgumentParser, TrainingArguments

    try:
        *_, training_args = parse_arguments(PdArgumentParser, (*classes, CompressionArguments), argv, __doc__)
    except (ValueError, AssertionError) as error:
        raise UsageError(str(error)) from None
    set_device(training_args)
    fingerprint = None
    if training_args.do_train:
        names = ("max_length", "group_by_length", "early_stopping", "early_stopping_patience")
        own = {name: getattr(data_args, name) for name in names}
        own["model_name_or_path"] = model_args.model_name_or_path
        data = [texts.labels, texts.train, texts.dev]
        fingerprint = run_fingerprint(training_args, TrainingArguments, data, **own)
    return Arguments(model_args, data_args, training_args, texts, fingerprint)


# ---------------------------------------------------------------------------------------- before any heavy import


def check_arguments(model_args, data_args, args):
    """Refuse what would fail late, be ignored, or do nothing.

    Raises:
        UsageError: naming all that is wrong.
    """
    problems = training_problems(data_args, args)
    if not (args.do_train or args.do_eval or args.do_export or args.do_compress or model_args.do_parity):
        problems.append("nothing to do; add --do_train, --do_eval, --do_export, --do_compress or --do_parity")
    if args.do_predict:
        problems.append("--do_predict: not used here; see --do_eval --debug True, or predict with Taskflow")
    if data_args.debug and not args.do_eval:
        problems.append("--debug True reports on an evaluation; add --do_eval")
    if args.do_compress and args.strategy not in SUPPORTED_STRATEGIES:
        parts = args.strategy.split("+")
        reason = next((REFUSED_STRATEGIES[part] for part in parts if part in REFUSED_STRATEGIES), "not a strategy")
        problems.append(f"--strategy {args.strategy}: {reason}; use one of {', '.join(SUPPORTED_STRATEGIES)}")
    unknown = [name for name in model_args.export_type if name not in EXPORT_TYPES]
    if unknown:
        problems.append(f"--export_type {' '.join(unknown)}: not known; use some of {', '.join(EXPORT_TYPES)}")
    if int(os.environ.get("PADDLE_TRAINERS_NUM", "1")) > 1:
        for flag, asked in {"--do_compress": args.do_compress, "--do_parity": model_args.do_parity}.items():
            if asked:
                problems.append(f"{flag} works in one process only; run it without paddle.distributed.launch")
    if data_args.max_length < 3:
        problems.append(f"--max_length {data_args.max_length}: must be at least 3")
    if problems:
        raise UsageError("\n".join(problems))
    config = read_model_config(model_args.model_name_or_path) or {}
    if args.do_compress and args.width_mult_list and "num_attention_heads" in config:
        check_widths(args.width_mult_list, config["num_attention_heads"])


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
    minimum = {
        "early_stopping_patience": (data_args.early_stopping_patience, 1),
        "per_device_train_batch_size": (args.per_device_train_batch_size, 1),
        "per_device_eval_batch_size": (args.per_device_eval_batch_size, 1),
        "gradient_accumulation_steps": (args.gradient_accumulation_steps, 1),
        "logging_steps": (args.logging_steps, 1),
        "save_steps": (args.save_steps, 1),
    }
    for name, (value, least) in minimum.items():
        if value < least:
            problems.append(f"--{name} {value}: must be at least {least}")
    for name in ("learning_rate", "num_train_epochs"):
        if not getattr(args, name) > 0:
            problems.append(f"--{name} {getattr(args, name)}: must be above 0")
    return problems


def plain(value):
    """An enum's value, or the string that argparse left."""
    return getattr(value, "value", value)


def read_data(model_args, data_args, args):
    """Read the files that this run needs, and no others.

    Without training, the classes are those that the model was trained on, in its order.

    Returns:
        Data: texts and class ids a split.
    """
    calibrates = args.do_export and "onnx_int8" in model_args.export_type
    needs_examples = args.do_train or args.do_eval or args.do_compress or calibrates
    labels = read_labels(data_args.label_path) if needs_examples else None
    if not args.do_train:
        labels = trained_labels(model_args.model_name_or_path, labels, data_args.label_path)
    if not needs_examples:
        return Data(labels, None, None, None)

    needs_train = args.do_train or args.do_compress
    debug_only = data_args.debug and not needs_train
    needs_dev = calibrates or model_args.do_parity or (uses_dev(args) and not debug_only)
    return Data(
        labels=labels,
        train=read_examples(data_args.train_path, labels) if needs_train else None,
        dev=read_examples(data_args.dev_path, labels) if needs_dev else None,
        test=read_examples(data_args.test_path, labels) if data_args.debug else None,
    )


def uses_dev(args):
    """True when this run evaluates: on request, during training, or for compression."""
    return args.do_eval or args.do_compress or plain(args.evaluation_strategy) != "no"


def trained_labels(model_dir, labels, label_path):
    """Return the classes of a fine-tuned model, which must be those of label.txt where both are known.

    Raises:
        UsageError: not a fine-tuned classifier, or one with other labels.
    """
    config = read_model_config(model_dir) or {}
    if not any(str(name).endswith("ForSequenceClassification") for name in config.get("architectures") or []):
        raise UsageError(
            f"--model_name_or_path {model_dir}: not a fine-tuned classifier, so there is nothing to evaluate, export "
            "or compress; train with --do_train first, then give its --output_dir"
        )
    stored = stored_labels(config)
    num_labels = len(config.get("id2label") or []) or config.get("num_labels", 2)
    if labels is None:
        return stored or [f"LABEL_{index}" for index in range(num_labels)]
    if len(labels) != num_labels:
        raise UsageError(
            f"{label_path}: {len(labels)} labels, but {model_dir} was trained on {num_labels}; give the label file of "
            "its training, or train again with --do_train"
        )
    if stored and set(stored) != set(labels):
        new = " ".join(sorted(set(labels) - set(stored)))
        raise UsageError(f"{label_path}: {model_dir} was not trained on: {new}; give the label file of its training")
    return stored or labels


def trained_max_length(model_dir):
    """The --max_length of a checkpoint's training, or None where it is not known."""
    trained = (read_run_file(model_dir).get("fingerprint") or {}).get("max_length")
    return trained or read_json(Path(model_dir) / EXPORT_FILE).get("max_length")  # the latter for a pruned model


# ------------------------------------------------------------------------------------------- with paddle imported


def set_device(args):
    """Fall back to the CPU where there is no GPU, and refuse what a CPU cannot do."""
    import paddle
    from paddlenlp.utils.log import logger

    wants_gpu = args.device.startswith("gpu")
    if wants_gpu and not (paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0):
        reason = "no GPU was found" if paddle.is_compiled_with_cuda() else "this paddlepaddle is the CPU build"
        logger.warning(f"--device {args.device}: {reason}; using the CPU. Say --device cpu to choose it.")
        args.device = "cpu"
    if args.device == "cpu" and args.fp16:
        raise UsageError("--fp16 works on a GPU only; leave it out, or use --bf16, on a CPU")
    try:
        paddle.set_device(args.device)
    except Exception as error:
        raise UsageError(
            f"--device {args.device}: {str(error).strip().splitlines()[-1]}; use gpu, gpu:0 or cpu"
        ) from None


def run(arguments):
    """Load the model and do what the flags ask for, in the order train, evaluate, export, compress."""
    import trainer as lib

    data_args, args, data = arguments.data, arguments.training, arguments.texts
    # Optimizer files name parameters by their number in the process: begin at 0 whatever was built before.
    lib.paddle.utils.unique_name.switch()
    lib.set_seed(args.seed)  # before the head is drawn
    name = arguments.model.model_name_or_path
    finished = args.do_train and is_finished(args, arguments.fingerprint)
    if finished:
        lib.logger.info(
            f"{args.output_dir} already holds the result of this training; nothing is trained again. "
            "Add --overwrite_output_dir to start over."
        )
        name = args.output_dir
    checkpoint = choose_checkpoint(args, arguments.fingerprint) if args.do_train and not finished else None

    config, tokenizer = lib.load_config_and_tokenizer(name)
    positions = lib.max_positions(config)
    if positions and data_args.max_length > positions:
        raise UsageError(
            f"--max_length {data_args.max_length}: {name} has positions for {positions}; use at most that"
        )
    model = lib.load_model(name, config, data.labels)
    trainer = make_trainer(lib, model, tokenizer, arguments)

    if args.do_train and not finished:
        train(lib, trainer, args, checkpoint)
    if args.do_eval and data_args.debug:
        evaluate_in_detail(lib, trainer, data_args, data)
    elif args.do_eval:
        metrics = trainer.evaluate()
        trainer.log_metrics("eval", metrics)
        trainer.save_metrics("eval", metrics)
    if args.do_export and args.should_save:
        export(trainer, data.labels, arguments.model, args)
    if args.do_compress:
        from compress import compress

        compress(trainer, data.labels, arguments.model.export_type)
    if arguments.model.do_parity and not check_parity(trainer, arguments.model, args):
        sys.exit(1)


def export(trainer, labels, model_args, args):
    """Write the export folder; where dev is at hand, compare its formats."""
    from export import export_classifier
    from trainer import logger

    folder = model_args.export_model_dir or os.path.join(args.output_dir, "export")
    dev, types = trainer.eval_dataset, model_args.export_type
    export_classifier(trainer.model, trainer.tokenizer, labels, trainer.max_length, folder, types=types, dev=dev)
    logger.info(f"Exported model, tokenizer and labels to {folder}")
    if dev is not None and args.world_size == 1:
        compare_formats(trainer, folder)


def check_parity(trainer, model_args, args):
    """Compare the formats of an export folder that is there already.

    Returns:
        bool: whether the formats in float32 give the same labels, and logits within 1e-4.
    """
    from export import is_exact
    from predictor import EXACT_FORMATS, graph_name

    model_dir = Path(args.output_dir if args.do_train else model_args.model_name_or_path)
    folder = model_args.export_model_dir or (model_dir if any(model_dir.glob("*.pdmodel")) else model_dir / "export")
    graph_name(folder)  # refuse a folder without a graph before a long evaluation
    return all(is_exact(row) for row in compare_formats(trainer, folder) if row["format"] in EXACT_FORMATS)


def compare_formats(trainer, folder):
    """Log how far each format of an export folder is from the model in dygraph, on dev; verify_export's rows."""
    from export import dynamic_logits, parity_table, verify_export
    from trainer import logger

    rows = verify_export(folder, trainer.eval_dataset, dynamic_logits(trainer, trainer.model))
    logger.info(f"{folder}, {len(trainer.eval_dataset)} samples of dev:")
    for line in parity_table(rows):
        logger.info(line)
    return rows


def make_trainer(lib, model, tokenizer, arguments):
    """Tokenise the data sets and build the Trainer with its callbacks."""
    data_args, data = arguments.data, arguments.texts
    texts = data.train or data.test or data.dev or ([], [])
    encode = lib.make_encoder(tokenizer, data_args.max_length, lib.uses_token_types(type(model)), texts[0])
    datasets = {
        split: lib.TextDataset(*examples, encode) if examples else None
        for split, examples in {"train": data.train, "dev": data.dev, "test": data.test}.items()
    }
    callbacks = [lib.ResumableEarlyStopping(data_args.early_stopping_patience)] if data_args.early_stopping else None
    trainer = lib.ClassificationTrainer(
        model=model,
        args=arguments.training,
        criterion=lib.paddle.nn.CrossEntropyLoss(),
        tokenizer=tokenizer,
        data_collator=lib.make_collator(tokenizer),
        train_dataset=datasets["train"],
        eval_dataset=datasets["dev"],
        compute_metrics=lib.compute_metrics,
        callbacks=callbacks,
        group_by_length=data_args.group_by_length,
        max_length=data_args.max_length,
        fingerprint=arguments.fingerprint,
    )
    trainer.test_dataset = datasets["test"]
    return trainer


# Training arguments that do not change what is learnt, beside all that begin with do_, log and skip_.
WITHOUT_EFFECT = {
    "output_dir", "overwrite_output_dir", "resume_from_checkpoint", "save_total_limit", "run_name", "report_to",
    "device", "disable_tqdm", "dataloader_num_workers", "per_device_eval_batch_size", "eval_accumulation_steps",
    "local_rank",
}  # fmt: skip


def run_fingerprint(args, arguments_class, data, **own):
    """What decides the result of a training: two runs with equal ones may continue each other.

    Args:
        args (TrainingArguments): the run's.
        arguments_class (type): the class whose fields count.
        data: JSON values: what is learnt from and chosen by.
        **own: the script's own flags.

    Returns:
        dict: JSON values by name.
    """
    content = json.dumps(data, ensure_ascii=False)
    names = [name for name in arguments_class.__dataclass_fields__ if not name.startswith(("do_", "log", "skip_"))]
    values = {name: plain(getattr(args, name, None)) for name in names if name not in WITHOUT_EFFECT}
    values.update(own, data=hashlib.sha256(content.encode("utf-8")).hexdigest(), processes=args.world_size)
    return json.loads(json.dumps(values, default=str))


def is_finished(args, fingerprint):
    """True when output_dir holds the result of a training with this fingerprint."""
    asked_for = args.overwrite_output_dir or args.resume_from_checkpoint is not None
    return not asked_for and read_run_file(args.output_dir).get("fingerprint") == fingerprint


def choose_checkpoint(args, fingerprint):
    """Find the checkpoint to continue from, or None to start from the beginning.

    Raises:
        UsageError: --resume_from_checkpoint names something that cannot be resumed, or output_dir holds an
            unfinished training with other settings.
    """
    import trainer as lib

    asked = args.resume_from_checkpoint
    if asked is not None and asked.lower() not in ("true", "false"):
        if not Path(asked).is_dir():
            raise UsageError(f"--resume_from_checkpoint {asked}: no such directory; give a checkpoint-<step> folder")
        lacks = lib.what_is_incomplete(asked)
        if lacks:
            raise UsageError(f"--resume_from_checkpoint {asked}: not complete ({lacks}); give another one")
        return asked
    if args.overwrite_output_dir or (asked or "").lower() == "false":
        return None
    is_result = bool(read_run_file(args.output_dir))
    for path in lib.find_checkpoints(args.output_dir):
        lacks = lib.what_is_incomplete(path)
        if lacks:
            lib.logger.warning(f"{path} is skipped: not complete ({lacks})")
            continue
        other = read_run_file(path).get("fingerprint") or {}
        if other == fingerprint:
            lib.logger.info(f"Continuing the interrupted training from {path}; --overwrite_output_dir starts over.")
            return str(path)
        if not is_result:
            changed = ", ".join(sorted(key for key in fingerprint if other.get(key) != fingerprint[key]))
            raise UsageError(
                f"{args.output_dir}: holds an unfinished training with another {changed}; add --overwrite_output_dir "
                f"to start over, --resume_from_checkpoint {path} to continue it, or choose another --output_dir"
            )
    if asked is not None:
        raise UsageError(
            f"--resume_from_checkpoint {asked}: {args.output_dir} has no complete checkpoint of this training"
        )
    return None


def train(lib, trainer, args, checkpoint):
    """Train, then write the model (the best one, with --load_best_model_at_end), metrics and state to output_dir."""
    run_file = Path(args.output_dir) / RUN_FILE
    if args.world_size > 1:
        lib.paddle.distributed.barrier()  # all ranks have looked at run.json by now
    if args.should_save and run_file.exists():
        run_file.unlink()  # from here on, output_dir holds an unfinished training
    result = trainer.train(resume_from_checkpoint=checkpoint)
    if args.should_save:
        with staged_files(args.output_dir) as stage:
            trainer.save_model(str(stage))
    trainer.log_metrics("train", result.metrics)
    trainer.save_metrics("train", result.metrics)
    trainer.save_state()
    if args.should_save:
        with staged_files(args.output_dir) as stage:
            write_json(stage / RUN_FILE, {"fingerprint": trainer.fingerprint})


def evaluate_in_detail(lib, trainer, data_args, data):
    """Log precision, recall and F1 of every class, and write the wrongly predicted samples with their scores."""
    from scipy.special import softmax

    output = trainer.predict(trainer.test_dataset)
    if not trainer.is_world_process_zero():
        return
    texts, truth = data.test
    probabilities = softmax(output.predictions, axis=1)
    predicted = probabilities.argmax(axis=1)
    split = "dev" if os.path.realpath(data_args.test_path) == os.path.realpath(data_args.dev_path) else "test"
    for line in evaluation_report(split, data.labels, truth, predicted):
        lib.logger.info(line)

    trainer.save_metrics("test", output.metrics)
    wrong = [row for row, (true_id, predicted_id) in enumerate(zip(truth, predicted)) if true_id != predicted_id]
    answers = [(data.labels[predicted[row]], probabilities[row, predicted[row]]) for row in wrong]
    bad_cases = prediction_lines([texts[row] for row in wrong], [data.labels[truth[row]] for row in wrong], answers)
    path = Path(data_args.bad_case_path)
    write_lines(path.parent, {path.name: bad_cases}, "--bad_case_path")
    lib.logger.info(f"{len(bad_cases) - 1} wrongly predicted samples written to {path}")


if __name__ == "__main__":
    with exit_on_usage_error():
        main(sys.argv[1:])
