"""The flags of word_interpret.py and of the notebook, and what they read before paddle is imported."""

from pathlib import Path

from analysis.flags import check_flags, make_parser, read_model_labels
from analysis.report import add_language_flag
from core.arguments import parse_argv, require_packages
from utils import read_cases

# Functions of attribution.py.
METHODS = ("integrated_gradients", "gradient_shap", "lime", "attention")

DEFAULT_METHOD = "lime"


def parse_flags(argv, description=__doc__):
    """The flags, checked as far as that goes without the model.

    Raises:
        UsageError: a flag out of range, jieba is not installed.
    """
    parser = make_parser(description, batch_size=16)
    add = parser.add_argument
    method_help = f"one or more of {', '.join(METHODS)}; all (default: {DEFAULT_METHOD})"
    add("--method", nargs="+", choices=[*METHODS, "all"], default=[DEFAULT_METHOD], help=method_help, metavar="METHOD")
    input_help = "in --dataset_dir: texts, with or without label and prediction (default: bad_case.txt)"
    add("--interpret_input_file", default="bad_case.txt", help=input_help)
    add("--interpret_num", type=int, default=20, help="texts explained, from the first one on (default: 20)")
    steps_help = "of integrated gradients at first; they are doubled for texts that need more (default: 32)"
    add("--steps", type=int, default=32, help=steps_help)
    add("--samples", type=int, default=100, help="of LIME and of gradient SHAP for each text (default: 100)")
    remove_help = (
        "how faithfulness takes words away; LIME deletes them too, so that [MASK] in their place is the fairer judge "
        "of it (default: delete)"
    )
    add("--remove_words", choices=("delete", "mask"), default="delete", help=remove_help)
    add("--result_file", default="word_interpret.txt", help="written into --dataset_dir")
    add("--report", type=Path, default=Path("word_interpret.html"), help="the page (default: word_interpret.html)")
    add_language_flag(parser)
    flags = parse_argv(parser, argv)
    check_flags(flags, interpret_num=1, steps=1, samples=1)
    flags.method = list(METHODS if "all" in flags.method else dict.fromkeys(flags.method))
    require_packages("word_interpret.py", "jieba")
    return flags


def read_input(flags):
    """The labels of the model in its class order, and what read_cases gives of the texts.

    Raises:
        UsageError: see read_model_labels and read_cases.
    """
    return read_model_labels(flags), read_cases(flags.dataset_dir / flags.interpret_input_file)
