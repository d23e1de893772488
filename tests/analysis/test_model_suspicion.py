"""analysis/model_suspicion.py: representer points against their theorem, refusals."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from analysis.model_suspicion import REPRESENTER_C, representer_points
from utils import UsageError


def test_representer_weights_are_the_gradients():
    """The refitted layer is the sum of features with these weights, as the paper's theorem says."""
    random = np.random.RandomState(0)
    features, ids = random.randn(200, 6), random.randint(0, 3, 200)
    suspicion, probabilities = representer_points(features, ids, 3)
    alpha = np.eye(3)[ids] - probabilities
    model = LogisticRegression(C=REPRESENTER_C, max_iter=5000, tol=1e-8).fit(features, ids)
    assert np.abs(REPRESENTER_C * alpha.T @ features - model.coef_).max() < 1e-3
    assert np.allclose(suspicion, alpha[np.arange(200), ids])


def test_one_label_is_refused():
    with pytest.raises(UsageError, match="all samples have one label"):
        representer_points(np.eye(3), np.zeros(3, int), 2)
