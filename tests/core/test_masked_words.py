"""Parts of predicting masked words; tests/data/test_mlm_head.py and test_pretraining.py train with them."""

import itertools

import numpy as np
import pytest

from core.masked_words import count_tokens, fit_masked_words, split_texts
from tests.helpers import LABELS
from utils import UsageError


def test_the_regression_finds_a_linear_map():
    random = np.random.default_rng(0)
    embeddings, targets = random.normal(size=(50, 8)), random.integers(0, 50, 4000)
    centred = embeddings - embeddings.mean(axis=0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    states = unit[targets] @ random.normal(size=(8, 8))  # invertible: the map back is linear
    weights = fit_masked_words(states, targets, embeddings.copy())
    assert np.abs(states @ weights[:-1] + weights[-1] - unit[targets]).max() < 0.1


def test_the_share_that_is_masked(tiny_model, sample_lines):
    from core.loading import load_config_and_tokenizer

    tokenizer = load_config_and_tokenizer(str(tiny_model))[1]
    texts = list(dict.fromkeys(line.split("\t")[0] for line in sample_lines["train"]))
    for share in (0.15, 0.5):
        trained, held_out = split_texts(texts, tokenizer, 32, 1, share)
        assert len(trained.features) + len(held_out.features) == len(texts)
        for ids, places, _ in itertools.islice(trained.batches(0), 3):
            tokens = np.isin(ids, trained.ordinary) | (ids == tokenizer.mask_token_id)
            wanted = np.ceil(share * tokens.sum(axis=1))
            assert (np.bincount(places // ids.shape[1], minlength=len(ids)) == wanted).all()
    counts = count_tokens(trained, len(tokenizer))
    assert counts[tokenizer.all_special_ids].sum() == 0 and counts.sum() > 1000
    with pytest.raises(UsageError, match="--do_pretrain: only 3 texts have characters"):
        split_texts(LABELS, tokenizer, 32, 1, what="--do_pretrain")
