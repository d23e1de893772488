"""core/run_flags.py: paths that fill each other in."""

from core.run_flags import DataArguments


def test_defaults_fill_from_data_dir_and_explicit_paths_win(data_dir):
    arguments = DataArguments(data_dir=str(data_dir), dev_path="other.txt")
    assert arguments.train_path == str(data_dir / "train.txt") and arguments.test_path == str(data_dir / "dev.txt")
    assert arguments.dev_path == "other.txt"
    assert DataArguments().label_path == "./data/label.txt"
