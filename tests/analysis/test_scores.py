"""analysis/scores.py: statistics against independent ones."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support, top_k_accuracy_score

from analysis import scores
from analysis.vectors import softmax


@pytest.fixture(scope="module")
def sample():
    """Logits and classes of 2,000 samples, of which the logits are three times too large for calibration."""
    random = np.random.RandomState(0)
    logits = random.randn(2000, 4)
    truth = np.array([random.choice(4, p=row) for row in softmax(logits)])
    return 3 * logits, truth


def test_scores_are_scikit_learns(sample):
    logits, truth = sample
    predicted = logits.argmax(axis=1)
    found = scores.class_scores(scores.confusion_matrix(truth, predicted, 4))
    expected = precision_recall_fscore_support(truth, predicted)
    assert np.allclose(found, np.stack(expected[:3], axis=1))
    for k in (2, 3):
        assert scores.top_k_accuracy(logits, truth, k) == pytest.approx(top_k_accuracy_score(truth, logits, k=k))


def test_bootstrap_is_that_of_samples(sample):
    logits, truth = sample
    predicted = logits.argmax(axis=1)
    per_class, _, accuracy = scores.bootstrap(scores.confusion_matrix(truth, predicted, 4), seed=1)
    random = np.random.RandomState(2)
    draws = []
    for _ in range(1000):
        rows = random.randint(0, len(truth), len(truth))
        draws.append(scores.class_scores(scores.confusion_matrix(truth[rows], predicted[rows], 4)))
    assert np.abs(np.percentile(draws, (2.5, 97.5), axis=0) - per_class).max() < 0.01
    share = (predicted == truth).mean()
    error = 1.96 * np.sqrt(share * (1 - share) / len(truth))
    assert np.abs(accuracy - [share - error, share + error]).max() < 0.004


def test_temperature_mends_the_calibration(sample):
    logits, truth = sample
    before = softmax(logits)
    after, temperature = scores.calibrated(logits, truth, seed=0)
    assert temperature == pytest.approx(3, rel=0.1)
    assert scores.calibration_error(before, truth) > 0.15
    assert scores.calibration_error(after, truth) < 0.04
    assert (after.argmax(axis=1) == before.argmax(axis=1)).all()
    sure = np.eye(4)[truth]
    assert scores.calibration_error(sure, truth) == 0
    assert scores.calibration_error(sure, (truth + 1) % 4) == 1


def test_coverage(sample):
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.8, 0.2], [0.6, 0.4]])
    coverage, accuracy, threshold = scores.coverage_curve(probabilities, np.array([0, 0, 1, 0]))
    assert coverage.tolist() == [0.25, 0.75, 1.0]  # equal confidences are answered together
    assert accuracy.tolist() == [1.0, pytest.approx(2 / 3), 0.75] and threshold.tolist() == [0.9, 0.8, 0.6]
    curve = (coverage, accuracy, threshold)
    assert scores.coverage_at(curve, 0.7) == (1.0, 0.6) and scores.coverage_at(curve, 0.8) == (0.25, 0.9)
    assert scores.coverage_at((coverage, accuracy * 0.5, threshold), 0.9) is None


def test_mcnemar():
    truth = np.zeros(100, dtype=int)
    first, second = truth.copy(), truth.copy()
    first[:12], second[10:13] = 1, 1  # only the second is right on 10, only the first on 1
    result = scores.compare(first, second, truth)
    assert (result["only_first"], result["only_second"]) == (1, 10)
    assert result["difference"] == pytest.approx(0.09)
    assert result["p_value"] == pytest.approx(24 / 2**11)  # 2 (1 + 11) / 2^11
    assert result["interval"][0] > 0
    assert scores.compare(first, first, truth)["p_value"] == 1


def test_an_evaluation_lists_the_most_confident_mistake_first(sample):
    logits, truth = sample
    texts, labels = [f"text {row}" for row in range(len(truth))], ["甲", "乙", "丙", "丁"]
    evaluation = scores.Evaluation(labels, texts, truth, logits, seed=0)
    assert len(evaluation.bad_cases) == (logits.argmax(axis=1) != truth).sum() == len(evaluation.wrong)
    values = [score for *_, score in evaluation.bad_cases]
    assert values == sorted(values, reverse=True)
    text, label, answer, score = evaluation.bad_cases[0]
    row = texts.index(text)
    assert label == labels[truth[row]] != answer and score == pytest.approx(softmax(logits)[row].max())
    assert evaluation.errors[0] > evaluation.errors[1] and list(evaluation.top) == [2, 3]
