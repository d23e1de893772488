"""Who runs the model over the parts of a file: processes, one a core, or this one.

The slices of a part go to whoever is free: all are busy however few parts there are.
"""

import concurrent.futures
import multiprocessing
import os
import queue
import signal
import threading

from core.batch_answers import LOOK, Answerer, Slices
from utils import UsageError

# Slices that a process has at once: one under way, and the next one at hand.
AT_HAND = 2


class Workers:
    """Parts under way; who answers their slices is up to the kinds of workers below.

    Args:
        job (Job): what is asked.
        capacity (int): slices that may be under way, or wait, beside what is wanted first.

    Attributes:
        names (tuple): see Answerer.names.
    """

    def __init__(self, job, capacity):
        self.job, self.capacity, self.parts, self.has_looked = job, capacity, {}, False

    @property
    def is_full(self):
        """Whether there is enough to do for all, even when the part that is the oldest is done."""
        return sum([part.left for part in self.parts.values()][1:]) >= self.capacity - 1

    def submit(self, number, texts):
        """Begin with a part: its number, and its texts, list[str]."""
        if texts and not self.has_looked:
            self._look(texts[:LOOK])
            self.has_looked = True
        part = self.parts[number] = Slices(texts, self.job)
        for place in range(part.left):
            self._begin((number, place), part.of(place))

    def next(self):
        """Wait for a part: its number, and what Answerer gave."""
        while True:
            (number, place), found = self._wait()
            part = self.parts[number]
            part.put(place, found)
            if not part.left:
                del self.parts[number]
                return number, part.found


class OneWorker(Workers):
    """The model in this process, in threads beside reading and writing.

    Args:
        job (Job): what is asked.
        count (int): threads, which have its weights together; each runs a slice of its own with job.threads cores.
    """

    def __init__(self, job, count=1):
        super().__init__(job, count + 1)
        self.pool, self.running, self.idle = concurrent.futures.ThreadPoolExecutor(count), {}, queue.SimpleQueue()
        self.first = self.pool.submit(Answerer, job).result()
        self.names = self.first.names
        for one in (self.first, *(self.first.clone() for _ in range(count - 1))):
            self.idle.put(one)

    def _look(self, texts):
        self.first.look(texts)

    def _begin(self, key, texts):
        self.running[self.pool.submit(self._answer, texts)] = key

    def _answer(self, texts):
        answerer = self.idle.get()
        try:
            return answerer.answer(texts)
        finally:
            self.idle.put(answerer)

    def _wait(self):
        done, _ = concurrent.futures.wait(self.running, return_when=concurrent.futures.FIRST_COMPLETED)
        future = done.pop()
        return self.running.pop(future), future.result()

    def close(self):
        """End what is under way."""
        self.pool.shutdown(wait=True, cancel_futures=True)


class Processes(Workers):
    """Processes with a model each.

    Raises:
        UsageError: a process could not read the model.
    """

    def __init__(self, job, count):
        super().__init__(job, AT_HAND * count)
        context = multiprocessing.get_context("spawn")
        self.processes, self.threads = {}, []
        self.tasks, self.results = queue.SimpleQueue(), queue.SimpleQueue()
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, job), daemon=True)
            process.start()
            theirs.close()
            self.processes[ours] = process
        try:
            for connection in self.processes:
                self.names = self._content(connection, *_received(connection))
        except BaseException:
            self.close()
            raise
        for connection in self.processes:
            self.threads.append(threading.Thread(target=self._drive, args=(connection,), daemon=True))
            self.threads[-1].start()

    def _look(self, texts):
        self._begin(None, texts)

    def _begin(self, key, texts):
        self.tasks.put((key, texts))

    def _wait(self):
        while True:
            key, found = self._content(*self.results.get())
            if key is not None:
                return key, found

    def _drive(self, connection):
        """Give one of the processes what comes next, as long as there is something."""
        under_way = 0
        while True:
            try:
                while under_way < AT_HAND:
                    task = self.tasks.get(block=not under_way)
                    if task is None:
                        return
                    connection.send(task)
                    under_way += 1
            except queue.Empty:
                pass
            except OSError:
                self.results.put((connection, "died", None))
                return
            kind, content = _received(connection)
            self.results.put((connection, kind, content))
            if kind != "done":
                return
            under_way -= 1

    def _content(self, connection, kind, content):
        """What a process said; raises where that is no answer."""
        if kind == "died":
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
        )

    def close(self):
        """End what is under way."""
        for process in self.processes.values():
            process.terminate()
        for _ in self.threads:
            self.tasks.put(None)
        for one in (*self.processes.values(), *self.threads):
            one.join()
        for connection in self.processes:
            connection.close()


def _received(connection):
    """What a process sends: its kind, and the content."""
    try:
        return connection.recv()
    except (EOFError, OSError):
        return "died", None


def _serve(connection, job):
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
        answerer = Answerer(job)
        connection.send(("ready", answerer.names))
        while True:
            key, texts = tasks.get()
            found = answerer.look(texts) if key is None else answerer.answer(texts)
            connection.send(("done", (key, found)))
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
