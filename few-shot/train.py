"""Prompt learning for few labelled texts: train, evaluate, predict and export.

A template turns a text into a cloze, such as <text>这条新闻标题的主题是[MASK]; what a masked language model says
at the mask is compared with a word of each label, which label.txt gives as label==word.

One card or CPU:
    cd few-shot
    python train.py --device gpu --data_dir ./data --output_dir ./checkpoints/ --prompt "这条新闻标题的主题是" \\
        --max_seq_length 128 --learning_rate 3e-5 --ppt_learning_rate 3e-4 --do_train --do_eval --do_predict \\
        --do_export --num_train_epochs 100 --logging_steps 5 --per_device_eval_batch_size 32 \\
        --per_device_train_batch_size 8 --metric_for_best_model accuracy --load_best_model_at_end \\
        --evaluation_strategy epoch --save_strategy epoch

Several cards:
    unset CUDA_VISIBLE_DEVICES; python -u -m paddle.distributed.launch --gpus 0,1 train.py --do_train …

What a training left in --output_dir, later:
    python train.py --device gpu --data_dir ./data --output_dir ./checkpoints/ --do_predict --do_export

A prompt without braces is a soft one: its words are where trainable vectors start from, between the text and the mask.
With braces every part has its place: "{'text': 'text_a'}的主题是{'mask'}", "{'mask'}新闻：{'text': 'text_a'}",
"{'soft': '主题'}{'mask'}，{'text': 'text_a'}".
"""

import ast
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

# Before this folder, which has a utils.py too; its train.py runs as __main__.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from train import (  # noqa: E402
    choose_checkpoint,
    is_finished,
    plain,
    run_fingerprint,
    set_device,
    train,
    training_problems,
)
from utils import (  # noqa: E402
    UsageError,
    evaluation_report,
    exit_on_usage_error,
    load_argument_classes,
    load_module,
    parse_arguments,
    prediction_lines,
    prepare_cpu,
    read_examples,
    read_label_words,
    read_run_file,
    read_texts,
    require_onnx,
    write_lines,
)

DEFAULTS = {"output_dir": "./checkpoints/"}
EXPORT_TYPES = ("paddle", "onnx")
PREDICTIONS_FILE = "predictions.txt"
# What a part of a template may be, and what may stand beside it.
PARTS = ("text", "soft", "hard", "mask", "sep", "soft_id")  # soft_id: the vectors of an earlier part once more
ATTRIBUTES = {
    "length": int, "encoder": str, "hidden_size": int, "position": int, "token_type": int, "truncate": bool
}  # fmt: skip


@dataclass
class DataArguments:
    """Where the data is, and the prompt."""

    data_dir: str = field(
        default="./data",
        metadata={
            "help": "Folder with train.txt, dev.txt, label.txt; test.txt and data.txt (unlabelled) may be there."
        },
    )
    prompt: Optional[str] = field(
        default=None,
        metadata={"help": "The template, see above; None means one trainable vector before the text."},
    )
    soft_encoder: Optional[str] = field(
        default="lstm", metadata={"help": "What the soft part of the prompt goes through: lstm, mlp or None."}
    )
    encoder_hidden_size: int = field(default=200, metadata={"help": "Units of the soft encoder."})
    early_stopping: bool = field(default=False, metadata={"help": "Stop when the metric no longer improves."})
    early_stopping_patience: int = field(
        default=4, metadata={"help": "Stop after this many evaluations without progress."}
    )

    def __post_init__(self):
        if self.soft_encoder is not None and self.soft_encoder.lower() in ("none", ""):
            self.soft_encoder = None


@dataclass
class ModelArguments:
    """Which model to start from, and the export's format."""

    model_name_or_path: str = field(
        default="ernie-3.0-base-zh",
        metadata={"help": "A PaddleNLP model name or a directory, with a masked-language-model head."},
    )
    export_type: str = field(
        default="paddle",
        metadata={"help": "paddle, or onnx, which writes model.onnx beside the Paddle graph."},
    )


