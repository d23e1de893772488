"""A training without a stage is the plain one."""

import json
import shutil

import numpy as np
import pytest

import train
from core.stage_flags import StageArguments
from core.trainer import ClassificationTrainer
from tests.helpers import of_any_cpu, train_flags
from tests.test_train import same_weights, state_dict


def test_old_fingerprints_are_the_same(data_dir, tiny_model, tmp_path):
    """A plain training's has no name of a stage."""
    run = train.parse_all(train_flags(data_dir, tiny_model, tmp_path / "out"))
    names = {*StageArguments.__dataclass_fields__, "unlabelled_texts", "pretrain_texts"}
    assert not run.fingerprint.keys() & names and run.unlabelled is None
    on = train.parse_all(train_flags(data_dir, tiny_model, tmp_path / "out", "--num_teachers", "2"))
    assert on.fingerprint.keys() - run.fingerprint.keys() == {
        "num_teachers",
        "distill_temperature",
        "unlabelled_texts",
    }
    json.dumps(run.fingerprint)


def test_a_checkpoint_that_is_asked_for_is_looked_for_where_it_is(data_dir, tiny_model, tmp_path, monkeypatch, log):
    """After a kill in a part of it, --resume_from_checkpoint True said that there is no checkpoint of it."""
    flags = train_flags(data_dir, tiny_model, tmp_path / "out", "--num_teachers", "2", "--num_train_epochs", "2")
    save = ClassificationTrainer._save_checkpoint

    def die(trainer, *args, **options):
        save(trainer, *args, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ClassificationTrainer, "_save_checkpoint", die)
        train.main(flags)
    (found,) = (tmp_path / "out").rglob("checkpoint-*")
    train.main([*flags, "--resume_from_checkpoint", "True"])
    assert [line for line in log if line.startswith(f"Continuing the interrupted training from {found};")]


def test_two_stages_in_one_command(data_dir, tiny_model, tmp_path, sample_lines):
    """The teachers and their student start from the pretrained encoder."""
    out, texts = tmp_path / "out", [line.split("\t")[0] for line in sample_lines["train"][48:]]
    (data_dir / "data.txt").write_bytes("".join(f"{text}\n" for text in texts).encode())
    flags = "--do_pretrain --pretrain_epochs 1 --num_teachers 2 --num_train_epochs 1 --learning_rate 1e-9 --do_eval"
    train.main(train_flags(data_dir, tiny_model, out, *flags.split()))
    found = json.loads((out / "teachers" / "seed-43" / "run.json").read_text())["fingerprint"]
    assert found["do_pretrain"] is True and "num_teachers" not in found and "unlabelled_texts" not in found
    encoder = state_dict(out / "pretrained")
    for folder in (out, out / "teachers" / "seed-42", out / "teachers" / "seed-43"):
        weights, name = state_dict(folder), "ernie.encoder.layers.1.linear1.weight"
        assert np.abs(weights[name] - encoder[name]).max() < 1e-5, folder
    assert np.abs(encoder[name] - state_dict(tiny_model)[name.removeprefix("ernie.")]).max() > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags, part",
    [
        ("--do_pretrain --pretrain_epochs 1", "."),
        ("--pseudo_labels True --pseudo_rounds 1 --pseudo_confidence 0.3", "pseudo/round-1"),
        ("--num_teachers 2 --label_smoothing 0.1", "teachers/seed-43"),
    ],
    ids=["pretrain", "pseudo", "teachers"],
)
def test_with_ngram_features_and_recipes(data_dir, tiny_model, tmp_path, sample_lines, flags, part):
    """The export has the tower, and what was cut in the middle of a part ends as if it had not been."""
    out, whole = tmp_path / "out", tmp_path / "whole"
    texts = [line.split("\t")[0] for line in sample_lines["train"][48:]]
    (data_dir / "data.txt").write_bytes("".join(f"{text}\n" for text in texts).encode())
    recipe = "--ngram_features True --rdrop_alpha 1.0 --ema_decay 0.5"
    more = f"{flags} {recipe} --num_train_epochs 2 --do_eval --do_export"
    command = train_flags(data_dir, tiny_model, out, *more.split())
    train.main([*command, "--keep_optimizer", "True"])
    rows = json.loads((out / "export" / "export.json").read_text())["metrics"]["dev"]
    rows = of_any_cpu(rows)
    assert len(rows) == 2 and all(row["max_difference"] < 1e-4 for row in rows)
    assert np.abs(state_dict(out)["ngrams.table"][:, :-1]).max() > 0.01
    assert "ngram_features" in json.loads((out / "config.json").read_text())
    shutil.copytree(out, whole)
    first, last = sorted((out / part).glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    kept = {first, *(path for path in out.iterdir() if path.name in ("pretrained", "pseudo", "teachers"))}
    for path in {*out.iterdir(), *(out / part).iterdir()} - kept:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    train.main(command)
    assert same_weights(out / part, whole / part) and same_weights(out, whole)
    assert same_weights(out / part / last.name, whole / part / last.name)
