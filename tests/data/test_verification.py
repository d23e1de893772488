"""data/verification.py: a copy that is not what the folder holds is found."""

import collections
import re

import pytest

from data.verification import Tally, verify

SOURCE = "头疼\t甲\n\n发烧\t乙\r\n咳嗽\t甲\r"


def check(tmp_path, copy, **tally):
    for name, data in (("source", SOURCE.encode() if isinstance(copy, str) else copy[0]), ("copy", copy)):
        (tmp_path / name).mkdir()
        data = data if isinstance(data, bytes) else (data if isinstance(copy, str) else data[1]).encode()
        (tmp_path / name / "train.txt").write_bytes(data)
    return verify(tmp_path / "source", tmp_path / "copy", {"train": Tally(**tally), "label": Tally()})


def test_a_good_copy(tmp_path):
    left_out = collections.Counter(blank_line=1)
    assert check(tmp_path, "头疼\t甲\n发烧\t乙\n咳嗽\t甲\n", kept=3, lines=4, left_out=left_out) == []


@pytest.mark.parametrize(
    "copy, kept, message",
    [
        ("头疼\t甲\n发烧\t乙\n", 2, "4 samples are in it, but 2 in the copy and 1 left out"),
        ("头疼\t甲\n发烧\t乙\n咳\ufffd\t甲\n", 3, "U\\+FFFD that are not in the file"),
        ("头疼\t甲\n发烧\t乙\n咳\ue001\t甲\n", 3, "private-use characters that are not in the file"),
        ("头疼\t甲\n发烧\t乙\r\n咳嗽\t甲\n", 3, "no clean line"),
    ],
)
def test_bad_copies(tmp_path, copy, kept, message):
    [problem] = check(tmp_path, copy, kept=kept, left_out=collections.Counter(blank_line=1))
    assert re.search(message, problem) and problem.startswith(f"{tmp_path / 'source' / 'train'}.txt: ")


def test_characters_that_the_encoding_does_not_have(tmp_path):
    source = "頭が痛い\t受診\n".encode("cp932")
    [problem] = check(tmp_path, (source, "머리가 아파\t진료\n"), kept=1, encodings=collections.Counter(SHIFT_JIS=1))
    assert "cannot come from SHIFT_JIS" in problem


def test_cells_are_counted_as_csv_counts_them(tmp_path):
    source = '"一\n二"\t甲\n三\t乙\n'.encode()
    assert check(tmp_path, (source, "一 二\t甲\n三\t乙\n"), kept=2, joined=1) == []


def test_the_limit():
    few = Tally(lines=20, left_out=collections.Counter(no_tab=3, blank_line=10))
    assert few.problem("a.txt", 0.1) is None  # three lines of ten may always go
    many = Tally(lines=100, joined=5, left_out=collections.Counter(no_tab=6))
    assert "a.txt: 11 of 100 lines would be lost, more than 10%: 6 left out (no_tab), 5 joined" in many.problem(
        "a.txt", 0.1
    )
    assert many.problem("a.txt", 0.11) is None
