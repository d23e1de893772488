"""What the vocabulary of a model cannot read: tokens that became [UNK], by script, and the characters behind them.

Every character that a vocabulary lacks turns the word around it into [UNK], the same for all such words: the model
sees that something is there, and nothing of what it is.
"""

import bisect
import collections
import functools
import itertools
import unicodedata

# The share of [UNK] from which it is worth a warning, and from which a text is not read at all.
NOTABLE, UNREADABLE = 0.01, 0.5
# That of all tokens from which a model learns more from what it cannot read than from what the texts say.
UNUSABLE = 0.3
# Texts whose scripts are counted, and characters that are tried.
MAX_TEXTS, MAX_CHARACTERS = 20_000, 2_000

# The first character of blocks of Unicode -> the script's name, for those that people write whole texts in.
_BLOCKS = {
    0x0000: "Latin",
    0x0370: "Greek",
    0x0400: "Cyrillic",
    0x0530: "Armenian",
    0x0590: "Hebrew",
    0x0600: "Arabic",
    0x0700: "other",
    0x0900: "Devanagari",
    0x0980: "Bengali",
    0x0A00: "Gurmukhi",
    0x0A80: "Gujarati",
    0x0B00: "other",
    0x0B80: "Tamil",
    0x0C00: "Telugu",
    0x0C80: "Kannada",
    0x0D00: "Malayalam",
    0x0D80: "Sinhala",
    0x0E00: "Thai",
    0x0E80: "Lao",
    0x0F00: "Tibetan",
    0x1000: "Burmese",
    0x10A0: "Georgian",
    0x1100: "Korean",
    0x1200: "Ethiopic",
    0x13A0: "other",
    0x1780: "Khmer",
    0x1800: "Mongolian",
    0x18B0: "other",
    0x1E00: "Latin",
    0x1F00: "Greek",
    0x2000: "symbols",
    0x2E80: "Chinese",
    0x3040: "Japanese",
    0x3100: "Chinese",
    0x3130: "Korean",
    0x3190: "Chinese",
    0xA000: "other",
    0xAC00: "Korean",
    0xD800: "other",
    0xF900: "Chinese",
    0xFB1D: "Hebrew",
    0xFB50: "Arabic",
    0xFE00: "symbols",
    0xFE70: "Arabic",
    0xFF00: "symbols",
    0xFF66: "Japanese",
    0xFFA0: "symbols",
    0x10000: "other",
    0x1F000: "symbols",
    0x20000: "Chinese",
    0x323B0: "other",
}
_STARTS = list(_BLOCKS)


def script_blocks():
    """The blocks of characters: list of (first code, code behind the last, script)."""
    return list(zip(_STARTS, [*_STARTS[1:], 0x110000], _BLOCKS.values()))


@functools.lru_cache(maxsize=1 << 16)
def script_of(character):
    """The script of a letter or a symbol; None for white space, digits and punctuation."""
    if unicodedata.category(character)[0] in "ZPNC":
        return None
    return _BLOCKS[_STARTS[bisect.bisect_right(_STARTS, ord(character)) - 1]]


def main_script(text):
    """The script of most letters of a text; Japanese where a fifth of them are kana."""
    counts = collections.Counter(filter(None, map(script_of, text)))
    if counts["Japanese"] * 4 >= counts["Chinese"] and counts["Japanese"]:
        counts["Japanese"] += counts["Chinese"]
    return counts.most_common(1)[0][0] if counts else "symbols"


