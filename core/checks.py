"""Looked at before any heavy import: where a run writes, and what its data lacks."""

import os
from pathlib import Path

from core.any_file import read_any_examples
from utils import UsageError, read_labels, shortened

# More names than this in a warning are noise.
MAX_NAMES = 10


def check_writable(folder, flag):
    """Refuse a folder in which nothing can be made; it need not be there, and is not made.

    Raises:
        UsageError: it, or what is to hold it, is a file or may not be written.
    """
    place = Path(folder).absolute()
    while not os.path.lexists(place):
        place = place.parent
    if not place.is_dir():
        raise UsageError(f"{folder}: {place} is not a folder; choose another {flag}")
    if not os.access(place, os.W_OK | os.X_OK):
        raise UsageError(f"{folder}: {place} cannot be written by you; choose another {flag}")


def check_safetensors(model_dir, trains):
    """Refuse --save_safetensors for a model that has no weights of ours to write so.

    Args:
        model_dir: of the model, once it is trained.
        trains (bool): whether this run trains it.

    Raises:
        UsageError: it is a model's name, or its weights are in another form.
    """
    if trains:
        return
    if not (Path(model_dir) / "model_state.pdparams").is_file():
        raise UsageError(
            f"--save_safetensors True: {model_dir} has no model_state.pdparams, of which model.safetensors is "
            "written; give a checkpoint of train.py, or add --do_train"
        )
    check_writable(model_dir, "--model_name_or_path")


def read_dev(path, labels, train_path):
    """read_any_examples of the data that models are chosen by; a missing file comes with the way to make one.

    Raises:
        UsageError: as read_any_examples.
    """
    if not os.path.lexists(path):
        raise UsageError(
            f"{path}: no such file; split it off the training data into a new folder, which is then your --data_dir: "
            f"python data/split.py --input_file {train_path} --save_dir my_data --splits 0.9 0.1 0"
        )
    return read_any_examples(path, labels)


def dev_at_hand(path, label_path, labels):
    """Dev data that an export can do without, but is calibrated on.

    Args:
        path, label_path: where it and its labels would be; they may be another model's, such as the sample data.
        labels (list[str]): of the model, in class order.

    Returns:
        tuple[tuple | None, str]: texts and class ids, else None and the reason.
    """
    if not os.path.lexists(path):
        return None, f"there is no {path} to fit a temperature on; give --data_dir or --dev_path"
    try:
        if set(read_labels(label_path)) != set(labels):
            return None, f"{label_path} has other labels than the model; give --data_dir"
        return read_any_examples(path, labels), ""
    except UsageError as error:
        return None, str(error)


def check_batch(samples, args, path):
    """Refuse --dataloader_drop_last where it drops the only batch.

    Args:
        samples (int): of the training data.
        args: PaddleNLP's TrainingArguments, or their fields.
        path: the training data.

    Raises:
        UsageError: naming both numbers.
    """
    batch = args.per_device_train_batch_size * int(os.environ.get("PADDLE_TRAINERS_NUM", "1"))
    if args.dataloader_drop_last and samples < batch:
        raise UsageError(
            f"{path}: {samples} samples, fewer than the {batch} of a batch, which --dataloader_drop_last True drops; "
            "leave that flag out, or lower --per_device_train_batch_size"
        )


def data_warnings(labels, train=None, dev=None, train_path="train.txt", dev_path="dev.txt"):
    """What will make a model worse, or its score say less, than its user thinks.

    Args:
        labels (list[str]): in class order.
        train, dev (tuple[list[str], list[int]] | None): texts and class ids.
        train_path, dev_path: how to call them.

    Returns:
        list[str]: a message each.
    """
    result = []
    if train is not None:
        missing = _without_samples(labels, train[1])
        if missing:
            result.append(
                f"{train_path}: no text of {_named(missing)}, so the model will not learn to answer that; add texts, "
                "or delete the label from the label file"
            )
        if len(train[0]) < 2 * len(labels):
            result.append(
                f"{train_path}: {len(train[0])} sample{'s' * (len(train[0]) != 1)} for {len(labels)} labels; little "
                "can be learnt from that. For few labelled texts see few-shot/README.md"
            )
    if dev is not None:
        missing = _without_samples(labels, dev[1])
        if missing:
            result.append(
                f"{dev_path}: no text of {_named(missing)}, so its scores do not tell how well that is recognised, "
                "and the best model is chosen without it"
            )
    return result


def _named(labels):
    names = " ".join(shortened(label) for label in labels[:MAX_NAMES])
    return names if len(labels) <= MAX_NAMES else f"{names} and {len(labels) - MAX_NAMES} more labels"


def _without_samples(labels, class_ids):
    """The labels that no sample has, in class order."""
    present = set(class_ids)
    return [label for index, label in enumerate(labels) if index not in present]
