"""What the folders of checkpoints and exports say of themselves, read without paddle."""

import hashlib
import json
import os
import re
from pathlib import Path

from core.arguments import plain
from core.label_paths import stored_separator
from core.safetensors_files import SAFETENSORS_FILE, own_facts, stored_digest
from utils import UsageError, read_json, staged_files, write_json

# What training it was: in output_dir when it is finished, and in each complete checkpoint.
RUN_FILE = "run.json"

# What an export folder says of itself, and the answers that its model gave before it was exported.
EXPORT_FILE = "export.json"

PARITY_FILE = "parity.json"

# Its model cards (core/model_card.py), and their languages.
CARD_FILES = {"README.md": "zh", "README_en.md": "en"}

EXPORT_TYPES = ("paddle", "onnx", "onnx_int8")

# Format -> the ending of its file. paddle_bf16 runs the Paddle graph with matrix products in bfloat16.
FORMATS = {"paddle": ".pdmodel", "paddle_bf16": ".pdmodel", "onnx": ".onnx", "onnx_int8": "_int8.onnx"}

# A student of n-grams alone; a student before the model, which answers what that is not sure of; both added together.
# The last two may name the model's format: cascade:onnx_int8.
NGRAM, CASCADE, BLEND = "ngram", "cascade", "blend"
STAGED_MODELS = ("paddle", "onnx", "onnx_int8")
STUDENT_FORMATS = (NGRAM, CASCADE, BLEND, *(f"{kind}:{name}" for kind in (CASCADE, BLEND) for name in STAGED_MODELS))
SERVED_FORMATS = (*FORMATS, *STUDENT_FORMATS)

# Those that give the exported model's own answers.
EXACT_FORMATS = ("paddle", "onnx", NGRAM)

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
    trained = trained or read_json(Path(model_dir) / EXPORT_FILE).get("max_length")  # the latter for a pruned model
    stored = own_facts(Path(model_dir) / SAFETENSORS_FILE).get("max_length", "")  # of a model that was given away
    return trained or (int(stored) if stored.isdecimal() else None)


def trained_pooling(model_dir):
    """What a model's head reads, by its config.json: cls, or mean (core/heads.py)."""
    return (read_model_config(model_dir) or {}).get("classifier_pooling", "cls")


def trained_ngrams(model_dir):
    """Whether a model has n-gram features, by its config.json (core/ngram_layer.py)."""
    return bool((read_model_config(model_dir) or {}).get("ngram_features"))


def trained_long_text(model_dir):
    """What a model reads of long texts, by its config.json (core/long_texts.py): dict | None."""
    return (read_model_config(model_dir) or {}).get("long_text")


def trained_separator(model_dir):
    """What stands between the parts of a model's labels, by its config.json (core/label_paths.py)."""
    return stored_separator(read_model_config(model_dir) or {})


# ---------------------------------------------------------------------------------------------------------- trainings

# In a checkpoint: twice its weights and more, of use only to a training that goes on.
OPTIMIZER_FILE = re.compile(r"(optimizer|master_weights)[\w.-]*\.(pdopt|pdparams|safetensors|json)")

WEIGHTS_FILE = re.compile(r"(model_state[\w.-]*\.pdparams|model[\w.-]*\.safetensors|pytorch_model[\w.-]*\.bin)")


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
    values["wandb_api_key"] = None  # a secret, which has no place in a file of results
    values.update(own, data=hashlib.sha256(content.encode("utf-8")).hexdigest(), processes=args.world_size)
    return json.loads(json.dumps(values, default=str))


# In a fingerprint: the SHA-256 of the weights that a training began with. Those of older versions have none.
MODEL_WEIGHTS = "model_weights"


def starting_weights(model_dir, output_dir):
    """What a fingerprint says of the weights that a training begins with: it takes 0.2 s for 100 MB.

    Returns:
        dict: MODEL_WEIGHTS; empty for a model's name, and where the training's result will take their place.
    """
    if not Path(model_dir).is_dir() or os.path.realpath(model_dir) == os.path.realpath(output_dir):
        return {}
    digest = weights_digest(model_dir)
    return {MODEL_WEIGHTS: digest} if digest else {}


def is_same_training(one, other):
    """Whether two fingerprints (dict | None) are of one training; where one knows no weights, these do not count."""
    if one and other and (MODEL_WEIGHTS in one) != (MODEL_WEIGHTS in other):
        one, other = ({**side, MODEL_WEIGHTS: None} for side in (one, other))
    return one == other


def differences(old, new):
    """What two fingerprints differ in, with both values where these are short: `max_length (64, now 128), seed`."""
    result = []
    for key in sorted(old.keys() | new.keys()):
        values = [json.dumps(side.get(key), ensure_ascii=False) for side in (old, new)]
        if values[0] != values[1] and not (key == MODEL_WEIGHTS and "null" in values):
            result.append(f"{key} ({values[0]}, now {values[1]})" if max(map(len, values)) <= 40 else key)
    return ", ".join(result)


