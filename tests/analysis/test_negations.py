"""analysis/negations.py: what negates, and what it negates."""

import jieba
import pytest

from analysis.negations import join_contractions, negated, negates


def test_what_negates():
    for word in "没有 不 不是 不能 未 未见 无法 并非 除非 别 别去 千万别 莫 勿 非 没 否认 拒绝".split():
        assert negates(word), word
    for word in "特别 别人 类别 性别 非常 非洲 不过 不仅 未来 无论 发烧 喜欢".split():
        assert not negates(word), word
    for word in "not No never n't don't isn’t can't cannot without nothing".split():
        assert negates(word), word
    for word in "note know nothingness good it's".split():
        assert not negates(word), word


def test_contractions_are_one_word():
    text = "I don't know, it isn’t 'good' — rock 'n' roll"
    words = join_contractions(jieba.lcut(text))
    assert "".join(words) == text and "don't" in words and "isn’t" in words and "good" in words
    assert join_contractions([]) == [] and join_contractions(["'", "a"]) == ["'", "a"]


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("我 没有 发烧 头痛 咳嗽", "发烧 头痛"),
        ("没有 发烧 ， 只 咳嗽", "发烧"),
        ("不 很 喜欢 这部 电影", "很 喜欢 这部"),
        ("发烧 咳嗽", ""),
        ("this is not a very good movie at all", "a very good movie"),
        ("i don't like it . great cast", "like it"),
    ],
)
def test_what_is_negated(text, wanted):
    words = text.split()
    assert [words[position] for position in sorted(negated(words))] == wanted.split()
