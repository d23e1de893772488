"""Fixtures of the tests of few-shot/."""

import shutil
import subprocess
import sys

import pytest

from core.arguments import load_module
from tests.helpers import LABELS, ROOT, few_shot_flags, write_data, write_few_shot_data


def load(name):
    """A file of few-shot/ as a module, which is the one that the scripts beside it load."""
    return load_module(f"few_shot_{name}", ROOT / "few-shot" / f"{name}.py")


@pytest.fixture(scope="session")
def few_shot():
    """few-shot/train.py."""
    return load("train")


@pytest.fixture(scope="session")
def few_shot_utils():
    """few-shot/utils.py."""
    return load("utils")


@pytest.fixture(scope="session")
def infer():
    """few-shot/infer.py."""
    return load("infer")


@pytest.fixture(scope="session")
def setfit():
    """few-shot/setfit.py."""
    return load("setfit")


@pytest.fixture(scope="session")
def learning():
    """few-shot/sentence_learner.py."""
    return load("sentence_learner")


@pytest.fixture(scope="session")
def zero_shot():
    """few-shot/zero_shot.py."""
    return load("zero_shot")


@pytest.fixture
def help_of():
    """A function from a script of few-shot/ to what it prints for --help, run as a user runs it."""

    def help_of(name):
        command = [sys.executable, f"few-shot/{name}", "--help"]
        return subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=60, check=True).stdout

    return help_of


@pytest.fixture
def few_shot_data(tmp_path, sample_lines):
    """A data folder of three labels with words: 48 training, 21 dev and 19 test samples."""
    folder = tmp_path / "data"
    folder.mkdir()
    write_few_shot_data(folder, sample_lines)
    return folder


@pytest.fixture
def few(data_dir, sample_lines):
    """A data folder of 16 samples a label, words for labels, and a test file without labels."""
    lines = [[line for line in sample_lines["train"] if line.endswith(f"\t{label}")][:16] for label in LABELS]
    write_data(data_dir, sum(lines, []), sample_lines["dev"], [f"{label}=={label[:2]}" for label in LABELS])
    (data_dir / "test.txt").write_text("\n".join(line.split("\t")[0] for line in sample_lines["dev"]), "utf-8")
    return data_dir


@pytest.fixture(scope="session")
def prompted_once(tmp_path_factory, sample_lines, tiny_mlm, few_shot):
    """(data folder, output folder) of one prompt learning with all that follows it, made once for all tests."""
    folder = tmp_path_factory.mktemp("prompted")
    (folder / "data").mkdir()
    write_few_shot_data(folder / "data", sample_lines)
    more = ["--do_eval", "--do_predict", "--do_export", "--export_type", "onnx", "--save_total_limit", "1"]
    more += ["--keep_optimizer", "True"]
    few_shot.main(few_shot_flags(folder / "data", tiny_mlm, folder / "checkpoints", *more))
    return folder / "data", folder / "checkpoints"


@pytest.fixture
def prompted(prompted_once, tmp_path):
    """A copy of prompted_once that a test may change."""
    shutil.copytree(prompted_once[0], tmp_path / "data")
    shutil.copytree(prompted_once[1], tmp_path / "checkpoints")
    return tmp_path / "data", tmp_path / "checkpoints"
