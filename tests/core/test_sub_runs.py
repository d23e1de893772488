"""Trainings that a training is made of: their folders, fingerprints and kept answers."""

import numpy as np

import train
from core import pipeline
from core.sub_runs import answers, sub_run
from tests.helpers import train_flags


def whole(data_dir, model, out, *more):
    return train.parse_all(train_flags(data_dir, model, out, *more))


def test_fingerprints(data_dir, tiny_model, tmp_path):
    plain = whole(data_dir, tiny_model, tmp_path / "out", "--seed", "5")
    run = whole(data_dir, tiny_model, tmp_path / "out", "--seed", "5", "--num_teachers", "2")
    assert run.fingerprint != plain.fingerprint
    assert sub_run(run, "a/b").fingerprint == sub_run(run, "a", train=run.data.train).fingerprint == plain.fingerprint
    other = sub_run(run, "a/b", seed=6)
    assert other.fingerprint == {**plain.fingerprint, "seed": 6} and (other.args.seed, run.args.seed) == (6, 5)
    assert other.args.output_dir == str(tmp_path / "out" / "a" / "b") and other.args.logging_dir.endswith("/a/b")
    fewer = sub_run(run, "a", train=(run.data.train[0][1:], run.data.train[1][1:]))
    assert fewer.fingerprint["data"] != plain.fingerprint["data"] and len(run.data.train[0]) == 48
    own = sub_run(
        whole(data_dir, tiny_model, tmp_path / "out", "--num_teachers", "2", "--resume_from_checkpoint", "True"), "a"
    )
    assert own.args.resume_from_checkpoint is None


def test_answers_are_kept(trained, tiny_model, monkeypatch):
    data, checkpoint = trained
    run = whole(data, tiny_model, checkpoint)
    found = answers(run, ["头疼应该挂什么科", "CT检查多少钱"])
    assert found["texts"].shape == (2, 3) and len(found["dev"]) == len(run.data.dev[0])
    prepare = pipeline.prepare
    monkeypatch.setattr(pipeline, "prepare", None)
    again = answers(run, ["头疼应该挂什么科", "CT检查多少钱"])
    assert all(np.array_equal(found[name], again[name]) for name in found)
    monkeypatch.setattr(pipeline, "prepare", prepare)
    other = answers(run, ["CT检查多少钱"])  # other texts are asked anew
    assert np.abs(other["texts"][0] - found["texts"][1]).max() < 1e-5
    assert answers(run, [])["texts"].shape == (0, 3)
