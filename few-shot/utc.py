"""UTC, PaddleNLP's zero-shot model, through Taskflow: what zero_shot.py needs paddle for."""

from pathlib import Path

import paddle
from paddlenlp import Taskflow
from paddlenlp.taskflow.utils import download_file
from paddlenlp.taskflow.zero_shot_text_classification import ZeroShotTextClassificationTask
from paddlenlp.utils import env
from paddlenlp.utils.log import logger
from requests import ConnectionError

from core import loading  # also makes paddle.load safe
from core.arguments import load_module
from core.checkpoints import read_model_config
from utils import UsageError

few_shot = load_module("few_shot_utils", Path(__file__).with_name("utils.py"))

TASK = "zero_shot_text_classification"
# Tokens that the labels must leave for the text, so that there is something to classify.
LEAST_TEXT_TOKENS = 16


def load_task(flags, files, words):
    """The Taskflow, with the ways of its weights to fail said in plain words.

    Args:
        flags (argparse.Namespace): zero_shot.py's.
        files (tuple[str]): that a folder of weights has, the weights first.
        words (list[str]): the labels' words.

    Raises:
        UsageError: the weights cannot be downloaded or are not UTC's, or the labels leave no room for a text.
    """
    options = {"task_path": str(flags.task_path)} if flags.task_path else {}
    if flags.task_path:
        check_weights(flags.task_path, files[0])
    else:
        check_download(flags.model, files)
    options.update(device_id=-1 if flags.device == "cpu" else 0, batch_size=flags.batch_size, single_label=True)
    task = Taskflow(TASK, model=flags.model, schema=words, max_seq_len=flags.max_seq_length, **options)
    template = task.task_instance._template
    # Taken from the tokenizer, whose limit is 1e30 where its files name none: an OverflowError at the first text.
    positions = read_model_config(task.task_path())["max_position_embeddings"]
    template.max_position_id = min(template.max_position_id, positions - 1)
    length = few_shot.template_length(template, {"text_a": "", "text_b": "", "choices": words})
    if length + LEAST_TEXT_TOKENS > flags.max_seq_length:
        raise UsageError(
            f"--max_seq_length {flags.max_seq_length}: the {len(words)} labels take {length} tokens, which leaves too "
            "few for the text; give shorter words as label==word, fewer labels, or a larger --max_seq_length"
        )
    return task


def check_weights(folder, file):
    """Refuse weights without UTC's own layers: Taskflow would draw them at random, without an error."""
    try:
        names = paddle.load(str(folder / file), return_numpy=True)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{folder / file}: cannot be read ({error}); copy it again") from None
    if "linear_q.weight" not in names:
        raise UsageError(f"--task_path {folder}: not the weights of a UTC model; leave it out, or give another folder")
    lines = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
    if "[O-MASK]" not in lines:
        raise UsageError(f"{folder / 'vocab.txt'}: has no [O-MASK], which marks the labels; copy UTC's own vocab.txt")


def check_download(model, files):
    """Fetch the smallest file first, within seconds: Taskflow waits without a limit for a proxy that never answers."""
    folder = Path(env.PPNLP_HOME) / "taskflow" / TASK / model
    url, md5 = ZeroShotTextClassificationTask.resource_files_urls[model]["config"]
    try:
        loading.within_seconds(loading.DOWNLOAD_TIMEOUT, download_file, str(folder), "config.json", url, md5)
    except (Exception, SystemExit) as error:
        host = url.split("/")[2]
        why = f"no connection to {host}" if isinstance(error, ConnectionError) else loading.in_short(error)
        raise UsageError(
            f"--model {model}: cannot be downloaded ({why}). Three ways out: copy {', '.join(files)} of this model "
            "into a folder and give it by --task_path; or use setfit.py here, which needs no UTC: with the encoder of "
            "data/build_encoder.py, label words and unlabelled texts (data.txt) are enough; or label a few texts and "
            "use train.py here"
        ) from None
    finally:
        logger.enable()  # download_file switches it off, and on again only where it succeeds


def classify(task, texts):
    """The word that is chosen for each text, and its score: list[tuple[str, float]]."""
    # What is written like the mark of a label would be one more label.
    answers = task([text.replace("[O-MASK]", " ") for text in texts])
    best = [answer["predictions"][0] for answer in answers]
    return [(choice["label"], float(choice["score"])) for choice in best]
