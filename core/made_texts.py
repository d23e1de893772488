"""Texts made from others, for a model to answer and a small student to learn from: train.py --made_texts. No paddle.

Tang et al. (2019, arXiv 1903.12136, section 3.3) make texts for a student by masking and replacing words and by
cutting out n-grams; here the pieces of several texts are put together too. What is made need not be good language: the
model's answers show the student how much each piece weighs where it stands in other company.
"""

import random
import re

from core.unlabelled import same_text

# A word of an alphabet, a number, white space, or one other character, such as a Chinese one.
UNIT = re.compile(r"[A-Za-z\u00c0-\u052f]+|[0-9]+|\s+|.", re.DOTALL)

# Units that are read at most, of texts drawn by chance: they are held as Python objects.
MOST_UNITS = 500_000
# Texts that are made at most.
MOST_MADE = 50_000
# So often as many are tried as are wanted: short texts have few variants.
TRIES = 10
# The share of the units that `noisy` drops or replaces, by equal chances: between these.
NOISE = 0.05, 0.35

BEGIN, END = "", None


class Pieces:
    """Texts in units, where each unit is, and what follows each pair.

    Args:
        texts (list[str]): each with a unit.
        longest (int): units of a text that are read, and made, at most.
        rng (random.Random): draws the texts where they are too many.
    """

    def __init__(self, texts, longest, rng):
        self.longest, self.texts, units = longest, [], 0
        for text in rng.sample(texts, len(texts)):
            self.texts.append(UNIT.findall(text)[:longest])
            units += len(self.texts[-1])
            if units >= MOST_UNITS:
                break
        self.units = [unit for text in self.texts for unit in text]
        self.places, self.after = {}, {}
        for number, text in enumerate(self.texts):
            for place, unit in enumerate(text):
                self.places.setdefault(unit, []).append((number, place))
            whole = [BEGIN, BEGIN, *text, END]
            for first, second, third in zip(whole, whole[1:], whole[2:]):
                self.after.setdefault((first, second), []).append(third)


def chained(pieces, rng):
    """Each unit follows the two before it as it does in some text."""
    pair, made = (BEGIN, BEGIN), []
    while len(made) < pieces.longest:
        unit = rng.choice(pieces.after[pair])
        if unit is END:
            break
        made.append(unit)
        pair = pair[1], unit
    return made


def joined(pieces, rng):
    """The beginning of a text and the end of another, which meet at a unit that both have."""
    text = rng.choice(pieces.texts)
    place = rng.randrange(len(text))
    other, there = rng.choice(pieces.places[text[place]])
    return text[:place] + pieces.texts[other][there:]


def noisy(pieces, rng):
    """A text of which some units are missing, and some are others."""
    share, made = rng.uniform(*NOISE), []
    for unit in rng.choice(pieces.texts):
        chance = rng.random()
        if chance >= share / 2:
            made.append(rng.choice(pieces.units) if chance < share else unit)
    return made


def part(pieces, rng):
    """Some of a text's units in a row."""
    text = rng.choice(pieces.texts)
    size = rng.randint(1, len(text))
    start = rng.randint(0, len(text) - size)
    return text[start : start + size]


def halves(pieces, rng):
    """The beginning of a text and the end of any other."""
    first, second = rng.choice(pieces.texts), rng.choice(pieces.texts)
    return first[: rng.randint(1, len(first))] + second[rng.randrange(len(second)) :]


# In equal parts, each in its turn.
KINDS = (chained, joined, noisy, part, halves)


def made_number(texts, share):
    """How many texts --made_texts asks for: `share` a text, at most MOST_MADE."""
    return min(MOST_MADE, round(share * texts))


def make_texts(texts, number, max_length, seed, held_out=()):
    """Make texts; the same ones again from the same arguments.

    Args:
        texts (list[str]): what they are made from.
        number (int): wanted; fewer where so many different ones are not found.
        max_length (int): tokens that the model reads of a text; no text is made of more units.
        seed (int): of all that is drawn.
        held_out: texts that must not be made, such as dev's.

    Returns:
        list[str]: each once, none among `texts` and `held_out` without regard to width, case and space.
    """
    rng, made = random.Random(seed), []
    seen = {same_text(text) for some in (texts, held_out) for text in some} | {""}
    usable = [text for text in texts if text.strip()]
    if not number or not usable:
        return made
    pieces = Pieces(usable, max_length, rng)
    for attempt in range(TRIES * number):
        text = "".join(KINDS[attempt % len(KINDS)](pieces, rng)[:max_length]).strip()
        key = same_text(text)
        if key not in seen:
            seen.add(key)
            made.append(text)
            if len(made) == number:
                break
    return made
