"""CPU settings."""

import math
import os
import subprocess
import sys

import pytest

from core import cpu
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


# Where version 1 of control groups has two controllers.
V1 = "cpu,cpuacct"


@pytest.mark.parametrize(
    "cgroup, files, cores",
    [
        ("0::/", {"cpu.max": "200000 100000"}, 2),
        ("0::/", {"cpu.max": "max 100000"}, math.inf),
        ("0::/a/b", {"cpu.max": "max 100000", "a/cpu.max": "150000 100000", "a/b/cpu.max": "400000 100000"}, 1.5),
        ("0::/of/the/host", {"cpu.max": "50000 100000"}, 0.5),
        (
            "4:cpu,cpuacct:/a",
            {"cpu,cpuacct/a/cpu.cfs_quota_us": "300000", "cpu,cpuacct/a/cpu.cfs_period_us": "100000"},
            3,
        ),
        ("4:cpuacct,cpu:/x", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, math.inf),
        ("3:memory:/", {"cpu.max": "100000 100000"}, math.inf),
        ("0::/", {"cpu.max": "rubbish"}, math.inf),
    ],
)
def test_the_quota_of_a_container(tmp_path, cgroup, files, cores):
    for name, content in {"proc/self/cgroup": cgroup, **{f"sys/fs/cgroup/{k}": v for k, v in files.items()}}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    assert cpu.cpu_quota(tmp_path) == cores


def test_no_control_groups(tmp_path):
    assert cpu.cpu_quota(tmp_path) == math.inf


def test_threads_follow_the_quota(monkeypatch):
    monkeypatch.setattr(cpu, "cpu_quota", lambda: 0.5)
    assert cpu.usable_cores() == 1


def test_paddle_3_writes_the_old_graphs(monkeypatch):
    """Taskflow and Predictor read no others."""
    flag = "FLAGS_enable_pir_api"
    monkeypatch.setenv(flag, "1")  # so that what it was is put back
    monkeypatch.delenv(flag)
    monkeypatch.setattr(cpu, "paddle_version", lambda: "2.6.2")
    cpu.prepare_paddle()
    assert flag not in os.environ
    monkeypatch.setattr(cpu, "paddle_version", lambda: "3.1.1")
    cpu.prepare_paddle()
    assert os.environ.get(flag) == "0"


def test_cores_without_psutil(tmp_path, monkeypatch):
    """As in the runtime without Paddle: two cores of two threads each, and a system that says nothing."""
    monkeypatch.setitem(sys.modules, "psutil", None)
    blocks = [f"processor\t: {i}\nphysical id\t: 0\nsiblings\t: 4\ncore id\t\t: {i % 2}\n\n" for i in range(4)]
    (tmp_path / "cpuinfo").write_text("".join(blocks))
    assert cpu.physical_cores(tmp_path / "cpuinfo") == 2
    assert cpu.physical_cores(tmp_path / "nothing") == os.cpu_count()
    cpu.return_freed_memory()


@pytest.mark.parametrize("processes, status", [("1", 3), ("2", 0)])
def test_one_of_several_ends_without_the_clean_up(processes, status):
    """Alone, a process goes on; one of several ends at once, and what Python is to do at its exit is done."""
    code = (
        "import atexit, sys; from core import cpu; atexit.register(print, 'at exit'); print('written', end=' '); "
        "cpu.end_one_of_several(); sys.exit(3)"
    )
    environment = {**os.environ, "PADDLE_TRAINERS_NUM": processes}
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (status, "written at exit\n")
