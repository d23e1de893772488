"""Self-training: a model labels the texts that have none, and learns again with those of which it is sure (Lee, 2013,
"Pseudo-Label"; Xie et al., 2020, arXiv 1911.04252). train.py --pseudo_labels True runs this.
"""

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from paddlenlp.utils.log import logger
from scipy.special import softmax

from core import pipeline
from core.calibration import fit_temperature
from core.checkpoints import RUN_FILE, remove_old_safetensors
from core.locks import LOCK_FILE
from core.model_card import data_sizes
from core.processes import is_first, wait_for_all
from core.sub_runs import ANSWERS_FILE, answers, scores, sub_run, train_unless_finished
from core.trainer import write_run_file
from utils import MAX_NAMES_IN_MESSAGE, format_table, prediction_lines, staged_files, write_json

# In output_dir: what each round took and gave; the texts of the last one, their labels and how sure it was.
ROUNDS_FILE, TEXTS_FILE = "pseudo_labels.json", "pseudo_labels.txt"
# They belong to a round's folder, not to its model.
NOT_ADOPTED = {RUN_FILE, LOCK_FILE, ANSWERS_FILE}


@dataclass
class Taken:
    """The texts that a round takes, in the order of the file.

    Args:
        rows (np.ndarray): their numbers, from 0.
        label_ids (np.ndarray): class ids.
        confidence (np.ndarray): calibrated probabilities of these.
        sure (int): texts above the threshold, before each class was cut to its limit.
        temperature (float): see calibration.
    """

    rows: np.ndarray
    label_ids: np.ndarray
    confidence: np.ndarray
    sure: int
    temperature: float

    def is_same(self, other):
        """Whether another round took the same texts with the same labels."""
        same = other is not None and np.array_equal(self.rows, other.rows)
        return bool(same and np.array_equal(self.label_ids, other.label_ids))


def train_rounds(run, name):
    """Train on train.txt, then in rounds on it and what is taken; the last model stays where dev is no worse for it.

    Args:
        run (train.Run): with pseudo_labels.
        name (str): directory or name of the encoder that each round starts from.

    Returns:
        ClassificationTrainer: of the model that is kept, as a finished training's.

    Raises:
        UsageError: a round's folder holds another training.
    """
    flags, labels, (train_texts, train_ids), truth = run.stage_flags, run.data.labels, run.data.train, run.data.dev[1]
    texts, limits = run.unlabelled.texts, class_limits(train_ids, len(labels), flags.pseudo_ratio)
    if is_first():
        write_run_file(run.args.output_dir, {"unfinished": run.fingerprint})
    runs, taken = [sub_run(run, "pseudo/round-0")], None
    logger.info("Pseudo-labels: the first training, on train alone")
    train_unless_finished(runs[0], name)
    given = [answers(runs[0], texts)]
    entries = [{"round": 0, **dev_scores(given[0], truth)}]
    for number in range(1, flags.pseudo_rounds + 1):
        before, taken = taken, choose(given[-1], truth, flags.pseudo_confidence, limits)
        if is_first():
            print(told(number, taken, len(texts), labels, flags.pseudo_confidence), flush=True)
        if taken.is_same(before) or not len(taken.rows):
            why = "the same texts and labels as in the round before" if len(taken.rows) else "nothing is taken"
            logger.info(f"Pseudo-labels: {why}, so round {number} would teach nothing new; the rounds end here")
            taken = before or taken
            break
        more = [texts[row] for row in taken.rows]
        train = ([*train_texts, *more], [*train_ids, *taken.label_ids.tolist()])
        runs.append(sub_run(run, f"pseudo/round-{number}", train))
        train_unless_finished(runs[-1], name)
        given.append(answers(runs[-1], texts))
        entries.append(round_entry(number, taken, labels, given, truth))
    kept = len(runs) - 1 if is_no_worse(given, truth, run.args.metric_for_best_model) else 0
    if is_first():
        write_rounds(run, entries, kept, taken, texts)
        adopt(run, Path(runs[kept].args.output_dir))
    wait_for_all()
    return pipeline.prepare(run, run.args.output_dir)


def is_no_worse(given, truth, metric):
    """Whether the last of some models is at least as good on dev as the first.

    Args:
        given (list[dict]): see core.sub_runs.answers.
        truth: class ids of dev.
        metric (str | None): --metric_for_best_model; accuracy takes the place of what is no score, such as loss.
    """
    first, last = (scores(answer["dev"], truth) for answer in (given[0], given[-1]))
    name = (metric or "").replace("eval_", "", 1)
    name = name if name in first else "accuracy"
    return last[name] >= first[name]


def calibration(logits, truth):
    """The temperature that fits dev; where all of dev is right, at least 1, since any sharpness would fit that better.

    Args:
        logits (np.ndarray): on dev, [samples, classes].
        truth: class ids [samples].
    """
    found = fit_temperature(logits, truth, one_more=False)
    return max(found, 1.0) if (np.argmax(logits, axis=1) == np.asarray(truth)).all() else found


def class_limits(label_ids, num_labels, ratio):
    """How many texts each class may get: `ratio` for each labelled one, rounded up, so that none swamps the others.

    Args:
        label_ids: of train, int [samples].
        num_labels (int): classes.
        ratio (float): above 0.

    Returns:
        list[int]: a number a class.
    """
    return [math.ceil(ratio * count) for count in np.bincount(label_ids, minlength=num_labels).tolist()]


