"""core/confidence.py: what export.json promises, and what it does not."""

import pytest

from core import confidence
from core.label_paths import confidence_problem
from utils import UsageError, write_json

ROW = {"threshold": 0.7, "answered": 90, "share": 0.9, "accuracy": 0.99}
CONTENT = {
    "calibration": {"temperature": 1.5, "samples": 100, "seed": 42},
    "thresholds": {
        "0.95": {"samples": 100, "levels": [None, ROW], "labels": {}},
        "0.98": {"samples": 100, "levels": [None, None], "labels": {"a": ROW}},
    },
    "conformal": {"0.9": {"least_probability": 0.25, "samples": 100}},
    "formats": {"onnx_int8": {"thresholds": {"0.95": {"levels": [{**ROW, "threshold": 0.8}, None]}}, "conformal": {}}},
}


def test_a_number_or_an_accuracy():
    assert confidence.limits({}, "paddle", 0.5) == 0.5
    assert confidence.limits(CONTENT, "onnx", "accuracy:0.95") == (None, 0.7)
    assert confidence.limits(CONTENT, "paddle", "accuracy:0.950") == (None, 0.7)
    assert confidence.limits(CONTENT, "onnx_int8", "accuracy:0.95") == (0.8, None)
    for wrong in ("accuracy:", "accuracy:2", "accuracy:nan", "Accuracy:0.9", "0.5", None, True):
        assert confidence_problem(wrong) == "give a number from 0 to 1, or accuracy:0.98"
        with pytest.raises(UsageError, match="min_confidence .*: give a number from 0 to 1, or accuracy:0.98"):
            confidence.limits(CONTENT, "paddle", wrong)


@pytest.mark.parametrize(
    "content, format, message",
    [
        (CONTENT, "paddle", "no threshold for that; export.json has one for 0.95$"),  # 0.98 has some labels only
        (CONTENT, "paddle_bf16", "it is not known for paddle_bf16; see train.py --do_parity; give a number, or"),
        ({}, "paddle", "export.json says nothing of it; give a number, or export with a larger dev.txt"),
        ({"calibration": {"on": "dev.txt"}}, "paddle", "export.json says nothing of it"),
        ({"calibration": {"temperature": None, "why": "dev has 9 samples"}}, "onnx", "dev has 9 samples; give a num"),
        ({**CONTENT, "thresholds": {}}, "paddle", "dev is too small or the model too often wrong; give a number"),
    ],
)
def test_what_is_not_promised_is_refused_with_the_reason(content, format, message):
    with pytest.raises(
        UsageError, match=f"min_confidence accuracy:0.98: no threshold for that; .*{message}|{message}"
    ):
        confidence.limits(content, format, "accuracy:0.98")


def test_sets():
    assert confidence.least_probability(CONTENT, "paddle", 0.9) == 0.25
    with pytest.raises(UsageError, match="conformal 0.95: no least probability for that; export.json has one for 0.9"):
        confidence.least_probability(CONTENT, "paddle", 0.95)
    with pytest.raises(UsageError, match="it is not known for onnx_int8"):
        confidence.least_probability(CONTENT, "onnx_int8", 0.9)
    for wrong in (0, 1, True, "0.9", None, float("nan")):
        assert confidence.share_problem(wrong)
        with pytest.raises(UsageError, match="conformal .*: give how often a set shall hold the right label"):
            confidence.least_probability(CONTENT, "paddle", wrong)
    assert [confidence.most_labels(least, 9) for least in (0.0, 1.0, 0.5, 0.4, 0.333333, 0.01)] == [9, 1, 2, 2, 3, 9]


def test_the_temperature_of_a_content():
    assert confidence.temperature_of(CONTENT) == 1.5
    for content in (
        {},
        {"calibration": None},
        {"calibration": {"on": "dev.txt"}},
        {"calibration": {"temperature": None}},
    ):
        assert confidence.temperature_of(content) == 1.0


def test_answers_of_different_exports_have_different_names():
    content = {"weights": "0123456789abcdef", "calibration": {"temperature": 1.25}}
    assert confidence.version_of(content, "onnx") == "0123456789ab-t1.25-onnx"
    assert confidence.version_of({}, "paddle") == "unknown-t1-paddle"


def test_what_a_checkpoint_is_served_with(tmp_path):
    assert confidence.served_temperature(tmp_path) == (1.0, None)
    (tmp_path / "model_state.pdparams").write_bytes(b"weights")
    (tmp_path / "export").mkdir()
    write_json(tmp_path / "export" / "export.json", {**CONTENT, "weights": "another's"})
    assert confidence.served_temperature(tmp_path) == (1.0, None)
    digest = confidence.weights_digest(tmp_path)
    write_json(tmp_path / "export" / "export.json", {**CONTENT, "weights": digest})
    assert confidence.served_temperature(tmp_path) == (1.5, tmp_path / "export")
    # A pruned model: its export.json names the weights that it was pruned from.
    write_json(tmp_path / "export.json", {"calibration": {"temperature": 2.5}, "weights": "its teacher's"})
    assert confidence.served_temperature(tmp_path) == (2.5, tmp_path)
