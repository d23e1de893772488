"""CPU settings."""

import os
import subprocess
import sys

from tests.helpers import ROOT


def test_threads_default_to_the_cores_and_the_user_wins():
    code = "import core, os; print(os.environ['OMP_NUM_THREADS'])"

    def threads(**variables):
        environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
        run = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env={**environment, **variables}, capture_output=True, text=True
        )
        return int(run.stdout)

    import psutil

    cores = min(psutil.cpu_count(logical=False), len(os.sched_getaffinity(0)))
    assert threads() == cores
    assert threads(OMP_NUM_THREADS="7") == 7
    assert threads(PADDLE_LOCAL_SIZE=str(cores)) == 1
