"""The flags of the model that learns while people label: server.py's, which data/annotate.py hands on to it."""

from pathlib import Path

STRATEGIES = ("badge", "margin", "random")
# Those of add_model_flags, beside --work_dir, whose help is each script's own.
MODEL_FLAGS = (
    "data_dir",
    "text_file",
    "encoder",
    "retrain_every",
    "min_accuracy",
    "strategy",
    "max_seq_length",
    "seed",
)


def add_model_flags(parser):
    """Add MODEL_FLAGS to a parser."""
    add = parser.add_argument
    add(
        "--data_dir", type=Path, required=True, help="label.txt and data.txt; train.txt, dev.txt, test.txt if you have"
    )
    add(
        "--text_file",
        type=Path,
        nargs="+",
        help="label these texts, such as monitor.py's to_label.txt, not data.txt's",
    )
    add("--encoder", default="data/offline_encoder", help="a model's folder or name (default: %(default)s)")
    add("--retrain_every", type=int, default=20, help="new labels before a model is fitted (default: %(default)s)")
    add("--min_accuracy", type=float, default=0.5, help="of a model that shows its labels (default: %(default)s)")
    strategy = "badge: unsure and different; margin: the closest calls; random (default: %(default)s)"
    add("--strategy", choices=STRATEGIES, default=STRATEGIES[0], help=strategy)
    add("--max_seq_length", type=int, default=128, help="tokens kept of a text (default: %(default)s)")
    add("--seed", type=int, default=42, help="of all draws (default: %(default)s)")


def min_accuracy_problems(flags):
    """What is wrong with --min_accuracy: list[str]."""
    if 0 <= flags.min_accuracy <= 1:
        return []
    return [f"--min_accuracy {flags.min_accuracy}: give a number from 0 to 1"]
