"""core/card_text.py: both languages say the same numbers, and the user's words do nothing to the page."""

import re

import numpy as np
import pytest

from core import card_text
from core.model_card import Card, dev_scores

LABELS = ["a|b", "<script>", "多##级", "*粗*"]


def card(**more):
    truth = np.repeat([0, 1, 2, 3], [30, 8, 25, 0])
    logits = np.eye(4)[np.where(np.arange(63) % 5 == 0, 1, truth)]
    row = {"accuracy": 0.8, "label_agreement": 1.0, "max_difference": 0.0}
    rows = [
        {"format": "dynamic", "file": "", "ms_per_sample": None, **row},
        {"format": "paddle", "file": "model.pdmodel", "ms_per_sample": 1.25, **row},
        {"format": "onnx_int8", "file": "model_int8.onnx", "ms_per_sample": 0.5, **row, "label_agreement": 0.9},
    ]
    level = {"threshold": 0.9, "answered": 60, "share": 0.6, "accuracy": 0.97}
    quality = {"calibration_error": 0.1, "log_loss": 0.5}
    content = {
        "weights": "f" * 64,
        "max_length": 32,
        "files": {"model.pdmodel": 1_000_000, "model.pdiparams": 2_500_000, "model_int8.onnx": 900_000},
        "calibration": {"temperature": 1.5, "samples": 63, "seed": 1, "before": quality, "after": quality},
        "thresholds": {"0.95": {"samples": 63, "levels": [level], "labels": {}}},
        "conformal": {"0.9": {"least_probability": 0.1, "samples": 63, "mean_size": 1.5, "single": 0.7}},
        "versions": {"python": "3.11"},
    }
    known = {"trained": True, "flags": [("seed", "1")], "by_dev": ["best"], "base": {"name": "enc", "why": "silent"}}
    known["sizes"] = {"train": {"samples": 100, "labels": dict(zip(LABELS, (50, 20, 30, 0)))}}
    known.update(labels=LABELS, content=content, scores=dev_scores(LABELS, truth, logits, 0), rows=rows)
    return Card(**{**known, **more})


def text(language, **more):
    return "\n".join(card_text.card_lines(card(**more), language))


def test_both_languages_have_the_same_numbers():
    chinese, english = (re.findall(r"\d+(?:\.\d+)?%?", text(language)) for language in ("zh", "en"))
    assert len(chinese) > 80 and sorted(chinese) == sorted(english)
    headings = [re.findall(r"^## (\d)", text(language), re.MULTILINE) for language in ("zh", "en")]
    assert headings[0] == headings[1] == list("123456789")


@pytest.mark.parametrize("language", ["zh", "en"])
def test_labels_are_words_and_nothing_else(language):
    page = text(language)
    assert "<script>" not in page and r"\<script\>" in page and r"a\|b" in page and r"\*粗\*" in page
    rows = [line for line in page.splitlines() if line.startswith("|")]
    columns = {len(re.split(r"(?<!\\)\|", row)) for row in rows}
    assert columns <= {5, 6, 7, 8}


def test_what_is_measured_stands_there_and_nothing_else():
    page = text("en")
    assert "| `paddle` | `model.pdmodel` | 3.5 | 80.00% | 100.00% | 1.25 |" in page
    assert "`onnx_int8` gives the model's label to 90.00% of the texts" in page
    assert "dev chose the epoch" in page and "| 95% | 0.9 | 60.00% | 97.00% | 0 |" in page
    assert r"| \*粗\* | 0 | 0 | - | - | - |" in page  # no text of it in dev: no score
    assert "3 labels have" not in page and "2 labels have fewer than 20 texts in dev" in page
    unmeasured = [{**row, "ms_per_sample": None} for row in card().rows]
    assert "The times are" in page and "The times are" not in text("en", rows=unmeasured)


def test_what_is_not_known_is_said_so():
    bare = Card(["a", "b"], {}, {}, why_no_scores="there is no dev.txt")
    for language, (word, why) in {"zh": ("未知", "没有 dev.txt"), "en": ("nknown", "there is no dev.txt")}.items():
        page = "\n".join(card_text.card_lines(bare, language))
        assert page.count(word) >= 8 and why in page
        assert not re.search(r"\d\.\d+", page)
    quiet = text("en", content={"calibration": {"temperature": None, "why": "--calibrate False"}}, by_dev=[])
    assert "The probabilities have no temperature: --calibrate False." in quiet
    assert "The training itself chose nothing by dev" in quiet
    assert "is not known; if so" in text("en", by_dev=[], trained=False)


def test_a_table_of_thousands_is_cut():
    labels = [f"l{number}" for number in range(1000)]
    truth = np.repeat(np.arange(1000), np.arange(1000) % 7)
    logits = np.eye(1000)[truth]
    page = card_text.card_lines(Card(labels, {}, {}, scores=dev_scores(labels, truth, logits, 0)), "en")
    assert sum(line.startswith("| l") and "| label" not in line for line in page) == card_text.MAX_LABELS
    assert any(line.startswith("Only the 200 labels with the most texts in dev of all 1000") for line in page)


def test_a_stated_licence_is_told():
    base = {"name": "small", "licence": "mit", "file": "README.md", "names": ["small"]}
    for language, said in {"zh": "起始模型 `small` 的许可证：mit", "en": "base model `small`: mit"}.items():
        told = text(language, base=base)
        assert said in told and "`README.md`" in told
