"""Who runs the model over the parts of a file: processes, one a core, or this one."""

import concurrent.futures
import copy
import multiprocessing
import multiprocessing.connection
import os
import queue
import signal
import threading
from dataclasses import dataclass
from typing import Optional

from utils import UsageError

# Texts that are tokenised and sorted by length together.
WINDOW = 2048


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
    """

    folder: str
    format: str
    threads: int = 1
    batch_size: int = 32
    top_k: int = 1
    min_confidence: Optional[object] = None
    device: str = "cpu"


class Answerer:
    """A model that answers the texts of a part.

    Raises:
        UsageError: as Predictor; a min_confidence that this export has no threshold for.
    """

    def __init__(self, job, is_first=True):
        # Read by libraries when they are loaded: the tokenizer's threads, and those of graphs of Paddle.
        os.environ.setdefault("RAYON_NUM_THREADS", str(job.threads))
        os.environ.setdefault("OMP_NUM_THREADS", str(job.threads))
        from core.predictor import Predictor, runs_slim

        if not runs_slim(job.folder, job.format):
            from core.cpu import prepare_paddle

            prepare_paddle()
        self.job, self.least = job, None
        self.predictor = Predictor(job.folder, job.format, job.threads, job.batch_size, job.device)
        if job.min_confidence is not None:
            from core.confidence import limits

            self.least = limits(self.predictor.content, job.format, job.min_confidence)
            self.predictor.paths.check_answers()
        # One of the workers warns of texts that the vocabulary cannot read, by the first of them.
        self.looks = is_first

    def __call__(self, texts):
        """The answers to some texts.

        Args:
            texts (list[str]): none is empty.

        Returns:
            tuple: best: int32 [texts, top_k], class ids, the most probable first, of at most all classes; their
            probabilities in millionths, int32; of a min_confidence the places in LabelPaths.names of what is sure
            enough, -1 for unknown, and their confidences in millionths, int32 [texts]; else None twice.
        """
        import numpy as np

        found = [self._answer(texts[start : start + WINDOW]) for start in range(0, len(texts), WINDOW)]
        if not found:
            empty = np.zeros((0, self.job.top_k), "int32")
            return empty, empty, *([None, None] if self.least is None else [empty[:, 0], empty[:, 0]])
        return tuple(None if some[0] is None else np.concatenate(some) for some in zip(*found))

    def _answer(self, texts):
        import numpy as np

        watch = getattr(self.predictor, "watch", None)
        if watch is not None and not self.looks:
            watch.warned = True
        self.looks = False
        rows = self.predictor.probabilities(texts)
        best = rows.argmax(axis=1)[:, None]
        if self.job.top_k > 1:
            best = (-rows).argsort(axis=1, kind="stable")[:, : self.job.top_k]
        scores = np.rint(np.take_along_axis(rows, best, axis=1) * 1e6).astype("int32")
        if self.least is None:
            return best.astype("int32"), scores, None, None
        chosen, confidence = self.predictor.paths.choose(rows, self.least)
        return best.astype("int32"), scores, chosen.astype("int32"), np.rint(confidence * 1e6).astype("int32")

    def clone(self):
        """One more on the same weights, for another thread."""
        other = copy.copy(self)
        other.predictor, other.looks = self.predictor.clone(), False
        return other

    @property
    def names(self):
        """(labels in class order, the names of all levels, how many levels there are)."""
        return self.predictor.labels, self.predictor.paths.names, self.predictor.paths.depth


class OneWorker:
    """The model in this process, in threads beside reading and writing.

    Args:
        job (Job): what is asked.
        count (int): threads, which have its weights together; each runs a part of its own with job.threads cores.

    Attributes:
        names (tuple): see Answerer.names.
        capacity (int): parts that may be under way at once.
    """

    def __init__(self, job, count=1):
        self.pool, self.running = concurrent.futures.ThreadPoolExecutor(count), {}
        self.capacity, self.idle = count + 1, queue.SimpleQueue()
        first = self.pool.submit(Answerer, job).result()
        self.names = first.names
        for one in (first, *(first.clone() for _ in range(count - 1))):
            self.idle.put(one)

    def submit(self, number, texts):
        """Begin with a part: its number, and its texts, list[str]."""
        self.running[self.pool.submit(self._answer, texts)] = number

    def _answer(self, texts):
        answerer = self.idle.get()
        try:
            return answerer(texts)
        finally:
            self.idle.put(answerer)

    def next(self):
        """Wait for a part: its number, and what Answerer gave."""
        done, _ = concurrent.futures.wait(self.running, return_when=concurrent.futures.FIRST_COMPLETED)
        future = done.pop()
        return self.running.pop(future), future.result()

    def close(self):
        """End what is under way."""
        self.pool.shutdown(wait=True, cancel_futures=True)


class Processes:
    """Processes with a model each; what they do is as of OneWorker.

    Raises:
        UsageError: a process could not read the model.
    """

    def __init__(self, job, count):
        context = multiprocessing.get_context("spawn")
        self.waiting, self.processes = {}, {}
        for number in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, job, number == 0), daemon=True)
            process.start()
            theirs.close()
            self.processes[ours], self.waiting[ours] = process, 0
        # One part under way, and the next one at hand.
        self.capacity = 2 * count
        try:
            for connection in self.processes:
                self.names = self._receive(connection)
        except BaseException:
            self.close()
            raise

    def submit(self, number, texts):
        connection = min(self.waiting, key=self.waiting.get)
        self.waiting[connection] += 1
        try:
            connection.send((number, texts))
        except OSError:
            self._died(connection)

    def next(self):
        busy = [connection for connection, count in self.waiting.items() if count]
        connection = multiprocessing.connection.wait(busy)[0]
        found = self._receive(connection)
        self.waiting[connection] -= 1
        return found

    def _receive(self, connection):
        try:
            kind, content = connection.recv()
        except (EOFError, OSError):
            self._died(connection)
        if kind == "refused":
            raise UsageError(content)
        if kind == "failed":
            raise RuntimeError(f"in a worker:\n{content}")
        return content

    def _died(self, connection):
        process = self.processes[connection]
        process.join(5)
        how = f"signal {-process.exitcode}" if (process.exitcode or 0) < 0 else f"exit code {process.exitcode}"
        raise UsageError(
            f"a worker ended ({how}): killed, or out of memory; the same command goes on from the parts that are "
            "done, with fewer --workers where memory is short"
        ) from None

    def close(self):
        for connection, process in self.processes.items():
            connection.close()  # by which it ends
            process.terminate()
        for process in self.processes.values():
            process.join()


def _serve(connection, job, is_first):
    """What one of the processes does; it ends at once when the first one is no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tasks = queue.SimpleQueue()

    def listen():
        while True:
            try:
                tasks.put(connection.recv())
            except (EOFError, OSError):
                os._exit(1)

    threading.Thread(target=listen, daemon=True).start()
    try:
        answerer = Answerer(job, is_first)
        connection.send(("ready", answerer.names))
        while True:
            number, texts = tasks.get()
            connection.send(("done", (number, answerer(texts))))
    except UsageError as error:
        connection.send(("refused", str(error)))
    except BrokenPipeError:
        os._exit(1)
    except Exception:
        import traceback

        connection.send(("failed", traceback.format_exc()))


def make_workers(job, count, threads=1):
    """Processes where there is more than one, else OneWorker with so many threads."""
    return Processes(job, count) if count > 1 else OneWorker(job, threads)
