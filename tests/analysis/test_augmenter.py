"""analysis/augmenter.py: what each strategy changes, and what it leaves."""

from collections import Counter

import jieba
import pytest

from analysis.augmenter import STRATEGIES, Augmenter
from analysis.negations import join_contractions, negates
from analysis.words import CHINESE, WordList
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


NEGATED = [
    "我没有发烧但是一直咳嗽头痛需要吃药治疗吗",
    "这个药不能和酒一起吃，感冒期间饮食注意事项",
    "千万别去那家医院看病，医生态度恶劣收费昂贵",
    "检查结果未见明显异常，医生建议定期复查身体",
    "这并非感冒引起的咳嗽症状，建议医院检查治疗",
    "孩子无法入睡怎么办，家长应该如何护理孩子",
    "这部电影不好看，演员表演糟糕，剧情拖沓无聊",
]
ENGLISH = [
    "this movie is not good and the plot makes little sense today",
    "I don't like this film, the actors seem tired and the story drags",
    "never buy this phone again because the battery dies within one hour",
    "it isn’t worth the money, the screen breaks quickly under normal use",
]


class Everything:
    """A source with a word for each, and negations among them."""

    def has(self, word):
        return any(map(str.isalpha, word))

    def draw(self, words, positions, source):
        return ["电脑" if CHINESE.search(words[place]) else "table" for place in positions]


@pytest.mark.parametrize("strategy", ["mix", *STRATEGIES])
def test_negations_stay_where_they_are(strategy):
    """Each is there as often as before, with the same word behind it, and in the same order."""

    def negations(text):
        words = [word for word in join_contractions(jieba.lcut(text)) if word.strip()]
        places = [place for place, word in enumerate(words) if negates(word)]
        behind = [" ".join(words[place + 1 : place + 2]) if strategy in ("delete", "swap") else "" for place in places]
        return [(words[place], after) for place, after in zip(places, behind)]

    source = None if strategy in ("delete", "swap") else Everything()
    augmenter, made = Augmenter(strategy, source, 6, 0.5, seed=0), 0
    for text in NEGATED + ENGLISH:
        assert negations(text), text
        for new in augmenter.augment(text):
            made += 1
            if strategy in ("substitute", "insert", "mix"):
                assert [word for word, _ in negations(new)] == [word for word, _ in negations(text)], new
            else:
                assert negations(new) == negations(text), new
    assert made > (10 if strategy == "swap" else 20)  # swapping has few places left in these short texts


def test_what_is_negated_is_not_deleted():
    augmenter = Augmenter("delete", None, 30, 0.1, seed=0)
    for new in augmenter.augment("没有发烧头痛，只是咳嗽严重影响睡眠质量"):
        assert new.startswith("没有发烧头痛，")
    for new in augmenter.augment("this is not a very good movie but the music sounds lovely tonight"):
        assert "not a very good movie" in new


def test_no_negation_comes_in(sources):
    own = WordList({"好": ["不好", "很好"], "坏": ["不坏"]})
    assert own.words == {"好": ["很好"]}
    for source in (*sources.values(), own):
        assert not any(negates(other) for others in source.words.values() for other in others)
