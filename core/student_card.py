"""The model card of a student (core/distill.py), and what a user wrote in its place, which a new student keeps."""

import os
import shutil
import time
from pathlib import Path

import numpy as np

from core.checkpoints import CARD_FILES, EXPORT_FILE, MODEL_WEIGHTS, NGRAM, read_run_file
from core.confidence import temperature_of
from core.model_card import (
    Card,
    base_model,
    data_sizes,
    decided_by_dev,
    dev_scores,
    is_unchanged,
    shown,
    training_flags,
    write_cards,
)
from core.ngram_student import STUDENT_FILE
from core.predictor import Predictor
from core.same_answers import compared
from utils import read_json

# Flags that decide a student of n-grams; the other kind has a training of its own, with a run.json.
NGRAM_FLAGS = ("student", "made_texts")


def describe_student(folder, run, model, logits, rows, stages, warn):
    """Write the card of a finished student; what is no card of ours, or was changed, is kept.

    Args:
        folder (Path): the student's, of distill_ngram or of distill_layers.
        run (train.Run): flags and data.
        model (Path): the folder of the model that it was distilled from.
        logits (dict[str, np.ndarray]): teacher and student, on dev, neither divided by a temperature.
        rows (list[dict]): of core.same_answers.verify_export, or of ngram_rows.
        stages (dict): for stages.json; formats is empty where there is no export of the model.
        warn (Callable): gets a line for the files that are kept.

    Returns:
        list[str]: the names of the files that were kept.
    """
    labels, truth, seed = run.data.labels, np.array(run.data.dev[1]), run.args.seed
    content, fingerprint = read_json(Path(folder) / EXPORT_FILE), read_run_file(folder).get("fingerprint") or {}
    start = {"model_name_or_path": os.path.realpath(model), MODEL_WEIGHTS: content.get("weights")}
    if content["kind"] == NGRAM:
        flags = [(name, shown(getattr(run.model_flags, name))) for name in NGRAM_FLAGS]
        flags += [("max_length", str(run.max_length)), ("seed", str(seed))]
    else:
        flags = training_flags(fingerprint)
    scores = {name: dev_scores(labels, truth, own, seed) for name, own in logits.items()}
    agreement = (logits["teacher"].argmax(axis=1) == logits["student"].argmax(axis=1)).mean()
    new = len(run.unlabelled.texts)
    real = len(dict.fromkeys([*run.data.train[0], *run.unlabelled.texts]))
    student = {
        "kind": content["kind"],
        "layers": content.get("layers"),
        "texts": {"train": real - new, "unlabelled": new, "made": content.get("learnt", {}).get("made", 0)},
        "scores": scores["teacher"],
        "agreement": float(agreement),
        "stages": stages["formats"],
    }
    by_dev = decided_by_dev(fingerprint) if content["kind"] != NGRAM else []
    if decided_by_dev(read_run_file(model).get("fingerprint") or {}):
        by_dev = [*by_dev, "teacher"]
    card = Card(
        labels=labels,
        content=content,
        sizes=data_sizes(labels, train=run.data.train, dev=run.data.dev),
        flags=flags,
        trained=True,
        base=base_model(folder, start),
        by_dev=by_dev,
        scores=scores["student"],
        rows=rows,
        student=student,
    )
    return write_cards(folder, card, warn)


def ngram_rows(folder, texts, truth, logits):
    """What a student's file of n-grams gives on dev, as a row of core.same_answers.verify_export.

    Args:
        folder (Path): its export folder.
        texts (list[str]), truth (np.ndarray): of dev.
        logits (np.ndarray): that it had there before it was written [texts, classes].
    """
    predictor, order = Predictor(folder, NGRAM), np.argsort([len(text) for text in texts], kind="stable")
    features, found, step = predictor.encode(texts), np.empty_like(logits), predictor.batch_size
    batches = [order[start : start + step] for start in range(0, len(order), step)]
    lists = [[features[place] for place in batch] for batch in batches]
    predictor.logits(lists[-1])
    start = time.perf_counter()
    answers = [predictor.logits(batch) for batch in lists]
    seconds = time.perf_counter() - start
    found[order] = np.concatenate(answers) * np.float32(temperature_of(predictor.content))
    return [compared(NGRAM, STUDENT_FILE, found, logits, truth, seconds / len(texts) * 1000)]


def carry_cards(folder, stage):
    """Put the cards of a folder that somebody wrote or changed into the one that takes its place.

    Args:
        folder, stage (Path): the old one, which need not be there, and the new one, whose own are replaced.

    Returns:
        list[str]: the names of these files.
    """
    found = [name for name in CARD_FILES if os.path.lexists(folder / name) and not is_unchanged(folder / name)]
    for name in found:
        (stage / name).unlink(missing_ok=True)
        shutil.copy2(folder / name, stage / name, follow_symlinks=False)
    return found
