"""Flags, and the checks of them: what must work before paddle is imported."""

import subprocess
import sys

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


def test_a_module_of_a_name_is_loaded_once(tmp_path):
    path = tmp_path / "utils.py"
    path.write_text("VALUE = object()", encoding="utf-8")
    first = arguments.load_module("other_utils", path)
    assert arguments.load_module("other_utils", path) is first
