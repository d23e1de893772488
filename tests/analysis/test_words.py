"""analysis/words.py: what the lists hold, and refusals of --custom_file."""

import json

import pytest

from analysis.words import read_custom
from utils import UsageError

pytestmark = pytest.mark.usefixtures("no_network")


def test_homonyms_sound_alike(sources):
    from pypinyin import lazy_pinyin

    words = sources["homonym"].words
    assert len(words) > 1000
    for word in sorted(words)[::500]:
        assert all(lazy_pinyin(other) == lazy_pinyin(word) and other != word for other in words[word])


def test_synonyms_are_common_chinese_words(sources):
    words = sources["synonym"].words
    assert len(words) > 1000 and "医生" in words
    for word in sorted(words)[::500]:
        assert words[word] and word not in words[word] and all(len(other) > 1 for other in words[word])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{'a': ['b']}", r"custom\.json:1: not JSON"),
        ("[]", r"custom\.json:1: no words"),
        (json.dumps({"a": "b"}), "'a' has no list"),
        (json.dumps({"a": ["b\tc"]}), "is not a word"),
    ],
)
def test_refusals(tmp_path, content, message):
    path = tmp_path / "custom.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        read_custom(path)
