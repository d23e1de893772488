"""core/long_texts.py: what is kept of a long text, and one answer of several windows."""

import ast

import numpy as np
import pytest

from core import encoders, long_texts
from core.loading import load_config_and_tokenizer
from core.long_texts import LongText, flat, window_facts
from tests.helpers import ROOT


def feature(tokens):
    """A text of so many tokens: 1 is [CLS], 2 is [SEP], its own count from 10."""
    return {"input_ids": [1, *range(10, 10 + tokens), 2], "token_type_ids": [0] * (tokens + 2)}


@pytest.fixture
def windows():
    return LongText({"way": "windows", "stride": 4, "pooling": "mean"}, 8)


def test_it_needs_numpy_alone():
    """Triton gets a copy of it."""
    tree = ast.parse((ROOT / "core" / "long_texts.py").read_text(encoding="utf-8"))
    names = [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
    assert names == ["numpy"] and not any(isinstance(node, ast.ImportFrom) for node in ast.walk(tree))


@pytest.mark.parametrize("facts", [None, {"way": "head_tail"}, {"way": "windows", "stride": 4, "pooling": "max"}])
def test_a_text_that_fits_is_the_same_in_all_ways(facts):
    long_text = LongText(facts, 8)
    for tokens in range(7):
        given = feature(tokens)
        assert long_text.features(given) is given and long_text.tokens(tokens) == tokens + 2


def test_the_published_head_and_tail():
    """Sun et al. 2019: of 510 tokens the first 128 and the last 382."""
    long_text = LongText({"way": "head_tail"}, 512)
    assert (long_text.head, long_text.tail) == (128, 382)
    ids = long_text.features(feature(1000))["input_ids"]
    assert ids == [1, *range(10, 138), *range(10 + 1000 - 382, 1010), 2]
    short = LongText({"way": "head_tail"}, 10)
    assert short.features(feature(20)) == {
        "input_ids": [1, 10, 11, 24, 25, 26, 27, 28, 29, 2],
        "token_type_ids": [0] * 10,
    }
    assert LongText({"way": "head_tail", "head": 4}, 10).features(feature(20))["input_ids"][4:6] == [13, 26]


@pytest.mark.parametrize("stride", [1, 4, 6])
@pytest.mark.parametrize("tokens", [7, 8, 12, 13, 40])
def test_windows_are_full_and_read_every_token(stride, tokens):
    long_text = LongText({"way": "windows", "stride": stride}, 8)
    given = feature(tokens)
    found = long_text.features(given)["windows"]
    assert len(found) == len(long_text.starts(tokens)) == 1 + -(-(tokens - 6) // stride)
    assert all(len(ids) == 8 for window in found for ids in window.values())
    assert all(window["input_ids"][0] == 1 and window["input_ids"][-1] == 2 for window in found)
    read = [window["input_ids"][1:-1] for window in found]
    assert {token for window in read for token in window} == set(given["input_ids"][1:-1])
    assert [window[0] - 10 for window in read[:-1]] == list(range(0, stride * (len(found) - 1), stride))
    assert read[-1][-1] == given["input_ids"][-2]  # the last one ends with the text
    assert long_text.tokens(tokens) == 8 * len(found)


def test_spans_are_the_characters_of_the_windows(tiny_model):
    _, tokenizer = load_config_and_tokenizer(str(tiny_model))
    long_text = LongText({"way": "windows", "stride": 20}, 32)
    encode = encoders.make_encoder(tokenizer, 32, True, long_text=long_text)
    assert encode.is_fast
    text = "  头疼ABC怎么办 " * 12
    (found,) = encode([text])
    whole = tokenizer(text, truncation=False)["input_ids"]
    assert [ids for window in found["windows"] for ids in window["input_ids"][1:2]] == [
        whole[1 + start] for start in long_text.starts(len(whole) - 2)
    ]
    assert len(found["spans"]) == len(found["windows"]) > 2
    for window, (start, end) in zip(found["windows"], found["spans"]):
        # Words of letters are one token each, so that a part of a text begins and ends where its tokens do.
        assert tokenizer(text[start:end], truncation=False)["input_ids"] == window["input_ids"]
    # Where PaddleNLP's own tokenizer has to read a text, nobody knows its characters; its windows are the same.
    slow = encoders.make_encoder(tokenizer, 32, True, long_text=long_text)
    odd = text + "\u0378"
    (other,) = slow([odd])
    assert other["spans"] is None and len(other["windows"]) == len(found["windows"])


def test_pooling(windows):
    random = np.random.default_rng(0)
    logits = random.standard_normal((6, 3)).astype("float32")
    counts = np.array([1, 3, 2])
    maximum = LongText({"way": "windows", "stride": 4, "pooling": "max"}, 8)
    np.testing.assert_allclose(
        windows.pool(logits, counts), [logits[0], logits[1:4].mean(axis=0), logits[4:].mean(axis=0)], rtol=1e-6
    )
    np.testing.assert_array_equal(
        maximum.pool(logits, counts), [logits[0], logits[1:4].max(axis=0), logits[4:].max(axis=0)]
    )
    for way in (windows, maximum):
        assert way.pool(logits, None) is logits
        assert (way.pool(logits, counts)[0] == logits[0]).all()  # to the last bit
        assert (way.pool(logits, np.ones(6, int)) == logits).all()


def test_which_window_decides(windows):
    """Of the mean the one that adds most to the answer beside what it adds to all; of the maximum the highest."""
    logits = np.array([[5, 5, 5], [0, 2, 0], [1, 1, 1], [3, 0, 0]], "float32")
    counts, answers = np.array([3, 1]), np.array([1, 0])
    features = [{**feature(1), "windows": [feature(1)] * 3, "spans": [(0, 4), (3, 9), (8, 12)]}, feature(1)]
    found = windows.deciding(features, logits, counts, answers)
    assert found.tolist() == [(2, 3, 3, 9), (1, 1, -1, -1)]
    assert list(map(window_facts, found)) == [{"number": 2, "of": 3, "start": 3, "end": 9}, None]
    maximum = LongText({"way": "windows", "stride": 4, "pooling": "max"}, 8)
    features[0]["spans"] = None
    assert list(map(window_facts, maximum.deciding(features, logits, counts, answers))) == [
        {"number": 1, "of": 3},
        None,
    ]


def test_flat_windows(windows):
    features = [feature(3), windows.features(feature(20))]
    rows, counts = flat(features)
    assert counts.tolist() == [1, 5] and len(rows) == 6 and rows[0] is features[0]
    assert flat(features[:1]) == (features[:1], None)
    assert long_texts.windows_of(features[1]) == rows[1:]
