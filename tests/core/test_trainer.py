"""The Trainer's evaluation and metrics."""

import errno
import json
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


def test_logits_are_joined_in_blocks(trained_once, tmp_path, monkeypatch):
    """The library's loop copies all earlier logits with every batch; how often is counted here in rows."""
    from paddlenlp.trainer import trainer as library

    import train

    copied, join = [], library.nested_concat

    def counting(tensors, new, **options):
        copied.append(len(tensors))
        return join(tensors, new, **options)

    monkeypatch.setattr(library, "nested_concat", counting)
    data, checkpoint = trained_once
    flags = f"--data_dir {data} --model_name_or_path {checkpoint} --output_dir {tmp_path} --device cpu".split()
    results, rows = [], []
    for more in ([], ["--eval_accumulation_steps", "1000"]):  # 1000: the library's own way, since there are 60 batches
        copied.clear()
        train.main(["--do_eval", *flags, "--disable_tqdm", "True", "--per_device_eval_batch_size", "1", *more])
        metrics = json.loads((tmp_path / "eval_results.json").read_text(encoding="utf-8"))
        results.append({name: value for name, value in metrics.items() if "second" not in name and "time" not in name})
        rows.append(sum(copied))
    assert results[0] == results[1] and len(results[0]) >= 5
    assert rows[1] == 2 * 59 * 60 / 2 and rows[0] < rows[1] / 4
