"""Classify with a sentence encoder and a linear head: for few samples a label, and quick to train.

    python setfit.py --data_dir ./data --model_name_or_path ../data/offline_encoder \\
        --output_dir ./checkpoints_setfit --do_train --do_eval --do_predict --export_type paddle onnx

1. The encoder is tuned for --max_steps so that texts of one label come close together and others apart (the idea of
   SetFit, https://arxiv.org/abs/2209.11055, here with the loss of https://arxiv.org/abs/2004.11362). --max_steps 0
   leaves it as it is. The result lies between the first and the tuned weights (https://arxiv.org/abs/2109.01903).
2. The mean of a text's token states is its vector; linear discriminant analysis on the vectors of the training texts
   and of the label words (`label==word` in label.txt) gives the head. Where the folder has data.txt, unlabelled texts,
   they are given labels, and the head is fitted again with them (--unlabelled_weight), several times. Without
   train.txt, the label words say how they begin.
3. The same is done with the texts' tokens and pairs of tokens in place of vectors: which words are there, next to what
   a text means. dev.txt gives the two logits their weights, and the probabilities their sureness; without it the
   training texts give the sureness, each left out once, and without these the fit itself, which is no calibration.
4. All become one graph, <output_dir>/export, which Taskflow, core/predictor.py and deploy/ take like any other.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository's root
from core.arguments import at_least, boolean, load_module, parse_argv, require_onnx
from core.checkpoints import EXPORT_FILE, EXPORT_TYPES
from core.label_paths import SEPARATOR, LabelPaths, separator_problems, with_levels
from core.progress import progress_bar
from utils import (
    UsageError,
    evaluation_report,
    exit_on_usage_error,
    prediction_lines,
    read_cases,
    read_examples,
    read_json,
    read_label_words,
    read_texts,
    write_lines,
)

PREDICTION_FILE = "predictions.txt"
# Texts that are predicted between two steps of the progress bar.
TEXTS_PER_STEP = 1000


def parse_flags(argv):
    """Parse and check the flags before any heavy import.

    Raises:
        UsageError: naming all that is wrong.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data_dir", type=Path, default=Path("./data"), help="train.txt, dev.txt, label.txt, …; default: ./data")
    add("--model_name_or_path", default="ernie-3.0-base-zh", help="the encoder (default: %(default)s)")
    add("--output_dir", type=Path, default=Path("./checkpoints_setfit"), help="(default: %(default)s)")
    add("--do_train", action="store_true", help="tune, fit the head, write the export")
    add("--do_eval", action="store_true", help="accuracy on dev.txt")
    add("--do_predict", action="store_true", help=f"test.txt or data.txt -> {PREDICTION_FILE}")
    add("--export_type", nargs="+", default=["paddle"], choices=EXPORT_TYPES, help="(default: paddle)")
    add("--max_steps", type=int, default=30, help="of contrastive tuning; 0: none (default: %(default)s)")
    add("--labels_per_batch", type=int, default=16, help="at most (default: %(default)s)")
    add("--samples_per_label", type=int, default=4, help="in a batch (default: %(default)s)")
    add("--learning_rate", type=float, default=1e-4, help="its highest value (default: %(default)s)")
    add("--temperature", type=float, default=0.1, help="of the contrastive loss (default: %(default)s)")
    add("--tuned_share", type=float, default=0.5, help="of what tuning changed in the weights (default: %(default)s)")
    add("--shrinkage", type=float, default=0.9, help="of the covariance, 0 to 1 (default: %(default)s)")
    weight = "of a text of data.txt against a labelled one; 0: without data.txt (default: %(default)s)"
    add("--unlabelled_weight", type=float, default=0.1, help=weight)
    weight = "of the n-grams' logits against the vectors'; 0: without n-grams (default: fitted on dev.txt, else 0.5)"
    add("--ngram_weight", type=float, default=None, help=weight)
    calibrated = "fit a temperature on dev.txt and put it into the graphs, where it has 100 texts (default: True)"
    add("--calibrate", type=boolean, default=True, help=calibrated)
    add("--max_seq_length", type=int, default=128, help="tokens kept of a text (default: %(default)s)")
    levels = f"between the parts of labels that are paths (default: the export's own; {SEPARATOR} for a new one)"
    add("--label_separator", help=levels)
    add("--per_device_eval_batch_size", type=int, default=32, help="(default: %(default)s)")
    add("--device", default="gpu", help="gpu, gpu:<n> or cpu; without a GPU the CPU is used (default: gpu)")
    add("--seed", type=int, default=42, help="of batches and dropout (default: %(default)s)")
    flags = parse_argv(parser, argv)
    flags.defaults = {action.dest: action.default for action in parser._actions}
    problems = at_least(flags, max_steps=0, labels_per_batch=2, samples_per_label=2, max_seq_length=3)
    problems += at_least(flags, per_device_eval_batch_size=1, unlabelled_weight=0, ngram_weight=0)
    problems += separator_problems(flags.label_separator)
    for name in ("tuned_share", "shrinkage"):
        if not 0 <= getattr(flags, name) <= 1:
            problems.append(f"--{name} {getattr(flags, name)}: give a number from 0 to 1")
    for name in ("learning_rate", "temperature"):
        if not getattr(flags, name) > 0:
            problems.append(f"--{name} {getattr(flags, name)}: must be above 0")
    if not (flags.do_train or flags.do_eval or flags.do_predict):
        problems.append("nothing to do; add --do_train, --do_eval or --do_predict")
    if problems:
        raise UsageError("\n".join(problems))
    return flags


