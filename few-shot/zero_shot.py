"""Classify texts without any training sample: UTC, PaddleNLP's zero-shot model, through Taskflow.

    cd few-shot
    python zero_shot.py --label_path ../data/label.txt --texts 黑苦荞茶的功效与作用及食用方法 幼儿挑食的生理原因是
    python zero_shot.py --label_path ../data/label.txt --file ../data/data.txt --result_file zero_shot.txt

The model reads the words of the labels (label==word of label.txt, else the label itself) before the text and chooses
one of them. Printed: text, label and score, with tabs between. The weights are downloaded at the first use;
--task_path takes a folder that has them already, such as one of your own UTC training.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository's root
from core.arguments import at_least, load_module, parse_argv
from core.progress import progress_bar
from utils import UsageError, exit_on_usage_error, prediction_lines, read_cases, read_label_words, write_lines

MODELS = tuple(f"utc-{size}" for size in ("large", "xbase", "base", "medium", "mini", "micro", "nano", "pico"))
FILES = ("model_state.pdparams", "config.json", "vocab.txt", "special_tokens_map.json", "tokenizer_config.json")


def parse_flags(argv):
    """Parse and check the flags before any heavy import.

    Raises:
        UsageError: naming what is wrong.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--label_path", type=Path, default=Path("../data/label.txt"), help="labels (default: ../data/label.txt)")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--texts", nargs="+", help="the texts themselves")
    source.add_argument("--file", type=Path, help="a text a line; what stands behind a tab is not read")
    add("--model", choices=MODELS, default="utc-base", help="which UTC (default: utc-base)")
    add("--task_path", type=Path, help="a folder with the weights, instead of --model")
    add("--device", choices=("cpu", "gpu"), default="gpu", help="without a GPU the CPU is used (default: gpu)")
    add("--batch_size", type=int, default=16, help="texts that are run together (default: 16)")
    add("--max_seq_length", type=int, default=512, help="tokens of labels and text together (default: 512)")
    add("--result_file", type=Path, help="write Text, Label (empty), Prediction and Score here instead of printing")
    flags = parse_argv(parser, argv)
    problems = at_least(flags, batch_size=1, max_seq_length=1)
    if problems:
        raise UsageError("\n".join(problems))
    if flags.task_path:
        missing = [name for name in FILES if not (flags.task_path / name).is_file()]
        if missing:
            problem = f"lacks {', '.join(missing)}; give a folder of UTC weights"
            raise UsageError(f"--task_path {flags.task_path}: {problem}")
        if not os.access(flags.task_path, os.W_OK):
            raise UsageError(f"--task_path {flags.task_path}: Taskflow writes a static graph there; copy the folder")
    return flags


def read_words(path):
    """Words by label, each word for one label only, since the model answers with words.

    Returns:
        dict[str, str]: word to label.
    """
    words = {}
    for label, word in read_label_words(path).items():
        if word in words:
            raise UsageError(f"{path}: {words[word]} and {label} have the same word {word!r}; give each its own")
        words[word] = label
    return words


def main(argv=None):
    """Classify the texts; print or write the answers.

    Raises:
        UsageError: what the user can mend.
    """
    flags = parse_flags(argv)
    words = read_words(flags.label_path)
    texts = [text for _, text, *_ in read_cases(flags.file)] if flags.file else flags.texts
    if not all(text.strip() for text in texts):
        raise UsageError("--texts: one is empty; leave it out")
    utc = load_module("few_shot_utc", Path(__file__).with_name("utc.py"))  # needs paddle, which takes seconds
    task = utc.load_task(flags, FILES, list(words))
    answers = []
    with progress_bar(total=len(texts), unit="text", disable=not flags.file) as bar:
        for start in range(0, len(texts), flags.batch_size):
            chunk = texts[start : start + flags.batch_size]
            answers += [(words[word], score) for word, score in utc.classify(task, chunk)]
            bar.update(len(chunk))
    if flags.result_file:
        rows = prediction_lines(texts, None, answers)
        write_lines(flags.result_file.parent, {flags.result_file.name: rows}, "--result_file")
        script = os.path.join(os.path.dirname(sys.argv[0]), "setfit.py")
        print(f"{len(texts)} predictions are in {flags.result_file}")
        print(
            "Next: correct some of them by hand, write <text>, a tab, <label> into train.txt and dev.txt of a folder,"
        )
        print(f"and learn from them: python {script} --do_train --do_eval --data_dir FOLDER")
    else:
        for text, (label, score) in zip(texts, answers):
            print(f"{text}\t{label}\t{score:.4f}")


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
