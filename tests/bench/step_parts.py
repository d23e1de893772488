"""What each part of core/quick_training.py brings to a training step; run by `bench_train.py parts`.

Models with the same weights take turns on the same batches in one process, so that what else the machine does hits all
of them alike. CPU time says most on a busy machine, with OMP_NUM_THREADS=1; wall time says more on one that is free.
"""

import os
import time
from pathlib import Path

import numpy as np
import paddle

from core import quick_adamw, quick_layers
from core.loading import load_config_and_tokenizer, load_model
from tests.bench.epoch_batches import EpochBatches
from tests.bench.machine import cpu_name

# What is quick in each row of the table: the layers, the first token of the last one, AdamW.
ROWS = {
    "as Paddle computes": (),
    "+ layers": ("layers",),
    "+ first token of the last layer": ("layers", "first"),
    "+ AdamW": ("layers", "first", "adamw"),
}


class Learner:
    """A model, its optimizer, and the seconds of its steps."""

    def __init__(self, encoder, labels, parts):
        paddle.seed(1)
        config, _ = load_config_and_tokenizer(encoder)
        self.model, self.times = load_model(encoder, config, [str(label) for label in range(labels)], tower=False), []
        self.model.train()
        if "layers" in parts:
            reads = quick_layers.reads_first_token_only
            if "first" not in parts:
                quick_layers.reads_first_token_only = lambda model, layer: False
            try:
                quick_layers.make_quick(self.model)
            finally:
                quick_layers.reads_first_token_only = reads
        clip = paddle.nn.ClipGradByGlobalNorm(1.0)
        self.optimizer = paddle.optimizer.AdamW(
            1e-4, parameters=self.model.parameters(), weight_decay=0.0, grad_clip=clip
        )
        if "adamw" in parts:
            quick_adamw.make_quick(self.optimizer)

    def step(self, ids, labels):
        start = time.process_time(), time.perf_counter()
        loss = paddle.nn.functional.cross_entropy(self.model(paddle.to_tensor(ids)), paddle.to_tensor(labels))
        loss.backward()
        self.optimizer.step()
        self.optimizer.clear_grad()
        self.times.append((time.process_time() - start[0], time.perf_counter() - start[1]))


def measure(encoder, texts, ids, steps):
    """Print a line for each of ROWS: milliseconds a step, the median of all but the first.

    Args:
        encoder (str): a directory.
        texts (list[str]): the training data.
        ids (list[int]): their class ids.
        steps (int): how many of each.
    """
    batches = EpochBatches(encoder, texts, ids, steps + 1).batches(True)
    learners = {name: Learner(encoder, max(ids) + 1, parts) for name, parts in ROWS.items()}
    for batch in batches:
        width = max(len(tokens) for tokens, _ in batch)
        pad = next(iter(learners.values())).model.config.pad_token_id
        rows = np.array([tokens + [pad] * (width - len(tokens)) for tokens, _ in batch])
        for learner in learners.values():
            learner.step(rows, np.array([label for _, label in batch]))
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    encoder = Path(encoder).name
    print(f"{encoder}, {cpu_name()}, {os.environ['OMP_NUM_THREADS']} threads; {steps} steps of each; load {load}")
    first = None
    for name, learner in learners.items():
        cpu, wall = np.median(np.array(learner.times[1:]), axis=0) * 1e3
        first = first or (cpu, wall)
        print(
            f"{name:35s} CPU {cpu:7.0f} ms ({first[0] / cpu:.2f} times as fast), wall {wall:7.0f} ms "
            f"({first[1] / wall:.2f})",
            flush=True,
        )
