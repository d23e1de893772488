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

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from utils import (  # noqa: E402
    UsageError,
    exit_on_usage_error,
    load_module,
    prediction_lines,
    prepare_cpu,
    read_cases,
    read_label_words,
    read_model_config,
    write_lines,
)

TASK = "zero_shot_text_classification"
MODELS = tuple(f"utc-{size}" for size in ("large", "xbase", "base", "medium", "mini", "micro", "nano", "pico"))
FILES = ("model_state.pdparams", "config.json", "vocab.txt", "special_tokens_map.json", "tokenizer_config.json")
# Tokens that the labels must leave for the text, so that there is something to classify.
LEAST_TEXT_TOKENS = 16


def parse_flags(argv):
    """Parse and check the flags before any heavy import."""
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
    args = parser.parse_args(argv)
    for name in ("batch_size", "max_seq_length"):
        if getattr(args, name) < 1:
            raise UsageError(f"--{name} {getattr(args, name)}: must be at least 1")
    if args.task_path:
        missing = [name for name in FILES if not (args.task_path / name).is_file()]
        if missing:
            raise UsageError(f"--task_path {args.task_path}: lacks {', '.join(missing)}; give a folder of UTC weights")
        if not os.access(args.task_path, os.W_OK):
            raise UsageError(f"--task_path {args.task_path}: Taskflow writes a static graph there; copy the folder")
    return args


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


def load_task(args, words):
    """The Taskflow, with the ways of its weights to fail said in plain words.

    Raises:
        UsageError: the weights cannot be downloaded or are not UTC's, or the labels leave no room for a text.
    """
    import trainer as lib  # also makes paddle.load safe

    few_shot = load_module("few_shot_utils", Path(__file__).with_name("utils.py"))
    from paddlenlp import Taskflow

    options = {"task_path": str(args.task_path)} if args.task_path else {}
    if args.task_path:
        check_weights(args.task_path, lib)
    else:
        check_download(args.model, lib)
    task = Taskflow(
        TASK, model=args.model, schema=words, device_id=-1 if args.device == "cpu" else 0, single_label=True,
        batch_size=args.batch_size, max_seq_len=args.max_seq_length, **options,
    )  # fmt: skip
    template = task.task_instance._template
    # Taken from the tokenizer, whose limit is 1e30 where its files name none: an OverflowError at the first text.
    positions = read_model_config(task.task_path())["max_position_embeddings"]
    template.max_position_id = min(template.max_position_id, positions - 1)
    length = few_shot.template_length(template, {"text_a": "", "text_b": "", "choices": words})
    if length + LEAST_TEXT_TOKENS > args.max_seq_length:
        raise UsageError(
            f"--max_seq_length {args.max_seq_length}: the {len(words)} labels take {length} tokens, which leaves too "
            "few for the text; give shorter words as label==word, fewer labels, or a larger --max_seq_length"
        )
    return task


def check_weights(folder, lib):
    """Refuse weights without UTC's own layers: Taskflow would draw them at random, without an error."""
    try:
        names = lib.paddle.load(str(folder / FILES[0]), return_numpy=True)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{folder / FILES[0]}: cannot be read ({error}); copy it again") from None
    if "linear_q.weight" not in names:
        raise UsageError(f"--task_path {folder}: not the weights of a UTC model; leave it out, or give another folder")
    lines = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    if "[O-MASK]" not in lines:
        raise UsageError(f"{folder / 'vocab.txt'}: has no [O-MASK], which marks the labels; copy UTC's own vocab.txt")


def check_download(model, lib):
    """Fetch the smallest file first, within seconds: Taskflow waits without a limit for a proxy that never answers."""
    from paddlenlp.taskflow.utils import download_file
    from paddlenlp.taskflow.zero_shot_text_classification import ZeroShotTextClassificationTask as Task
    from paddlenlp.utils.env import PPNLP_HOME
    from paddlenlp.utils.log import logger
    from requests import ConnectionError

    folder = Path(PPNLP_HOME) / "taskflow" / TASK / model
    url, md5 = Task.resource_files_urls[model]["config"]
    try:
        lib.within_seconds(lib.DOWNLOAD_TIMEOUT, download_file, str(folder), "config.json", url, md5)
    except (Exception, SystemExit) as error:
        host = url.split("/")[2]
        why = f"no connection to {host}" if isinstance(error, ConnectionError) else lib.in_short(error)
        raise UsageError(
            f"--model {model}: cannot be downloaded ({why}). Two ways out: copy {', '.join(FILES)} of "
            f"this model into a folder and give it by --task_path; or label a few texts and use train.py here"
        ) from None
    finally:
        logger.enable()  # download_file switches it off, and on again only where it succeeds


def main(argv=None):
    args = parse_flags(argv)
    words = read_words(args.label_path)
    texts = [text for _, text, *_ in read_cases(args.file)] if args.file else args.texts
    if not all(text.strip() for text in texts):
        raise UsageError("--texts: one is empty; leave it out")
    prepare_cpu()
    task = load_task(args, list(words))
    from tqdm import tqdm

    lines = []
    with tqdm(total=len(texts), unit="text", disable=not args.file) as bar:
        for start in range(0, len(texts), args.batch_size):
            chunk = texts[start : start + args.batch_size]
            # What is written like the mark of a label would be one more label.
            for text, answer in zip(chunk, task([text.replace("[O-MASK]", " ") for text in chunk])):
                (best,) = answer["predictions"]
                lines.append((text, words[best["label"]], float(best["score"])))
            bar.update(len(chunk))
    if args.result_file:
        rows = prediction_lines(texts, None, [answer for _, *answer in lines])
        write_lines(args.result_file.parent, {args.result_file.name: rows}, "--result_file")
    else:
        for text, label, score in lines:
            print(f"{text}\t{label}\t{score:.4f}")


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
