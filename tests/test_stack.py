"""The pinned set of packages: complete, consistent, and it imports."""

import re
import subprocess
import sys

import pytest
from packaging.requirements import Requirement

from tests.helpers import ROOT

REQUIREMENTS = sorted(ROOT.glob("requirements*.txt"))


def lines(path):
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith(("#", "-"))]


CONSTRAINTS = [Requirement(line) for line in lines(ROOT / "constraints.txt")]


@pytest.mark.parametrize("path", REQUIREMENTS, ids=lambda path: path.name)
def test_every_requirement_is_held_by_a_constraint(path):
    pinned = {requirement.name.lower().replace("_", "-") for requirement in CONSTRAINTS}
    assert "-c constraints.txt" in path.read_text(encoding="utf-8")
    for line in lines(path):
        assert Requirement(line).name.lower().replace("_", "-") in pinned


def test_constraints_are_exact_and_cover_what_is_installed():
    assert all(re.fullmatch(r"==[\w.]+", str(requirement.specifier)) for requirement in CONSTRAINTS)
    pinned = {}
    for requirement in CONSTRAINTS:
        if requirement.marker is None or requirement.marker.evaluate():
            pinned[requirement.name.lower()] = str(requirement.specifier)[2:]
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True
    ).stdout
    installed = dict(line.lower().split("==") for line in listed.splitlines() if "==" in line)
    wrong = {name: version for name, version in installed.items() if pinned.get(name, version) != version}
    assert not wrong
    assert pinned["paddlepaddle"] == "2.6.2" and pinned["paddlenlp"] == "2.8.1" and pinned["paddleslim"] == "2.6.0"


def test_pip_check_is_clean():
    run = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout


def test_nothing_kills_the_import():
    """scipy's zlib after paddle, protobuf, huggingface_hub, pyarrow, datasets: each broke an unpinned install."""
    code = (
        "import paddle, scipy.io, sklearn, google.protobuf, huggingface_hub, pyarrow, datasets, paddlenlp, paddleslim"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
