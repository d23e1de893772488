"""core/run_flags.py: the paths that a data folder stands for, and defaults that an old run's fingerprint rests on."""

import pytest

from core.run_flags import DATA_DIR, DataArguments, ModelArguments


def test_a_data_folder_moves_every_path_that_is_not_given():
    flags = DataArguments(data_dir="mine", dev_path="other/dev.txt")
    assert flags.train_path == "mine/train.txt" and flags.dev_path == "other/dev.txt"
    assert (flags.test_path, flags.label_path) == ("mine/dev.txt", "mine/label.txt")
    assert flags.bad_case_path == "mine/bad_case.txt"
    assert DataArguments().train_path == f"{DATA_DIR}/train.txt"


@pytest.mark.parametrize(("name", "value"), [("do_parity", False), ("save_safetensors", False), ("calibrate", True)])
def test_what_is_on_without_a_flag(name, value):
    assert getattr(ModelArguments(), name) is value and ModelArguments().export_type == ["paddle"]
