"""CPU settings that Paddle reads at its start-up."""

import contextlib
import ctypes
import os
import platform
from pathlib import Path


def usable_cores():
    """Physical cores that this process may use, at least 1."""
    import psutil

    cores = psutil.cpu_count(logical=False) or 1
    if hasattr(os, "sched_getaffinity"):
        cores = min(cores, len(os.sched_getaffinity(0)))
    return max(1, cores)


def prepare_cpu():
    """Set what Paddle reads at start-up so that it uses this CPU well. Call before the first `import paddle`.

    - Threads: Paddle sets OMP_NUM_THREADS to 1 when it is unset; here it becomes the physical cores that this
      process may use, shared among the processes of one launch. A value set by the user wins.
    - AMD processors: the MKL that Paddle ships (mklml, 2019) gives them its slowest code path unless it is told
      that AVX2 is there. A training step was 1.8 times as fast on a Zen 4 EPYC.
    - Paddle 2.6 makes transposes views, and its copies of non-contiguous views are slow: about 5 % of a training step.
    - glibc: blocks above 128 KB go back to the kernel on every free, so each activation is page-faulted anew.
    """
    local_processes = int(os.environ.get("PADDLE_LOCAL_SIZE", os.environ.get("PADDLE_TRAINERS_NUM", "1")))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // max(1, local_processes))))
    os.environ.setdefault("FLAGS_use_stride_kernel", "0")
    if platform.system() != "Linux":
        return
    with contextlib.suppress(OSError):
        cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        if "AuthenticAMD" in cpu and " avx2 " in cpu:
            os.environ.setdefault("MKL_DEBUG_CPU_TYPE", "5")
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        m_trim_threshold, m_mmap_threshold = -1, -3
        libc.mallopt(m_mmap_threshold, 32 << 20)
        libc.mallopt(m_trim_threshold, 512 << 20)
