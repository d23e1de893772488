"""analysis/flags.py: the length and labels of the model, refusals, and what every script does before paddle."""

import argparse
import importlib
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from analysis import classifier, flags
from tests.helpers import ROOT
from utils import UsageError, read_json

# With flags that make them load the trained model.
SCRIPTS = {
    "dirty": ["--method", "loss"],
    "evaluate": [],
    "sent_interpret": ["--interpret_input_file", "dev.txt"],
    "sparse": [],
    "word_interpret": ["--interpret_input_file", "dev.txt"],
}


def parse(data, checkpoint, *more):
    return flags.make_parser("").parse_args(
        ["--dataset_dir", str(data), "--params_path", str(checkpoint), *map(str, more)]
    )


class Loaded(Exception):
    """The model is loaded: nothing more is needed."""


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_length_is_that_of_the_training(trained_once, script, monkeypatch):
    data, checkpoint = trained_once
    load, lengths = classifier.Classifier.__init__, []

    def spy(self, *args):
        load(self, *args)
        lengths.append(self.max_length)
        raise Loaded

    monkeypatch.setattr(classifier.Classifier, "__init__", spy)
    module = importlib.import_module(f"analysis.{script}")
    given = ["--device", "cpu", "--dataset_dir", str(data), "--params_path", str(checkpoint), *SCRIPTS[script]]
    for more in ([], ["--max_seq_length", "16"]):
        with pytest.raises(Loaded):
            module.main([*given, *more])
    assert lengths == [32, 16]  # trained_once was trained with --max_length 32


def test_the_length_where_it_is_not_known(trained):
    data, checkpoint = trained
    assert read_json(checkpoint / "run.json")["fingerprint"]["max_length"] == 32
    assert flags.max_length(parse(data, checkpoint)) == 32
    (checkpoint / "run.json").unlink()
    assert flags.max_length(parse(data, checkpoint)) == flags.MAX_LENGTH == 128
    assert flags.max_length(parse(data, checkpoint, "--max_seq_length", 64)) == 64


def test_numbers_that_are_too_small(tmp_path):
    given = parse(tmp_path, tmp_path, "--batch_size", 0, "--max_seq_length", 2)
    given.top_k = 0
    with pytest.raises(UsageError) as refused:
        flags.check_flags(given, top_k=1)
    assert str(refused.value).splitlines() == [
        "--batch_size 0: must be at least 1",
        "--max_seq_length 2: must be at least 3",
        "--top_k 0: must be at least 1",
    ]
    flags.check_flags(parse(tmp_path, tmp_path))


def test_labels_of_the_model(trained, tmp_path):
    data, checkpoint = trained
    labels = (data / "label.txt").read_text(encoding="utf-8").split()
    assert flags.read_model_labels(parse(data, checkpoint)) == labels
    for given, message in (
        (parse(data, tmp_path / "nowhere"), "--params_path .*nowhere: no such directory"),
        (parse(data, data), "--params_path .*: not a fine-tuned classifier"),
        (parse(data, checkpoint, "--label_file", "nowhere.txt"), "nowhere.txt: no such file"),
    ):
        with pytest.raises(UsageError, match=message):
            flags.read_model_labels(given)
    (data / "label.txt").write_bytes("甲\n乙\n丙\n".encode())
    with pytest.raises(UsageError, match="was not trained on"):
        flags.read_model_labels(parse(data, checkpoint))


def test_the_next_command_runs_from_where_the_user_stands(tmp_path, monkeypatch):
    for folder in (ROOT, ROOT / "analysis", tmp_path):
        monkeypatch.chdir(folder)
        python, script, *rest = shlex.split(flags.next_command("analysis/dirty.py", "--dataset_dir", "my data"))
        assert python == "python" and Path(script).resolve() == ROOT / "analysis" / "dirty.py"
        assert rest == ["--dataset_dir", "my data"]


@pytest.mark.parametrize("script", [*SCRIPTS, "aug"])
def test_the_help_comes_at_once(script):
    """Run as a user does, in analysis/; none of the libraries that take seconds is imported."""
    command = [sys.executable, "-X", "importtime", f"{script}.py", "--help"]
    done = subprocess.run(command, cwd=ROOT / "analysis", capture_output=True, encoding="utf-8", timeout=60)
    assert done.returncode == 0 and "usage: " in done.stdout
    if script != "aug":
        assert "what the model was trained with" in " ".join(done.stdout.split())
    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "analysis" in imported
    assert not imported & {"paddle", "paddlenlp", "scipy", "sklearn", "matplotlib", "cleanlab", "jieba"}


def test_a_wrong_flag_as_a_user_sees_it(tmp_path):
    command = [sys.executable, "dirty.py", "--dataset_dir", str(tmp_path), "--dirty_num", "0"]
    environment = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run(
        command, cwd=ROOT / "analysis", env=environment, capture_output=True, encoding="utf-8", timeout=60
    )
    assert done.returncode == 2 and done.stderr == "--dirty_num 0: must be at least 1\n"


def test_another_model_has_its_own_length(trained):
    data, checkpoint = trained
    given = parse(data, checkpoint)
    other = argparse.Namespace(**{**vars(given), "params_path": data})
    assert (flags.max_length(given), flags.max_length(other)) == (32, 128)
