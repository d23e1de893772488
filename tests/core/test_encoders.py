"""The Rust tokenizer beside PaddleNLP's own."""

import numpy as np
import pytest

from core import encoders, loading
from tests.helpers import ROOT

HARD_TEXTS = [
    "HPV18阳性，25岁ABC", "ＡＢＣ１２３", "β-受体阻滞剂", "①③Ⅲ度", "37.5℃", "é è ü ñ", "a\u3000b\xa0c", "O(∩_∩)O",
    "²º\u00ad〇µØŋ", "👍🏻很好", "\u200b零宽",
    "~!@#$%^&*()_+`-={}|[]\\:\";'<>?,./", "…—·「」『』《》", "", " ", "中" * 300,
]  # fmt: skip


@pytest.mark.parametrize("max_length", [16, 128])
def test_the_rust_tokenizer_gives_paddlenlp_s_ids(tiny_model, max_length, sample_lines):
    _, tokenizer = loading.load_config_and_tokenizer(str(tiny_model))
    texts = HARD_TEXTS + [line.split("\t")[0] for lines in sample_lines.values() for line in lines]
    encode = encoders.make_encoder(tokenizer, max_length, True, texts)
    assert encode.is_fast
    slow = tokenizer(texts, max_length=max_length, truncation=True)
    fast = encode(texts)
    assert [feature["input_ids"] for feature in fast] == slow["input_ids"]
    assert [feature["token_type_ids"] for feature in fast] == slow["token_type_ids"]


def test_the_rust_tokenizer_on_random_unicode(tiny_model):
    """Unassigned code points, combining marks, newer punctuation: without the fallback 15 % of these texts differ."""
    _, tokenizer = loading.load_config_and_tokenizer(str(tiny_model))
    rng = np.random.default_rng(0)
    ranges = [(32, 0x250), (0x250, 0xD7FF), (0x2000, 0x2700), (0x3000, 0x3100), (0x4E00, 0x9FFF), (0xFF00, 0xFFEF)]
    texts = ["[SEP]在文中[MASK]", "[sep]", "a\0b", "\u2028x", "İßǅﬁ", "e\u0301", "ไทย 한국어"]
    for length in rng.integers(1, 30, 2000):
        picks = [ranges[index] for index in rng.integers(0, len(ranges), length)]
        texts.append("".join(chr(rng.integers(*pick)) for pick in picks))
    encode = encoders.make_encoder(tokenizer, 128, False, ["头疼"])
    assert encode.is_fast
    slow = tokenizer(texts, max_length=128, truncation=True)["input_ids"]
    assert [feature["input_ids"] for feature in encode(texts)] == slow


@pytest.mark.parametrize(
    "text", ["中" * 10_000, "头疼 " * 4000, "ab cd " * 2000, "x" * 10_000, "\u061d医" * 5000, " " * 10_000]
)
def test_of_a_long_text_the_beginning_is_enough(tiny_model, monkeypatch, text):
    """The same tokens, without the time that cutting the rest into words takes."""
    _, tokenizer = loading.load_config_and_tokenizer(str(tiny_model))
    encode, expected = encoders.make_encoder(tokenizer, 16, True), tokenizer(text, max_length=16, truncation=True)
    assert encode([text, "短"])[0]["input_ids"] == expected["input_ids"]
    read = []
    fast = encoders.encode_beginnings(lambda parts: read.extend(parts) or encode(parts), [text], 16)
    assert fast[0]["input_ids"] == expected["input_ids"]
    if text.strip("x "):
        assert sum(map(len, read)) <= 10 * 16


def test_another_tokenizer_is_not_replaced(tiny_model, monkeypatch):
    _, tokenizer = loading.load_config_and_tokenizer(str(tiny_model))
    monkeypatch.setattr(type(tokenizer), "tokenize", lambda self, text, **kwargs: ["[MASK]"])
    assert encoders.make_encoder(tokenizer, 16, True, ["头疼"]).is_fast is False


@pytest.mark.slow
@pytest.mark.parametrize("max_length", [16, 128])
def test_the_rust_tokenizer_on_all_real_texts(shared, max_length):
    encoder = ROOT / "data" / "offline_encoder"
    if not encoder.is_dir():
        pytest.skip("data/offline_encoder is not built")
    _, tokenizer = loading.load_config_and_tokenizer(str(encoder))
    texts = [
        line.split("\t")[0]
        for name in ("train", "dev", "data")
        for line in (shared / "kuake_qic" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    ]
    encode = encoders.make_encoder(tokenizer, max_length, True, texts)
    assert encode.is_fast and len(texts) == 10880
    slow = tokenizer(texts, max_length=max_length, truncation=True)["input_ids"]
    assert [feature["input_ids"] for feature in encode(texts)] == slow
