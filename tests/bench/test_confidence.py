"""bench_confidence.py: what it counts on a sample whose true probabilities are known; bench_runtime.py's texts."""

import numpy as np
import pytest
from scipy.stats import binomtest

from core.label_paths import LabelPaths
from tests.helpers import load_script, overconfident_sample
from utils import UsageError


@pytest.fixture(scope="module")
def bench():
    return load_script("tests/bench/bench_confidence.py")


@pytest.fixture(scope="module")
def results(bench):
    logits, truth = overconfident_sample()
    logits = np.where(np.arange(2000)[:, None] % 2 == 0, logits, 9 * np.eye(4)[truth])  # half of them easy and right
    paths, random = LabelPaths(list("abcd")), np.random.RandomState(0)
    return [bench.halving(logits, truth, paths, random, seed) for seed in range(12)]


def test_promises_hold_on_the_other_half(bench, results):
    for wanted in (0.95, 0.98):
        own = [result["accuracies"][wanted] for result in results]
        answered, right, texts = np.array(own).T
        assert len(own) == 12 and (texts == 1000).all() and (answered >= 450).all()
        assert (right / answered).mean() > wanted - 0.005
        row = bench.summary(own, wanted)
        assert row["halves"] == 12 and row["accuracy"] == f"{(right / answered).mean():.2%}"
    held, size, texts = np.array([result["sets"][0.9] for result in results]).T
    assert (held / texts).mean() == pytest.approx(0.9, abs=0.015) and (size >= texts).all()
    assert all(result["after"]["log_loss"] < result["before"]["log_loss"] for result in results)


def test_a_broken_promise_is_counted(bench):
    """90 of 100 where 98 % were wanted is no chance, and 97 of 100 is."""
    row = bench.summary([[100, 90, 200], [100, 97, 200], [100, 100, 200]], 0.98)
    assert row["held"] == "66.7%" and row["at least as wanted"] == "33%" and row["answered"] == "50.0%"
    interval = binomtest(90, 100).proportion_ci(method="exact")
    assert bench.upper_end(90, 100) == pytest.approx(interval.high)


def test_what_no_half_promises_is_told(bench, results):
    rows = bench.tables([{**result, "accuracies": {}, "labels": {}} for result in results])
    assert [row["halves"] for row in rows["in all"]] == [0, 0, 0] and rows["by label"] == []
    lines = bench.markdown(rows["in all"])
    assert len(lines) == 5 and len({line.count("|") for line in lines}) == 1


def test_the_texts_of_the_runtime_s_comparison(tmp_path):
    runtime = load_script("tests/bench/bench_runtime.py")
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "train.txt").write_text("a\tx\nb\u2028c\ty\n\n", encoding="utf-8")
    (tmp_path / "one" / "label.txt").write_text("x\ny\n", encoding="utf-8")
    (tmp_path / "data.txt").write_text("\ufeffd\n", encoding="utf-8")
    assert runtime.all_texts(tmp_path) == ["d", "a", "b\u2028c"]
    with pytest.raises(UsageError, match="none of train.txt"):
        runtime.all_texts(tmp_path / "one" / "nothing")
