"""made_texts.py: what is made of which pieces, and that the seed decides it."""

import random

import pytest

from core import made_texts
from core.made_texts import KINDS, Pieces, chained, halves, joined, made_number, make_texts, noisy, part
from core.unlabelled import same_text

TEXTS = ["头疼应该挂什么科", "感冒了去哪个医院看", "CT 检查要多少钱", "孩子头疼吃什么药", "检查 30 天"]


def pieces(texts, longest=32):
    return Pieces(texts, longest, random.Random(0))


def drawn(kind, texts, times=200, longest=32):
    """All that a kind makes of texts."""
    rng, found = random.Random(1), pieces(texts, longest)
    return {"".join(kind(found, rng)) for _ in range(times)}


def test_units_are_words_numbers_and_characters():
    assert made_texts.UNIT.findall("CT检查  30天naïve!\n") == ["CT", "检", "查", "  ", "30", "天", "naïve", "!", "\n"]


def test_each_kind_makes_what_it_says():
    assert drawn(part, ["abc 12"]) == {"abc", " ", "12", "abc ", " 12", "abc 12"}
    assert drawn(halves, ["甲乙"]) == {"甲乙", "甲甲乙", "甲乙乙", "甲乙甲乙"}
    assert drawn(halves, ["甲乙", "丙"]) > {"甲丙", "甲乙丙", "丙丙", "丙甲乙", "丙乙"}
    # They meet at 丙, which both have, or where a text meets itself.
    assert drawn(joined, ["甲丙乙", "丁丙戊"]) == {"甲丙乙", "丁丙戊", "甲丙戊", "丁丙乙"}
    # Each three units in a row are in a text, beginning and end among them.
    assert drawn(chained, ["甲乙丙丁", "戊乙丙己"]) == {"甲乙丙丁", "甲乙丙己", "戊乙丙己", "戊乙丙丁"}
    assert drawn(chained, ["甲甲甲甲"], longest=3) <= {"甲甲", "甲甲甲"}
    found = drawn(noisy, ["甲乙丙丁"])
    assert "甲乙丙丁" in found and len(found) > 10 and max(map(len, found)) == 4
    assert set("".join(found)) == set("甲乙丙丁")


def test_texts_are_new_and_the_seed_decides():
    held_out = ["头疼", "ＣＴ检查"]
    made = make_texts(TEXTS, 100, 32, seed=3, held_out=held_out)
    keys = [same_text(text) for text in made]
    assert len(made) == len(set(keys)) == 100
    assert not set(keys) & {same_text(text) for text in [*TEXTS, *held_out]} and all(text.strip() for text in made)
    assert make_texts(TEXTS, 100, 32, seed=3, held_out=held_out) == made
    assert make_texts(TEXTS, 40, 32, seed=3, held_out=held_out) == made[:40]
    assert make_texts(TEXTS, 100, 32, seed=4, held_out=held_out) != made
    assert max(len(made_texts.UNIT.findall(text)) for text in make_texts(TEXTS, 100, 5, seed=0)) <= 5


@pytest.mark.parametrize("texts", [[], ["", " \t"], ["头"]])
def test_where_nothing_new_can_be_made(texts):
    assert set(make_texts(texts, 50, 32, seed=0)) <= {"头头"}


def test_how_many(monkeypatch):
    assert made_number(101, 0.5) == 50 and made_number(10, 0) == 0 and made_number(10**6, 3) == 50_000
    monkeypatch.setattr(made_texts, "MOST_UNITS", 9)
    assert len(pieces(TEXTS).texts) == 2 and len(KINDS) == 5
