"""What is asked of the texts of a file, and what a model answers: arrays, a part of the file at a time.

A part is cut into slices of texts that are about as long as each other, which core/batch_workers.py gives to whoever
is free. What a slice is depends on the part's texts alone, so the answers are the same whoever gives them, and however
many they are.
"""

import copy
import os
from dataclasses import dataclass
from typing import Optional

from core.checkpoints import NGRAM

# Texts of a slice, and batches at least: of fewer more would be padded.
SLICE_TEXTS, SLICE_BATCHES = 256, 8
# Of the student of n-grams, which gets them in the order of the file.
NGRAM_TEXTS = 2048
# Of so many texts it is looked at whether the vocabulary can read them.
LOOK = 2048


@dataclass
class Job:
    """What is asked of each text.

    Args:
        folder (str): of the export.
        format (str): as Predictor takes it.
        threads (int): of one worker.
        batch_size (int): texts that are run together.
        top_k (int): labels of each text.
        min_confidence (float | str | None): see core.predictor.Predictor.classify.
        device (str): as of core.predictor.GraphRunner.
        slice_texts (int | None): texts that are tokenised and sorted by length together; None: SLICE_TEXTS, or
            SLICE_BATCHES batches where these are more.
        has_windows (bool): whether it is asked which window of a long text decided.
        conformal (float | None): see core.answers.Answers.label_sets.
    """

    folder: str
    format: str
    threads: int = 1
    batch_size: int = 32
    top_k: int = 1
    min_confidence: Optional[object] = None
    device: str = "cpu"
    slice_texts: Optional[int] = None
    has_windows: bool = False
    conformal: Optional[float] = None


class Slices:
    """The texts of a part in slices, and the answers that are there.

    Args:
        texts (list[str]): of the part.
        job (Job): what is asked.

    Attributes:
        places (list[list[int] | slice]): which texts a slice has; the slices of the longest texts come first, for
            what is begun last decides when all is done.
        left (int): slices that have no answer yet.
        found (tuple): see Answerer.__call__; whole when none is left.
    """

    def __init__(self, texts, job):
        size = job.slice_texts or max(SLICE_TEXTS, SLICE_BATCHES * job.batch_size)
        if job.format == NGRAM:  # which pads nothing
            size = job.slice_texts or NGRAM_TEXTS
            self.places = [slice(start, start + size) for start in range(0, len(texts), size)] or [slice(0)]
        else:
            order = sorted(range(len(texts)), key=lambda place: -len(texts[place]))
            # In a slice they stay in the order of the file.
            self.places = [sorted(order[start : start + size]) for start in range(0, len(order), size)] or [[]]
        self.texts, self.left, self.found = texts, len(self.places), None

    def of(self, number):
        """The texts of a slice: list[str]."""
        places = self.places[number]
        if isinstance(places, list):
            return [self.texts[place] for place in places]
        return self.texts[places.start : places.stop]

    def put(self, number, found):
        """Take the answers to a slice."""
        import numpy as np

        if self.found is None:
            size = len(self.texts)
            self.found = tuple(
                some if some is None else np.empty((size, *some.shape[1:]), some.dtype) for some in found
            )
        for whole, some in zip(self.found, found):
            if some is not None:
                whole[self.places[number]] = some
        self.left -= 1


class Answerer:
    """A model that answers the texts of a part.

    Raises:
        UsageError: as Predictor; a min_confidence or a conformal that this export has no threshold for.
    """

    def __init__(self, job):
        # Read by libraries when they are loaded: the tokenizer's threads, and those of graphs of Paddle.
        os.environ.setdefault("RAYON_NUM_THREADS", str(job.threads))
        os.environ.setdefault("OMP_NUM_THREADS", str(job.threads))
        from core.predictor import Predictor, runs_slim

        if not runs_slim(job.folder, job.format):
            from core.cpu import prepare_paddle

            prepare_paddle()
        self.job, self.least, self.least_of_set = job, None, None
        self.predictor = Predictor(job.folder, job.format, job.threads, job.batch_size, job.device)
        if job.min_confidence is not None:
            from core.confidence import limits

            self.least = limits(self.predictor.content, job.format, job.min_confidence)
            self.predictor.paths.check_answers()
        if job.conformal is not None:
            from core.confidence import least_probability

            self.least_of_set = least_probability(self.predictor.content, job.format, job.conformal)
        # Of the staged ones, the model's. It is only looked at what `look` is given: else each worker would warn.
        self.watch, self.has_looked = getattr(getattr(self.predictor, "model", self.predictor), "watch", None), False
        if self.watch is not None:
            self.watch.warned = True

    def look(self, texts):
        """Warn, once, of texts that the vocabulary cannot read, where the first of these are such."""
        if self.watch is None or self.has_looked or not texts:
            return
        self.has_looked, self.watch.warned, some = True, False, texts[:LOOK]
        self.predictor.look(some, self.predictor.encode(some))
        self.watch.warned = True

    def __call__(self, texts):
        """The answers to some texts.

        Args:
            texts (list[str]): none is empty.

        Returns:
            tuple: best: int32 [texts, top_k], class ids, the most probable first, of at most all classes; their
            probabilities in millionths, int32; of a min_confidence the places in LabelPaths.names of what is sure
            enough, -1 for unknown, and their confidences in millionths, int32 [texts]; else None twice; of
            has_windows which window decided, core.long_texts.WINDOW [texts], all zeros where a text was read as a
            whole; else None; of a conformal the class ids of each text's set, int32 [texts, most_labels], the most
            probable one first and -1 behind the last one; else None.
        """
        slices = Slices(texts, self.job)
        for number in range(len(slices.places)):
            slices.put(number, self.answer(slices.of(number)))
        return slices.found

    def answer(self, texts):
        """The same of one slice, whose texts are sorted and run together."""
        import numpy as np

        from core.long_texts import WINDOW
        from core.millionths import millionths

        rows, windows = self.predictor.read(texts)
        best = rows.argmax(axis=1)[:, None]
        if self.job.top_k > 1:
            best = (-rows).argsort(axis=1, kind="stable")[:, : self.job.top_k]
        scores = millionths(np.take_along_axis(rows, best, axis=1)).astype("int32")
        chosen = confidence = None
        if self.least is not None:
            chosen, confidence = self.predictor.paths.choose(rows, self.least)
            chosen, confidence = chosen.astype("int32"), millionths(confidence).astype("int32")
        if not self.job.has_windows:
            windows = None
        elif windows is None:
            windows = np.zeros(len(texts), WINDOW)
        sets = None
        if self.least_of_set is not None:
            from core.confidence import conformal_order

            sets = conformal_order(rows, self.least_of_set).astype("int32")
        return best.astype("int32"), scores, chosen, confidence, windows, sets

    def clone(self):
        """One more on the same weights, for another thread."""
        other = copy.copy(self)
        other.predictor = self.predictor.clone()
        return other

    @property
    def names(self):
        """(labels in class order, the names of all levels, how many levels there are)."""
        return self.predictor.labels, self.predictor.paths.names, self.predictor.paths.depth
