"""analysis/shift_tests.py: the tests see a shift, and hold their rate where there is none."""

import numpy as np
import pytest
import scipy.stats

from analysis import shift_tests as tests
from analysis.shift_tests import Shift


def rate(one, runs, limit=0.05):
    """The share of runs with a p-value up to the limit."""
    return np.mean([one(np.random.default_rng(seed)) <= limit for seed in range(runs)])


def test_a_table_of_four_is_fishers():
    random, counts = np.random.default_rng(0), (np.array([8, 2]), np.array([1, 5]))
    _, value = tests.table_test(*counts, tests.chi_squared, 20_000, random)
    assert value == pytest.approx(scipy.stats.fisher_exact(counts)[1], abs=0.01)


def test_statistics_are_scipys():
    first, second = np.array([10, 20, 5, 9]), np.array([3, 30, 9, 9])
    found = tests.chi_squared(first[None], first + second, first.sum())[0]
    assert found == pytest.approx(scipy.stats.chi2_contingency([first, second], correction=False)[0])
    values = [np.repeat(np.arange(4), counts) for counts in (first, second)]
    gap = tests.largest_gap(first, first + second, first.sum())
    assert gap == pytest.approx(scipy.stats.ks_2samp(*values, method="asymp").statistic)


def test_holm():
    found = tests.adjust([Shift(name, value, 0.0, (1, 1)) for name, value in zip("abcd", (0.01, 0.04, 0.03, 0.5))])
    assert [shift.adjusted for shift in found] == pytest.approx([0.04, 0.09, 0.09, 0.5])


def test_labels_and_numbers():
    def labels(random, share):
        first, second = random.random(200) < 0.3, random.random(60) < share
        return tests.label_shift(first.astype(str), second.astype(str), random, 199).p_value

    def lengths(random, more):
        return tests.value_shift("length", random.poisson(4, 200), more + random.poisson(4, 60), random, 199).p_value

    # 3 standard deviations of 300 runs are 3.8 points.
    assert rate(lambda random: labels(random, 0.3), 300) <= 0.088
    assert rate(lambda random: lengths(random, 0), 300) <= 0.088
    assert rate(lambda random: labels(random, 0.7), 30) > 0.9
    assert rate(lambda random: lengths(random, 2), 30) > 0.9


def test_a_label_or_a_value_that_was_never_there():
    random = np.random.default_rng(0)
    found = tests.label_shift(["a"] * 50, ["b"] * 50, random)
    assert (found.distance, found.p_value) == (1.0, 1 / 5000) and found.texts == (50, 50)
    found = tests.value_shift("length", np.full(40, 7), np.full(40, 7), random)
    assert (found.distance, found.p_value) == (0.0, 1.0)


def bags(random, number, words, more=0):
    """Texts of 8 of the first `words` buckets, shifted by `more`."""
    rows = [sorted(set((more + random.integers(0, words, 8)).tolist())) for _ in range(number)]
    return tests.n_gram_rows(rows, 300)


def test_vocabulary():
    def same(random):
        return tests.vocabulary_shift(bags(random, 60, 100), bags(random, 40, 100), random, 99).p_value

    def some_others(random):
        from scipy.sparse import vstack

        mixed = vstack([bags(random, 30, 100), bags(random, 10, 100, 200)]).tocsr()
        return tests.vocabulary_shift(bags(random, 60, 100), mixed, random, 99).p_value

    def other_subject(random):
        return tests.vocabulary_shift(bags(random, 60, 100), bags(random, 40, 100, 60), random, 99).p_value

    assert rate(same, 150) <= 0.104  # 5.4 points are 3 standard deviations
    assert rate(some_others, 15) > 0.9 and rate(other_subject, 15) > 0.9


def test_texts_without_words_are_no_difficulty():
    random = np.random.default_rng(0)
    empty = tests.n_gram_rows([[]] * 20, 300)
    assert tests.vocabulary_shift(empty, empty, random, 99).p_value == 1.0
    assert tests.vocabulary_shift(bags(random, 50, 100), empty, random, 99).p_value <= 0.02
    assert np.isfinite(tests.usualness(bags(random, 5, 100))).all()


def test_vectors():
    def one(random, more):
        return tests.embedding_shift(
            random.normal(size=(60, 5)), more + random.normal(size=(40, 5)), random, 99
        ).p_value

    assert rate(lambda random: one(random, 0), 150) <= 0.104
    assert rate(lambda random: one(random, 0.8), 15) > 0.9
    assert tests.embedding_shift(np.ones((30, 2)), np.ones((30, 2)), np.random.default_rng(0), 99).p_value == 1.0


def test_many_texts_are_drawn_from(monkeypatch):
    monkeypatch.setattr(tests, "MOST_VECTORS", 50)
    random = np.random.default_rng(0)
    found = tests.vocabulary_shift(bags(random, 500, 100), bags(random, 40, 100), random, 19)
    assert found.texts == (50, 40)
