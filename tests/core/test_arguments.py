"""Flags, and the checks of them: what must work before paddle is imported."""

import math
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest

from core import arguments
from tests.helpers import ROOT
from utils import UsageError


def message(function, *args):
    with pytest.raises(UsageError) as error:
        function(*args)
    return str(error.value)


@pytest.mark.parametrize("name", list(arguments.ARGUMENT_FILES))
def test_light_arguments_are_those_of_the_library(name):
    """The fields read from the source files equal the imported class's: names, types and defaults."""
    import dataclasses

    import paddlenlp.prompt
    import paddlenlp.trainer

    real = getattr(paddlenlp.trainer, name, None) or getattr(paddlenlp.prompt, name)

    def fields(cls):
        return {
            field.name: (str(getattr(field.default, "value", field.default)), field.metadata.get("help"))
            for field in dataclasses.fields(cls)
        }

    _, light = arguments.load_argument_classes(name)
    assert fields(light) == fields(real)
    assert len(fields(light)) > 100


patience = SimpleNamespace(early_stopping=False, early_stopping_patience=4)


def training(**flags):
    """The library's arguments with their defaults but for some."""
    _, light = arguments.load_argument_classes()
    return light(output_dir="out", **flags)


def run_cli(*flags):
    """A run of train.py, and the names of the modules that it imported."""
    command = [sys.executable, "-X", "importtime", "train.py", *flags]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    lines = run.stderr.splitlines()
    imported = {line.rsplit("|", 1)[1].strip() for line in lines if line.startswith("import time:")}
    run.stderr = "".join(f"{line}\n" for line in lines if not line.startswith("import time:"))
    return run, imported


HEAVY = {"paddle", "paddlenlp", "scipy", "sklearn", "numpy"}


def test_help_and_flag_errors_come_before_any_heavy_import():
    run, imported = run_cli("--help")
    assert (
        run.returncode == 0
        and "--width_mult_list" in run.stdout
        and "and 128 for a training" in " ".join(run.stdout.split())
    )
    assert "argparse" in imported and not HEAVY & imported
    run, imported = run_cli("--do_trian")
    assert run.returncode == 2 and run.stderr == "unknown argument --do_trian; did you mean --do_train?\n"
    assert not HEAVY & imported
    run, imported = run_cli("--do_train", "--train_path", "no/such/train.txt")
    assert run.returncode == 2 and run.stderr.startswith("no/such/train.txt: no such file") and not HEAVY & imported


@pytest.mark.parametrize(
    "widths, expected", [(["3/4", "0.5"], ["3/4", "1/2"]), (["1/2"], ["1/2"]), (["2/3"], None), (["0.6"], None),
                         (["0"], None), (["5/4"], None), (["x"], None), (["__import__('os')"], None), (["1/0"], None)]
)  # fmt: skip
def test_widths_must_leave_whole_heads(widths, expected):
    if expected is None:
        assert "the model has 4 heads; use some of: 1/4 1/2 3/4 1" in message(arguments.check_widths, widths, 4)
    else:
        assert arguments.check_widths(widths, 4) == expected


