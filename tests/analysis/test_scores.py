"""analysis/scores.py: statistics against independent ones."""

import tracemalloc

import numpy as np
import pytest
from sklearn.metrics import precision_recall_fscore_support, top_k_accuracy_score

from analysis import scores
from core import calibration
from core.answers import softmax
from tests.helpers import overconfident_sample


@pytest.fixture(scope="module")
def sample():
    return overconfident_sample()


def test_scores_are_scikit_learns(sample):
    logits, truth = sample
    predicted = logits.argmax(axis=1)
    confusions = scores.Confusions(truth, predicted, 4)
    found = scores.class_scores(confusions.right, confusions.predicted, confusions.true)
    expected = precision_recall_fscore_support(truth, predicted)
    assert np.allclose(found, np.stack(expected[:3], axis=1))
    for k in (2, 3):
        assert scores.top_k_accuracy(logits, truth, k) == pytest.approx(top_k_accuracy_score(truth, logits, k=k))


def test_bootstrap_is_that_of_samples(sample):
    logits, truth = sample
    predicted = logits.argmax(axis=1)
    per_class, macro, accuracy = scores.bootstrap(scores.Confusions(truth, predicted, 4), seed=1)
    random = np.random.RandomState(2)
    draws = []
    for _ in range(1000):
        rows = random.randint(0, len(truth), len(truth))
        draw = scores.Confusions(truth[rows], predicted[rows], 4)
        draws.append(scores.class_scores(draw.right, draw.predicted, draw.true))
    assert np.abs(np.percentile(draws, (2.5, 97.5), axis=0) - per_class).max() < 0.01
    assert np.abs(np.percentile(np.mean(draws, axis=1), (2.5, 97.5), axis=0) - macro).max() < 0.005
    share = (predicted == truth).mean()
    error = 1.96 * np.sqrt(share * (1 - share) / len(truth))
    assert np.abs(accuracy - [share - error, share + error]).max() < 0.004


def test_confusions():
    confusions = scores.Confusions([0, 0, 0, 1, 2, 2], [0, 1, 1, 1, 2, 0], 4)
    assert confusions.matrix([0, 1, 2, 3]).tolist() == [[1, 2, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0] * 4]
    assert confusions.matrix([2, 0]).tolist() == [[1, 1], [0, 1]]
    assert confusions.right.tolist() == [1, 1, 1, 0] and confusions.accuracy == 0.5 and confusions.total == 6
    assert confusions.predicted.tolist() == [2, 3, 1, 0] and confusions.true.tolist() == [3, 1, 2, 0]
    assert confusions.most_confused(1) == [(0, 1, 2)] and confusions.most_confused(9) == [(0, 1, 2), (2, 0, 1)]


def test_ten_thousand_classes_need_little_memory():
    """A confusion matrix of them is 800 MB, and its 2,000 draws 1.6 TB."""
    random, classes = np.random.RandomState(0), 10_000
    truth = random.randint(0, classes, 5000)
    predicted = np.where(random.rand(5000) < 0.8, truth, random.randint(0, classes, 5000))
    tracemalloc.start()
    per_class, macro, accuracy = scores.bootstrap(scores.Confusions(truth, predicted, classes), seed=0)
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()
    assert per_class.shape == (2, classes, 3) and macro.shape == (2, 3)
    confusions = scores.Confusions(truth, predicted, classes)
    found = scores.class_scores(confusions.right, confusions.predicted, confusions.true).mean(axis=0)
    assert (macro[0] < found).all() and (found < macro[1]).all()
    error = 1.96 * np.sqrt(0.8 * 0.2 * 5000) / classes  # of the recall, if every class had one sample or none
    assert macro[1, 1] - macro[0, 1] == pytest.approx(2 * error, rel=0.3)
    assert accuracy[0] < (truth == predicted).mean() < accuracy[1]
    unseen = np.bincount(np.append(truth, predicted), minlength=classes) == 0
    assert (per_class[:, unseen] == 0).all()


def test_evaluation_of_many_classes_needs_little_more_than_its_logits(monkeypatch):
    random = np.random.RandomState(0)
    logits, truth = random.randn(1000, 5000).astype(np.float32), random.randint(0, 5000, 1000)
    logits[np.arange(1000), truth] += 5
    monkeypatch.setattr(calibration, "MAX_FITTED", 1_000_000)
    tracemalloc.start()
    evaluation = scores.Evaluation([str(name) for name in range(5000)], [""] * 1000, truth, logits, seed=0)
    assert tracemalloc.get_traced_memory()[1] < 60e6  # as float64, the logits alone are 40 MB
    tracemalloc.stop()
    assert np.allclose(evaluation.confidence, softmax(logits).max(axis=1))
    assert evaluation.temperature == pytest.approx(calibration.fit_temperature(logits, truth), rel=0.2)


def test_promises_hold_on_other_samples():
    """Thresholds of one half on the other half: at most one in 20 misses, give or take the binomial error."""
    random = np.random.RandomState(0)
    missed, shares = [], []
    for _ in range(40):
        truth, logits = random.randint(0, 6, 2000), random.randn(2000, 6)
        logits[np.arange(2000), truth] += random.gamma(2, 1.4, 2000)
        evaluation = scores.Evaluation(list("abcdef"), [""] * 1000, truth[:1000], 2 * logits[:1000], seed=0)
        other = scores.Evaluation(list("abcdef"), [""] * 1000, truth[1000:], 2 * logits[1000:], seed=0)
        for wanted, promise in evaluation.promises.items():
            if promise:
                answered = other.confidence >= promise.threshold
                error = 2 * np.sqrt(wanted * (1 - wanted) / answered.sum())
                missed.append(other.right[answered].mean() < wanted - error)
                shares.append(answered.mean() - promise.share)
    assert len(missed) > 150 and np.mean(missed) < 0.02
    assert abs(np.mean(shares)) < 0.01 and np.abs(shares).max() < 0.1


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