def read_training(flags, labels):
    """Read train.txt and, where it has a part, data.txt; without train.txt, data.txt and the label words have to do.

    Returns:
        tuple: texts and class ids of train.txt; texts of data.txt.
    """
    train_path, data_path = flags.data_dir / "train.txt", flags.data_dir / "data.txt"
    unlabelled, role = [], "have a part in the head (--unlabelled_weight 0: none)"
    if flags.unlabelled_weight and data_path.is_file():
        unlabelled = [text for _, text, *_ in read_cases(data_path)]
    train_data = [], []
    if unlabelled and not train_path.exists():
        found, least = len(set(unlabelled)), 2 * len(labels)
        if found < least:
            raise UsageError(
                f"{data_path}: {found} different texts; without {train_path} the {len(labels)} classes are found in "
                f"them, and that takes {least}, better some hundred; add texts, or label some as {train_path}"
            )
        role = f"and the label words alone make the head: there is no {train_path}"
    else:
        train_data = read_examples(train_path, labels)
    if unlabelled:
        print(f"{data_path}: {len(unlabelled)} unlabelled texts {role}")
    return train_data, unlabelled


def train(flags, label_words, train_data, dev, unlabelled):
    """Learn from the data and write the export folder; see Learner.fit.

    Returns:
        bool: whether the user was warned of texts that the vocabulary cannot read.
    """
    from core.loading import set_device  # needs paddle, which takes seconds

    learning = load_module("few_shot_sentence_learner", Path(__file__).with_name("sentence_learner.py"))
    set_device(flags.device)
    learner = learning.Learner(flags, label_words)
    learner.fit(*train_data, dev, unlabelled)
    learner.export(flags.output_dir / "export", dev)
    return learner.watch.warned


def load_export(flags, warned=False):
    """The Predictor of what was trained, on ONNX Runtime where model.onnx is there.

    Args:
        warned (bool): whether this run has said already that texts cannot be read.
    """
    from core.predictor import Predictor, available_formats

    folder = flags.output_dir / "export"
    format = "onnx" if "onnx" in available_formats(folder) else "paddle"
    predictor = Predictor(folder, format, batch_size=flags.per_device_eval_batch_size)
    predictor.watch.warned = warned
    return predictor


