"""Words that turn a text's meaning round. A sample whose words are changed keeps its label: these must stay, with what
they negate, and none may come in.
"""

import re

# Any Chinese word with one of these characters, but for some in which they mean nothing of the kind. A word too many
# costs nothing but a change that is not made.
NEGATING = re.compile("[不没未无勿莫毋甭]|^(千万|可)?别(再|去|让|吃|用|买|想|说)?$|^非$|[并绝决若除]非|否认|是否|能否")
HARMLESS = set("不过 不仅 不但 不光 不管 不论 不断 未来 无锡 无论 无线 莫名".split())
OTHERS = set("禁止 避免 防止 拒绝 缺乏 缺少 停止 取消 除了 禁忌 忌".split())

ENGLISH = set(
    "not no nor none never nothing nobody nowhere neither cannot without hardly barely scarcely rarely seldom lack "
    "lacks lacking dont doesnt didnt isnt arent wasnt werent wont wouldnt cant couldnt shouldnt aint except unless "
    "avoid stop fail fails failed".split()
)

# They stand between a negation and what it negates: "not very good", "不太好".
BETWEEN = set(
    "a an the any so too very really quite that this these those such much as be been to of at all do does did "
    "太 很 非常 特别 十分 怎么 那么 这么 再 会 能 可以 想 要 用 得 是 有 过 了 的 什么 任何".split()
)

# Words of content after a negation that stay where they are.
NEGATED = 2

CLAUSE_END = re.compile(r"[,.;:!?，。；：！？、…\n]")
CHINESE_NEGATING = tuple("不没未无勿莫毋甭别非否忌")


def negates(word):
    """Whether a word is, or holds, a negation; "n't" and what is written like it too."""
    word = word.lower().replace("’", "'")
    if word.isascii():
        return word in ENGLISH or word.endswith("n't")
    return word in OTHERS or (word not in HARMLESS and NEGATING.search(word) is not None)


def join_contractions(words):
    """The words with "don", "'", "t" as one: jieba takes them apart."""
    joined = []
    for word in words:
        if len(joined) > 1 and joined[-1] in ("'", "’") and word.isalpha() and joined[-2].isalpha():
            mark = joined.pop()
            joined[-1] += mark + word
        else:
            joined.append(word)
    return joined


def negated(words):
    """The positions of what a negation is about: the next NEGATED words of content, no further than its clause."""
    found, left = set(), 0
    for position, word in enumerate(words):
        if negates(word):
            left = NEGATED
        elif CLAUSE_END.search(word):
            left = 0
        elif left and word.strip():
            found.add(position)
            left -= word.lower() not in BETWEEN
    return found
