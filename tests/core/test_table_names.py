"""core/table_names.py: tables by their names, and what is said of them."""

import pytest

from core.table_names import convert_command, is_table, table_beside
from utils import UsageError, read_cases, read_lines


def test_names(tmp_path):
    assert is_table("a/B.CSV") and is_table("a.tsv.gz") and not is_table("train.txt")
    assert convert_command("a b.csv") == "python data/convert.py --input_file 'a b.csv' --save_dir 'a b_data'"
    assert table_beside(tmp_path / "train.txt") is None
    (tmp_path / "train.csv").write_text("text,label\n")
    assert table_beside(tmp_path / "train.txt") == tmp_path / "train.csv"
    with pytest.raises(UsageError, match="train.csv is there: python data/convert.py --input_file .*train.csv"):
        read_lines(tmp_path / "train.txt")
    with pytest.raises(UsageError, match="convert it: python data/convert.py"):
        read_cases(tmp_path / "train.csv")
