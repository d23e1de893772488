"""Trainings that a training is made of: each in a folder of its own below output_dir, where it resumes like any other
and is used again when it is finished.
"""

import copy
import dataclasses
import hashlib
import json
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from core import pipeline
from core.batches import TextDataset
from core.checkpoints import trained_long_text, weights_digest
from core.processes import is_first, wait_for_all
from core.stage_flags import PARTS
from core.trainer import compute_metrics, train_and_save
from utils import staged_files

# In the folder of a training that is finished: its logits on dev and on other texts.
ANSWERS_FILE = "answers.npz"
# What the fingerprint of the whole has and that of its parts does not.
OF_THE_WHOLE = {"unlabelled_texts", *(name for key in PARTS if key != "do_pretrain" for name in (key, *PARTS[key]))}


def sub_run(run, name, train=None, seed=None):
    """A plain training below a run's output_dir; without `train` and `seed`, what the run is without its stages.

    Args:
        run (train.Run): the whole.
        name (str): of the folder.
        train (tuple[list[str], list[int]] | None): other training data.
        seed (int | None): another seed.

    Returns:
        train.Run: with flags, data and fingerprint of its own.
    """
    args, data = copy.copy(run.args), dataclasses.replace(run.data, test=None)
    args.output_dir = os.path.join(run.args.output_dir, *name.split("/"))
    args.logging_dir = os.path.join(run.args.logging_dir, *name.split("/"))
    if (args.resume_from_checkpoint or "").lower() != "false":
        args.resume_from_checkpoint = None  # True would want a checkpoint in each folder
    fingerprint = {key: value for key, value in run.fingerprint.items() if key not in OF_THE_WHOLE}
    if seed is not None:
        args.seed = fingerprint["seed"] = seed
    if train is not None:
        data.train = train
        fingerprint["data"] = digest([data.labels, data.train, data.dev])
    return dataclasses.replace(run, args=args, data=data, fingerprint=fingerprint)


def digest(content):
    """SHA-256 of JSON values, as core.checkpoints.run_fingerprint has that of the data."""
    return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode("utf-8")).hexdigest()


def train_unless_finished(run, name):
    """Train in the run's folder, or go on there, or find that this was done.

    Args:
        run (train.Run): from sub_run.
        name (str): directory or name of the encoder.

    Raises:
        UsageError: the folder holds another training (see core.trainer.choose_checkpoint).
    """
    finished, checkpoint = pipeline.find_start(run.args, run.fingerprint)
    if not finished:
        trainer = pipeline.prepare(run, name, trains=True)
        train_and_save(trainer, checkpoint, run.data_flags.keep_optimizer)


def answers(run, texts):
    """Logits of a finished training's model on dev and on other texts; kept in its folder for a rerun.

    Args:
        run (train.Run): from sub_run.
        texts (list[str]): any.

    Returns:
        dict[str, np.ndarray]: dev and texts, each [samples, classes].
    """
    folder = Path(run.args.output_dir)
    known = [weights_digest(folder), run.data.dev, texts, run.max_length]
    known += filter(None, [trained_long_text(folder)])
    path, key = folder / ANSWERS_FILE, digest(known)
    if path.is_file():
        with np.load(path) as stored:
            if str(stored["key"]) == key:
                return {name: stored[name] for name in ("dev", "texts")}
    args = copy.copy(run.args)
    args.do_train = False
    alone = dataclasses.replace(run, args=args, data=dataclasses.replace(run.data, train=None))
    trainer = pipeline.prepare(alone, str(folder))
    result = {"dev": trainer.predict(trainer.eval_dataset).predictions}
    result["texts"] = result["dev"][:0]
    if texts:
        dataset = TextDataset(texts, [0] * len(texts), trainer.encode)
        result["texts"] = trainer.predict(dataset).predictions
    wait_for_all()  # all have seen that there are none
    if is_first():
        with staged_files(folder) as stage:
            np.savez(stage / ANSWERS_FILE, key=key, **result)
    return result


def scores(logits, truth):
    """Accuracy and macro averages, see core.trainer.compute_metrics."""
    return compute_metrics(SimpleNamespace(predictions=np.asarray(logits), label_ids=np.asarray(truth)))