@dataclass
class Data:
    """What the data folder holds; a part that this run does not need is None.

    The labels are in sorted order, which is the class order of PaddleNLP's verbalizers and of Taskflow.
    """

    label_words: dict
    train: Optional[tuple]
    dev: Optional[tuple]
    test: Optional[tuple]

    @property
    def labels(self):
        return list(self.label_words)


@dataclass
class Arguments:
    """All that a run depends on.

    `trained` is the folder of the model that is evaluated, predicted with or exported without training it, else None.
    """

    model: ModelArguments
    training: "PromptTuningArguments"  # noqa: F821  (PaddleNLP's)
    data: DataArguments
    template: list
    texts: Data
    trained: Optional[str]
    fingerprint: Optional[dict]


def main(argv=None):
    """Run the script. Raises UsageError for what the user can mend."""
    run(parse_all(argv))


def parse_all(argv):
    """Parse and check the flags, read the data, then import paddle.

    Raises:
        UsageError: for the flags and the data before any heavy import.
    """
    parser_class, light_arguments = load_argument_classes("PromptTuningArguments")
    classes = (ModelArguments, DataArguments)
    options = (argv, __doc__, DEFAULTS)
    model_args, data_args, light_args = parse_arguments(parser_class, (*classes, light_arguments), *options)
    check_arguments(model_args, data_args, light_args)
    require_onnx([model_args.export_type])
    if light_args.do_train:
        trained, template = None, parse_prompt(data_args.prompt, data_args.soft_encoder, data_args.encoder_hidden_size)
        texts = read_data(data_args.data_dir, light_args)
    else:
        trained, run_file = find_trained(light_args)
        template = run_file["template"]
        texts = read_data(data_args.data_dir, light_args, run_file["label_words"])

    prepare_cpu()
    from paddlenlp.prompt import PromptTuningArguments
    from paddlenlp.trainer import PdArgumentParser

    try:
        *_, args = parse_arguments(PdArgumentParser, (*classes, PromptTuningArguments), *options)
    except (ValueError, AssertionError) as error:
        raise UsageError(str(error)) from None
    set_device(args)
    if trained:
        if not any(flag.split("=")[0] == "--max_seq_length" for flag in argv or sys.argv[1:]):
            args.max_seq_length = run_file["max_seq_length"]
        return Arguments(model_args, args, data_args, template, texts, trained, None)
    fingerprint = run_fingerprint(
        args, PromptTuningArguments, [texts.label_words, texts.train, texts.dev],
        model_name_or_path=model_args.model_name_or_path, template=template, label_words=texts.label_words,
        early_stopping=data_args.early_stopping, early_stopping_patience=data_args.early_stopping_patience,
    )  # fmt: skip
    return Arguments(model_args, args, data_args, template, texts, trained, fingerprint)


# ---------------------------------------------------------------------------------------- before any heavy import


def check_arguments(model_args, data_args, args):
    """Refuse what would fail late, be ignored, or do nothing.

    Raises:
        UsageError: naming all that is wrong.
    """
    problems = training_problems(data_args, args)
    if not (args.do_train or args.do_eval or args.do_predict or args.do_export):
        problems.append("nothing to do; add --do_train, --do_eval, --do_predict or --do_export")
    if model_args.export_type not in EXPORT_TYPES:
        problems.append(f"--export_type {model_args.export_type}: not known; use one of {', '.join(EXPORT_TYPES)}")
    if data_args.soft_encoder not in ("lstm", "mlp", None):
        problems.append(f"--soft_encoder {data_args.soft_encoder}: not known; use one of lstm, mlp, None")
    if data_args.encoder_hidden_size < 1:
        problems.append(f"--encoder_hidden_size {data_args.encoder_hidden_size}: must be at least 1")
    if not args.ppt_learning_rate > 0:
        problems.append(f"--ppt_learning_rate {args.ppt_learning_rate}: must be above 0")
    if args.unified_checkpoint:
        problems.append("--unified_checkpoint: PaddleNLP cannot write such checkpoints of a prompted model")
    if problems:
        raise UsageError("\n".join(problems))


