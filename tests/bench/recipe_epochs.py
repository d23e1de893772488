"""What bench_recipes.py keeps of each epoch of a training by train.py."""

import time
from pathlib import Path

import numpy as np
from paddlenlp.trainer import TrainerCallback

from core import pipeline, stages
from utils import read_examples, staged_files


def peak_memory():
    """The most memory that this process has had, in MB; 0 where the system does not say."""
    # Not getrusage: its figure begins with that of the process that started this one.
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


class KeepEpochs(TrainerCallback):
    """Write logits, time and memory at the end of each epoch, before its checkpoint: a cut epoch is done again.

    A training that is part of another one, a teacher's say, has them in a folder of its own below.

    Args:
        trainer (core.trainer.ClassificationTrainer): with the held-out part (or None) as eval data, dev as test data.
        folder (Path): gets epoch-<number>.npz with the logits [samples, classes] of held_out and dev, cpu_seconds (of
            the training alone), memory_mb and step.
    """

    def __init__(self, trainer, folder):
        self.trainer, self.folder, self.start = trainer, folder, 0.0

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.start = time.process_time()

    def on_epoch_end(self, args, state, control, **kwargs):
        kept = {"cpu_seconds": time.process_time() - self.start, "step": state.global_step}
        for split, data in {"held_out": self.trainer.eval_dataset, "dev": self.trainer.test_dataset}.items():
            if data is not None:
                kept[split] = self.trainer.predict(data).predictions.astype("float32")
        with staged_files(self.folder) as stage:
            np.savez(stage / f"epoch-{round(state.epoch)}.npz", memory_mb=peak_memory(), **kept)


def keep_epochs(data_dir, folder):
    """Let the trainings of this process write their epochs into a folder; they do not see what is predicted.

    A masked-language training leaves its time there, without what a cut one took.

    Args:
        data_dir (str): has dev.txt, and held_out.txt or none.
        folder (str): see KeepEpochs; it lies beside the training's own, `output`.
    """
    plain, held_out = pipeline.make_trainer, Path(data_dir, "held_out.txt")
    whole, pretrain = Path(folder).parent / "output", stages.pretrain

    def timed_pretrain(run):
        start, is_there = time.process_time(), Path(folder, "pretraining.npz").exists()
        name = pretrain(run)
        if not is_there:
            with staged_files(Path(folder)) as stage:
                np.savez(stage / "pretraining.npz", cpu_seconds=time.process_time() - start, memory_mb=peak_memory())
        return name

    def make_trainer(model, tokenizer, run, *more):
        labels = run.data.labels
        run.data.dev = read_examples(held_out, labels) if held_out.exists() else None
        run.data.test = read_examples(Path(data_dir, "dev.txt"), labels)
        trainer = plain(model, tokenizer, run, *more)
        trainer.add_callback(KeepEpochs(trainer, Path(folder) / Path(run.args.output_dir).relative_to(whole)))
        return trainer

    pipeline.make_trainer, stages.pretrain = make_trainer, timed_pretrain
