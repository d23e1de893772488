"""For each text, the training samples that support its prediction: those with the most similar features.

    cd analysis
    python sent_interpret.py --device gpu --dataset_dir ../data --params_path ../checkpoint/ --top_k 3 \\
        --train_file train.txt --interpret_input_file bad_case.txt --interpret_result_file sent_interpret.txt

Feature similarity after "An Empirical Comparison of Instance Attribution Methods for NLP" (arXiv 2104.04128): the
cosine of the angle between what the classifier layer sees of two texts. Where a wrong prediction is supported by
training samples with a wrong label, or by ones that only look alike, the data is what must be mended.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository's root

from analysis.flags import check_flags, for_model, make_parser, next_command, read_model_labels
from core.any_file import read_any_examples
from core.arguments import parse_argv
from utils import exit_on_usage_error, read_cases, write_lines


def explain(cases, predicted, train, labels, rows, scores):
    """The lines of the result file.

    Args:
        cases (list[tuple]): from read_cases: line number, text, label ("" where it is not known), ….
        predicted (list[int]): class ids.
        train (tuple[list[str], list[int]]): texts and class ids.
        labels (list[str]): names of the classes.
        rows, scores (np.ndarray): from `nearest`.

    Yields:
        str: a line, without its end.
    """
    texts, ids = train
    for (_, text, label, *_), class_id, found, values in zip(cases, predicted, rows.tolist(), scores.tolist()):
        yield f"text: {text}"
        yield f"predict label: {labels[class_id]}"
        if label:
            yield f"label: {label}"
        yield "examples with positive influence"
        for number, (row, value) in enumerate(zip(found, values), 1):
            yield f"support{number} text: {texts[row]}\tlabel: {labels[ids[row]]}\tscore: {value:.5f}"
        yield ""


def parse_flags(argv):
    """The flags, checked.

    Raises:
        UsageError: a flag out of range.
    """
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--top_k", type=int, default=3, help="training samples shown for each text (default: 3)")
    input_help = "in --dataset_dir: texts, with or without label and prediction (default: bad_case.txt)"
    add("--interpret_input_file", default="bad_case.txt", help=input_help)
    add("--interpret_result_file", default="sent_interpret.txt", help="written into --dataset_dir")
    flags = parse_argv(parser, argv)
    check_flags(flags, top_k=1)
    return flags


def main(argv=None):
    flags = parse_flags(argv)
    labels = read_model_labels(flags)
    cases = read_cases(flags.dataset_dir / flags.interpret_input_file)
    train = read_any_examples(flags.dataset_dir / flags.train_file, labels)

    from analysis.classifier import Classifier  # needs paddle, which takes seconds
    from analysis.vectors import nearest

    classifier = Classifier(flags, labels)
    train_features = classifier.run(train[0], "training texts")[1]
    logits, features = classifier.run([text for _, text, *_ in cases], "texts")
    rows, scores = nearest(features, train_features, flags.top_k)
    predicted = logits.argmax(axis=1).tolist()
    lines = list(explain(cases, predicted, train, labels, rows, scores))
    write_lines(flags.dataset_dir, {flags.interpret_result_file: lines}, "--dataset_dir")
    print(f"{len(cases):,} texts explained in {flags.dataset_dir / flags.interpret_result_file}")
    command = next_command("analysis/dirty.py", *for_model(flags), "--train_file", flags.train_file)
    print(f"Next, where a training sample behind a mistake has a wrong label, find more such: {command}")


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