class UnknownTokens:
    """Counts the tokens of texts that are [UNK].

    Args:
        unk_token_id (int | None): of the tokenizer; None: it has no such token, and nothing is counted.
        encode (Callable): from texts to features, to try single characters with.

    Attributes:
        tokens, unknown (int): of all texts, [CLS] and [SEP] left out.
        texts (int): how many.
        unreadable (list[str]): the first texts of which half or more is [UNK].
        num_unreadable (int): how many of those there are.
    """

    def __init__(self, unk_token_id, encode):
        self.unk_token_id, self.encode = unk_token_id, encode
        self.tokens = self.unknown = self.texts = self.num_unreadable = 0
        self.unreadable = []
        self.by_script = collections.defaultdict(lambda: [0, 0])
        self.characters = collections.Counter()

    def add(self, texts, features):
        """Count texts.

        Args:
            texts (list[str]): what was encoded.
            features (list[dict]): with input_ids of each, [CLS] and [SEP] around them.

        Returns:
            list[float]: the share of [UNK] of each text.
        """
        shares = []
        for text, feature in zip(texts, features):
            size = max(0, len(feature["input_ids"]) - 2)
            unknown = list(feature["input_ids"]).count(self.unk_token_id) if self.unk_token_id is not None else 0
            self.texts += 1
            self.tokens += size
            self.unknown += unknown
            shares.append(unknown / size if size else 0.0)
            if self.texts <= MAX_TEXTS:
                row = self.by_script[main_script(text)]
                row[0] += unknown
                row[1] += size
                if unknown:
                    self.characters.update(text)
            if shares[-1] >= UNREADABLE:
                self.num_unreadable += 1
                if len(self.unreadable) < 3:
                    self.unreadable.append(text)
        return shares

    @property
    def share(self):
        """The share of [UNK], 0 to 1."""
        return self.unknown / self.tokens if self.tokens else 0.0

    def worst_characters(self, count=12):
        """The most frequent characters that the vocabulary does not have: list[str]."""
        common = [character for character, _ in self.characters.most_common(MAX_CHARACTERS) if not character.isspace()]
        # Twice, since a letter must be known inside a word, too.
        features = self.encode([2 * character for character in common]) if common else []
        unknown = (char for char, feature in zip(common, features) if self.unk_token_id in feature["input_ids"])
        return list(itertools.islice(unknown, count))

    def summary(self):
        """JSON-ready: share, share by script (worst first, those above NOTABLE), characters, unreadable texts."""
        scripts = {name: unknown / size for name, (unknown, size) in self.by_script.items() if size}
        return {
            "share": round(self.share, 4),
            "by_script": {
                name: round(share, 4)
                for name, share in sorted(scripts.items(), key=lambda item: -item[1])
                if share > NOTABLE
            },
            "characters": self.worst_characters(),
            "unreadable_texts": self.num_unreadable,
        }

    def warning(self, what, model):
        """What to tell the user, or None where nearly all can be read.

        Args:
            what (str): the texts, such as "train.txt".
            model (str): directory or name of the model.
        """
        if self.share <= NOTABLE:
            return None
        found = self.summary()
        scripts = ", ".join(f"{name} {share:.0%}" for name, share in found["by_script"].items())
        return (
            f"{what}: {self.share:.1%} of the tokens are [UNK], characters or words that {model} cannot read"
            f"{f' ({scripts})' if scripts else ''}; the most frequent characters: {' '.join(found['characters'])}. "
            f"{self.num_unreadable:,} of {self.texts:,} texts are half unknown or more: their labels are guesses. "
            f"{WHAT_HELPS}"
        )


WHAT_HELPS = (
    "What helps: a model whose vocabulary has this language, such as ernie-m-base (96 languages), a HuggingFace BERT "
    "of it or what `python data/build_encoder.py --texts FILE` makes of your texts; or texts in the script that the "
    "model was made for"
)


class UnknownWatch:
    """Warns, once, where more than NOTABLE of the tokens of some texts are [UNK].

    Args:
        tokenizer: with unk_token_id.
        encode (Callable): from texts to features, [CLS] and [SEP] around them and nothing else, such as a prompt.
        model (str): directory or name of the model.
        warn (Callable[[str], None]): such as logger.warning.

    Attributes:
        warned (bool): whether it has spoken; it then looks at nothing more.
    """

    def __init__(self, tokenizer, encode, model, warn):
        self.unk_token_id, self.encode = tokenizer.unk_token_id, encode
        self.model, self.warn, self.warned = model, warn, False

    def look(self, what, texts, features=None):
        """Warn of some texts where it is worth it, and has not been done.

        Args:
            what (str): the texts, such as "train.txt".
            texts (list[str]): the texts.
            features (list[dict]): of `encode`, where they are at hand.
        """
        if not self.warned:
            self.say(self.message(what, texts, features))

    def message(self, what, texts, features=None):
        """What to tell the user of some texts, see `look`; None where nearly all can be read."""
        texts, unknown = list(texts), UnknownTokens(self.unk_token_id, self.encode)
        unknown.add(texts, self.encode(texts) if features is None else features)
        return unknown.warning(what, self.model)

    def say(self, message):
        """Warn with a message of `message`, where there is one and none was said."""
        if message and not self.warned:
            self.warn(message)
            self.warned = True
