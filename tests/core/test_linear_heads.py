"""core/linear_heads.py: heads and weights against their formulas."""

import numpy as np
import pytest
from scipy.special import softmax

from core import linear_heads as heads


@pytest.mark.parametrize("num_labels", [2, 3])
def test_the_head_gives_discriminant_analysis_probabilities(num_labels):
    """Against the formula: Gaussians of one shrunk covariance, and equal priors although one class is larger."""
    rng = np.random.RandomState(0)
    labels = np.array([0] * 10 + [1] * 6 + [2] * 6)[: 16 if num_labels == 2 else 22]
    vectors = rng.randn(len(labels), 4) + np.eye(4)[labels] * 2
    weight, bias = heads.fit_head(vectors, labels, num_labels, 0.3)
    means = np.stack([vectors[labels == label].mean(axis=0) for label in range(num_labels)])
    covariance = 0
    for label in range(num_labels):
        own = np.cov(vectors[labels == label].T, bias=True)
        own = 0.7 * own + 0.3 * np.trace(own) / 4 * np.eye(4)
        covariance = covariance + own / num_labels
    deltas = vectors[:, None] - means
    expected = softmax(-0.5 * np.einsum("nci,ij,ncj->nc", deltas, np.linalg.inv(covariance), deltas), axis=1)
    np.testing.assert_allclose(softmax(vectors @ weight + bias, axis=1), expected, atol=1e-6)


