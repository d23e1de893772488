"""same_answers.py: what is said of two sets of logits; tests/core/test_export.py compares real formats."""

import numpy as np

from core.same_answers import compared, is_exact, parity_table


def test_a_row_and_what_is_exact():
    expected, truth = np.array([[2.0, 1.0], [0.0, 3.0], [1.0, 0.5]], "float32"), np.array([0, 1, 1])
    same = compared("paddle", "model.pdmodel", expected + np.float32(5e-5), expected, truth, 1.25)
    assert is_exact(same) and (same["label_agreement"], round(same["accuracy"], 4)) == (1.0, 0.6667)
    other = expected.copy()
    other[2] = [0.4, 0.5]
    other = compared("onnx_int8", "model_int8.onnx", other, expected, truth)
    assert not is_exact(other) and other["accuracy"] == 1.0 and abs(other["max_difference"] - 0.6) < 1e-6
    # The same labels are not enough.
    assert not is_exact(compared("onnx", "", expected * 2, expected, truth))
    lines = parity_table([same, other])
    assert len(lines) == 3 and "1.250" in lines[1] and "66.67%" in lines[1] and lines[2].rstrip().endswith("-")
