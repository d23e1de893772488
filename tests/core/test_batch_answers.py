"""batch_answers.py: slices have each text once, and their answers come back in the order of the texts."""

import numpy as np
import pytest

from core.batch_answers import NGRAM_TEXTS, SLICE_TEXTS, Job, Slices


@pytest.mark.parametrize("count", [0, 1, SLICE_TEXTS, 1000])
def test_each_text_is_in_one_slice(count):
    texts = ["长" * (number * 7919 % 61) for number in range(count)]
    slices = Slices(texts, Job("", "onnx"))
    assert sorted(place for places in slices.places for place in places) == list(range(count))
    assert slices.left == len(slices.places) == max(1, -(-count // SLICE_TEXTS))
    lengths = [[len(text) for text in slices.of(number)] for number in range(slices.left)]
    # The longest first, and in a slice the order of the file.
    assert all(min(one) >= max(other) for one, other in zip(lengths, lengths[1:]))
    assert all(places == sorted(places) for places in slices.places)
    for number in reversed(range(len(slices.places))):
        own = slices.of(number)
        best = np.array([len(text) for text in own], "int32").reshape(len(own), 1)
        slices.put(number, (best, best[:, 0] + 1, None))
    assert not slices.left and slices.found[2] is None
    assert slices.found[0].tolist() == [[len(text)] for text in texts]
    assert slices.found[1].tolist() == [len(text) + 1 for text in texts]


def test_large_batches_make_large_slices():
    texts = ["一"] * 5000
    assert len(Slices(texts, Job("", "onnx", batch_size=128)).places) == 5
    assert len(Slices(texts, Job("", "onnx", batch_size=1)).places) == 20
    assert len(Slices(texts, Job("", "onnx", slice_texts=5000)).places) == 1


def test_ngrams_are_not_sorted():
    texts = ["长" * (number % 7) for number in range(2 * NGRAM_TEXTS + 5)]
    slices = Slices(texts, Job("", "ngram"))
    assert [slices.of(number) for number in range(3)] == [texts[:2048], texts[2048:4096], texts[4096:]]
    for number in (2, 0, 1):
        slices.put(number, (np.array([len(text) for text in slices.of(number)], "int32"), None))
    assert slices.found[0].tolist() == list(map(len, texts)) and not slices.left
    assert Slices([], Job("", "ngram")).of(0) == []