def score_note(folder):
    """What to know of an export's scores before one relies on them.

    Returns:
        tuple[str, str]: in two words, and why; both empty where dev.txt calibrated them.
    """
    calibration = read_json(folder / EXPORT_FILE).get("calibration", {})
    advice = "dev.txt with some hundred labelled texts, and train again"
    if calibration.get("on") == "train.txt":
        return "calibrated on train.txt", f"where each text was left out once; for better ones, add a {advice}"
    if "expected_accuracy" in calibration:
        suggested = f"lowered to what the fit itself suggests, about {calibration['expected_accuracy']:.0%} on average"
        why = f"since no text has a label: {suggested}, which may be wrong; to calibrate them, add a {advice}"
        return "not calibrated", why
    return "", ""


def report(split, predictor, texts, truth, separator, path=None):
    """Print the report, of each level too, where there are labels; write `path`: text, label, prediction and score of
    every text.

    Returns:
        list[str]: accuracy and file, for the end of the run.
    """
    lines = []
    with progress_bar(total=len(texts), unit="text", desc=split) as bar:
        answers = []
        for start in range(0, len(texts), TEXTS_PER_STEP):
            answers += predictor.classify(texts[start : start + TEXTS_PER_STEP])
            bar.update(len(answers) - bar.n)
    if truth is not None:
        predicted = [predictor.labels.index(label) for label, _ in answers]
        levels = LabelPaths(predictor.labels, separator).scores(truth, predicted)
        print("\n".join(with_levels(evaluation_report(split, predictor.labels, truth, predicted), split, levels)))
        right = sum(one == other for one, other in zip(truth, predicted))
        lines.append(f"Accuracy on {split}.txt: {right / len(texts):.2%} ({right} of {len(texts)} texts)")
    if path:
        rows = prediction_lines(texts, truth and [predictor.labels[index] for index in truth], answers)
        write_lines(path.parent, {path.name: rows}, "--output_dir")
        note, _ = score_note(predictor.path.parent)
        lines.append(f"{len(texts)} predictions are in {path}" + (f"; their scores are {note}" if note else ""))
    return lines


def next_step(flags):
    """What a user does after this run."""
    if flags.do_predict:
        return "serve the export, as deploy/README.md says"
    return f"python {sys.argv[0]} --do_predict --data_dir {flags.data_dir} --output_dir {flags.output_dir}"


def main(argv=None):
    """Train, evaluate and predict, as the flags ask.

    Raises:
        UsageError: what the user can mend.
    """
    flags = parse_flags(argv)
    label_words = read_label_words(flags.data_dir / "label.txt")
    labels, dev_path = list(label_words), flags.data_dir / "dev.txt"
    dev = read_examples(dev_path, labels) if flags.do_eval or dev_path.is_file() else None
    if "onnx_int8" in flags.export_type and flags.do_train and not dev:
        raise UsageError(f"--export_type onnx_int8: needs {dev_path} for its ranges; add it")
    train_data, unlabelled = read_training(flags, labels) if flags.do_train else (None, None)
    to_predict = read_texts(flags.data_dir, labels) if flags.do_predict else None
    if flags.do_train:
        require_onnx(flags.export_type)
    elif not (flags.output_dir / "export").is_dir():
        raise UsageError(f"{flags.output_dir / 'export'}: no such directory; train first, with --do_train")

    lines, warned = [], False
    if flags.do_train:
        warned = train(flags, label_words, train_data, dev, unlabelled)
        formats = [name for name in EXPORT_TYPES if name in {"paddle", *flags.export_type}]
        lines.append(f"Export: {flags.output_dir / 'export'} ({', '.join(formats)})")
    note, why = score_note(flags.output_dir / "export")
    if note:
        lines.append(f"Scores: {note}, {why}")
    if flags.do_eval or flags.do_predict:
        predictor = load_export(flags, warned)
        if predictor.labels != labels:
            raise UsageError(f"{flags.data_dir / 'label.txt'}: not the labels of {predictor.path}; train again")
        separator = flags.label_separator or predictor.paths.separator
        if flags.do_eval:
            lines += report("dev", predictor, *dev, separator)
        if flags.do_predict:
            lines += report("test", predictor, *to_predict, separator, flags.output_dir / PREDICTION_FILE)
    print("\n".join([*lines, f"Next: {next_step(flags)}"]))


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
