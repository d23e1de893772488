"""How good a trained model is on dev, class by class, how far its probabilities can be trusted, and where it fails.

    cd analysis
    python evaluate.py --device gpu --dataset_dir ../data --params_path ../checkpoint/ --bad_case_file bad_case.txt
    python evaluate.py --dataset_dir ../data --params_path ../checkpoint/ --compare ../checkpoint_2

Printed: the report of train.py's debug evaluation, top-2 and top-3 accuracy, calibration, coverage. Written:
--bad_case_file into --dataset_dir, and into --report_dir evaluate.html, confusion_matrix.png, reliability.png,
coverage.png; with --compare also changed.txt, the samples that only one of the two models gets right; with more than
100 classes also classes.tsv, the scores of all of them; where labels are paths such as illness##cold
(--label_separator), levels.json, the scores of each level, which the page and the printed report have too.

- Scores and thresholds are of the probabilities that are served: softmax of the logits, divided by the temperature
  of <params_path>/export where that has one, as in bad cases and the server's answers. A threshold is told where its
  accuracy is reached with a certainty of 95 % (Clopper and Pearson 1934).
- Intervals: 95 %, percentile bootstrap (Efron and Tibshirani 1993) over samples; --seed decides the draws.
- Calibration: expected calibration error in 15 bins (Naeini et al. 2015); for information also after dividing the
  logits by a temperature (Guo et al. 2017), each half of dev by that of the other half, which nothing served does.
- Comparison: exact McNemar test on the samples that only one model gets right (Dietterich 1998).
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository's root

from analysis.flags import check_flags, for_model, make_parser, next_command, read_model_labels
from analysis.report import add_language_flag
from core.any_file import read_any_examples
from core.arguments import parse_argv, require_packages
from core.checkpoints import trained_separator
from core.confidence import served_temperature
from core.label_paths import SEPARATOR, separator_problems
from utils import UsageError, exit_on_usage_error, prediction_lines, write_lines


def parse_flags(argv):
    """The flags, checked.

    Raises:
        UsageError: a flag out of range, matplotlib is not installed.
    """
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--bad_case_file", default="bad_case.txt", help="written into --dataset_dir (default: bad_case.txt)")
    add("--report_dir", type=Path, default=Path("evaluate_report"), help="for the page and the pictures")
    add("--compare", type=Path, help="another trained model, to be compared on the same samples")
    add("--label_separator", help=f"between the parts of labels (default: the model's own, else {SEPARATOR})")
    add_language_flag(parser)
    flags = parse_argv(parser, argv)
    check_flags(flags)
    if problems := separator_problems(flags.label_separator):
        raise UsageError("\n".join(problems))
    require_packages("evaluate.py", "matplotlib")
    return flags


def main(argv=None):
    flags = parse_flags(argv)
    labels = read_model_labels(flags)
    # The other model has its own class order, and its own length.
    other_flags = argparse.Namespace(**{**vars(flags), "params_path": flags.compare})
    other_labels = read_model_labels(other_flags) if flags.compare else None
    texts, truth = read_any_examples(flags.dataset_dir / flags.dev_file, labels)

    from analysis.classifier import Classifier  # needs paddle, which takes seconds
    from analysis.evaluation_page import compare_models, length_warning, score_lines, summary, write_report
    from analysis.scores import Evaluation

    logits, _ = Classifier(flags, labels).run(texts, "dev")
    separator = flags.label_separator or trained_separator(flags.params_path)
    temperature, export = served_temperature(flags.params_path)
    evaluation = Evaluation(labels, texts, np.array(truth), logits, flags.seed, separator, temperature)
    print("\n".join(score_lines(evaluation)))
    if export:
        print(
            f"The temperature is that of {export}, fitted on its dev data; the scores of another export may be others."
        )
    lengths = length_warning(flags)
    if lengths:
        print(f"These scores are of --max_seq_length {lengths[0]}; trained with {lengths[1]}, it is served with that.")
    found, path = evaluation.bad_cases, flags.dataset_dir / flags.bad_case_file
    lines = prediction_lines([case[0] for case in found], [case[1] for case in found], [case[2:] for case in found])
    write_lines(flags.dataset_dir, {flags.bad_case_file: lines}, "--dataset_dir")
    print(f"{len(found):,} wrongly predicted samples written to {path}")

    more_parts = []
    if flags.compare:
        other_logits, _ = Classifier(other_flags, other_labels).run(texts, "dev, other model")
        other = np.array([labels.index(other_labels[class_id]) for class_id in other_logits.argmax(axis=1)])
        more_parts = compare_models(evaluation, other, flags)
    page = write_report(evaluation, flags, more_parts)
    print(f"{summary(evaluation)} on {len(texts):,} samples of {flags.dataset_dir / flags.dev_file}")
    print(f"Report: {page}")
    if found:
        texts_flag = ("--interpret_input_file", flags.bad_case_file)
        command = next_command("analysis/sent_interpret.py", *for_model(flags), *texts_flag)
        print(f"Next, the training samples that are behind these mistakes: {command}")


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
