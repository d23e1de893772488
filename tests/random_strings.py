"""Random strings of all of Unicode, on which tokenizers and runtimes are compared, in tests and benchmarks."""

import random
import sys


def random_strings(count, seed=7):
    """Strings of all of Unicode, those of single blocks among them, with known words and special tokens between."""
    rng = random.Random(seed)
    words = [
        "头疼",
        "ABC",
        "[SEP]",
        "[MASK]",
        "[sep]",
        "[[CLS]]",
        "[MA\0SK]",
        " [C\ufffdLS] ",
        "##",
        " ",
        "\n",
        "\x00",
        "e\u0301",
        "ΑΣ",
        "İ",
        "ＡＢ",
    ]
    strings = ["", "x" * 101, "[S\u0378EP]", "[S\x00EP]", "\u2028x", "a\u0344b", "\U00011938", "中" * 500]
    while len(strings) < count:
        first = rng.choice([0x20, 0x250, 0x900, 0x2000, 0x3000, 0x4E00, 0xAC00, 0xF900, 0x10000, 0x1D000, 0x1F300])
        last = rng.choice([first + 0x100, first + 0x1000, sys.maxunicode])
        codes = [rng.randrange(first, last) for _ in range(rng.choice([1, 4, 12, 40]))]
        parts = [chr(code) for code in codes if not 0xD800 <= code < 0xE000] + rng.choices(words, k=3)
        rng.shuffle(parts)
        strings.append("".join(parts))
    return strings