def parse_prompt(prompt, soft_encoder=None, hidden_size=None):
    """Turn --prompt into the parts of a template.

    PaddleNLP's own parser evaluates what stands in braces as Python, and ends the program where that fails.

    Args:
        prompt (str | None): see the top of this file.
        soft_encoder (str | None): lstm or mlp, for the soft parts that name none.
        hidden_size (int): of that encoder.

    Returns:
        list[dict]: parts, such as {"text": "text_a"}, {"soft": "主题是"}, {"mask": None}.

    Raises:
        UsageError: braces that do not pair or hold no part, or not exactly one text and one mask.
    """
    if prompt is None:
        parts = [{"soft": None}, {"text": "text_a"}, {"mask": None}]
    elif not re.search("[{}]", prompt):
        if not prompt.strip() or "[MASK]" in prompt:
            raise UsageError(
                f"--prompt {prompt!r}: write words only, the text is put before them and the mask behind; or give "
                "both a place: \"{'text': 'text_a'}的主题是{'mask'}\""
            )
        parts = [{"text": "text_a"}, {"soft": prompt.strip()}, {"mask": None}]
    else:
        pieces = re.split(r"(\{[^{}]*\})", prompt)
        parts = [parse_part(piece, prompt) for piece in pieces if piece.strip()]
    for kind in ("text", "mask"):
        count = sum(part.get("length", 1) if kind == "mask" else 1 for part in parts if kind in part)
        if count != 1:
            example = "{'mask'}" if kind == "mask" else "{'text': 'text_a'}"
            raise UsageError(f"--prompt {prompt!r}: {count} parts of the kind {kind}; write {example} exactly once")
    for part in parts:
        if soft_encoder and "encoder" not in part and ("soft" in part or "soft_id" in part):
            part.update(encoder=soft_encoder, hidden_size=hidden_size)
    return parts


def parse_part(piece, prompt):
    """One part of a template: {'kind': value, attributes}, {'kind'}, or plain words."""
    if not piece.startswith("{") or not piece.endswith("}"):
        if re.search("[{}]", piece) or "[MASK]" in piece:
            raise UsageError(f"--prompt {prompt!r}: cannot read {piece.strip()!r}; write the mask as {{'mask'}}")
        return {"hard": piece.strip()}
    try:
        part = ast.literal_eval(piece)
        part = dict.fromkeys(part) if isinstance(part, set) else dict(part)
    except (ValueError, SyntaxError, TypeError):
        raise UsageError(
            f"--prompt {prompt!r}: cannot read {piece}; write {{'text': 'text_a'}}, {{'soft': '主题'}} or {{'mask'}}"
        ) from None
    kinds = {name for name in part if name in PARTS}
    if len(kinds - {"soft_id"} or kinds) != 1:
        raise UsageError(f"--prompt {prompt!r}: {piece} should be one of {', '.join(PARTS)}")
    for name, value in part.items():
        if name not in kinds and not isinstance(value, ATTRIBUTES.get(name, ())):
            what = ", ".join(f"'{known}': {kind.__name__}" for known, kind in ATTRIBUTES.items())
            raise UsageError(f"--prompt {prompt!r}: {piece} has {name!r}: {value!r}; beside its kind use {what}")
    if "text" in part and not isinstance(part["text"], str):
        part["text"] = "text_a"
    return part


