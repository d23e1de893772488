"""data/seen_texts.py: a set of texts in a table, and things that are put off."""

import random

from data import seen_texts
from data.seen_texts import Later, SeenTexts


def test_it_says_what_a_set_says():
    rng, seen, known = random.Random(0), SeenTexts(), set()
    for _ in range(30):
        texts = [str(rng.randrange(20_000)) for _ in range(rng.randrange(2000))]
        assert seen.has(texts).tolist() == [text in known for text in texts]
        expected = []
        for text in texts:
            expected.append(text not in known)
            known.add(text)
        assert seen.add(texts).tolist() == expected
        assert len(seen) == len(known)
    assert seen.has(sorted(known)).all() and not seen.has(["x", ""]).any()


def test_texts_of_the_same_place_are_told_apart(monkeypatch):
    """Every one of them begins to look at the table's first row."""
    monkeypatch.setattr(SeenTexts, "_slots", lambda self, keys: (keys[:, 0] * 0).astype(int))
    seen = SeenTexts()
    assert seen.add(["甲", "乙", "甲", "丙"]).tolist() == [True, True, False, True]
    assert seen.has(["丙", "丁", "甲"]).tolist() == [True, False, True]


def test_things_are_taken_in_their_order(monkeypatch):
    monkeypatch.setattr(seen_texts, "BLOCK", 3)
    later = Later()
    for size in (0, 2, 3, 10):
        for number in range(size):
            later.add((number, "甲"))
        assert list(later.take()) == [(number, "甲") for number in range(size)]
    assert list(later.take()) == []