def is_finished(args, fingerprint):
    """True when output_dir holds the result of a training with this fingerprint, and no other start is asked for."""
    asked_for = args.overwrite_output_dir or (args.resume_from_checkpoint or "True").lower() != "true"
    return not asked_for and is_same_training(read_run_file(args.output_dir).get("fingerprint"), fingerprint)


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
    if run.get("removed"):
        return f"{' '.join(run['removed'])} was removed when its training had finished"
    for name, size in run.get("files", {}).items():
        path = Path(checkpoint) / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes instead of {size}"
    return None


def remove_optimizer_states(output_dir, fingerprint):
    """Delete the optimizer states of a finished training's own checkpoints; their weights stay.

    run.json is written first: it then says what was removed, and the rest is still known to be whole.

    Returns:
        tuple[list[str], int]: names of the checkpoints, and bytes.
    """
    names, size = [], 0
    for folder in find_checkpoints(output_dir):
        run = read_run_file(folder)
        states = [path for path in sorted(folder.iterdir()) if OPTIMIZER_FILE.fullmatch(path.name)]
        if not is_same_training(run.get("fingerprint"), fingerprint) or not states:
            continue
        removed = [path.name for path in states]
        kept = {name: length for name, length in run.get("files", {}).items() if name not in removed}
        with staged_files(folder) as stage:
            write_json(stage / RUN_FILE, {**run, "files": kept, "removed": removed})
        for path in states:
            size += path.stat().st_size
            path.unlink()
        names.append(folder.name)
    return names, size


# ------------------------------------------------------------------------------------------------- whose results


def weights_digest(model_dir):
    """SHA-256 of a directory's weights, by which an export knows its model; None where there are none.

    The model.safetensors that train.py --save_safetensors wrote counts as the model_state.pdparams that it is from:
    beside that and without it, the model is the same.
    """
    files = [path for path in sorted(Path(model_dir).glob("*")) if WEIGHTS_FILE.fullmatch(path.name)]
    own = Path(model_dir) / SAFETENSORS_FILE
    if own in files and own_facts(own):
        others = [path for path in files if path != own]
        if not others and (stored := stored_digest(own)):
            return stored
        files = others or files
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest() if files else None


def remove_old_safetensors(model_dir):
    """Delete a model.safetensors that was written here of weights that are no longer beside it.

    Returns:
        Path | None: the file that was deleted.
    """
    path = Path(model_dir) / SAFETENSORS_FILE
    facts = own_facts(path)
    if not facts or facts["weights"] == weights_digest(model_dir):
        return None
    path.unlink()
    return path


def check_finished_training(args, fingerprint):
    """Refuse a training whose result would replace that of another one.

    Args:
        args (TrainingArguments): the run's.
        fingerprint (dict): from run_fingerprint.

    Raises:
        UsageError: naming what differs, and the flag to start over with.
    """
    folder, finished = args.output_dir, read_run_file(args.output_dir).get("fingerprint")
    if args.overwrite_output_dir or not finished or is_same_training(finished, fingerprint):
        return
    length = {key: fingerprint[key] for key in ("num_train_epochs", "max_steps") if key in fingerprint}
    longer = length.keys() <= finished.keys() and is_same_training({**finished, **length}, fingerprint)
    why = (
        " (a finished training cannot be made longer: its learning rate has fallen to its end already; to train "
        f"its model on, give --model_name_or_path {folder} and another --output_dir)"
    )
    raise UsageError(
        f"{folder}: holds the model of a finished training with another {differences(finished, fingerprint)}; add "
        f"--overwrite_output_dir to replace it, or choose another --output_dir{why if longer else ''}"
    )


def check_unknown_model(args, fingerprint):
    """Refuse a training that starts in a folder with a model of another origin, such as the pretrained one's own.

    Args:
        args (TrainingArguments): the run's.
        fingerprint (dict): from run_fingerprint.

    Raises:
        UsageError: naming the flag to start over with.
    """
    folder, run = args.output_dir, read_run_file(args.output_dir)
    known = run.get("fingerprint") or is_same_training(run.get("unfinished"), fingerprint)
    if known or args.overwrite_output_dir:
        return
    if any(WEIGHTS_FILE.fullmatch(path.name) for path in Path(folder).glob("*")):
        raise UsageError(
            f"{folder}: holds a model that this training did not make; add --overwrite_output_dir to replace it, or "
            "choose another --output_dir"
        )


def check_export_target(folder, model_dir, overwrite, flag="--output_dir"):
    """Refuse to replace the export of another model; below its own model's directory an export may be replaced.

    Args:
        folder: where an export is to be written.
        model_dir: the directory of the model that will be exported; None while it is not trained.
        overwrite (bool): --overwrite_output_dir.
        flag (str): what the user chose the folder with.

    Raises:
        UsageError: naming the folder and the flag.
    """
    folder = Path(folder)
    is_export = any(folder.glob("*.pdmodel")) or (folder / EXPORT_FILE).is_file()
    held = read_json(folder / EXPORT_FILE).get("weights") if is_export else weights_digest(folder)
    if overwrite or not (is_export or held):
        return
    digest = None if model_dir is None else weights_digest(model_dir)
    if digest is None or held != digest:
        raise UsageError(
            f"{folder}: holds {'the export of ' * is_export}another model; add --overwrite_output_dir to replace it, "
            f"or choose another {flag}"
        )
