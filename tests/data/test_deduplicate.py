"""data/deduplicate.py: what is its own; datatrove itself is not installed here."""

import numpy as np
import pytest

from data import deduplicate
from data.deduplicate import read_part, similar_pairs, text_of
from utils import UsageError

LINES = ["\ufeff头疼怎么办\t就医\n", "发烧\t就医\r\n", "\n", f"{'很长的一行' * 30}\t病因\n"]
LINES += ["头疼怎么办？\t病因\n", "没有标签"]


def lines_in(path):
    path.write_bytes("".join(LINES).encode())
    return path


@pytest.mark.parametrize("parts", [1, 2, 3, 7, 50, 1000])
def test_each_line_is_in_one_part(tmp_path, parts):
    path = lines_in(tmp_path / "all.txt")
    found = [pair for part in range(parts) for pair in read_part(path, part, parts)]
    assert [line.decode() for _, line in found] == LINES
    data = path.read_bytes()
    assert all(data[begin : begin + len(line)] == line for begin, line in found)


def test_texts_are_without_labels():
    assert [text_of(line.encode()) for line in LINES][:3] == ["头疼怎么办", "发烧", ""]


def test_only_texts_that_are_nearly_the_same_are_taken_out(tmp_path):
    path = lines_in(tmp_path / "all.txt")
    places = [np.array([begin for begin, _ in read_part(path, part, 2)]) for part in range(2)]
    assert [len(some) for some in places] == [4, 2]
    pairs = np.array([[0, 0, 1, 0], [0, 0, 0, 1]])
    assert similar_pairs(path, pairs, places, 0.8).tolist() == [True, False]
    assert similar_pairs(path, pairs[:0], places, 0.8).tolist() == []


def test_flags(tmp_path):
    path = lines_in(tmp_path / "all.txt")
    flags = ["--input_file", str(path), "--save_dir", str(tmp_path / "new")]
    with pytest.raises(UsageError, match="--workers 0"):
        deduplicate.main([*flags, "--workers", "0"])
    with pytest.raises(UsageError, match="none.txt: no such file"):
        deduplicate.main(["--input_file", str(tmp_path / "none.txt"), "--save_dir", str(tmp_path)])
    with pytest.raises(UsageError, match="give a number from 0 to 1"):
        deduplicate.main([*flags, "--near_duplicate_threshold", "2"])
    with pytest.raises(UsageError, match="needs datatrove, not installed .*requirements-datatrove.txt"):
        deduplicate.main(flags)
    assert not (tmp_path / "new").exists()


def test_a_folder_of_other_work_is_left_alone(tmp_path):
    path = lines_in(tmp_path / "all.txt")
    flags = ["--input_file", str(path), "--save_dir", str(tmp_path / "new")]
    for _ in range(2):  # the second one goes on
        deduplicate.begin(deduplicate.parse_flags(flags))
    with pytest.raises(UsageError, match="begun with another parts; give a new --save_dir"):
        deduplicate.begin(deduplicate.parse_flags([*flags, "--parts", "3"]))
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(UsageError, match="begun with another size"):
        deduplicate.begin(deduplicate.parse_flags(flags))
    with pytest.raises(UsageError, match="is not an empty folder"):
        deduplicate.begin(deduplicate.parse_flags([*flags[:-1], str(tmp_path)]))
