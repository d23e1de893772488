"""What the folders of dual encoders say of themselves, read without paddle, and the flags that choose one.

A checkpoint folder holds the encoder (config.json, model_state.pdparams, tokenizer), which any script here takes as
--model_name_or_path too, dual_encoder.json with its settings, and projection.pdparams where there is one; a
model_<step> also what continues its training. An export folder (see export.py) has a dual_encoder.json too.
"""

import hashlib
import json
from pathlib import Path

from utils import UsageError, read_json

SETTINGS_FILE = "dual_encoder.json"
PROJECTION_FILE = "projection.pdparams"
STATE_FILE = "train_state.json"
OPTIMIZER_FILE = "optimizer.pdopt"

# What vectors depend on beside the weights; a checkpoint keeps them. 0 units: no projection.
DEFAULTS = {"pooling": "mean", "output_emb_size": 256, "max_seq_length": 64}
# Settings of an export folder that decide a text's vector.
DECIDING = (*DEFAULTS, "dim")


def add_checkpoint_flags(parser):
    """The flags of a script that runs a checkpoint: which, how and where."""
    add = parser.add_argument
    add("--model_name_or_path", default="checkpoint/retrieval/model_best", help="a checkpoint (%(default)s)")
    add("--max_seq_length", type=int, help="tokens kept of a text (default: as in training)")
    add("--batch_size", type=int, default=64, help="(default: %(default)s)")
    add("--device", default="gpu", help="gpu, gpu:<n> or cpu; without a GPU the CPU is used (default: %(default)s)")


def is_checkpoint(folder):
    """Whether a folder holds a dual encoder."""
    return (Path(folder) / SETTINGS_FILE).is_file()


def check_checkpoint(folder, flag="--model_name_or_path"):
    """Raise UsageError where the value of a flag is not a checkpoint of a dual encoder."""
    if not is_checkpoint(folder):
        raise UsageError(
            f"{flag} {folder}: no {SETTINGS_FILE} there; give a checkpoint of retrieval_based/train.py, such as "
            "checkpoint/retrieval/model_best"
        )


def check_resumable(folder):
    """Raise UsageError where --resume_from_checkpoint is not a folder that continues a training."""
    if not (read_json(folder / STATE_FILE) and (folder / OPTIMIZER_FILE).is_file()):
        raise UsageError(f"--resume_from_checkpoint {folder}: not a model_<step> folder of a training; give one")


def read_export(folder):
    """The settings of an export folder whose files are all there and as long as they were written.

    Returns:
        dict: pooling, output_emb_size, max_seq_length, dim, model_hash and more.

    Raises:
        UsageError: another folder, or a file is missing or cut short.
    """
    folder = Path(folder)
    settings = read_json(folder / SETTINGS_FILE)
    missing = [name for name in (*DECIDING, "model_hash") if name not in settings]
    if missing:
        raise UsageError(
            f"{folder / SETTINGS_FILE}: missing, or without {missing[-1]}; give the folder that export_model.py wrote"
        )
    for name, size in settings.get("files", {}).items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size:
            raise UsageError(f"{path}: missing or cut short; export the model again")
    return settings


def model_hash(folder, settings):
    """What tells models apart: sha256 (hex) of an export folder's weights and the settings.

    The graph has no part in it: it holds the paths and line numbers of the code that wrote it.
    """
    digest = hashlib.sha256(json.dumps([settings[name] for name in DECIDING]).encode("utf-8"))
    digest.update((Path(folder) / "model.pdiparams").read_bytes())
    return digest.hexdigest()
