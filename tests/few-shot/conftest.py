"""Fixtures of the tests of few-shot/."""

import shutil

import pytest

from core.arguments import load_module
from tests.helpers import ROOT, few_shot_flags, write_few_shot_data


@pytest.fixture(scope="session")
def few_shot():
    """few-shot/train.py, as a module."""
    return load_module("few_shot_train", ROOT / "few-shot" / "train.py")


@pytest.fixture(scope="session")
def few_shot_utils():
    """few-shot/utils.py, as the scripts beside it load it."""
    return load_module("few_shot_utils", ROOT / "few-shot" / "utils.py")


@pytest.fixture
def few_shot_data(tmp_path, sample_lines):
    """A data folder of three labels with words: 48 training, 21 dev and 19 test samples."""
    folder = tmp_path / "data"
    folder.mkdir()
    write_few_shot_data(folder, sample_lines)
    return folder


@pytest.fixture(scope="session")
def prompted_once(tmp_path_factory, sample_lines, tiny_mlm, few_shot):
    """(data folder, output folder) of one prompt learning with all that follows it, made once for all tests."""
    folder = tmp_path_factory.mktemp("prompted")
    (folder / "data").mkdir()
    write_few_shot_data(folder / "data", sample_lines)
    more = ["--do_eval", "--do_predict", "--do_export", "--export_type", "onnx", "--save_total_limit", "1"]
    few_shot.main(few_shot_flags(folder / "data", tiny_mlm, folder / "checkpoints", *more))
    return folder / "data", folder / "checkpoints"


@pytest.fixture
def prompted(prompted_once, tmp_path):
    """A copy of prompted_once that a test may change."""
    shutil.copytree(prompted_once[0], tmp_path / "data")
    shutil.copytree(prompted_once[1], tmp_path / "checkpoints")
    return tmp_path / "data", tmp_path / "checkpoints"
