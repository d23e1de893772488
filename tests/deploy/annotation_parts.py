"""A small world for the tests of deploy/annotation: two labels, texts that tell them apart, and a stand-in encoder."""

import contextlib
import subprocess
import sys
import time
import zlib
from argparse import Namespace

import numpy as np

from deploy.annotation.journal import Journal
from deploy.annotation.loop import Loop
from deploy.annotation.pool import read_pool
from tests.helpers import ROOT

LABELS = ["体育", "财经"]
WORDS = {"体育": "球赛 进球 冠军 教练 球员".split(), "财经": "股票 利率 银行 基金 涨跌".split()}


def texts_of(label, number, first=0):
    """Texts of one label, all different."""
    words = WORDS[label]
    return [f"{words[n % 5]}{words[(n // 5) % 5]}消息{n}" for n in range(first, first + number)]


class StandIn:
    """What deploy.annotation.vectors.Encoder offers, from counts of characters."""

    key = "stand-in"

    def __init__(self):
        self.encoded = 0

    def tokenize(self, texts):
        return [{"input_ids": [1, *(5 + ord(c) % 997 for c in text), 2]} for text in texts]

    def vectors(self, features):
        self.encoded += len(features)
        table = np.random.RandomState(zlib.crc32(b"stand-in")).randn(1100, 12).astype(np.float32)
        return np.stack([table[feature["input_ids"]].mean(axis=0) for feature in features])


def write_pool(folder, number=60, dev=0):
    """label.txt and data.txt with `number` texts a label, and dev.txt with `dev` of each."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "label.txt").write_text("\n".join(LABELS) + "\n", encoding="utf-8")
    texts = [text for label in LABELS for text in texts_of(label, number)]
    (folder / "data.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    if dev:
        lines = [f"{text}\t{label}" for label in LABELS for text in texts_of(label, dev, 1000)]
        (folder / "dev.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def truth(text):
    """The right label of a text of texts_of."""
    return next(label for label in LABELS if any(word in text for word in WORDS[label]))


def make_loop(folder, work, **settings):
    """A Loop that is not yet started."""
    work.mkdir(parents=True, exist_ok=True)
    own = {"retrain_every": 10, "min_accuracy": 0.5, "strategy": "badge", "seed": 1, **settings}
    return Loop(read_pool(folder), Journal(work), work, Namespace(**own), StandIn)


def run_steps(loop, steps=60):
    """What its thread would do, here."""
    if loop.vectors is None:
        loop._prepare()
    for _ in range(steps):
        if loop.state == "waiting" and not loop.changed and not loop._due():
            break
        loop._step()


@contextlib.contextmanager
def annotating(flags, log, cwd=None):
    """data/annotate.py in a process of its own, which is ended in any case; what it prints goes to `log`.

    Yields:
        subprocess.Popen: when the tool can be used.
    """
    command = list(map(str, [sys.executable, ROOT / "data" / "annotate.py", *flags]))
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        end = time.monotonic() + 900
        while "(Ctrl+C ends it" not in log.read_text(encoding="utf-8"):
            assert process.poll() is None and time.monotonic() < end, log.read_text(encoding="utf-8")[-2000:]
            time.sleep(0.5)
        yield process
    finally:
        process.kill()
        process.wait()
