"""Run the texts of many requests on one model: in turns, so that nobody waits for a long request, and together where
that is faster.

A turn takes a text of every waiting request, and more of them as far as the model runs these in about TURN_SECONDS. A
request of 10,000 texts thus takes hundreds of turns, and one of a single text, coming in meanwhile, is part of the
next turn. Where more requests wait than fit into a turn, the oldest is in it, and those with texts as long as its own.
"""

import collections
import dataclasses
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Optional

import numpy as np

from core.long_texts import WINDOW, LongText
from core.ngram_student import CHARACTERS, shorten_characters
from core.predictor import softmax

# What a newcomer waits for at most, besides its own turn, on each thread.
TURN_SECONDS = 0.05
# Texts of a turn. More gain nothing on a CPU.
MAX_TEXTS = 32
# Padding that is cheaper than a run more: these tokens, or this share of the real ones.
PADDING_TOKENS, PADDING_SHARE = 16, 1 / 8
# Held while it is seen whether a request has its result.
_completing = threading.Lock()
# Requests, from the oldest on, among which those are looked for that suit a turn.
CANDIDATES = 512
# Tokens a second that are assumed until the first turn has been timed: little, so that it is short.
FIRST_SPEED = 2000


class Overloaded(Exception):
    """More texts wait already than the limit allows."""


class Stopped(Exception):
    """No thread runs the model any more: it was closed, or it failed."""


@dataclasses.dataclass(eq=False)
class Job:
    """One request: which of its texts were taken, and the answers so far.

    The future's result is `result`; its attribute windows says which window of each text decided, where the model
    reads windows of long texts, and is None elsewhere.
    """

    texts: list
    max_length: int  # tokens kept of a text
    batch_size: int  # texts run together, at most
    order: list  # indices, so that texts of similar length are neighbours
    keep: Callable  # from probabilities [some texts, classes] to what is kept of them [some texts, ...]
    result: np.ndarray  # what is kept [texts, ...]
    long_text: Optional[LongText] = None  # what is read of texts that are longer
    future: Future = dataclasses.field(default_factory=Future)
    taken: int = 0
    done: int = 0

    def __post_init__(self):
        has_windows = self.long_text is not None and self.long_text.has_windows
        self.future.windows = np.zeros(len(self.texts), WINDOW) if has_windows else None

    def cost(self, index):
        """About the tokens of a text: one a character."""
        if self.future.windows is not None:
            return self.long_text.tokens(len(self.texts[index]))
        return min(len(self.texts[index]) + 2, self.max_length)

    def next_cost(self):
        """That of the text that is taken next."""
        return self.cost(self.order[self.taken])


