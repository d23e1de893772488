"""retrieval_based/utils/vote.py against small cases worked out by hand."""

import itertools

import numpy as np
import pytest

from retrieval_based.utils import vote as votes
from tests.bench.retrieval_scores import auroc, disagreement

SCORES = np.array([[0.9, 0.8, 0.7], [0.6, 0.5, 0.4]])
LABEL_IDS = np.array([[0, 1, 1], [2, 2, -1]])


def test_the_vote_is_its_formula():
    shares = votes.vote(SCORES, LABEL_IDS, 3, 3, 0.1)
    weights = np.exp(np.array([9, 8, 7.0]))
    np.testing.assert_allclose(shares[0], [weights[0] / weights.sum(), weights[1:].sum() / weights.sum(), 0])
    np.testing.assert_allclose(shares[1], [0, 0, 1])
    # One neighbour: the nearest; all alike: two against one.
    assert votes.vote(SCORES, LABEL_IDS, 3, 1, 0.1)[0].tolist() == [1, 0, 0]
    assert votes.vote(SCORES, LABEL_IDS, 3, 3, 1e6)[0].argmax() == 1
    assert votes.vote(SCORES, np.full((2, 3), -1), 3, 3, 0.1).tolist() == [[0, 0, 0]] * 2
    assert votes.vote(np.zeros((2, 0)), np.zeros((2, 0), int), 3, 3, 0.1).tolist() == [[0, 0, 0]] * 2
    # So small a temperature that exp(score / temperature) has no float of its own.
    assert votes.vote(SCORES, LABEL_IDS, 3, 3, 1e-4)[0].tolist() == [1, 0, 0]


def test_k_and_temperature_are_the_best_of_all_that_are_tried():
    rng = np.random.RandomState(0)
    scores, label_ids = np.sort(rng.rand(40, 10))[:, ::-1], rng.randint(0, 3, (40, 10))
    truth = np.array([np.bincount(row[:5]).argmax() for row in label_ids])
    k, temperature = votes.choose_vote(scores, label_ids, truth, 3)
    reached = votes.accuracy(votes.vote(scores, label_ids, 3, k, temperature), truth)
    tried = itertools.product((1, 3, 5, 10), votes.TEMPERATURES)
    every = [votes.accuracy(votes.vote(scores, label_ids, 3, *pair), truth) for pair in tried]
    assert reached == max(every) > min(every) and k == 5
    assert votes.choose_vote(scores[:, :2], label_ids[:, :2], truth, 3, ks=(5, 10))[0] == 2


def test_blend_fall_back_and_disagreement():
    probabilities = np.array([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8], [0.55, 0.45]])
    shares = np.array([[0.1, 0.9], [0.4, 0.6], [0.0, 1.0], [0.9, 0.1]])
    truth = [1, 0, 1, 0]
    assert votes.blend(probabilities, shares, 0.5).tolist() == ((probabilities + shares) / 2).tolist()
    # Of the true labels: 0.4 and 0.9, 0.9 and 0.4, 0.8 and 1, 0.55 and 0.9.
    losses = [-np.log([0.9 - 0.5 * w, 0.4 + 0.5 * w, 1 - 0.2 * w, 0.9 - 0.35 * w]).mean() for w in (0, 0.05, 0.5, 1)]
    assert min(losses) == losses[1]
    assert votes.choose_weight(probabilities, shares, truth) == pytest.approx(0.05)
    assert votes.choose_weight(shares, probabilities, truth) == pytest.approx(0.95)
    assert votes.choose_weight(probabilities, shares, truth, weights=(0, 0.5, 1)) == 0
    assert votes.fall_back(probabilities, shares, 0.7).argmax(axis=1).tolist() == [1, 0, 1, 0]
    threshold = votes.choose_fall_back(probabilities, shares, truth)
    assert 0.6 < threshold <= 0.9
    seen = disagreement(probabilities, shares, truth)
    assert seen == {"share": 0.5, "classifier": 0.5, "index": 0.5, "agree": 1.0}
    assert disagreement(shares, shares) == {"share": 0.0}
    assert disagreement(shares, shares, truth)["index"] == 0.0


def test_labels_that_the_classifier_does_not_know():
    """The new label keeps the index's share, however sure the classifier is of one of its own."""
    shares = np.array([[0.1, 0.8, 0.1], [0.5, 0.0, 0.5]])
    wide = votes.widened(np.array([[0.9, 0.1], [0.3, 0.7]]), [0, 2], shares)
    np.testing.assert_allclose(wide, [[0.18, 0.8, 0.02], [0.3, 0.0, 0.7]])
    np.testing.assert_allclose(votes.widened([[0.9, 0.1]], [1, 0], [[0.5, 0.5]]), [[0.1, 0.9]])


def test_threshold_and_auroc():
    from sklearn.metrics import roc_auc_score

    rng = np.random.RandomState(0)
    known, unknown = rng.normal(0.6, 0.1, 500).round(2), rng.normal(0.5, 0.1, 300).round(2)
    truth = [1] * 500 + [0] * 300
    assert auroc(known, unknown) == pytest.approx(roc_auc_score(truth, np.concatenate([known, unknown])))
    threshold = votes.fit_threshold(known, unknown)

    def balance(cut):
        return (known >= cut).mean() + (unknown < cut).mean()

    assert balance(threshold) == pytest.approx(max(balance(cut) for cut in np.arange(0, 1.2, 0.005)))
    assert np.abs(np.concatenate([known, unknown]) - threshold).min() > 1e-3
    assert (known >= votes.fit_threshold(known, keep=0.9)).mean() == pytest.approx(0.9, abs=0.03)
    assert votes.fit_threshold([0.5, 0.6], [0.1]) == pytest.approx(0.3)
