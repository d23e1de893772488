"""Every script, run as a user runs it: --help and a flag that it does not have, at once and without a traceback."""

import os
import resource
import subprocess
import sys

import pytest

from tests.helpers import ROOT

TRACKED = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True).stdout.split()
SCRIPTS = [
    name
    for name in TRACKED
    if not name.startswith("tests/") and '__name__ == "__main__"' in (ROOT / name).read_text(encoding="utf-8")
]


def run(script, *flags):
    """What the script says, its exit code, and the seconds of CPU that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run([sys.executable, script, *flags], cwd=ROOT, env=environment, encoding="utf-8", **streams)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = sum(getattr(after, name) - getattr(before, name) for name in ("ru_utime", "ru_stime"))
    return done.stdout, done.returncode, seconds


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_help_and_a_wrong_flag(script):
    for flags, code in ((["--help"], 0), (["--no_such_flag", "1"], 2)):
        # CPU time, which other processes hardly change; the least of three runs at most.
        for _ in range(3):
            said, found, seconds = run(script, *flags)
            assert found == code and "Traceback" not in said, said
            if seconds < 1:
                break
        assert seconds < 1, f"{script} {flags[0]}: {seconds:.2f} s of CPU"
        assert "usage:" in said or "--no_such_flag" in said, said


def test_the_scripts_are_found():
    assert len(SCRIPTS) > 30 and {"train.py", "few-shot/train.py", "deploy/batch/predict_ray.py"} <= set(SCRIPTS)