def find_trained(args):
    """The folder of a trained model and what its run.json says: --resume_from_checkpoint, else --output_dir.

    Raises:
        UsageError: there is no trained model.
    """
    asked = args.resume_from_checkpoint
    folder = args.output_dir if asked is None or asked.lower() in ("true", "false") else asked
    fingerprint = read_run_file(folder).get("fingerprint") or {}
    if "template" not in fingerprint:
        raise UsageError(
            f"{folder}: no model trained by few-shot/train.py; add --do_train, or give one by --output_dir, or one of "
            "its checkpoints by --resume_from_checkpoint"
        )
    return folder, fingerprint


def read_data(data_dir, args, trained_words=None):
    """Read the files that this run needs, and no others.

    Args:
        data_dir (str): the folder.
        args: PromptTuningArguments, or their fields.
        trained_words (dict[str, str] | None): the labels and words of a trained model, which label.txt must have too.

    Returns:
        Data: texts and class ids a split; test.txt's ids are None where it has no labels or data.txt stands for it.
    """
    folder = Path(data_dir)
    needs_dev = args.do_eval or (args.do_train and plain(args.evaluation_strategy) != "no")
    words = trained_words
    if args.do_train or needs_dev:
        words = dict(sorted(read_label_words(folder / "label.txt").items()))
        if trained_words and words.keys() != trained_words.keys():
            raise UsageError(
                f"{folder / 'label.txt'}: not the labels that the model was trained on, which are "
                f"{' '.join(trained_words)}; give the data folder of its training"
            )
    labels = list(words)
    return Data(
        label_words=trained_words or words,
        train=read_examples(folder / "train.txt", labels) if args.do_train else None,
        dev=read_examples(folder / "dev.txt", labels) if needs_dev else None,
        test=read_texts(folder, labels) if args.do_predict else None,
    )


# ------------------------------------------------------------------------------------------- with paddle imported


def run(arguments):
    """Load the model and do what the flags ask for, in the order train, evaluate, predict, export."""
    import trainer as lib

    few_shot = load_module("few_shot_utils", Path(__file__).with_name("utils.py"))
    args, trained = arguments.training, arguments.trained
    # Optimizer files name parameters by their number in the process: begin at 0 whatever was built before.
    lib.paddle.utils.unique_name.switch()
    lib.set_seed(args.seed)  # before the prompt's weights are drawn
    if args.do_train and is_finished(args, arguments.fingerprint):
        lib.logger.info(
            f"{args.output_dir} already holds the result of this training; nothing is trained again. "
            "Add --overwrite_output_dir to start over."
        )
        trained = args.output_dir
    checkpoint = None if trained else choose_checkpoint(args, arguments.fingerprint)
    check_weights_fit(checkpoint, arguments.fingerprint)
    args.resume_from_checkpoint = None  # the checkpoint is chosen; PromptTrainer would load it a second time

    settings = (arguments.template, arguments.texts.label_words, args.max_seq_length)
    if trained:
        model, tokenizer = few_shot.load_trained(trained, *settings)
    else:
        model, tokenizer = few_shot.load_pretrained(arguments.model.model_name_or_path, *settings)
    trainer = make_trainer(lib, few_shot, model, tokenizer, arguments)
    if not trained:
        train(lib, trainer, args, checkpoint)
    if args.do_eval:
        evaluate(trainer, arguments.texts.labels, lib.logger)
    if args.do_predict:
        predict(trainer, arguments.texts, lib.logger)
    if args.do_export and args.should_save:
        export(few_shot, trainer, arguments)


def check_weights_fit(checkpoint, fingerprint):
    """Refuse a checkpoint that was asked for and whose prompt or labels have other weights: they would be skipped."""
    stored = read_run_file(checkpoint).get("fingerprint", {}) if checkpoint else fingerprint
    changed = [name for name in ("template", "label_words") if fingerprint and stored.get(name) != fingerprint[name]]
    if changed:
        raise UsageError(
            f"--resume_from_checkpoint {checkpoint}: trained with another {' and another '.join(changed)}, whose "
            "weights do not fit; give the same --prompt, --soft_encoder, --encoder_hidden_size and label.txt"
        )


