"""data/mojibake.py: texts that were read in a wrong encoding, and texts that only look strange."""

import numpy as np
import pytest

from data.mojibake import repaired, strangeness
from data.near_duplicates import to_codes
from tests.helpers import ROOT
from utils import read_cases

TEXT = "头疼，应该挂什么科？孩子发烧了。怎么办、吃什么药"


@pytest.mark.parametrize(
    "text, mark",
    [
        (TEXT.encode().decode("gbk", "replace"), "应该挂"),
        (TEXT.encode().decode("cp1252", "replace"), "应该挂什么科"),
        (TEXT.encode().decode("latin-1"), TEXT),
        (TEXT.encode("gbk").decode("latin-1"), TEXT),
        ("Très déçu".encode().decode("latin-1"), "Très déçu"),
    ],
)
def test_what_was_written(text, mark):
    assert mark in repaired(text)
    codes, starts = to_codes([text])
    assert np.add.reduceat(strangeness()[codes], starts[:-1])[0] > 0


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        "联通",
        "魑魅魍魉",
        "Très déçu",
        "К какому врачу",
        "頭が痛い",
        "머리가 아픈데",
        "這個藥",
        "😀",
        "℃β-受体",
        "é",
        "abc",
    ],
)
def test_real_texts(text):
    assert repaired(text) is None


def test_the_sample_data_has_none():
    assert not any(repaired(text) for _, text, *_ in read_cases(ROOT / "data" / "dev.txt"))
