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
from deploy.simple_serving.answers import ENTRY
from deploy.simple_serving.observing import logger
from utils import UsageError

# Texts that may wait for the thread; it writes some 10,000 short ones a second.
MAX_WAITING = 50_000

# Columns that with_facts puts behind the entries of an answer.
FACTS = 2

# Seconds that a stopping server gives the thread.
CLOSE_SECONDS = 10


@functools.lru_cache(1000)
def with_facts(keep):
    """What is kept of probabilities (see answers.most_probable), and behind it what the log needs.

    The same object each time, so that Batcher calls it once for many requests.

    Args:
        keep (Callable): from probabilities [texts, classes] to ENTRY [texts, k].

    Returns:
        Callable: to ENTRY [texts, k + FACTS]: the most probable class with its probability, and the entropy in
        millionths of a nat under the id -1.
    """

    def kept(rows):
        facts = np.empty((len(rows), FACTS), ENTRY)
        facts["id"][:, 0] = rows.argmax(axis=1)
        facts["millionths"][:, 0] = np.rint(rows.max(axis=1) * 1e6)
        facts["id"][:, 1] = -1
        facts["millionths"][:, 1] = np.rint(-(rows * np.log(np.maximum(rows, 1e-300))).sum(axis=1) * 1e6)
        return np.concatenate([keep(rows), facts], axis=1)

    return kept


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
            entries (np.ndarray): ENTRY [texts, k + FACTS], see with_facts.

        Returns:
            np.ndarray: [texts, k], what the answer is written from.
        """
        if self.taken - self.done + len(texts) > MAX_WAITING:
            self.dropped.labels(model.name).inc(len(texts))
        else:
            self.taken += len(texts)
            self.queue.put((time.time(), model, texts, entries[:, -FACTS:]))
        return entries[:, :-FACTS]

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
        ids, confidence = facts["id"][:, 0].tolist(), (facts["millionths"][:, 0] / 1e6).tolist()
        entropy = (facts["millionths"][:, 1] / 1e6).tolist()
        shared = {
            "time": time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(when)),
            "model": model.name,
            "version": version_of(model.content, model.format),
            "key": self.key_name,
        }
        for text, class_id, sure, unsure in zip(texts, ids, confidence, entropy):
            own = {"label": model.labels[class_id], "confidence": sure, "entropy": unsure, "length": len(text.strip())}
            line = {**shared, **own, "ngrams": buckets_of(text, self.bucket)}
            if self.with_texts:
                line["text"] = text
            yield json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode("utf-8") + b"\n"
