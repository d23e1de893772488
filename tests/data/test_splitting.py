"""data/splitting.py: proportions, near-duplicates on one side, seeds."""

import numpy as np
import pytest

from data import splitting
from data.near_duplicates import normalise, similarity
from data.stored_texts import StoredTexts


def test_every_label_in_the_same_proportions(samples):
    texts, ids, labels = samples
    parts, order = splitting.assign(splitting.similar_groups(texts), ids, [0.8, 0.1, 0.1], seed=3)
    assert sorted(order.tolist()) == list(range(len(texts)))
    for label in range(len(labels)):
        counts = np.bincount(parts[np.array(ids) == label], minlength=3)
        assert abs(counts - counts.sum() * np.array([0.8, 0.1, 0.1])).max() <= 1


def test_near_duplicates_never_straddle(samples):
    texts, ids, _ = samples
    parts, _ = splitting.assign(splitting.similar_groups(texts), ids, [0.5, 0.25, 0.25], seed=3)
    forms = normalise(texts)
    for copy in range(880, len(texts)):
        original = (copy - 880) * 11
        if similarity(forms[copy], forms[original]) >= 0.8:
            assert parts[copy] == parts[original]
    assert sum(similarity(forms[copy], forms[(copy - 880) * 11]) >= 0.8 for copy in range(880, len(texts))) > 10
    # Groups go to all parts: a dev without hard-to-tell families would flatter the model.
    assert len(set(parts[880:])) == 3


def test_equal_texts_stay_together_without_a_threshold():
    texts = ["头疼怎么办", "头疼怎么办？", *(f"第{number}句" for number in range(18))]
    for seed in range(20):
        parts, _ = splitting.assign(splitting.similar_groups(texts, 0), [0] * 20, [0.5, 0.5], seed)
        assert parts[0] == parts[1]


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([1], [[1, 0, 0]]),
        ([2], [[1, 1, 0]]),
        ([3], [[1, 1, 1]]),
        ([10], [[8, 1, 1]]),
        ([5, 5], [[3, 1, 1], [3, 1, 1]]),
    ],
)
def test_rare_labels_reach_dev_and_test(counts, expected):
    texts = [f"{'甲乙丙丁'[label]}{number}" for label, count in enumerate(counts) for number in range(count)]
    ids = [label for label, count in enumerate(counts) for _ in range(count)]
    parts, _ = splitting.assign(splitting.similar_groups(texts, 0), ids, [0.8, 0.1, 0.1], seed=0)
    assert [
        np.bincount(parts[np.array(ids) == label], minlength=3).tolist() for label in range(len(counts))
    ] == expected


def test_seed_decides(samples):
    texts, ids, _ = samples
    groups = splitting.similar_groups(texts)
    first, again, other = (splitting.assign(groups, ids, [0.8, 0.1, 0.1], seed)[0] for seed in (1, 1, 2))
    assert (first == again).all() and (first != other).any()


def test_without_shuffling_the_order_of_the_file_decides():
    texts = [f"句子{number}" for number in range(20)]
    parts, order = splitting.assign(splitting.similar_groups(texts, 0), [0, 1] * 10, [0.8, 0.2], 5, shuffle=False)
    assert order.tolist() == list(range(20))
    assert parts.tolist() == [0] * 16 + [1] * 4


def test_many_texts_without_a_threshold_are_numbered_as_they_appear(monkeypatch):
    texts = ["乙", "甲", "乙？", "丙"]
    assert (
        splitting.similar_groups(texts, 0).tolist()
        == [1, 2, 1, 0]
        == splitting.similar_groups(StoredTexts.of(texts, texts), 0).tolist()
    )
    monkeypatch.setattr(splitting, "ORDERED_BY_TEXT", 3)
    assert splitting.similar_groups(texts, 0).tolist() == [0, 1, 0, 2]
