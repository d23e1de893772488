"""The Trainer's evaluation and metrics."""

import errno
from types import SimpleNamespace

import numpy as np
import pytest

from core import trainer
from utils import read_json


def test_metrics_against_a_count_by_hand():
    logits = np.eye(3)[[0, 0, 1, 1, 1, 0]]
    metrics = trainer.compute_metrics(
        SimpleNamespace(predictions=logits, label_ids=np.array([[0], [0], [1], [0], [1], [2]]))
    )
    assert metrics["accuracy"] == pytest.approx(4 / 6)
    assert metrics["macro_precision"] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert metrics["macro_recall"] == pytest.approx((2 / 3 + 1 + 0) / 3)


def test_metrics_are_added_and_a_full_disk_leaves_the_old_ones(tmp_path, monkeypatch):
    runner = SimpleNamespace(args=SimpleNamespace(output_dir=str(tmp_path)), is_world_process_zero=lambda: True)
    trainer.ClassificationTrainer.save_metrics(runner, "train", {"train_loss": 1.0})
    trainer.ClassificationTrainer.save_metrics(runner, "eval", {"eval_loss": 2.0})
    both = {"eval_loss": 2.0, "train_loss": 1.0}
    assert read_json(tmp_path / "all_results.json") == both
    assert read_json(tmp_path / "eval_results.json") == {"eval_loss": 2.0}

    def full(path, value):
        path.write_bytes(b"")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(trainer, "write_json", full)
    with pytest.raises(OSError):
        trainer.ClassificationTrainer.save_metrics(runner, "eval", {"eval_loss": 3.0})
    assert read_json(tmp_path / "all_results.json") == both
