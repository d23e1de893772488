"""analysis/augmenter.py: what each strategy changes, and what it leaves."""

from collections import Counter

import jieba
import pytest

from analysis.augmenter import STRATEGIES, Augmenter
from analysis.words import WordList
from tests.helpers import ROOT

TRAIN = ROOT / "data" / "train.txt"

pytestmark = pytest.mark.usefixtures("no_network")


@pytest.mark.parametrize("kind", ["synonym", "homonym"])
@pytest.mark.parametrize("strategy", ["mix", *STRATEGIES])
def test_new_texts_are_new_and_never_empty(strategy, kind, sources):
    texts = [line.split("\t")[0] for line in TRAIN.read_text(encoding="utf-8").splitlines()][::5]
    augmenter, again = (Augmenter(strategy, sources[kind], 2, 0.1, seed=3) for _ in range(2))
    results = [augmenter.augment(text) for text in texts]
    assert results == [again.augment(text) for text in texts]
    most = 8 if strategy == "mix" else 2
    for text, new in zip(texts, results):
        assert len(new) <= most and len(set(new)) == len(new) and text not in new
        assert all(sample.strip() and "\t" not in sample for sample in new)
    assert sum(map(bool, results)) > 0.75 * len(texts)  # PaddleNLP's give none for up to a quarter


def test_what_each_strategy_does(sources):
    text = "慢性肠胃炎的症状有哪些表现和治疗方法"
    words = jieba.lcut(text)

    def new_texts(strategy):
        found = Augmenter(strategy, sources["synonym"], 4, 0.1, seed=0).augment(text)
        assert len(found) >= 2
        return [Counter(jieba.lcut(new)) if strategy == "swap" else new for new in found]

    for new in new_texts("swap"):
        assert Counter("".join(new.elements())) == Counter(text)
    for new in new_texts("delete"):
        assert len(new) < len(text) and any("".join(words[:i] + words[i + 1 :]) == new for i in range(len(words)))
    for new in new_texts("insert"):
        characters = iter(new)
        assert len(new) > len(text) and all(character in characters for character in text)
    synonyms = sources["synonym"].words
    for new in new_texts("substitute"):
        pairs = [(i, other) for i, word in enumerate(words) for other in synonyms.get(word, [])]
        assert any("".join([*words[:i], other, *words[i + 1 :]]) == new for i, other in pairs)
    assert Augmenter("duplicate", None, 2, 0.1, seed=0).augment(text) == [text, text]


def test_words_that_stay(sources):
    """Names of drugs in Latin letters, doses and stop words are not changed; a text of nothing else gives none."""
    augmenter = Augmenter("mix", sources["synonym"], 2, 1.0, seed=0)
    for new in augmenter.augment("服用PDE5抑制剂20mg的注意事项和治疗方法"):
        assert "PDE5" in new and "20mg" in new
    for text in ("的", "123", "。？", "hCG"):
        assert augmenter.augment(text) == [] or text == "hCG"


def test_english_texts():
    augmenter = Augmenter("substitute", WordList({"movie": ["film"]}), 2, 0.1, seed=0)
    assert augmenter.augment("a good movie to watch") == ["a good film to watch"]
    augmenter = Augmenter("insert", WordList({"movie": ["film"]}), 2, 0.1, seed=0)
    assert set(augmenter.augment("good movie tonight")) == {"good film movie tonight", "good movie film tonight"}
    for new in Augmenter("swap", None, 4, 0.1, seed=0).augment("good movie tonight"):
        assert sorted(new.split()) == ["good", "movie", "tonight"]
