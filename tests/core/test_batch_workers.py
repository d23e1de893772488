"""batch_workers.py: one process or several give the same, all have a share of a part, and one that dies is told of."""

import os
import signal
import threading

import numpy as np
import pytest

from core.batch_answers import Answerer, Job
from core.batch_workers import OneWorker, Processes, Workers
from utils import UsageError


def test_several_processes_and_one_that_dies(calibrated):
    *_, folder = calibrated
    job, texts = Job(str(folder), "onnx", top_k=2, min_confidence=0.5), ["头疼挂什么科", "医保卡能刷吗"] * 20
    expected, one = Answerer(job)(texts), OneWorker(job, 2)
    workers = Processes(job, 2)
    try:
        assert workers.names == one.names and (one.capacity, workers.capacity) == (3, 4)
        for side in (one, workers):
            for number in range(2):
                side.submit(number, texts)
            found = dict(side.next() for _ in range(2))
            for answers in found.values():
                assert all(np.array_equal(array, other) for array, other in zip(answers, expected))
        for process in workers.processes.values():
            os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(UsageError, match="a worker ended .signal 9.*; the same command goes on"):
            for number in range(3):
                workers.submit(number, texts)
            workers.next()
    finally:
        workers.close()
        one.close()
    assert Answerer(job)([])[0].shape == (0, 2)


def test_one_part_is_the_work_of_all(calibrated, monkeypatch):
    """Two threads wait for each other in the middle of the same part; alone, one would wait in vain."""
    *_, folder = calibrated
    job = Job(str(folder), "onnx", slice_texts=8)
    texts = ["头疼" * (1 + number % 9) for number in range(80)]
    expected, met, answer = Answerer(job)(texts), threading.Barrier(2, timeout=30), Answerer.answer

    def together(self, some):
        met.wait()
        return answer(self, some)

    monkeypatch.setattr(Answerer, "answer", together)
    workers = OneWorker(job, 2)
    try:
        workers.submit(0, texts)
        number, found = workers.next()
    finally:
        workers.close()
    assert number == 0 and all(np.array_equal(*pair) for pair in zip(found[:2], expected))
    assert not workers.parts and not workers.running


class Idle(Workers):
    """Nobody works until told."""

    def __init__(self, capacity):
        super().__init__(Job("", "onnx", slice_texts=10), capacity)
        self.asked, self.looked = [], []

    def _look(self, texts):
        self.looked.append(texts)

    def _begin(self, key, texts):
        self.asked.append((key, texts))

    def _wait(self):
        key, texts = self.asked.pop(0)
        return key, (np.array([len(text) for text in texts], "int32"), None)


def test_how_much_is_read_ahead():
    """Small parts as many as the capacity says; of large ones, one beside the one that is under way."""
    texts = ["长" * (number % 7) for number in range(35)]
    small, large = Idle(4), Idle(4)
    for count in range(1, 5):
        small.submit(count, texts[:5])
        assert small.is_full == (count == 4)
    assert [large.submit(number, texts) or large.is_full for number in range(2)] == [False, True]
    number, (lengths, _) = large.next()
    assert number == 0 and lengths.tolist() == list(map(len, texts)) and not large.is_full
    assert small.looked == [texts[:5]] and large.looked == [texts]


def test_the_first_texts_are_looked_at_once(calibrated, log):
    """The threads have one watch, and none keeps another from its warning."""
    *_, folder = calibrated
    workers = OneWorker(Job(str(folder), "onnx", slice_texts=4), 2)
    try:
        for number in range(2):
            workers.submit(number, ["ሰላም ለዓለም ሁሉ"] * 40)
        assert sorted(workers.next()[0] for _ in range(2)) == [0, 1]
    finally:
        workers.close()
    [line] = [line for line in log if "[UNK]" in line]
    assert line.startswith("the texts: ")
