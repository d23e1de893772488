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
import os
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository's root
from core.arguments import (
    at_least,
    load_argument_classes,
    load_module,
    parse_arguments,
    plain,
    require_onnx,
    training_problems,
)
from core.checkpoints import read_model_config, read_run_file, run_fingerprint, starting_weights
from core.checks import dev_at_hand
from core.cpu import end_one_of_several
from core.label_paths import SEPARATOR, separator_problems, stored_separator
from core.run_flags import StoppingArguments
from utils import UsageError, exit_on_usage_error, read_examples, read_json, read_label_words, read_texts

DEFAULTS = {"output_dir": "./checkpoints/"}
EXPORT_TYPES = ("paddle", "onnx")
PREDICTIONS_FILE = "predictions.txt"
PLM_DIR = "plm"  # see utils.py, whose import takes seconds
# What a part of a template may be, and what may stand beside it.
PARTS = ("text", "soft", "hard", "mask", "sep", "soft_id")  # soft_id: the vectors of an earlier part once more
ATTRIBUTES = dict.fromkeys(("length", "hidden_size", "position", "token_type"), int)
ATTRIBUTES.update(encoder=str, truncate=bool)


@dataclass
class DataArguments(StoppingArguments):
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
    label_separator: Optional[str] = field(
        default=None,
        metadata={
            "help": "Between the parts of labels that are paths, such as illness##cold: reports have each level, and "
            f"the export keeps it. None means the model's own, which is {SEPARATOR} for a new one."
        },
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
    calibrate: bool = field(
        default=True,
        metadata={
            "help": "Fit a temperature on dev.txt, where it has 100 texts, and put it into the exported graphs, so "
            "that whoever runs them gets calibrated probabilities; labels stay."
        },
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
    export_dev: Optional[tuple] = None  # dev where only an export's calibration has a use for it
    why_no_dev: str = ""  # where there is none

    @property
    def labels(self):
        return list(self.label_words)


@dataclass
class Run:
    """All that a run depends on: the three groups of flags, the data, the prompt, and what makes it this run.

    `trained` is the folder of the model that is evaluated, predicted with or exported without training it, else None.
    """

    model_flags: ModelArguments
    data_flags: DataArguments
    args: "PromptTuningArguments"  # noqa: F821  (PaddleNLP's)
    data: Data
    template: list
    trained: Optional[str]
    fingerprint: Optional[dict]


def main(argv=None):
    """Do what the flags ask for, in the order train, evaluate, predict, export.

    Raises:
        UsageError: what the user can mend.
    """
    run = parse_all(argv)
    from core.pipeline import find_start  # needs paddle, which takes seconds
    from core.trainer import train_and_save

    steps = load_module("few_shot_prompt_steps", Path(__file__).with_name("prompt_steps.py"))
    args = run.args
    finished, checkpoint = find_start(args, run.fingerprint)
    trained = args.output_dir if finished else run.trained
    trainer = steps.prepare(run, trained, checkpoint)
    if not trained:
        train_and_save(trainer, checkpoint, run.data_flags.keep_optimizer)
    if args.do_eval:
        steps.evaluate(trainer, run.data.labels, run.data_flags.label_separator)
    if args.do_predict:
        steps.predict(trainer, run.data, PREDICTIONS_FILE, run.data_flags.label_separator)
    if args.do_export:
        steps.export(trainer, run)
    if args.should_save:
        print("\n".join(summary(run)))


def parse_all(argv):
    """Parse and check the flags, read the data, then import paddle.

    Returns:
        Run: what main works on.

    Raises:
        UsageError: for the flags and the data before any heavy import.
    """
    parser_class, light_arguments = load_argument_classes("PromptTuningArguments")
    classes, defaults = (ModelArguments, DataArguments), DEFAULTS
    flags = parse_arguments(parser_class, (*classes, light_arguments), argv, __doc__, defaults)
    model_flags, data_flags, light = flags
    check_flags(model_flags, data_flags, light)
    require_onnx([model_flags.export_type])
    if light.do_train:
        trained = None
        template = parse_prompt(data_flags.prompt, data_flags.soft_encoder, data_flags.encoder_hidden_size)
        data = read_data(data_flags.data_dir, light, calibrates=model_flags.calibrate)
    else:
        trained, run_file = find_trained(light)
        template = run_file["template"]
        data = read_data(data_flags.data_dir, light, run_file["label_words"], model_flags.calibrate)
        defaults = {**DEFAULTS, "max_seq_length": run_file["max_seq_length"]}
    stored = read_model_config(Path(trained, PLM_DIR)) if trained else None
    data_flags.label_separator = data_flags.label_separator or stored_separator(stored or {})

    from paddlenlp.prompt import PromptTuningArguments
    from paddlenlp.trainer import PdArgumentParser

    from core.loading import set_device

    try:
        *_, args = parse_arguments(PdArgumentParser, (*classes, PromptTuningArguments), argv, __doc__, defaults)
    except (ValueError, AssertionError) as error:
        raise UsageError(str(error)) from None
    args.device = set_device(args.device, args.fp16)
    fingerprint = None
    if args.do_train:
        own = {name: getattr(data_flags, name) for name in ("early_stopping", "early_stopping_patience")}
        own.update(model_name_or_path=model_flags.model_name_or_path, template=template, label_words=data.label_words)
        own.update(starting_weights(model_flags.model_name_or_path, args.output_dir))
        learnt = [data.label_words, data.train, data.dev]
        fingerprint = run_fingerprint(args, PromptTuningArguments, learnt, **own)
    return Run(model_flags, data_flags, args, data, template, trained, fingerprint)


def summary(run):
    """What came out and what to do with it.

    Returns:
        list[str]: lines to print.
    """
    args, folder = run.args, Path(run.args.output_dir)
    results, lines = read_json(folder / "all_results.json"), []
    if args.do_train:
        lines.append(f"Model: {folder}")
    if args.do_eval:
        lines.append(f"Accuracy on dev.txt: {results['eval_accuracy']:.2%}; more in {folder / 'all_results.json'}")
    if args.do_predict:
        is_labelled = run.data.test[1] is not None
        accuracy = f", accuracy {results['test_accuracy']:.2%}" if is_labelled else ""
        lines.append(f"Predictions: {folder / PREDICTIONS_FILE}{accuracy}")
    if args.do_export:
        lines.append(f"Export: {folder / 'export'}")
        command = f"infer.py --model_path_prefix {folder / 'export' / 'model'}"
    else:
        command = f"train.py --output_dir {folder} {'' if args.do_predict else '--do_predict '}--do_export"
    here = os.path.dirname(sys.argv[0])
    return [*lines, f"Next: python {os.path.join(here, command)} --data_dir {run.data_flags.data_dir}"]


# ---------------------------------------------------------------------------------------- before any heavy import


def check_flags(model_flags, data_flags, args):
    """Refuse what would fail late, be ignored, or do nothing.

    Raises:
        UsageError: naming all that is wrong.
    """
    problems = training_problems(data_flags, args)
    if not (args.do_train or args.do_eval or args.do_predict or args.do_export):
        problems.append("nothing to do; add --do_train, --do_eval, --do_predict or --do_export")
    if model_flags.export_type not in EXPORT_TYPES:
        problems.append(f"--export_type {model_flags.export_type}: not known; use one of {', '.join(EXPORT_TYPES)}")
    if data_flags.soft_encoder not in ("lstm", "mlp", None):
        problems.append(f"--soft_encoder {data_flags.soft_encoder}: not known; use one of lstm, mlp, None")
    if not (model_flags.calibrate or args.do_export):
        problems.append("--calibrate False: has a part in an export only; add --do_export")
    problems += at_least(data_flags, encoder_hidden_size=1) + separator_problems(data_flags.label_separator)
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


def read_data(data_dir, args, trained_words=None, calibrates=False):
    """Read the files that this run needs, and no others.

    Args:
        data_dir (str): the folder.
        args: PromptTuningArguments, or their fields.
        trained_words (dict[str, str] | None): the labels and words of a trained model, which label.txt must have too.
        calibrates (bool): an export is calibrated on dev.txt, where that is there.

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
    labels, spare = list(words), (None, "")
    if args.do_export and calibrates and not needs_dev:
        spare = dev_at_hand(folder / "dev.txt", folder / "label.txt", list(trained_words or words))
    return Data(
        label_words=trained_words or words,
        train=read_examples(folder / "train.txt", labels) if args.do_train else None,
        dev=read_examples(folder / "dev.txt", labels) if needs_dev else None,
        test=read_texts(folder, labels) if args.do_predict else None,
        export_dev=spare[0],
        why_no_dev=spare[1],
    )


if __name__ == "__main__":
    with exit_on_usage_error():
        main(sys.argv[1:])
    end_one_of_several()
