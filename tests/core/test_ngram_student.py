"""ngram_student.py: characters to logits, a batch at a time as one text at a time; no heavy import."""

import collections
import subprocess
import sys

import numpy as np
import pytest

from core import ngram_student
from core.ngram_student import (
    BEGIN,
    END,
    ORDERS,
    STUDENT_FILE,
    NgramStudent,
    joined_characters,
    ngram_buckets,
    normalised,
    normalised_beginning,
    normalised_beginnings,
    read_characters,
    shorten_characters,
    unread,
)
from tests.helpers import ROOT
from utils import UsageError

TEXTS = ["头疼应该挂什么科", "", " ", "ＣＴ  检查\u3000Ab", "龘", "😀头疼\ud800", "x" * 5000]


def a_student(classes=3, buckets=64, seed=0):
    random = np.random.RandomState(seed)
    table = random.rand(9, classes + 1).astype("float32")
    table[0] = 0
    rows = random.randint(0, 9, buckets).astype("int32")
    return NgramStudent(rows, table, random.rand(classes).astype("float32"), ORDERS)


def plain_logits(student, text):
    """The definition at the top of ngram_student.py, one n-gram after the other."""
    (codes,) = read_characters([text], 8)
    total, counts = np.zeros(student.table.shape[1] - 1), collections.Counter()
    for start in range(len(codes)):
        for size in range(1, ORDERS + 1):
            if start + size <= len(codes):
                some = codes[start : start + size]
                found, is_whole = ngram_buckets(some, np.array([size]), size, len(student.rows))
                assert is_whole[size - 1, 0]
                row = student.rows[found[size - 1, 0]]
                total += student.table[row, :-1]
                counts[row] += 1
    square = sum(count**2 * student.table[row, -1] for row, count in counts.items())
    return student.bias + total / np.sqrt(max(square, 1e-12))


def test_characters():
    found = read_characters(TEXTS, 8)
    assert [len(codes) for codes in found] == [10, 2, 2, 8, 3, 6, 32]
    assert all(codes[0] == BEGIN and codes[-1] == END for codes in found)
    assert "".join(map(chr, found[3][1:-1])) == normalised(TEXTS[3]) == "ct检查ab"
    assert read_characters([], 8) == [] and [len(codes) for codes in read_characters(["", ""], 8)] == [2, 2]
    # A text that is cut later is one that was cut when it was read.
    assert (shorten_characters(found[6], 3) == read_characters([TEXTS[6]], 3)[0]).all()
    assert shorten_characters(found[0], 3) is found[0]


@pytest.mark.parametrize(
    "text, read",
    [
        ("头 疼 应该\t挂\n什么科", "头疼应该挂什么科"),
        ("b超 or  ct scan", "b超or ct scan"),
        ("头\u200b疼\u00ad，\x00\ufeff痛\ufffd", "头疼,痛"),
        ("i\x0bcan\u3000not", "i can not"),
        ("\u200b", ""),
        ("坏\ud800", "坏\ud800"),
    ],
)
def test_a_text_as_the_student_reads_it(text, read):
    assert normalised(text) == read


ODD = [
    " ",
    "  ",
    "\u3000",
    "\u200b",
    "\xad",
    "\x00",
    "\n",
    "\t",
    "Σ",
    "İ",
    "ﬁ",
    "\u0301",
    "\ufffd",
    "\ud800",
    "头",
    "é",
    "ΑΣ",
]


def test_texts_that_are_read_together_are_those_that_are_read_alone():
    random, texts = np.random.RandomState(0), list(TEXTS)
    for _ in range(300):
        texts.append("".join(random.choice([*ODD, *"头疼挂什么科ab，。"], random.randint(0, 12))))
    for some in (texts, [text for text in texts if "\n" not in text and len(text) < 99], texts[:1], ["", ""]):
        found = normalised_beginnings(some, 30)
        assert found == [normalised_beginning(text, 30) for text in some] == [normalised(text)[:30] for text in some]
        codes, sizes = joined_characters(some, 8)
        together = read_characters(some, 8)
        assert sizes.tolist() == list(map(len, together)) and (codes == np.concatenate(together)).all()
        for text, own in zip(some, together):
            assert own.tolist() == [BEGIN, *map(ord, normalised(text)[:30]), END]
        student = a_student()
        assert (student.joined_logits(codes, sizes) == student.logits(together)).all()


