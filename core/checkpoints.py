"""What the folders of checkpoints and exports say of themselves, read without paddle."""

import hashlib
import json
import os
import re
from pathlib import Path

from core.arguments import plain
from utils import UsageError, read_json

# What training it was: in output_dir when it is finished, and in each complete checkpoint.
RUN_FILE = "run.json"

# What an export folder says of itself, and the answers that its model gave before it was exported.
EXPORT_FILE = "export.json"

PARITY_FILE = "parity.json"

EXPORT_TYPES = ("paddle", "onnx", "onnx_int8")

# ------------------------------------------------------------------------------------------------------------- models


def read_model_config(model_dir):
    """Read config.json of a model directory.

    Returns:
        dict | None: its content; None when there is no such file (a model name, or a directory of another kind).

    Raises:
        UsageError: it is there but is not a JSON object; the directory is an export.
    """
    path = Path(model_dir) / "config.json"
    if not path.is_file():
        refuse_export(model_dir)
        return None
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path}: not readable as JSON ({error}); save the model again") from None
    if not isinstance(config, dict):
        raise UsageError(f"{path}: not a JSON object; save the model again")
    return config


def refuse_export(directory):
    """Say that a directory without config.json is an export, where it is one.

    Raises:
        UsageError: naming the checkpoint that the export was made from.
    """
    directory = Path(directory)
    if (directory / EXPORT_FILE).is_file() or any(directory.glob("*.pdmodel")):
        parent = Path(os.path.abspath(directory)).parent
        checkpoint = directory.parent if directory.parent.name else parent
        known = (parent / "config.json").is_file()
        raise UsageError(
            f"{directory}: an export, which predicts but cannot be trained, evaluated or exported again; give the "
            + (f"checkpoint that it was made from: {checkpoint}" if known else "checkpoint that it was made from")
        )


def stored_labels(config):
    """The label names in a model's config in class order, or None where it has only LABEL_n or none at all."""
    id2label = config.get("id2label") or {}
    try:
        names = [str(name) for _, name in sorted((int(index), name) for index, name in id2label.items())]
    except (AttributeError, ValueError):
        raise UsageError("config.json: id2label is not a map from class ids to names; save the model again") from None
    return None if all(name == f"LABEL_{index}" for index, name in enumerate(names)) else names


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


# ---------------------------------------------------------------------------------------------------------- trainings


def read_run_file(folder):
    """The content of run.json; empty where there is none that can be read."""
    return read_json(Path(folder) / RUN_FILE)


# Training arguments that do not change what is learnt, beside all that begin with do_, log and skip_.
WITHOUT_EFFECT = """
    output_dir overwrite_output_dir resume_from_checkpoint save_total_limit run_name report_to device disable_tqdm
    dataloader_num_workers per_device_eval_batch_size eval_accumulation_steps local_rank
""".split()


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


def checkpoint_step(path):
    """The step in the name `checkpoint-<step>`, or None."""
    match = re.fullmatch(r"checkpoint-(\d+)", Path(path).name)
    return int(match[1]) if match else None


def find_checkpoints(output_dir):
    """All checkpoint-<step> folders, the latest first."""
    folders = [path for path in Path(output_dir).glob("checkpoint-*") if path.is_dir() and checkpoint_step(path)]
    return sorted(folders, key=checkpoint_step, reverse=True)


def what_is_incomplete(checkpoint):
    """Say what a checkpoint lacks, or None when all of it is there.

    run.json is written last and holds every file's size, so files that are missing or cut short are seen without
    loading them.
    """
    run = read_run_file(checkpoint)
    if not run:
        return f"{RUN_FILE}, which is written last, is missing"
    for name, size in run.get("files", {}).items():
        path = Path(checkpoint) / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes instead of {size}"
    return None
