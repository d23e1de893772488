"""The pinned set of packages: complete, consistent, and it imports."""

import importlib.metadata
import re
import subprocess
import sys

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.helpers import ROOT

# The one environment's, and those of environments of their own.
COMPRESS = ROOT / "core" / "requirements-compress.txt"
REQUIREMENTS = sorted([*ROOT.glob("requirements*.txt"), *ROOT.glob("*/requirements.txt"), COMPRESS])
OTHERS = sorted({*ROOT.glob("*/requirements-*.txt"), *ROOT.glob("*/*/requirements*.txt")} - {COMPRESS})


def lines(path):
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith(("#", "-"))]


def files_named(path):
    """The files after -c and -r, which pip looks for beside the file itself."""
    found = re.findall(r"^-[cr] (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return [(path.parent / name).resolve() for name in found]


def requirement_name(line):
    return Requirement(line).name.lower()


CONSTRAINTS = [Requirement(line) for line in lines(ROOT / "constraints.txt")]
PINNED = {requirement.name.lower().replace("_", "-") for requirement in CONSTRAINTS}


def from_root(path):
    return path.relative_to(ROOT).as_posix()


def test_where_requirements_are():
    assert [from_root(path) for path in REQUIREMENTS] == [
        "analysis/requirements.txt",
        "core/requirements-compress.txt",
        *(f"{folder}/requirements.txt" for folder in ("core", "deploy")),
        "requirements-gpu.txt",
        "requirements.txt",
        *(f"{folder}/requirements.txt" for folder in ("retrieval_based", "tests")),
    ]
    every = subprocess.run(["git", "ls-files", "*requirements*.txt"], cwd=ROOT, capture_output=True, text=True)
    if every.returncode == 0:
        assert set(every.stdout.split()) == {from_root(path) for path in [*REQUIREMENTS, *OTHERS]}


@pytest.mark.parametrize("path", REQUIREMENTS, ids=from_root)
def test_every_requirement_is_held_by_a_constraint(path):
    assert ROOT / "constraints.txt" in files_named(path) and all(file.is_file() for file in files_named(path))
    for line in lines(path):
        assert Requirement(line).name.lower().replace("_", "-") in PINNED


@pytest.mark.parametrize("path", OTHERS, ids=from_root)
def test_requirements_of_other_environments_are_exact(path):
    assert all(file.is_file() for file in files_named(path))
    constraints = [file for file in files_named(path) if file.name.startswith("constraints")]
    held = {requirement_name(line).replace("_", "-") for file in constraints for line in lines(file)}
    for line in lines(path):
        requirement = Requirement(line)
        is_held = requirement.name.lower().replace("_", "-") in held
        assert is_held or re.fullmatch(r"==[\w.]+", str(requirement.specifier)), line


def test_the_runtime_s_constraints_are_exact_and_hold_no_paddle():
    pins = [Requirement(line) for line in lines(ROOT / "deploy" / "constraints-runtime.txt")]
    assert all(re.fullmatch(r"==[\w.]+", str(pin.specifier)) for pin in pins)
    names = {pin.name for pin in pins}
    assert {"numpy", "onnxruntime", "tokenizers", "uvicorn"} <= names
    assert not names & {"paddlepaddle", "paddlenlp", "scipy", "scikit-learn"}


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


def test_paddleslim_and_its_opencv_are_an_extra():
    """Nothing but core/requirements-compress.txt asks for them, so a plain installation has neither."""
    asking = {from_root(path) for path in REQUIREMENTS if "paddleslim" in map(requirement_name, lines(path))}
    assert asking == {"core/requirements-compress.txt"}
    for distribution in importlib.metadata.distributions():
        for line in distribution.requires or []:
            requirement = Requirement(line)
            needed = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if needed and requirement.name.lower().startswith(("paddleslim", "opencv")):
                assert distribution.metadata["Name"].lower() == "paddleslim", line


# What faces the network or reads strangers' files, with the version that a review on 2026-11-25 found without a known
# advisory, and the advisory that older ones have. `make audit` asks the databases, where the network allows.
REVIEWED = {
    "h11": ("0.16.0", "CVE-2025-43859"),
    "onnx": ("1.23.2", "CVE-2025-51480, CVE-2026-27489, CVE-2026-34445 to 34447"),
    "protobuf": ("6.33.6", "CVE-2025-4565"),
    "requests": ("2.34.2", "CVE-2024-47081"),
    "sentencepiece": ("0.2.3", "CVE-2026-1260"),
    "setuptools": ("80.9.0", "CVE-2025-47273"),
    "starlette": ("1.7.0", "CVE-2025-54121, CVE-2025-62727"),
    "urllib3": ("2.8.0", "seven in 2.2.3"),
}


@pytest.mark.parametrize("name", REVIEWED)
def test_no_pin_is_older_than_its_review(name):
    """Not on Windows: there Paddle's own wheel holds protobuf, and with it onnx, at old versions."""
    floor, advisory = REVIEWED[name]
    elsewhere = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
    pins = [
        str(requirement.specifier)[2:]
        for python in ("3.10", "3.11", "3.12")
        for requirement in CONSTRAINTS
        if requirement.name == name
        if not requirement.marker
        or requirement.marker.evaluate({**elsewhere, "python_version": python, "python_full_version": f"{python}.9"})
    ]
    assert pins and all(Version(pin) >= Version(floor) for pin in pins), f"{pins}: {advisory}"


def test_pip_check_is_clean():
    run = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout


def test_nothing_dies_when_paddle_was_imported_first():
    """As in a user's `from paddlenlp import Taskflow`.

    zlib that paddle replaces, protobuf, huggingface_hub, pyarrow and datasets each broke an install of newer versions.
    """
    names = """
        aiohttp cleanlab datasets fastapi google.protobuf grpc hnswlib huggingface_hub jieba matplotlib.pyplot onnx
        onnxruntime paddle2onnx paddlenlp pandas pyarrow pymilvus regex scipy.io scipy.optimize scipy.special
        scipy.stats sentencepiece sklearn.linear_model sklearn.svm tokenizers tritonclient.grpc uvicorn yaml zmq
    """.split()
    code = f"import paddle, sys\nfor name in {names}: print(name, file=sys.stderr); __import__(name)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
