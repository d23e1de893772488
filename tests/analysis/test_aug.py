"""analysis/aug.py: every strategy and type without a network, what each changes, refusals."""

import importlib.metadata
import json
import socket
from collections import Counter

import aug
import jieba
import numpy as np
import pytest
from tests.helpers import ROOT, not_installed

from utils import UsageError

TRAIN = ROOT / "data" / "train.txt"


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def sources():
    return {"synonym": aug.WordList(aug.synonyms()), "homonym": aug.WordList(aug.homonyms())}


def run(tmp_path, *more, train=TRAIN):
    path = tmp_path / "aug.txt"
    aug.main(["--train_path", str(train), "--aug_path", str(path), "--device", "cpu", *map(str, more)])
    return path.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("kind", ["synonym", "homonym"])
@pytest.mark.parametrize("strategy", ["mix", *aug.STRATEGIES])
def test_new_texts_are_new_and_never_empty(strategy, kind, sources):
    texts = [line.split("\t")[0] for line in TRAIN.read_text(encoding="utf-8").splitlines()][::5]
    augmenter, again = (aug.Augmenter(strategy, sources[kind], 2, 0.1, seed=3) for _ in range(2))
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
        found = aug.Augmenter(strategy, sources["synonym"], 4, 0.1, seed=0).augment(text)
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
        changed = [(i, other) for i, word in enumerate(words) for other in synonyms.get(word, [])
                   if "".join([*words[:i], other, *words[i + 1 :]]) == new]  # fmt: skip
        assert changed
    assert aug.Augmenter("duplicate", None, 2, 0.1, seed=0).augment(text) == [text, text]


def test_homonyms_sound_alike(sources):
    from pypinyin import lazy_pinyin

    words = sources["homonym"].words
    assert len(words) > 1000
    for word in sorted(words)[::500]:
        assert all(lazy_pinyin(other) == lazy_pinyin(word) and other != word for other in words[word])


def test_words_that_stay(sources):
    """Names of drugs in Latin letters, doses and stop words are not changed; a text of nothing else gives none."""
    augmenter = aug.Augmenter("mix", sources["synonym"], 2, 1.0, seed=0)
    for new in augmenter.augment("服用PDE5抑制剂20mg的注意事项和治疗方法"):
        assert "PDE5" in new and "20mg" in new
    for text in ("的", "123", "。？", "hCG"):
        assert augmenter.augment(text) == [] or text == "hCG"


def test_english_texts():
    augmenter = aug.Augmenter("substitute", aug.WordList({"movie": ["film"]}), 2, 0.1, seed=0)
    assert augmenter.augment("a good movie to watch") == ["a good film to watch"]
    augmenter = aug.Augmenter("insert", aug.WordList({"movie": ["film"]}), 2, 0.1, seed=0)
    assert set(augmenter.augment("good movie tonight")) == {"good film movie tonight", "good movie film tonight"}
    for new in aug.Augmenter("swap", None, 4, 0.1, seed=0).augment("good movie tonight"):
        assert sorted(new.split()) == ["good", "movie", "tonight"]


def test_the_file(tmp_path, capsys):
    train = tmp_path / "train.txt"
    train.write_bytes("感冒发烧怎么治疗\t治疗方案\n的\t其他\n".encode())
    lines = run(tmp_path, "--custom_file", custom(tmp_path, {"感冒发烧": ["着凉发热"]}), "--create_n", 2, train=train)
    assert lines == ["着凉发热怎么治疗\t治疗方案"]
    assert "1 new samples" in capsys.readouterr().out
    assert train.read_text(encoding="utf-8").count("\n") == 2
    first = run(tmp_path, "--aug_strategy", "mix")
    assert first == run(tmp_path, "--aug_strategy", "mix") != run(tmp_path, "--aug_strategy", "mix", "--seed", 4)


def custom(tmp_path, value):
    path = tmp_path / f"custom{len(list(tmp_path.iterdir()))}.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def test_a_masked_language_model(tmp_path, tiny_model):
    """With a head and without one: a head is learnt from texts in which the place tells the character."""
    from paddlenlp.transformers import ErnieForMaskedLM, ErnieTokenizer

    texts = ["感冒发烧怎么治疗"] * 100
    learnt = aug.MaskedWords(str(tiny_model), texts, "cpu", seed=0)
    assert learnt.head is not None
    ids = learnt._ids(texts[0])
    best = []
    for place in range(len(ids)):
        masked = [*ids[:place], learnt.tokenizer.mask_token_id, *ids[place + 1 :]]
        best.append(int(np.argmax(learnt._scores(masked, 1 + place))))
    assert sum(one == other for one, other in zip(best, ids)) >= 7  # of 8; by chance 1

    model = ErnieForMaskedLM.from_pretrained(str(tiny_model))
    model.save_pretrained(str(tmp_path / "mlm"))
    ErnieTokenizer.from_pretrained(str(tiny_model)).save_pretrained(str(tmp_path / "mlm"))
    whole = aug.MaskedWords(str(tmp_path / "mlm"), [], "cpu", seed=0)
    assert whole.head is None
    for source in (learnt, whole):
        new = aug.Augmenter("substitute", source, 2, 0.1, seed=0).augment("感冒发烧怎么治疗")
        assert new and all(len(text) == 8 for text in new)
        assert all(len(text) > 8 for text in aug.Augmenter("insert", source, 2, 0.1, seed=0).augment(texts[0]))
    long = "感冒" * 200
    assert aug.Augmenter("substitute", whole, 1, 0.01, seed=0).augment(long) is not None


def test_refusals(tmp_path, tiny_model, monkeypatch):
    train = tmp_path / "train.txt"
    train.write_bytes("感冒\t其他\n没有标签\n".encode())
    for flags, message in (
        (["--create_n", 0], "--create_n 0"),
        (["--aug_percent", 1.5], "--aug_percent 1.5"),
        (["--aug_type", "mlm", "--custom_file", "x.json"], "exclude each other"),
        (["--custom_file", tmp_path / "no.json"], "no.json: no such file"),
        (["--custom_file", custom(tmp_path, "{'a': ['b']}")], r"custom\d\.json:1: not JSON"),
        (["--custom_file", custom(tmp_path, {"a": "b"})], "'a' has no list"),
        (["--custom_file", custom(tmp_path, {"a": ["b\tc"]})], "is not a word"),
        (["--aug_path", TRAIN], "it is --train_path"),
        (["--aug_type", "mlm", "--model_name_or_path", tmp_path / "none"], "no such directory"),
    ):
        with pytest.raises(UsageError, match=message):
            run(tmp_path, *flags)
    with pytest.raises(UsageError, match=r"train\.txt:2: no tab"):
        run(tmp_path, train=train)
    (tmp_path / "broken").mkdir()
    for path in tiny_model.iterdir():
        (tmp_path / "broken" / path.name).write_bytes(path.read_bytes()[: 200 if "pdparams" in path.name else None])
    with pytest.raises(UsageError, match="cannot be loaded"):
        run(tmp_path, "--aug_type", "mlm", "--model_name_or_path", tmp_path / "broken")
    monkeypatch.setattr(importlib.metadata, "version", not_installed)
    with pytest.raises(UsageError, match=r"requirements-analysis\.txt"):
        run(tmp_path)
