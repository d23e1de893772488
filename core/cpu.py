"""Settings that Paddle reads at its start-up, and how one of several processes ends."""

import atexit
import contextlib
import ctypes
import importlib.metadata
import math
import os
import platform
import re
import sys
from pathlib import Path


def usable_cores():
    """Physical cores that this process may use, at least 1: those of the machine, its affinity, its cgroups' quota."""
    cores = physical_cores() or 1
    if hasattr(os, "sched_getaffinity"):
        cores = min(cores, len(os.sched_getaffinity(0)))
    return max(1, math.ceil(min(cores, cpu_quota())))


def physical_cores(cpuinfo="/proc/cpuinfo"):
    """Cores of the machine, threads of one core counted once; without psutil, which the slim runtime does not need,
    where they cannot be told apart, threads.

    Args:
        cpuinfo (str): the file, for systems that have one.
    """
    try:
        import psutil
    except ImportError:
        pass
    else:
        return psutil.cpu_count(logical=False)
    try:
        text = Path(cpuinfo).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return os.cpu_count()
    found = set(re.findall(r"^physical id\s*: (\d+)$.*?^core id\s*: (\d+)$", text, re.MULTILINE | re.DOTALL))
    return len(found) or os.cpu_count()


def cpu_quota(root="/"):
    """Cores of time that the control groups of this process allow, such as `docker run --cpus 2`; infinite without.

    Args:
        root (str): where /proc and /sys are.
    """
    try:
        lines = Path(root, "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return math.inf
    quotas = [math.inf]
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        # Version 2 has one tree and no controllers in this file; version 1 has a tree for cpu.
        mounts = ("sys/fs/cgroup",) if not controllers else (f"sys/fs/cgroup/{controllers}", "sys/fs/cgroup/cpu")
        for mount in mounts:
            top = Path(root, mount)
            folder = top / path.lstrip("/")
            # In a container the path may be the host's, and not be there.
            for place in (folder, *folder.parents):
                quotas.append(_quota_of(place))
                if place == top:
                    break
    return min(quotas)


def _quota_of(folder):
    """Cores that one control group allows."""
    with contextlib.suppress(OSError, ValueError):
        quota, period = (folder / "cpu.max").read_text().split()
        return int(quota) / int(period)
    with contextlib.suppress(OSError, ValueError, ZeroDivisionError):
        quota, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        return quota / period if quota > 0 else math.inf
    return math.inf


def paddle_version():
    """The version of the Paddle that is installed, found without importing it; empty where there is none."""
    for name in ("paddlepaddle", "paddlepaddle-gpu"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return ""


def cpu_name(cpuinfo="/proc/cpuinfo"):
    """What the processor is called, or what kind it is where its name is not known."""
    with contextlib.suppress(OSError):
        text = Path(cpuinfo).read_text(encoding="utf-8", errors="replace")
        if match := re.search(r"^model name\s*:\s*(\S.*?)\s*$", text, re.MULTILINE):
            return match[1]
    return platform.processor() or platform.machine()


def return_freed_memory():
    """Give what was freed back to the system, where glibc keeps it: reading a model leaves a copy of it behind."""
    if platform.system() == "Linux" and hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)


def prepare_paddle():
    """Set what Paddle reads at start-up so that it uses this machine well. Call before the first `import paddle`.

    - Threads: Paddle sets OMP_NUM_THREADS to 1 when it is unset; here it becomes the physical cores that this
      process may use, shared among the processes of one launch. A value set by the user wins.
    - AMD processors: the MKL that Paddle ships (mklml, 2019) gives them its slowest code path unless it is told
      that AVX2 is there. A training step was 1.8 times as fast on a Zen 4 EPYC.
    - Paddle 2.6 makes transposes views, and its copies of non-contiguous views are slow: about 5 % of a training step.
    - Paddle 3: the old form of static graphs (.pdmodel), which is the one that Taskflow and Predictor read.
    - glibc: blocks above 128 KB go back to the kernel on every free, so each activation is page-faulted anew.
    """
    local_processes = int(os.environ.get("PADDLE_LOCAL_SIZE", os.environ.get("PADDLE_TRAINERS_NUM", "1")))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, usable_cores() // max(1, local_processes))))
    os.environ.setdefault("FLAGS_use_stride_kernel", "0")
    if paddle_version().startswith("3."):
        os.environ.setdefault("FLAGS_enable_pir_api", "0")
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


def end_one_of_several():
    """End this process with status 0 where paddle.distributed.launch started others beside it; call it last.

    Paddle's clean-up at exit races with gloo's thread, which sees the other processes go: about one finished training
    in fifteen was aborted (SIGABRT), and the launcher reported a failure. What Python registered for its exit is run.
    """
    if int(os.environ.get("PADDLE_TRAINERS_NUM", "1")) > 1:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