class Batcher:
    """Threads that share the waiting requests of one model.

    Args:
        predictors (list[predictor.Predictor]): one a thread (see Predictor.clone).
        max_waiting (int): texts that may wait; a request that finds others waiting and would exceed it is refused.
        on_turn (Callable[[int, float], None]): told the texts and the seconds of each turn.
        alone (predictor.Predictor | None): has all the cores, for a turn while no other one runs or waits.
        hand_over (Callable[[Callable], None]): calls what completes the requests of a turn, on the thread where
            they are waited for.
        on_stages (Callable[[int, int], None]): told how many texts of a turn a student answered, and how many the
            model behind it; not where a predictor has no stages (see core.students).
    """

    def __init__(
        self,
        predictors,
        max_waiting,
        on_turn=lambda texts, seconds: None,
        alone=None,
        hand_over=lambda complete: complete(),
        on_stages=lambda student, model: None,
    ):
        self.predictors, self.max_waiting, self.on_turn = predictors, max_waiting, on_turn
        self.on_stages = on_stages
        self.alone, self.hand_over = alone, hand_over
        self.long_text = getattr(predictors[0], "long_text", None)
        self.waiting_texts = 0
        self._running = 0  # turns
        self._jobs = collections.deque()
        self._speed = FIRST_SPEED  # tokens a second of one thread
        self._changed = threading.Condition()
        self._encode_lock = threading.Lock()  # PaddleNLP's own tokenizers promise nothing about threads
        self._closing = self._failed = False
        self._threads = [
            threading.Thread(target=self._work, args=(predictor,), name=f"inference-{index}", daemon=True)
            for index, predictor in enumerate(predictors)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting_requests(self):
        return len(self._jobs)

    @property
    def is_alive(self):
        """Whether every thread runs; false for good once one has died."""
        return not self._failed and not self._closing

    def submit(self, texts, max_length, batch_size, keep=lambda rows: rows):
        """Queue a request.

        Args:
            texts (list[str]): not empty.
            max_length (int): tokens kept of a text.
            batch_size (int): texts run together, at most.
            keep (Callable): what is kept of the probabilities of some texts, float64 [some texts, classes]:
                an array [some texts, ...].

        Returns:
            Future: what was kept, [texts, ...]. Cancelling it drops the texts not yet run.

        Raises:
            Overloaded, Stopped: nothing was queued.
        """
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        nothing = keep(np.empty((0, len(self.predictors[0].labels))))
        result = np.empty((len(texts), *nothing.shape[1:]), nothing.dtype)
        job = Job(texts, max_length, batch_size, order, keep, result, self.long_text)
        with self._changed:
            if not self.is_alive:
                raise Stopped
            if self.waiting_texts and self.waiting_texts + len(texts) > self.max_waiting:
                raise Overloaded
            self.waiting_texts += len(texts)
            self._jobs.append(job)
            # One text is one thread's work; waking the others costs more than it brings.
            self._changed.notify(min(len(texts), len(self._threads)))
        return job.future

    def close(self):
        """Run what waits, then stop the threads; returns when they have stopped."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    # ------------------------------------------------------------------------------------------------- the threads

    def _work(self, own):
        taken = []
        try:
            while True:
                taken, predictor = self._take(own)
                if not taken:
                    return
                started = time.perf_counter()
                try:
                    self._run(predictor, taken)
                except Exception as error:
                    self._fail({job for job, _ in taken}, error)
                self._measure(taken, time.perf_counter() - started)
        finally:
            if not self._closing:  # whatever ended this thread, say so, and let nobody wait for it
                with self._changed:
                    self._failed = True
                    jobs = {*self._jobs, *(job for job, _ in taken)}
                    self._jobs.clear()
                    self.waiting_texts = 0
                    self._changed.notify_all()
                self._fail(jobs, Stopped())

    def _take(self, own):
        """The next turn, and who runs it: list of (job, index of a text), predictor.

        It waits for a turn; the list is empty when there will be none.
        """
        with self._changed:
            while True:
                taken = self._next_turn()
                if taken or self._closing or self._failed:
                    self._running += bool(taken)
                    is_alone = self.alone is not None and self._running == 1 and not self._jobs
                    return taken, self.alone if is_alone else own
                self._changed.wait()

    def _next_turn(self):
        taken = []
        limit = min(MAX_TEXTS, -(-self.waiting_texts // len(self._threads)))  # the other threads want some too
        share = max(1, limit // max(1, len(self._jobs)))
        self._bring_forward(limit)
        budget, seen = self._speed * TURN_SECONDS, set()
        while self._jobs and len(taken) < limit:
            job = self._jobs.popleft()
            if job.future.done():  # its client has gone, or an earlier turn of it failed
                self.waiting_texts -= len(job.texts) - job.taken
                continue
            # One text of each request, whatever it costs: whoever comes later would wait for these in any case, and
            # together they take less time.
            is_first, before = job not in seen, len(taken)
            seen.add(job)
            for index in job.order[job.taken : job.taken + min(share, limit - len(taken))]:
                budget -= job.cost(index)
                if budget < 0 and not (is_first and len(taken) == before):
                    break
                taken.append((job, index))
            number = len(taken) - before
            job.taken += number
            self.waiting_texts -= number
            if not number:
                self._jobs.appendleft(job)  # no time is left for more of the requests that have a part already
                break
            if job.taken < len(job.texts):
                self._jobs.append(job)
        return taken

    def _bring_forward(self, number):
        """Put those requests first whose next text is about as long as the oldest's: little is padded then. The oldest
        itself stays the first, so that each has its turn."""
        if len(self._jobs) <= number:
            return
        jobs = list(self._jobs)
        wanted = jobs[0].next_cost()
        nearest = sorted(range(min(len(jobs), CANDIDATES)), key=lambda place: abs(jobs[place].next_cost() - wanted))
        first = sorted(nearest[:number])
        chosen = set(first)
        self._jobs.clear()
        self._jobs.extend(jobs[place] for place in first)
        self._jobs.extend(job for place, job in enumerate(jobs) if place not in chosen)

    def _run(self, predictor, taken):
        with self._encode_lock:
            features = predictor.encode([job.texts[index] for job, index in taken])
        for feature, (job, _) in zip(features, taken):
            if "windows" not in feature:  # Model.submit refuses other lengths
                shorten(feature, job.max_length)
        left = range(len(taken))
        if hasattr(predictor, "first_stage"):
            rows, is_open = predictor.first_stage(features)
            self._keep(taken, np.flatnonzero(~is_open), rows[~is_open])
            left = np.flatnonzero(is_open).tolist()
            predictor = getattr(predictor, "model", predictor)
            self.on_stages(len(taken) - len(left), len(left))
        groups = groups_of_similar_length([features[n] for n in left], [taken[n][0].batch_size for n in left])
        for group in ([left[place] for place in group] for group in groups):
            self._keep(taken, group, softmax(self._logits(predictor, taken, features, group)))
        finished = []
        with self._changed:
            for job, _ in taken:
                job.done += 1
                if job.done == len(job.texts):
                    finished.append(job)
        if finished:
            # All in one call: each call wakes the other thread, which then keeps this one from going on.
            self.hand_over(lambda: [complete(job.future, job.result) for job in finished])

    def _logits(self, predictor, taken, features, group):
        """Logits of a group of texts; which windows decided is noted in their requests."""
        some = [features[number] for number in group]
        # A blend has no window that decided.
        if self.long_text is None or not self.long_text.has_windows or not hasattr(predictor, "logits_and_windows"):
            return predictor.logits(some)
        logits, windows = predictor.logits_and_windows(some)
        for number, window in zip(group, [] if windows is None else windows):
            job, index = taken[number]
            job.future.windows[index] = window
        return logits

    @staticmethod
    def _keep(taken, group, rows):
        """Give the probabilities of some texts, numbers in `taken`, to their requests."""
        for keep in {taken[number][0].keep for number in group}:
            places = [place for place, number in enumerate(group) if taken[number][0].keep is keep]
            for place, kept in zip(places, keep(rows[places])):
                job, index = taken[group[place]]
                job.result[index] = kept

    def _fail(self, jobs, error):
        self.hand_over(lambda: [complete(job.future, error) for job in jobs])

    def _measure(self, taken, seconds):
        with self._changed:
            self._running -= 1
        speed = sum(job.cost(index) for job, index in taken) / seconds
        self._speed += 0.3 * (speed - self._speed)
        self.on_turn(len(taken), seconds)


def complete(future, result):
    """Give a request its result, or the exception that ended it; not if it has one, or was given up."""
    with _completing:  # two threads may fail with turns of one request
        if future.done() or future.running() or not future.set_running_or_notify_cancel():
            return
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)


def shorten(feature, max_length):
    """Cut a tokenised text as the tokenizer would have: the last token kept is its own last one; in place."""
    for name, ids in feature.items():
        if name == CHARACTERS:
            feature[name] = shorten_characters(ids, max_length)
        elif len(ids) > max_length:
            feature[name] = [*ids[: max_length - 1], ids[-1]]


def groups_of_similar_length(features, batch_sizes):
    """Which texts to run together so that little is padded.

    Args:
        features (list[dict]): tokenised texts.
        batch_sizes (list[int]): how many others each bears, itself included.

    Returns:
        list[list[int]]: indices into features.
    """
    lengths = [len(feature["input_ids"]) for feature in features]
    groups, padding, tokens = [], 0, 0
    for index in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        group = groups[-1] if groups else []
        gap = lengths[group[0]] - lengths[index] if group else 0
        is_full = group and len(group) >= min(batch_sizes[index], *(batch_sizes[other] for other in group))
        allowed = max(PADDING_TOKENS, PADDING_SHARE * (tokens + lengths[index]))
        if not group or is_full or padding + gap > allowed:
            groups.append([index])
            padding, tokens = 0, lengths[index]
        else:
            group.append(index)
            padding, tokens = padding + gap, tokens + lengths[index]
    return groups
