"""core/checks.py: what is refused, and what is only warned of, before the work."""

from types import SimpleNamespace

import pytest

from core import checks
from tests.helpers import LABELS
from utils import UsageError


def test_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match="file is not a folder; choose another --output_dir"):
            checks.check_writable(folder, "--output_dir")
    checks.check_writable(tmp_path / "new" / "below", "--output_dir")
    assert not (tmp_path / "new").exists()


def test_a_folder_of_somebody_else(tmp_path, monkeypatch):
    monkeypatch.setattr(checks.os, "access", lambda *args: False)  # root may write everywhere
    with pytest.raises(UsageError, match="cannot be written by you; choose another --output_dir"):
        checks.check_writable(tmp_path, "--output_dir")


def test_a_missing_dev_names_the_way_to_make_one(tmp_path):
    with pytest.raises(UsageError, match="python data/split.py --input_file all.txt --save_dir my_data"):
        checks.read_dev(tmp_path / "dev.txt", LABELS, "all.txt")


def test_dropping_the_only_batch(monkeypatch):
    flags = SimpleNamespace(dataloader_drop_last=True, per_device_train_batch_size=8)
    checks.check_batch(8, flags, "train.txt")
    with pytest.raises(UsageError, match="train.txt: 7 samples, fewer than the 8 of a batch"):
        checks.check_batch(7, flags, "train.txt")
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "2")
    with pytest.raises(UsageError, match="8 samples, fewer than the 16"):
        checks.check_batch(8, flags, "train.txt")
    flags.dataloader_drop_last = False
    checks.check_batch(1, flags, "train.txt")


def test_warnings_of_the_data():
    def warnings(train, dev):
        return checks.data_warnings(LABELS, *((["x"] * len(ids), ids) for ids in (train, dev)))

    assert warnings([0, 1, 2] * 2, [0, 1, 2]) == []
    (warning,) = warnings([0, 0, 0, 2, 2, 2], [0, 1, 2])
    assert warning.startswith(f"train.txt: no text of {LABELS[1]}, so the model will not learn")
    (warning,) = warnings([0, 1, 2] * 2, [1])
    assert warning.startswith(f"dev.txt: no text of {LABELS[0]} {LABELS[2]}, so its scores do not tell")
    assert any(line.startswith("train.txt: 1 sample for 3 labels") for line in warnings([0], [0, 1, 2]))
    many = checks.data_warnings([f"label{index}" for index in range(100)], (["x"] * 300, [0] * 300))
    assert len(many) == 1 and "and 89 more labels" in many[0]
