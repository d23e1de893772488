"""What the benchmarks' tables say of the machine, and the batches that they measure with."""

import platform
from pathlib import Path

BATCH_SIZE = 32


def cpu_name():
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