def choose(given, truth, confidence, limits):
    """The texts whose labels are sure enough, of each class the surest.

    Args:
        given (dict): see core.sub_runs.answers.
        truth: class ids of dev.
        confidence (float): the least calibrated probability.
        limits (list[int]): texts of each class at most.

    Returns:
        Taken: of the texts.
    """
    temperature = calibration(given["dev"], truth)
    probabilities = softmax(given["texts"].astype(np.float64) / temperature, axis=1)
    found, sure = probabilities.argmax(axis=1), probabilities.max(axis=1)
    rows = []
    for class_id, limit in enumerate(limits):
        own = np.flatnonzero((found == class_id) & (sure >= confidence))
        rows += own[np.argsort(-sure[own], kind="stable")][:limit].tolist()
    rows = np.array(sorted(rows), dtype=int)
    return Taken(rows, found[rows], sure[rows], int((sure >= confidence).sum()), temperature)


def dev_scores(given, truth):
    """Accuracy and macro-F1 on dev: dict."""
    found = scores(given["dev"], truth)
    return {"dev_accuracy": found["accuracy"], "dev_macro_f1": found["macro_f1"]}


def round_entry(number, taken, labels, given, truth):
    """What a round took and gave: dict of JSON values.

    Args:
        number (int): 1, 2, …
        taken (Taken): what it learnt from.
        labels (list[str]): in class order.
        given (list[dict]): the answers of all models so far, the round's own last.
        truth: class ids of dev.
    """
    old, new = (answer["texts"].argmax(axis=1) for answer in given[-2:])
    counts = np.bincount(taken.label_ids, minlength=len(labels)).tolist()
    return {
        "round": number,
        **dev_scores(given[-1], truth),
        "temperature": taken.temperature,
        "sure": taken.sure,
        "taken": len(taken.rows),
        "taken_per_label": dict(zip(labels, counts)),
        "agreement": float((old == new).mean()),
        "agreement_taken": float((old == new)[taken.rows].mean()),
    }


def told(number, taken, texts, labels, confidence):
    """A round's numbers in a sentence."""
    counts = np.bincount(taken.label_ids, minlength=len(labels)).tolist()
    most = sorted(range(len(labels)), key=lambda index: -counts[index])[:MAX_NAMES_IN_MESSAGE]
    names = ", ".join(f"{labels[index]} {counts[index]:,}" for index in sorted(most) if counts[index])
    more = f", and the others in {ROUNDS_FILE}" if len(labels) > MAX_NAMES_IN_MESSAGE else ""
    return (
        f"Pseudo-labels, round {number}: of {texts:,} texts without a label the model is sure of {taken.sure:,} "
        f"(at least {confidence:g} at temperature {taken.temperature:.2f}); {len(taken.rows):,} are taken"
        + (f": {names}{more}" if names else "; a lower --pseudo_confidence takes more" * (not taken.sure))
    )


def write_rounds(run, entries, kept, taken, texts):
    """Print the rounds and write them, and the texts that the last one took.

    Args:
        run (train.Run): the whole.
        entries (list[dict]): see round_entry; the first has dev's scores only.
        kept (int): the round whose model stays.
        taken (Taken | None): of the last round.
        texts (list[str]): without labels.
    """
    shown = [
        {
            "round": entry["round"],
            "dev accuracy": f"{entry['dev_accuracy']:.2%}",
            "macro-F1": f"{entry['dev_macro_f1']:.2%}",
            "texts taken": entry.get("taken", 0),
            "same label as before": f"{entry['agreement']:.2%}" if "agreement" in entry else "-",
        }
        for entry in entries
    ]
    print("\n".join(format_table(shown)))
    last = entries[-1]["round"]
    if not last:
        print("No round took a text: the model of train alone is kept")
    elif kept == last:
        print(f"The model of round {kept} is kept: on dev it is no worse than that of train alone")
    else:
        print(f"The model of train alone is kept: that of round {last} is worse on dev")
    named = [(run.data.labels[label], sure) for label, sure in zip(taken.label_ids, taken.confidence)]
    lines = prediction_lines([texts[row] for row in taken.rows], None, named)
    with staged_files(run.args.output_dir) as stage:
        write_json(stage / ROUNDS_FILE, {"rounds": entries, "kept": kept, "unlabelled": len(texts)})
        (stage / TEXTS_FILE).write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8"))
    if len(taken.rows):
        print(f"The texts that round {last} took are in {Path(run.args.output_dir) / TEXTS_FILE}", flush=True)


def adopt(run, folder):
    """Make the model of a round's folder that of the whole, run.json last."""
    with staged_files(run.args.output_dir) as stage:
        for path in folder.iterdir():
            if path.is_file() and path.name not in NOT_ADOPTED:
                shutil.copyfile(path, stage / path.name)
    remove_old_safetensors(run.args.output_dir)
    sizes = data_sizes(run.data.labels, train=run.data.train, dev=run.data.dev)
    write_run_file(run.args.output_dir, {"fingerprint": run.fingerprint, "data": sizes})
