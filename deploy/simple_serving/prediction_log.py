"""A log of the answers, for analysis/monitor.py: off unless SERVING_PREDICTION_LOG names a file.

A line is JSON, of one text: time (to the minute), model, version (of the export), label, confidence, entropy (nats),
length (characters), ngrams (buckets of its words, see core/hashed_ngrams.py) and key, the name of the key that they
were hashed with. The text itself is in it with SERVING_LOG_TEXTS=1 alone. The key lies beside the log, in <file>.key.

No request waits for it: a thread of its own hashes and writes. Texts for which there is no room in its queue are not
logged, but counted (serving_prediction_log_dropped_total); so are those that a full disk takes none of. The file and
the one before it, <file>.1, hold about SERVING_PREDICTION_LOG_BYTES each; only this thread may move them.
"""

import functools
import json
import os
import queue
import threading
import time
from pathlib import Path

import numpy as np
import prometheus_client

from core.confidence import version_of
from core.hashed_ngrams import buckets_of, key_name, key_path, make_bucket, make_key
from core.millionths import millionths
from deploy.simple_serving.answers import ENTRY
from deploy.simple_serving.observing import logger
from utils import UsageError

# Texts that may wait for the thread; it writes some 10,000 short ones a second.
MAX_WAITING = 50_000

# Columns that with_facts puts behind what is kept: of entries, and of numbers.
FACTS = {ENTRY: 2, np.dtype("float32"): 3}

# Seconds that a stopping server gives the thread.
CLOSE_SECONDS = 10


@functools.lru_cache(1000)
def with_facts(keep):
    """What is kept of probabilities (see answers.most_probable, tensors.best_class), and behind it what the log needs.

    The same object each time, so that Batcher calls it once for many requests.

    Args:
        keep (Callable): from probabilities [texts, classes] to ENTRY or float32 [texts, k].

    Returns:
        Callable: to [texts, k + FACTS]: of ENTRY the most probable class with its probability, and the entropy in
        millionths of a nat under the id -1; of float32 these three numbers.
    """

    def kept(rows):
        own = keep(rows)
        best, entropy = rows.argmax(axis=1), -(rows * np.log(np.maximum(rows, 1e-300))).sum(axis=1)
        sure = np.take_along_axis(rows, best[:, None], axis=1)[:, 0]
        if own.dtype != ENTRY:
            return np.column_stack([own, best, sure, entropy]).astype(own.dtype)
        facts = np.empty((len(rows), FACTS[ENTRY]), ENTRY)
        facts["id"][:, 0], facts["id"][:, 1] = best, -1
        facts["millionths"] = millionths(np.column_stack([sure, entropy]))
        return np.concatenate([own, facts], axis=1)

    return kept


def facts_of(facts):
    """Class ids, probabilities and entropies out of the last columns of what with_facts keeps: three lists."""
    if facts.dtype == ENTRY:
        return facts["id"][:, 0].tolist(), *(facts["millionths"] / 1e6).T.tolist()
    best, sure, entropy = facts.astype("float64").T
    return best.astype(int).tolist(), sure.round(6).tolist(), entropy.round(6).tolist()


class PredictionLog:
    """Writes the log.

    Args:
        settings (Settings): with prediction_log.
        registry (prometheus_client.CollectorRegistry): for its counters.

    Raises:
        UsageError: the file or its key cannot be written.
    """

    def __init__(self, settings, registry):
        self.path, self.limit = Path(settings.prediction_log), settings.prediction_log_bytes
        self.with_texts = bool(settings.log_texts)
        key = make_key(key_path(self.path))
        self.bucket, self.key_name = make_bucket(key), key_name(key)
        try:
            self.file = self._open()
        except OSError as error:
            where = f"SERVING_PREDICTION_LOG={self.path}"
            raise UsageError(f"{where}: cannot be written ({error.strerror}); choose another place") from None
        counter = functools.partial(prometheus_client.Counter, labelnames=["model"], registry=registry)
        self.written = counter("prediction_log_texts", "Texts in the log of answers.", namespace="serving")
        self.dropped = counter("prediction_log_dropped", "Texts that it had no room for.", namespace="serving")
        # Texts, each counted by one thread alone: the event loop, and the log's own.
        self.taken = self.done = 0
        self.queue, self.is_broken = queue.SimpleQueue(), False
        self.thread = threading.Thread(target=self._work, name="prediction-log", daemon=True)
        self.thread.start()

    def take(self, model, texts, entries):
        """Queue an answer; called on the event loop alone, which it never holds up.

        Args:
            model (Model): that answered.
            texts (list[str]): of the request.
            entries (np.ndarray): [texts, k + FACTS], see with_facts.

        Returns:
            np.ndarray: [texts, k], what the answer is written from.
        """
        number = FACTS[entries.dtype]
        if self.taken - self.done + len(texts) > MAX_WAITING:
            self.dropped.labels(model.name).inc(len(texts))
        else:
            self.taken += len(texts)
            self.queue.put((time.time(), model, texts, entries[:, -number:]))
        return entries[:, :-number]

    def close(self):
        """Write what waits, and stop."""
        self.queue.put(None)
        self.thread.join(CLOSE_SECONDS)

    # --------------------------------------------------------------------------------------------------- the thread

    def _open(self):
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return os.fdopen(handle, "ab")

    def _work(self):
        while (taken := self.queue.get()) is not None:
            when, model, texts, facts = taken
            try:
                self._write(b"".join(self._lines(when, model, texts, facts)))
                self.written.labels(model.name).inc(len(texts))
                self.is_broken = False
            except Exception as error:
                self.dropped.labels(model.name).inc(len(texts))
                if not self.is_broken:  # a full disk: said once, until it is mended
                    logger.error("the log of answers is not written", extra={"fields": {"error": str(error)}})
                self.is_broken = True
            self.done += len(texts)
        self.file.close()

    def _write(self, content):
        if self.file.tell() + len(content) > self.limit and self.file.tell():
            self.file.close()
            os.replace(self.path, f"{self.path}.1")
            self.file = self._open()
        self.file.write(content)
        self.file.flush()

    def _lines(self, when, model, texts, facts):
        """The lines of one request: bytes."""
        shared = {
            "time": time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(when)),
            "model": model.name,
            "version": version_of(model.content, model.format),
            "key": self.key_name,
        }
        for text, class_id, sure, unsure in zip(texts, *facts_of(facts)):
            own = {"label": model.labels[class_id], "confidence": sure, "entropy": unsure, "length": len(text.strip())}
            line = {**shared, **own, "ngrams": buckets_of(text, self.bucket)}
            if self.with_texts:
                line["text"] = text
            yield json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode("utf-8") + b"\n"
