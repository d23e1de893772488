"""What the scripts of analysis/ share before paddle is imported: flags, the model's labels and its length."""

import argparse
import contextlib
import os
from pathlib import Path

from core.arguments import at_least
from core.checkpoints import trained_labels, trained_max_length
from utils import UsageError, read_labels

ROOT = Path(__file__).resolve().parent.parent

# Tokens kept of a text where it is not known what the model was trained with.
MAX_LENGTH = 128


def make_parser(description, batch_size=32):
    """A parser with the flags that all scripts with a trained model have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--device", default="gpu", help="gpu, gpu:<n> or cpu; without a GPU the CPU is used (default: gpu)")
    add("--dataset_dir", type=Path, required=True, help="the folder with the files named below")
    add("--params_path", type=Path, default=Path("../checkpoint/"), help="the trained model (default: ../checkpoint/)")
    length_help = f"what the model was trained with; {MAX_LENGTH} where that is not known"
    add("--max_seq_length", type=int, help=f"tokens kept of a text (default: {length_help})")
    add("--batch_size", type=int, default=batch_size, help=f"texts that are run together (default: {batch_size})")
    add("--seed", type=int, default=3, help="of everything random (default: 3)")
    add("--train_file", default="train.txt", help="in --dataset_dir (default: train.txt)")
    add("--dev_file", default="dev.txt", help="in --dataset_dir (default: dev.txt)")
    add("--label_file", default="label.txt", help="in --dataset_dir (default: label.txt)")
    return parser


def check_flags(flags, **least):
    """Refuse the numbers of make_parser's flags, and of others (flag=limit), that are too small.

    Raises:
        UsageError: naming all of them.
    """
    # Two tokens are [CLS] and [SEP].
    problems = at_least(flags, batch_size=1, max_seq_length=3, **least)
    if problems:
        raise UsageError("\n".join(problems))


def max_length(flags):
    """Tokens kept of a text: --max_seq_length, else what the model in --params_path was trained with."""
    return flags.max_seq_length or trained_max_length(flags.params_path) or MAX_LENGTH


def read_model_labels(flags):
    """The labels of the trained model in its class order, without loading it.

    Raises:
        UsageError: no trained classifier in --params_path, or other labels than in --label_file.
    """
    label_path = flags.dataset_dir / flags.label_file
    labels = read_labels(label_path)
    if not flags.params_path.is_dir():
        raise UsageError(f"--params_path {flags.params_path}: no such directory; give the --output_dir of a training")
    try:
        return trained_labels(str(flags.params_path), labels, label_path)
    except UsageError as error:
        raise UsageError(str(error).replace("--model_name_or_path", "--params_path")) from None


def next_command(script, *values):
    """The command line of a script, to be run from where the user stands.

    Args:
        script (str): its path from the repository's root.
        *values: flags and their values.
    """
    path = ROOT / script
    with contextlib.suppress(ValueError):  # on Windows, between two drives
        path = os.path.relpath(path)
    words = ["python", str(path), *map(str, values)]
    return " ".join(f'"{word}"' if " " in word else word for word in words)


def for_model(flags):
    """The flags that name the device, the data and the model, for next_command."""
    return "--device", flags.device, "--dataset_dir", flags.dataset_dir, "--params_path", flags.params_path
