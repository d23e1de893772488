"""The flags of the stages: what is refused, without paddle and in one sentence."""

import subprocess
import sys

import pytest

from core.stage_flags import StageArguments, needs_dev, stages
from tests.helpers import ROOT, train_flags
from tests.test_train import refusal


@pytest.mark.parametrize(
    "flags, message",
    [
        ("--pretrain_epochs 3", "--pretrain_epochs: nothing without --do_pretrain; add that"),
        ("--pseudo_rounds 3 --pseudo_ratio 2", "--pseudo_rounds --pseudo_ratio: nothing without --pseudo_labels True"),
        ("--distill_temperature 2", "--distill_temperature: nothing without --num_teachers"),
        ("--unlabelled_path x.txt", "--unlabelled_path: nothing reads it; add one of --do_pretrain"),
        ("--do_pretrain --pretrain_epochs 0", "--pretrain_epochs 0: must be at least 1"),
        ("--do_pretrain --pretrain_learning_rate nan", "--pretrain_learning_rate nan: must be above 0 and finite"),
        ("--do_pretrain --mlm_probability 1", "--mlm_probability 1.0: must be above 0 and below 1"),
        ("--pseudo_labels True --pseudo_confidence 1", "--pseudo_confidence 1.0: must be at least 0 and below 1"),
        ("--pseudo_labels True --pseudo_rounds 0", "--pseudo_rounds 0: must be from 1 to 20"),
        ("--num_teachers 1", "--num_teachers 1: must be 0, or from 2 to 100"),
        ("--num_teachers 2 --distill_temperature 0", "--distill_temperature 0.0: must be above 0"),
        ("--num_teachers 2 --pseudo_labels True", "answer the unlabelled texts already; give one of them"),
        ("--num_teachers 2 --seed 4294967295", "--seed 4294967295: leaves no seeds for 2 teachers"),
        ("--num_teachers 2 --resume_from_checkpoint x", "--resume_from_checkpoint x: there are several trainings"),
        ("--do_pretrain --unlabelled_path none.txt", "none.txt: no such file"),
    ],
)
def test_refusals(data_dir, tiny_model, tmp_path, flags, message):
    text = refusal(*train_flags(data_dir, tiny_model, tmp_path / "out", *flags.split()))
    assert message in text and "\n" not in text
    assert not (tmp_path / "out").exists()


def test_several_machines_are_refused(data_dir, tiny_model, tmp_path, monkeypatch):
    """They may have no disk in common."""
    monkeypatch.setenv("PADDLE_NNODES", "2")
    flags = ["--do_pretrain", "--pseudo_labels", "True"]
    text = refusal(*train_flags(data_dir, tiny_model, tmp_path / "out", *flags))
    assert text == (
        "--do_pretrain, --pseudo_labels: on one machine only, since the processes share files in --output_dir; start "
        "train.py without --nnodes, or leave these flags out"
    )


def test_a_stage_is_of_a_training(tiny_model):
    text = refusal("--do_eval", "--do_pretrain", "--model_name_or_path", tiny_model)
    assert text.startswith("--do_pretrain: for a training; add --do_train") and "build_encoder.py --mlm_texts" in text


def test_stages():
    assert stages(StageArguments()) == [] and not needs_dev(StageArguments(do_pretrain=True))
    flags = StageArguments(do_pretrain=True, num_teachers=2)
    assert stages(flags) == ["do_pretrain", "num_teachers"] and needs_dev(flags)


def test_it_is_refused_before_any_heavy_import():
    code = (
        "import sys, train\n"
        "try:\n    train.main(['--do_train', '--num_teachers', '1'])\n"
        "except Exception as error:\n    print(error)\n"
        "print(sorted({'paddle', 'numpy', 'scipy'} & sys.modules.keys()))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8")
    assert run.stdout.splitlines() == ["--num_teachers 1: must be 0, or from 2 to 100", "[]"], run.stderr