def test_white_space_before_a_text_cuts_nothing_off():
    padded = read_characters([" " * 5000 + TEXTS[0], "\u200b" * 9999 + TEXTS[0]], 8)
    assert all((codes == read_characters([TEXTS[0]], 8)[0]).all() for codes in padded)


def test_a_repeated_text_is_no_surer():
    """Its row has the same direction, but for the n-grams over the seam, and length 1."""
    student = a_student(buckets=1 << 12)
    once, often = (student.logits(read_characters([text], 999))[0] for text in ("龘" * 50, "龘" * 3000))
    assert np.abs(often - once).max() < 0.1


def test_texts_that_tell_too_little():
    student = a_student()
    student.rows[:] = 0
    known, foreign = read_characters(["头疼应该挂", "zxqvkw"], 8)
    found, _ = ngram_buckets(known, np.array([len(known)]), ORDERS, len(student.rows))
    student.rows[found.ravel()] = 1
    assert student.known([known, foreign])[0] == 1 and student.known([]).shape == (0,)
    shares = student.known([known, foreign])
    least = (1 + shares[1]) / 2
    cut = read_characters(["头" * 99], 8)[0]
    texts = [known, foreign, cut]
    assert unread(texts, student.known(texts), 8, least).tolist() == [False, True, True]
    assert unread([], student.known([]), 8, least).shape == (0,)


def test_logits_are_those_of_the_definition_and_of_each_text_alone(monkeypatch):
    student = a_student()
    together = student.logits(read_characters(TEXTS, 8))
    assert together.dtype == np.float32 and together.shape == (len(TEXTS), 3)
    for text, row in zip(TEXTS, together):
        assert row == pytest.approx(plain_logits(student, text), abs=1e-5)
        assert (student.logits(read_characters([text], 8))[0] == row).all()
    assert student.logits([]).shape == (0, 3)
    monkeypatch.setattr(ngram_student, "BLOCK", 12)
    assert (student.logits(read_characters(TEXTS, 8)) == together).all()


def test_no_ngram_reaches_into_the_next_text():
    student = a_student()
    alone, beside = (student.logits(read_characters(texts, 8))[0] for texts in (["头"], ["头", "疼"]))
    assert (alone == beside).all()


def test_the_file(tmp_path, monkeypatch):
    student = a_student()
    student.save(tmp_path)
    read = NgramStudent.read(tmp_path)
    characters = read_characters(TEXTS, 8)
    assert (read.logits(characters) == student.logits(characters)).all() and read.orders == ORDERS
    with pytest.raises(UsageError, match="no such file; make it with"):
        NgramStudent.read(tmp_path / "elsewhere")
    (tmp_path / STUDENT_FILE).write_bytes((tmp_path / STUDENT_FILE).read_bytes()[:-200])
    with pytest.raises(UsageError, match="cannot be read.*distil the student again"):
        NgramStudent.read(tmp_path)
    monkeypatch.setattr(ngram_student, "READING", 1)
    student.save(tmp_path)
    monkeypatch.undo()
    with pytest.raises(UsageError, match="made by another version of this project; distil it again"):
        NgramStudent.read(tmp_path)
    student.rows = student.rows + 1
    student.save(tmp_path)
    with pytest.raises(UsageError, match="do not fit together"):
        NgramStudent.read(tmp_path)


def test_no_heavy_import():
    heavy = "{'paddle', 'paddlenlp', 'scipy', 'sklearn', 'onnxruntime'}"
    code = f"import sys, core.predictor, core.students; print(*{heavy} & {{*sys.modules}})"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
