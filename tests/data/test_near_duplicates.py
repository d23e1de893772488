"""data/near_duplicates.py: normal forms, the estimate against exact similarities, every pair found."""

import random
import time

import numpy as np
import pytest

from data import near_duplicates, stored_texts
from data.near_duplicates import (
    NUM_HASHES,
    NearDuplicates,
    group,
    group_equal,
    normalise,
    shingles,
    signatures,
    similarity,
)
from data.stored_texts import StoredTexts


@pytest.fixture(scope="module")
def texts(sample_lines):
    return [line.split("\t")[0] for line in sample_lines["train"]]


def change(text, edits, rng):
    characters = list(text)
    for _ in range(edits):
        characters[rng.randrange(len(characters))] = rng.choice("的了吗甲乙丙")
    return "".join(characters)


def test_normal_form_ignores_width_case_punctuation_and_space():
    same = ["ＣＴ检查多少钱？", "ct 检查，多少钱", "CT检查多少钱", "\u200bct检查多少钱\u3000！"]
    assert len(set(normalise(same))) == 1
    assert len(set(normalise(["血压 +10", "血压 -10", "好", "好😊"]))) == 4
    assert normalise(["？？？", "。。。", "ok"]) == ["???", "。。。", "ok"]
    assert normalise([]) == []


def test_normalise_matches_line_by_line(sample_lines):
    texts = [line.split("\t")[0] for line in sample_lines["train"]]
    assert normalise(texts) == [normalise([text])[0] for text in texts]


def test_shingles_are_two_chinese_or_four_other_characters():
    assert shingles("头疼吗") == {"头疼", "疼吗"}
    assert shingles("aspirin") == {"aspi", "spir", "piri", "irin", "rin", "in"}
    assert shingles("药") == {"药"}


def test_similarity():
    assert similarity("头疼怎么办", "头疼怎么办") == 1
    assert similarity("头疼", "发烧") == 0
    assert similarity("头疼怎么办", "头疼怎么治") == pytest.approx(3 / 5)


def test_signatures_estimate_the_similarity(texts):
    rng = random.Random(0)
    errors, variances = [], []
    for _ in range(1000):
        text = normalise([rng.choice(texts)])[0]
        other = change(text, rng.randrange(1, 6), rng)
        exact = similarity(text, other)
        estimate = (np.equal(*signatures([text, other]))).mean()
        errors.append(estimate - exact)
        variances.append(exact * (1 - exact) / NUM_HASHES)
    assert abs(np.mean(errors)) < 3 * np.sqrt(np.mean(variances) / len(errors))
    assert np.std(errors) == pytest.approx(np.sqrt(np.mean(variances)), rel=0.1)


def test_a_signature_does_not_depend_on_its_neighbours(texts):
    some = normalise([*texts[:20], "a", "药", "ab", "is it", "头a"])
    together = signatures(some)
    assert all((signatures([text])[0] == row).all() for text, row in zip(some, together))


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9])
def test_finds_the_pairs_that_brute_force_finds(texts, threshold):
    rng = random.Random(1)
    known = normalise(texts)
    asked = normalise([change(text, rng.randrange(1, 4), rng) for text in texts] + [f"{text}呢" for text in texts])
    index = NearDuplicates(threshold)
    index.add(known[:100])
    index.add(known[100:])
    found = {(one, other) for one, other, _ in index.query(asked)}
    exact = {
        (row, column)
        for row, text in enumerate(asked)
        for column, other in enumerate(known)
        if similarity(text, other) >= threshold
    }
    assert found <= exact
    assert len(exact) > 20 and len(found) >= 0.97 * len(exact)


def test_groups_are_connected_and_numbered_by_appearance():
    coffee = "高血压患者平时能不能喝咖啡和浓茶"
    texts = [coffee, "完全不同的一句话", f"{coffee}呢", f"请问{coffee}呢", "完全不同的一句话！"]
    assert group(texts, 0.8).tolist() == [0, 1, 0, 0, 1]
    assert group([], 0.8).tolist() == []


def test_many_texts_are_grouped_as_few_are(texts, monkeypatch):
    """Arrays on the disk, many blocks, pairs joined piece by piece: the same groups."""
    rng = random.Random(2)
    some = [*texts, *(change(text, rng.randrange(3), rng) for text in texts for _ in range(3)), *texts[:50]]
    rng.shuffle(some)
    expected = group(some, 0.7)
    assert 400 < len(np.unique(expected)) < len(some) - 500
    monkeypatch.setattr(stored_texts, "IN_MEMORY", 0)
    monkeypatch.setattr(stored_texts, "BLOCK", 100)
    monkeypatch.setattr(near_duplicates, "QUERIED_AT_ONCE", 64)
    monkeypatch.setattr(near_duplicates, "PAIRS_AT_ONCE", 10)
    assert (group(some, 0.7) == expected).all()


def test_groups_are_those_of_all_pairs(texts):
    """What is proposed band by band is what a query of all texts at once proposes."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    rng = random.Random(3)
    forms = list(dict.fromkeys(normalise([change(text, rng.randrange(3), rng) for text in texts for _ in range(3)])))
    index = NearDuplicates(0.7)
    index.add(forms)
    pairs = np.array([(one, other) for one, other, _ in index.query(forms, 0)])
    graph = coo_matrix((np.ones(len(pairs), dtype=bool), pairs.T), shape=(len(forms),) * 2)
    found = connected_components(graph, directed=False)[1]
    own = group(forms, 0.7)
    assert len(pairs) > 100 and len(set(zip(found, own))) == len(set(found)) == len(set(own))


def test_equal_texts_without_their_likes():
    assert group_equal(StoredTexts.of(["乙", "甲！", "乙。", "丙", "甲"], [""] * 5)).tolist() == [0, 1, 0, 2, 1]
    assert group_equal(StoredTexts()).tolist() == []


def test_many_texts_of_one_template_stay_fast_and_together():
    characters = [chr(0x4E00 + number) for number in range(10_000)]
    template = "您好，请问我上个月在门诊大厅二楼窗口提交的材料什么时候能够审核完毕并且寄回"
    texts = [f"{template}{character}" for character in characters]
    start = time.perf_counter()
    assert len(np.unique(group(texts, 0.8))) == 1
    assert time.perf_counter() - start < 20