@pytest.mark.parametrize(
    "flags, problem",
    [
        ({"seed": -1}, "--seed -1: must be from 0 to 4294967295"),
        ({"seed": 2**32}, "--seed 4294967296: must be from 0"),
        ({"prediction_loss_only": True}, "--prediction_loss_only: an evaluation here always has predictions"),
        ({"label_names": ["foo"]}, "--label_names foo: the classes are called labels"),
        ({"report_to": ["foo"]}, "--report_to foo: not known; use none, all, or some of visualdl"),
        ({"report_to": ["tensorboard"]}, "--report_to tensorboard: not installed; run: pip install tensorboard"),
        ({"tensor_parallel_degree": 2}, "--tensor_parallel_degree 2: the library cannot cut these models"),
        ({"pipeline_parallel_degree": 2}, "--pipeline_parallel_degree 2: the library cannot"),
        ({"sep_parallel_degree": 2}, "--sep_parallel_degree 2: the library cannot"),
        ({"sharding": "stage1"}, "--sharding stage1: is for several processes, and this is one"),
        ({"sharding_parallel_degree": 2}, "--sharding_parallel_degree 2: is for several processes"),
        ({"enable_auto_parallel": True}, "--enable_auto_parallel True: is for several processes"),
        ({"local_rank": 3}, "--local_rank 3: is for several processes"),
        ({"dataloader_num_workers": -1}, "--dataloader_num_workers -1: must be at least 0"),
        ({"eval_accumulation_steps": 0}, "--eval_accumulation_steps 0: must be at least 1"),
        ({"adam_beta1": 2.0}, "--adam_beta1 2.0: must be at least 0 and below 1"),
        ({"lr_scheduler_type": "polynomial", "lr_end": 1.0}, "--lr_end 1.0: must be below --learning_rate"),
        ({"past_index": 0}, "--past_index 0: these models have no past"),
        ({"minimum_eval_times": 3}, "--minimum_eval_times lowers --eval_steps"),
        ({"metric_for_best_model": "accuracy", "greater_is_better": False}, "the best accuracy is the highest"),
        ({"hybrid_parallel_topo_order": "foo"}, "pp_first or sharding_first"),
        ({"num_train_epochs": math.inf}, "--num_train_epochs inf: must be above 0 and finite"),
    ],
)
def test_flags_of_the_library_that_it_ignores_or_answers_with_a_traceback(flags, problem, monkeypatch):
    def findable(name):
        return None if name.startswith("tensorboard") else "a module"

    args = training(**flags)
    monkeypatch.setattr(arguments.importlib.util, "find_spec", findable)
    (text,) = arguments.training_problems(patience, args)
    assert problem in text


def test_flags_that_several_processes_share_a_model_by(monkeypatch):
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "2")
    assert arguments.training_problems(patience, training(sharding="stage1", sharding_parallel_degree=2)) == []


FINE = [
    {},
    {"report_to": ["none"]},
    {"report_to": ["all"]},
    {"label_names": ["labels"]},
    {"metric_for_best_model": "eval_loss", "greater_is_better": False},
]


@pytest.mark.parametrize("flags", FINE)
def test_flags_that_are_fine(flags):
    assert arguments.training_problems(patience, training(**flags)) == []


def test_a_module_of_a_name_is_loaded_once(tmp_path):
    path = tmp_path / "utils.py"
    path.write_text("VALUE = object()", encoding="utf-8")
    first = arguments.load_module("other_utils", path)
    assert arguments.load_module("other_utils", path) is first


# -------------------------------------------------------------------------------------------------------- notebooks

FOLDERS = ("", "analysis/", "data/", "deploy/*/", "few-shot/", "retrieval_based/", "retrieval_based/utils/")
SCRIPTS = [
    path.relative_to(ROOT).as_posix()
    for pattern in (*FOLDERS, "retrieval_based/deploy/python/")
    for path in sorted(ROOT.glob(f"{pattern}*.py"))
    if "def main(argv=None)" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("script", SCRIPTS)
def test_main_without_a_list_in_a_notebook_says_what_to_pass(script, monkeypatch):
    """Where argparse would complain of the kernel's own flags."""
    monkeypatch.setattr(sys, "argv", ["/venv/lib/ipykernel_launcher.py", "-f", "/run/kernel-1f2e.json"])
    module = arguments.load_module(f"notebook_{script}", ROOT / script)
    assert re.search(r'pass the flags as a list: main\(\["--\w+"', message(module.main))


def test_all_scripts_are_among_them():
    listed = subprocess.run(["git", "grep", "-l", "def main(argv=None)"], cwd=ROOT, capture_output=True, text=True)
    assert {path for path in listed.stdout.split() if not path.startswith("tests/")} == set(SCRIPTS)
