"""A stand-in for the workers of core/batch_run.py, for tests that are not about a model."""

import numpy as np

from core.batch_answers import Job
from core.batch_run import Prediction, Wanted
from core.long_texts import WINDOW
from core.samples import Wishes

LABELS = ["甲", "乙", "丙"]


class Counting:
    """Answers each text with the class of its length modulo 3; dies after some parts where told to."""

    def __init__(self, job, fails_after=None):
        self.job, self.fails_after, self.waiting, self.texts = job, fails_after, [], []
        self.names = LABELS, LABELS, 1

    @property
    def is_full(self):
        return len(self.waiting) >= 3

    def submit(self, number, texts):
        self.waiting.append((number, texts))

    def next(self):
        if self.fails_after is not None and len(self.texts) >= self.fails_after:
            raise KeyboardInterrupt
        number, texts = self.waiting.pop()  # the last one first: parts end in any order
        self.texts.append(texts)
        first = np.array([len(text) % 3 for text in texts], "int32").reshape(-1, 1)
        best = (first + np.arange(self.job.top_k, dtype="int32")) % 3
        scores = np.full(best.shape, 500_000, "int32") // (1 + np.arange(self.job.top_k, dtype="int32"))
        if self.job.min_confidence is None:
            return number, (best, scores, None, None, self._windows(texts), self._sets(first))
        unsure = first[:, 0] == 0
        places = np.where(unsure, -1, first[:, 0])
        return number, (best, scores, places, scores[:, 0], self._windows(texts), self._sets(first))

    def _sets(self, first):
        """Of the last class itself alone, of the others the next one too."""
        if self.job.conformal is None:
            return None
        return np.hstack([first, np.where(first == 2, -1, first + 1)]).astype("int32")

    def _windows(self, texts):
        """Of a text of more than ten characters the second of two, which begins at the tenth."""
        if not self.job.has_windows:
            return None
        return np.array([(2, 2, 10, len(text)) if len(text) > 10 else (1, 1, -1, -1) for text in texts], WINDOW)

    def close(self):
        pass


def predict(folder, inputs, output, fails_after=None, wishes=None, part_rows=10, batch_size=32, **wanted):
    """Predict a file with Counting: the Summary, what was said, and the workers (None: there was nothing to do)."""
    said, workers = [], []
    wanted = Wanted(
        [str(path) for path in inputs], str(output), LABELS, wishes or Wishes(), part_rows=part_rows, **wanted
    )
    asked = {"top_k": wanted.top_k, "min_confidence": wanted.min_confidence, "has_windows": wanted.has_windows}
    asked["conformal"] = wanted.conformal
    job = Job(str(folder), "onnx", 1, batch_size, **asked)

    def make():
        workers.append(Counting(job, fails_after))
        return workers[0]

    summary = Prediction(wanted, said.append).run(job, make)
    return summary, "\n".join(said), workers[0] if workers else None
