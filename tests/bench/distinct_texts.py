"""As many different texts as are asked for, from those of a data folder."""

import itertools
import random
from pathlib import Path


def varied(data_dir, count, seed=0):
    """So many different texts: those of train and dev, then these with some of their characters exchanged."""
    for text, _ in varied_samples(data_dir, count, seed):
        yield text


def varied_samples(data_dir, count, seed=0):
    """The same with labels, each that of the text that was varied: yields tuple[str, str]."""
    samples = []
    for name in ("train", "dev"):
        lines = (Path(data_dir) / f"{name}.txt").read_text(encoding="utf-8").splitlines()
        samples += [(line.split("\t")[0], line.split("\t")[-1]) for line in lines]
    texts = [text for text, _ in samples]
    seen, rng, letters = set(), random.Random(seed), "".join(texts)
    for number in itertools.count():
        text, label = samples[number % len(samples)]
        if number >= len(texts):
            text = list(text)
            for place in rng.sample(range(len(text)), min(len(text), 1 + number // len(texts) % 3)):
                text[place] = rng.choice(letters)
            text = "".join(text)
        if text not in seen:
            seen.add(text)
            yield text, label
            if len(seen) == count:
                return
