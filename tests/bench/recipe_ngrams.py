"""What --ngram_features adds to answers in bench_recipes.py: the encoder learns the same with it as without."""

import time

import numpy as np

from core.ngrams import TOWER_SHARE, Tower, without_special
from utils import read_examples, read_labels, staged_files

MAX_LENGTH = 128


def ngram_answers(data, encoder, path):
    """What a text's n-grams add to its logits, fitted once for all seeds and kept.

    Args:
        data (Path): has train.txt, dev.txt, label.txt, and held_out.txt or none.
        encoder (Path): the folder of the encoder, for its tokenizer.
        path (Path): of the .npz that keeps the answers; the caller sees to it that data and encoder are its own.

    Returns:
        dict: split -> float32 [samples, classes], and the CPU seconds of the fit as cpu_seconds.
    """
    if not path.exists():
        from paddlenlp.transformers import AutoTokenizer

        from core.encoders import make_encoder
        from core.ngram_layer import special_ids

        labels, tokenizer = read_labels(data / "label.txt"), AutoTokenizer.from_pretrained(str(encoder))
        splits = [split for split in ("train", "held_out", "dev") if (data / f"{split}.txt").exists()]
        texts, ids = zip(*(read_examples(data / f"{split}.txt", labels) for split in splits))
        encode, special = make_encoder(tokenizer, MAX_LENGTH, False, texts[0]), special_ids(tokenizer)
        tokens = [[without_special(row["input_ids"], special) for row in encode(some)] for some in texts]
        start = time.process_time()
        tower = Tower(tokens[0], ids[0], len(labels), seed=1)
        kept = {"cpu_seconds": time.process_time() - start}
        for split, some in zip(splits[1:], tokens[1:]):
            kept[split] = (TOWER_SHARE * tower.logits(some)).astype("float32")
        with staged_files(path.parent) as stage:
            np.savez(stage / path.name, **kept)
    return dict(np.load(path))
