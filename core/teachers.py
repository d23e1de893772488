"""Several seeds to one model: teachers that differ in their seed, and a student that learns their mean (Hinton et al.,
2015, arXiv 1503.02531). train.py --num_teachers runs this.
"""

import dataclasses
from pathlib import Path

import numpy as np
import paddle
from paddle.nn import functional as F
from paddlenlp.utils.log import logger
from scipy.special import softmax

from core import pipeline
from core.model_card import data_sizes
from core.processes import is_first
from core.sub_runs import answers, scores, sub_run, train_unless_finished
from core.trainer import ClassificationTrainer, train_and_save
from utils import format_table, staged_files, write_json

# The table, as numbers, in output_dir.
TEACHERS_FILE = "teachers.json"

# Flags of the loss against labels, or of the labels' frequencies: they shape the teachers, whom the student imitates.
OF_TEACHERS = {
    "rdrop_alpha": 0.0,
    "label_smoothing": 0.0,
    "class_weight": "none",
    "multi_sample_dropout": 1,
    "logit_adjustment": False,
}


class DistillationTrainer(ClassificationTrainer):
    """A ClassificationTrainer whose training data have probabilities in the place of labels.

    The teachers answered with their n-grams, so the student's answers are its own with them too.
    """

    learns_both_towers = True

    def learn_from(self, probabilities, temperature):
        """Set what is learnt.

        Args:
            probabilities (np.ndarray): the teachers' for each sample of the training data, [samples, classes].
            temperature (float): what their logits were divided by.
        """
        self.targets, self.temperature = paddle.to_tensor(probabilities, "float32"), temperature
        for row, feature in enumerate(self.train_dataset.features):
            feature["row"] = row  # PaddleNLP's collator makes integers of all that a batch has

    def compute_loss(self, model, inputs, return_outputs=False):
        """The distillation's loss in training; an evaluation's is plain cross entropy."""
        if not self.model.training:
            return super().compute_loss(model, inputs, return_outputs)
        inputs = {name: value for name, value in inputs.items() if name != "labels"}
        rows = inputs.pop("row").reshape([-1])
        logits = model(**inputs).astype("float32")
        loss = distillation_loss(logits, paddle.gather(self.targets, rows), self.temperature)
        return (loss, (loss, logits)) if return_outputs else loss


def distillation_loss(logits, targets, temperature):
    """temperature² · KL(teachers | student), the mean over samples (arXiv 1503.02531, section 2).

    Args:
        logits: the student's, [samples, classes].
        targets: the teachers' probabilities at that temperature, [samples, classes].
        temperature (float): above 0.
    """
    log_q = F.log_softmax(logits / temperature, axis=-1)
    log_p = paddle.log(paddle.clip(targets, min=1e-12))
    return temperature**2 * (targets * (log_p - log_q)).sum(axis=-1).mean()


def train_teachers(run, name, checkpoint):
    """Train the teachers and the student, whose model and checkpoints are the run's own.

    Args:
        run (train.Run): with num_teachers.
        name (str): directory or name of the encoder that all start from.
        checkpoint (str | None): of the student, to continue from.

    Returns:
        ClassificationTrainer: of the student, as a finished training's.

    Raises:
        UsageError: a teacher's folder holds another training.
    """
    flags, args, truth = run.stage_flags, run.args, run.data.dev[1]
    texts, label_ids = [*run.data.train[0], *run.unlabelled.texts], run.data.train[1]
    given, rows = [], []
    for seed in range(args.seed, args.seed + flags.num_teachers):
        logger.info(f"Teacher {len(given) + 1} of {flags.num_teachers}, --seed {seed}")
        teacher = sub_run(run, f"teachers/seed-{seed}", seed=seed)
        train_unless_finished(teacher, name)
        given.append(answers(teacher, texts))
        rows.append(table_row(f"seed {seed}", given[-1]["dev"], truth))
    mean = {split: mean_logits([answer[split] for answer in given]) for split in ("dev", "texts")}
    rows.append(table_row(f"the {flags.num_teachers} as an ensemble", mean["dev"], truth))
    write_table(args.output_dir, rows)

    found = mean["texts"][len(label_ids) :].argmax(axis=1).tolist()
    data = dataclasses.replace(run.data, train=(texts, [*label_ids, *found]))
    own = dataclasses.replace(run.recipe_flags, **OF_TEACHERS)
    student = dataclasses.replace(run, data=data, recipe_flags=own)
    logger.info(
        f"The student learns their mean on {len(label_ids):,} texts of train and {len(found):,} without labels"
    )
    trainer = pipeline.prepare(student, name, DistillationTrainer, trains=True)
    trainer.learn_from(softmax(mean["texts"] / flags.distill_temperature, axis=1), flags.distill_temperature)
    trainer.data_sizes = data_sizes(run.data.labels, train=run.data.train, dev=run.data.dev)
    train_and_save(trainer, checkpoint, run.data_flags.keep_optimizer)
    rows.append(table_row("distilled into one", trainer.predict(trainer.eval_dataset).predictions, truth))
    write_table(args.output_dir, rows)
    return pipeline.prepare(run, args.output_dir)


def mean_logits(logits):
    """The mean of several models' logits, whose softmax is the normalised geometric mean of their probabilities.

    Args:
        logits (list[np.ndarray]): each [samples, classes].
    """
    return np.mean(logits, axis=0, dtype=np.float64)


def table_row(model, logits, truth):
    """A row of the table: dict with model, accuracy and macro_f1 on dev."""
    found = scores(logits, truth)
    return {"model": model, "accuracy": found["accuracy"], "macro_f1": found["macro_f1"]}


def write_table(folder, rows):
    """Print the table and write it as JSON, in the first process."""
    if not is_first():
        return
    with staged_files(Path(folder)) as stage:
        write_json(stage / TEACHERS_FILE, {"dev": rows})
    shown = [{"model": row["model"], **{key: f"{row[key]:.2%}" for key in ("accuracy", "macro_f1")}} for row in rows]
    print("\n".join(["On dev:", *format_table(shown)]), flush=True)
