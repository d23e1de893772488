"""analysis/evaluation_words.py: both languages say the same."""

import re

from analysis.evaluation_words import WORDS


def test_both_languages_say_the_same():
    assert list(WORDS["zh"]) == list(WORDS["en"])
    for name, words in WORDS["en"].items():
        assert set(re.findall(r"\{\w+\}", words)) == set(re.findall(r"\{\w+\}", WORDS["zh"][name])), name
