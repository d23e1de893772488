"""batch_workers.py: one process or several give the same, and one that dies is told of."""

import os
import signal

import numpy as np
import pytest

from core.batch_workers import Answerer, Job, OneWorker, Processes
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
