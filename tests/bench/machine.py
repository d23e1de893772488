"""What the benchmarks' tables say of the machine, what they measure with, and a command's time and memory."""

import os
import platform
import subprocess
import sys
import time
from pathlib import Path

BATCH_SIZE = 32
ROOT = Path(__file__).resolve().parents[2]


def cpu_name():
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def measure(*command):
    """Run a script of this repository on one core.

    Args:
        command: the script and its flags.

    Returns:
        tuple[float, float, float, list[str]]: seconds that passed, seconds of the processor, megabytes of memory at
        most (resident), and the lines that it printed.
    """
    core = {min(os.sched_getaffinity(0))} if hasattr(os, "sched_setaffinity") else None
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"},
        preexec_fn=(lambda: os.sched_setaffinity(0, core)) if core else None,
    )
    output = process.stdout.read().decode("utf-8")
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if os.waitstatus_to_exitcode(status) not in (0, 1):
        raise SystemExit(f"{' '.join(map(str, command))}: failed")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, output.strip().splitlines()
