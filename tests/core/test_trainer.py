"""The Trainer's evaluation and metrics."""

import numpy as np
import pytest

from core import trainer


def test_metrics_against_a_count_by_hand():
    from types import SimpleNamespace

    logits = np.eye(3)[[0, 0, 1, 1, 1, 0]]
    metrics = trainer.compute_metrics(
        SimpleNamespace(predictions=logits, label_ids=np.array([[0], [0], [1], [0], [1], [2]]))
    )
    assert metrics["accuracy"] == pytest.approx(4 / 6)
    assert metrics["macro_precision"] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert metrics["macro_recall"] == pytest.approx((2 / 3 + 1 + 0) / 3)
