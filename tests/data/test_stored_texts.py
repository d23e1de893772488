"""data/stored_texts.py: samples in a file, by their numbers; arrays that are files."""

import os
import types

import numpy as np
import pytest

from data import stored_texts
from data.stored_texts import Growing, Spilled, StoredTexts, scratch_folder

TEXTS = [f"第{number}句，{'长' * (number % 7)}\u2028" for number in range(100)]


@pytest.mark.parametrize("has_pread", [True, False])
def test_samples_in_any_order(tmp_path, monkeypatch, has_pread):
    if not has_pread:
        monkeypatch.delattr(os, "pread", raising=False)
    monkeypatch.setattr(stored_texts, "BLOCK", 8)
    stored = StoredTexts.of(TEXTS[:50], ["甲"] * 50, str(tmp_path))
    assert stored.texts(np.array([3, 1, 49])) == [TEXTS[3], TEXTS[1], TEXTS[49]]
    stored.add(TEXTS[50:], ["乙"] * 50)  # after samples were read
    assert len(stored) == 100
    assert [text for block in stored.blocks() for text in block] == TEXTS
    rows = np.random.RandomState(0).permutation(100)
    counted = []
    stored.write(rows, tmp_path / "out.txt", types.SimpleNamespace(update=counted.append))
    expected = [f"{TEXTS[row]}\t{'甲乙'[row // 50]}\n" for row in rows]
    assert (tmp_path / "out.txt").read_bytes().decode() == "".join(expected)
    assert sum(counted) == 100 and len(counted) == 13


@pytest.mark.parametrize("limit", [10**6, 0])
def test_arrays_are_the_same_in_memory_and_on_the_disk(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(stored_texts, "IN_MEMORY", limit)
    spilled = Spilled((1000, 3), np.uint16, str(tmp_path))
    assert isinstance(spilled.view(), np.memmap) == (limit == 0)
    spilled.view()[10:20] = 7
    assert spilled.view().sum() == 210
    spilled.close()


@pytest.mark.parametrize("limit", [10**6, 500, 0])
@pytest.mark.parametrize("width", [None, 3])
def test_arrays_that_grow(tmp_path, monkeypatch, limit, width):
    monkeypatch.setattr(stored_texts, "IN_MEMORY", limit)
    growing, expected = Growing(np.int32, width, str(tmp_path)), np.zeros((0, *([width] if width else [])), np.int32)
    assert growing.view().shape == expected.shape
    for size in (1, 0, 40, 100):
        block = np.arange(size * (width or 1)).reshape((size, *expected.shape[1:]))
        growing.add(block.tolist() if size == 40 else block)
        expected = np.concatenate([expected, block])
        found = growing.view()  # while it grows
        assert found.dtype == np.int32 and len(growing) == len(expected) and (found == expected).all()
    assert list(tmp_path.iterdir()) == [] or os.name == "nt"


def test_nothing_is_left_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(stored_texts, "IN_MEMORY", 0)
    stored, spilled = StoredTexts.of(TEXTS, TEXTS, str(tmp_path)), Spilled((10,), np.int32, str(tmp_path))
    assert list(tmp_path.iterdir()) == [] or os.name == "nt"
    assert len(stored) == 100 and spilled.view().sum() == 0


def test_the_folder_is_the_nearest_that_is_there(tmp_path):
    assert scratch_folder(tmp_path / "not" / "there") == str(tmp_path)
    assert scratch_folder(tmp_path) == str(tmp_path)
