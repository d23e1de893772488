"""data/tokens.py: lengths in full, unknown tokens."""

from core.loading import load_config_and_tokenizer
from data.tokens import TokenCounter


def test_long_texts_are_counted_in_full(tiny_model):
    count = TokenCounter(load_config_and_tokenizer(str(tiny_model))[1], 16)
    assert count(["头疼" * 5, "头疼" * 500, "头" * 31, "头" * 30]) == [12, 1002, 33, 32]


def test_unknown_tokens_are_counted_on_the_way(tiny_model):
    count = TokenCounter(load_config_and_tokenizer(str(tiny_model))[1], 16)
    count(["头疼", "к врачу", "头疼ж"])
    assert count.shares == [0.0, 1.0, 1 / 3]
    assert (count.unknown.unknown, count.unknown.tokens) == (3, 7)