def make_trainer(lib, few_shot, model, tokenizer, arguments):
    """Tokenise the data sets and build the Trainer with its callbacks."""
    args, data_args, data = arguments.training, arguments.data, arguments.texts
    if args.freeze_plm:
        few_shot.freeze(model.plm)
    encode = few_shot.make_encoder(model.template)
    datasets = {
        split: lib.TextDataset(examples[0], examples[1] or [], encode) if examples else None
        for split, examples in {"train": data.train, "dev": data.dev, "test": data.test}.items()
    }
    callbacks = [lib.ResumableEarlyStopping(data_args.early_stopping_patience)] if data_args.early_stopping else None
    trainer = few_shot.FewShotTrainer(
        model=model,
        args=args,
        criterion=lib.paddle.nn.CrossEntropyLoss(),
        tokenizer=tokenizer,
        data_collator=few_shot.make_collator(tokenizer),
        train_dataset=datasets["train"],
        eval_dataset=datasets["dev"],
        compute_metrics=lib.compute_metrics,
        callbacks=callbacks,
        group_by_length=False,  # few texts: grouped, a batch would have the same ones in every epoch
        max_length=args.max_seq_length,
        fingerprint=arguments.fingerprint,
    )
    trainer.test_dataset = datasets["test"]
    return trainer


def evaluate(trainer, labels, logger):
    """Log and save accuracy and macro averages on dev, and log precision, recall and F1 of every class."""
    output = trainer.predict(trainer.eval_dataset, metric_key_prefix="eval")
    truth = [feature["labels"] for feature in trainer.eval_dataset.features]
    for line in evaluation_report("dev", labels, truth, output.predictions.argmax(axis=1)):
        logger.info(line)
    trainer.log_metrics("eval", output.metrics)
    trainer.save_metrics("eval", output.metrics)


def predict(trainer, data, logger):
    """Write label and score of every text of test.txt, else of data.txt; the report where test.txt has labels."""
    from scipy.special import softmax

    texts, truth = data.test
    output = trainer.predict(trainer.test_dataset)
    if not trainer.is_world_process_zero():
        return
    probabilities = softmax(output.predictions.astype("float64"), axis=1)
    predicted = probabilities.argmax(axis=1)
    if truth is not None:
        for line in evaluation_report("test", data.labels, truth, predicted):
            logger.info(line)
        trainer.save_metrics("test", output.metrics)
    answers = [(data.labels[class_id], scores[class_id]) for class_id, scores in zip(predicted, probabilities)]
    lines = prediction_lines(texts, truth and [data.labels[index] for index in truth], answers)
    write_lines(Path(trainer.args.output_dir), {PREDICTIONS_FILE: lines}, "--output_dir")
    logger.info(f"{len(texts)} predictions written to {Path(trainer.args.output_dir) / PREDICTIONS_FILE}")


def export(few_shot, trainer, arguments):
    """Write <output_dir>/export; where dev is at hand, compare its formats with the model."""
    from export import parity_table, verify_export

    export_type, folder = arguments.model.export_type, Path(trainer.args.output_dir) / "export"
    dev, logger = trainer.eval_dataset, few_shot.logger
    compares = dev is not None and trainer.args.world_size == 1
    expected = trainer.predict(dev).predictions if compares else None
    few_shot.export_prompt_model(
        trainer.model, trainer.tokenizer, arguments.template, trainer.max_length, folder, export_type
    )
    logger.info(f"Exported model, tokenizer, template and labels to {folder}")
    if compares:
        formats = ["paddle", "onnx"] if export_type == "onnx" else ["paddle"]
        rows = verify_export(folder, dev, expected, few_shot.PromptPredictor, formats)
        for line in parity_table(rows):
            logger.info(line)


if __name__ == "__main__":
    with exit_on_usage_error():
        main(sys.argv[1:])
