"""analysis/word_flags.py: methods by name, and what is read before the model."""

import pytest

from analysis.word_flags import DEFAULT_METHOD, METHODS, parse_flags, read_input
from tests.analysis.planted import word_flags


@pytest.mark.parametrize(
    ("given", "methods"),
    [
        ([], [DEFAULT_METHOD]),
        (["--method", "all"], list(METHODS)),
        (["--method", "attention", "lime", "attention"], ["attention", "lime"]),
        (["--method", "lime", "all"], list(METHODS)),
    ],
)
def test_methods(given, methods):
    assert parse_flags(word_flags("data", "model", *given)).method == methods


def test_input(trained_once):
    labels, rows = read_input(parse_flags(word_flags(*trained_once)))
    assert sorted(labels) == sorted((trained_once[0] / "label.txt").read_text(encoding="utf-8").split())
    assert "\n".join(f"{text}\t{label}" for _, text, label, *_ in rows) == (
        (trained_once[0] / "dev.txt").read_text(encoding="utf-8").strip()
    )
