"""data/agreement_measures.py: against published worked examples and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from data.agreement_measures import (
    agreement_of,
    alphas,
    cohen_kappas,
    count_labels,
    fleiss_kappas,
    kappa_of,
    measured,
    specific,
)
from data.annotators import Vote


def votes_of(**rows):
    """annotator="1 2 . 3": a label a text, a point for none."""
    return [
        Vote("", who, f"text {place}", label)
        for who, row in rows.items()
        for place, label in enumerate(row.split())
        if label != "."
    ]


def one(counts):
    return np.ones((1, len(counts)))


@pytest.mark.parametrize(
    "rows, alpha",
    [
        # Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability": sections A, B and C (nominal).
        ({"meg": "0 1 0 0 0 0 0 0 1 0", "owen": "1 1 1 0 0 1 0 0 0 0"}, 0.095),
        ({"ben": "a a b b d c c c e d d a", "gerry": "b a b b b c c c e d d d"}, 0.692),
        (
            {
                "a": "1 2 3 3 2 1 4 1 2 . . .",
                "b": "1 2 3 3 2 2 4 1 2 5 . 3",
                "c": ". 3 3 3 2 3 4 2 2 5 1 .",
                "d": "1 2 3 3 2 4 4 1 2 5 1 .",
            },
            0.743,
        ),
    ],
)
def test_krippendorffs_examples(rows, alpha):
    counts = count_labels(votes_of(**rows))[2]
    assert alphas(counts, one(counts))[0] == pytest.approx(alpha, abs=6e-4)


def test_fleiss_example():
    """Ten subjects, fourteen raters, five categories: kappa 0.210 (the worked example of the English Wikipedia)."""
    rows = "0 0 0 0 14,0 2 6 4 2,0 0 3 5 6,0 3 9 2 0,2 2 8 1 1,7 7 0 0 0,3 2 6 3 0,2 5 3 2 2,6 5 2 1 0,0 2 2 3 7"
    counts = np.array([list(map(int, row.split())) for row in rows.split(",")])
    assert fleiss_kappas(counts, one(counts))[0] == pytest.approx(0.210, abs=5e-4)


def test_kappa_with_texts_that_one_of_them_left_out():
    first, second = [0, 1, 1, 2, 0, 2, 1, 0], [0, 1, 2, 2, 0, 1, 1, 1]
    assert kappa_of(first, second) == pytest.approx(cohen_kappa_score(first, second))
    # No label is as good as one that the other never gives.
    some = [None if place == 3 else label for place, label in enumerate(first)]
    other = [7 if label is None else label for label in some]
    assert kappa_of(some, second) == pytest.approx(cohen_kappa_score(other, second))
    assert np.isnan(kappa_of([1, 1], [1, 1])) and kappa_of([None, None], [0, 1]) == 0


def test_cohens_kappa_is_scikit_learns():
    random = np.random.default_rng(0)
    first = random.integers(0, 4, 80)
    second = np.where(random.random(80) < 0.6, first, random.integers(0, 4, 80))
    hot = [np.arange(4) == ids[:, None] for ids in (first, second)]
    weights = random.integers(0, 3, (5, 80)).astype(float)
    for row, found in zip(weights, cohen_kappas(*hot, weights)):
        assert found == pytest.approx(cohen_kappa_score(first, second, sample_weight=row))


def test_one_label_cannot_be_told_from_chance():
    found = agreement_of(votes_of(a="x x x", b="x x x"), 0)
    assert np.isnan(found.alpha.value) and np.isnan(found.pairs[0][2].value) and found.agreed == 1
    assert found.confused == [] and found.disagreements == {} and found.per_label[0][2].value == 1


def test_all_of_it():
    found = agreement_of(votes_of(a="x x y y z .", b="x y y y z x", c="x . y x . ."), 0)
    assert found.texts == [f"text {place}" for place in range(5)] and found.labels == ["x", "y", "z"]
    assert [(one, two, kappa.texts) for one, two, kappa, _ in found.pairs] == [
        ("a", "b", 5),
        ("a", "c", 3),
        ("b", "c", 3),
    ]
    assert [same for *_, same in found.pairs] == pytest.approx([0.8, 2 / 3, 2 / 3])
    assert found.confused == [("x", "y", 3, ["text 1", "text 3"])]
    assert found.disagreements["text 3"] == {"a": "y", "b": "y", "c": "x"} and found.agreed == 0.6
    assert (found.raters, found.fleiss.texts) == (3, 3)
    assert {label: (votes, own.value) for label, votes, own, _ in found.per_label}["z"] == (2, 1.0)
    counts = count_labels(votes_of(a="x x y y z", b="x y y y z", c="x . y x ."))[2]
    x = specific(counts, one(counts))[0, 0]
    assert x == pytest.approx(6 / (3 * 2 + 1 + 2))  # pairs of votes that begin with x, by text: 6 of 6, 0 of 1, 0 of 2
    assert agreement_of(votes_of(a="x .", b=". x"), 0) is None


def test_intervals_hold_the_truth():
    """Two annotators who are right in 80 % of two equally frequent labels: agreement 0.68, kappa 0.36."""
    covered = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        truth = random.integers(0, 2, 150)
        hot = [np.arange(2) == np.where(random.random(150) < 0.8, truth, 1 - truth)[:, None] for _ in range(2)]
        found = measured(lambda weights, hot=hot: cohen_kappas(*hot, weights), 150, seed)
        covered += found.interval[0] <= 0.36 <= found.interval[1]
    assert covered >= 52
