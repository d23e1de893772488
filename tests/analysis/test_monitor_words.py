"""analysis/monitor_words.py: both languages say the same."""

import string

from analysis.monitor_words import WORDS


def fields(text):
    return sorted(name for _, name, _, _ in string.Formatter().parse(text) if name)


def test_both_languages_have_the_same_words_and_fields():
    english, chinese = WORDS["en"], WORDS["zh"]
    assert list(english) == list(chinese)
    assert all(fields(english[name]) == fields(chinese[name]) for name in english)