def test_unlabelled_texts_move_the_head(num_labels=3):
    """Against the same written sample by sample; 600 texts halve the errors of a head of 4 samples a class."""
    rng = np.random.RandomState(0)
    labels = rng.randint(num_labels, size=612)
    labels[:12] = [0, 1, 2] * 4
    vectors = (rng.randn(612, 8) * np.linspace(0.3, 2, 8) + 2.5 * np.eye(8)[labels]).astype("float32")
    given, others = vectors[:12], vectors[12:]
    start = heads.fit_head(given, labels[:12], num_labels, 0.9)
    weight, bias = heads.fit_head_with_unlabelled(given, labels[:12], others, num_labels, 0.9, 0.1)

    head, offset = start
    for _ in range(heads.UNLABELLED_ROUNDS):
        shares = 0.1 * softmax(others @ head + offset, axis=1)
        means, total, covariance = [], 0.1 * 600 + 12, 0
        for label in range(num_labels):
            own = given[labels[:12] == label]
            mass = len(own) + shares[:, label].sum()
            means.append((own.sum(axis=0) + shares[:, label] @ others) / mass)
            for vector, share in [(row, 1) for row in own] + list(zip(others, shares[:, label])):
                covariance = covariance + share * np.outer(vector - means[-1], vector - means[-1]) / total
        covariance = 0.5 * covariance + 0.5 * np.trace(covariance) / 8 * np.eye(8)
        means = np.stack(means)
        head = np.linalg.solve(covariance, means.T)
        offset = -0.5 * (means.T * head).sum(axis=0)
    np.testing.assert_allclose(weight, head, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(bias, offset, rtol=1e-3, atol=1e-4)

    def errors(head, bias):
        return ((others @ head + bias).argmax(axis=1) != labels[12:]).sum()

    assert errors(weight, bias) < errors(*start) / 2


def test_label_words_find_the_classes_of_vectors_around_them():
    """Although words lie elsewhere than texts."""
    rng = np.random.RandomState(0)
    labels, means = rng.randint(3, size=600), 2.5 * np.eye(8)[:3]
    words, texts = means + rng.randn(3, 8) + 5, means[labels] + rng.randn(600, 8) - 5
    head, bias = heads.fit_head_from_words(words, texts)
    near, far = texts - texts.mean(axis=0), words - words.mean(axis=0)
    nearest = (near @ (far / np.linalg.norm(far, axis=1, keepdims=True)).T).argmax(axis=1)
    assert ((texts @ head + bias).argmax(axis=1) != labels).sum() < (nearest != labels).sum() / 2


def test_weights_of_two_logits():
    rng = np.random.RandomState(0)
    truth = rng.randint(3, size=4000)
    good, bad = 6 * np.eye(3)[truth] + 2 * rng.randn(4000, 3), rng.randn(4000, 3)
    weights = heads.fit_weights([good, bad], truth)
    assert weights[0] == pytest.approx(6 / 2**2, rel=0.1)  # of Gaussians: distance over variance
    assert abs(weights[1]) < 0.1
    fixed = heads.fit_weights([good, bad], truth, 0.5)
    assert fixed[1] == pytest.approx(fixed[0] / 2)


def test_temper_meets_the_expected_accuracy_and_is_never_certain():
    rng = np.random.RandomState(0)
    logits = 30 * rng.randn(500, 4)
    highest = softmax(heads.temper(logits, 0.6) * logits, axis=1).max(axis=1)
    assert highest.mean() == pytest.approx(0.6, abs=1e-6) and highest.max() < heads.SUREST
    for expected in (0.0, 0.25):  # of 4 classes: not below chance
        highest = softmax(heads.temper(logits, expected) * logits, axis=1).max(axis=1)
        assert highest.mean() == pytest.approx(0.2875, abs=1e-6)
    highest = softmax(heads.temper(logits, 1.0) * logits, axis=1).max(axis=1)
    assert highest.max() == pytest.approx(heads.SUREST, abs=1e-6)
    assert softmax(heads.temper(0 * logits, 1.0) * 0 * logits, axis=1).max() == 0.25


@pytest.mark.parametrize("spread, right", [(0.6, 0.95), (3.0, 0.5)])
def test_without_labels_the_scores_follow_how_clear_the_classes_are(spread, right):
    """Vectors around their words: with a small spread the answers are right and the scores high, else neither."""
    rng = np.random.RandomState(0)
    labels, means = rng.randint(3, size=400), 3 * np.eye(16)[:3]
    words, texts = means + 0.3 * rng.randn(3, 16), means[labels] + spread * rng.randn(400, 16)
    seen, new = texts[:200], texts[200:]
    head, bias = heads.fit_head_from_words(words, seen)
    factor, expected = heads.temper_without_labels(words, seen, head, bias, seed=0)
    raw, scores = (softmax(scale * (new @ head + bias), axis=1) for scale in (1, factor))
    accuracy = (scores.argmax(axis=1) == labels[200:]).mean()
    assert (accuracy > right) == (right > 0.9)
    assert expected < accuracy + 0.1 and abs(expected - accuracy) < 0.25
    assert scores.max() < 0.9995
    if right < 0.9:
        assert scores.max(axis=1).mean() < accuracy + 0.1 < raw.max(axis=1).mean()


def test_left_out_logits_come_from_heads_without_the_text():
    rng = np.random.RandomState(0)
    labels = np.array([0, 1, 2] * 8 + [0, 1, 2])  # the last three are the words
    vectors = rng.randn(27, 4) + 2 * np.eye(4)[labels]
    seen = []

    def fit(some, ids):
        seen.append(len(some))
        assert set(map(tuple, vectors[24:])) <= set(map(tuple, some))
        return heads.fit_head(some, ids, 3, 0.9)

    logits = heads.left_out_logits(fit, vectors, labels, 24, seed=0)
    assert logits.shape == (24, 3) and len(seen) == heads.FOLDS and set(seen) == {24, 25}
    inside = softmax(vectors @ np.array(heads.fit_head(vectors, labels, 3, 0.9)[0]), axis=1)[
        np.arange(24), labels[:24]
    ]
    assert softmax(logits, axis=1)[np.arange(24), labels[:24]].mean() != pytest.approx(inside.mean())
    alone = heads.left_out_logits(lambda some, ids: heads.fit_head(some, ids, 3, 0.9), vectors, labels, 1, seed=0)
    weight, bias = heads.fit_head(vectors[1:], labels[1:], 3, 0.9)
    np.testing.assert_allclose(alone[0], vectors[0] @ weight + bias)


def test_out_of_fold_weights_have_not_seen_the_sample():
    """Another label of a sample changes the weights of the other half alone."""
    random = np.random.RandomState(0)
    truth = random.randint(0, 3, 60)
    logits = [np.eye(3)[truth] + random.randn(60, 3), random.randn(60, 3)]
    found = heads.out_of_fold(logits, truth, None, seed=1)
    changed = truth.copy()
    changed[0] = (truth[0] + 1) % 3
    other = heads.out_of_fold(logits, changed, None, seed=1)
    same = np.isclose(found, other, atol=1e-9).all(axis=1)
    assert same[0] and same.sum() == 30
    one = heads.fit_weights(logits, truth, share=0.5)
    assert one[1] == pytest.approx(one[0] / 2)
    scaled = heads.out_of_fold(logits, truth, 0.5, seed=1)
    ratio = scaled / (logits[0] + 0.5 * logits[1])
    assert len(np.unique(np.round(ratio, 6))) == 2
