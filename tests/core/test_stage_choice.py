"""stage_choice.py: thresholds and weights chosen by cross-fitting, and when there is none."""

import numpy as np
import pytest
from scipy.special import softmax

from core.label_paths import LabelPaths
from core.stage_choice import blend_facts, cascade_facts, folds_of, pick_threshold, pick_weight

PATHS = LabelPaths(["a", "b", "c", "d"])


def draw(samples=3000, seed=0, noise=(1.0, 1.0)):
    """Logits of two classifiers that see the same thing through noise of their own, and classes."""
    random = np.random.RandomState(seed)
    signal = 3 * random.randn(samples, 4)
    truth = np.array([random.choice(4, p=row) for row in softmax(signal, axis=1)])
    return *(signal + size * random.randn(samples, 4) for size in noise), truth


def test_the_lowest_threshold_that_loses_no_more():
    confidence = np.array([0.99, 0.9, 0.8, 0.7, 0.6])
    assert pick_threshold(confidence, np.array([0, 0, 0, -1, -1]), allowed=0) == 0.8
    assert pick_threshold(confidence, np.array([0, 0, 0, -1, -1]), allowed=1) == 0.7
    assert pick_threshold(confidence, np.array([0, 0, 0, -1, -1]), allowed=2) == 0.6
    # A text costs what those do that are no surer, as far as they cost less: 1/3 each of the last three here.
    assert pick_threshold(confidence, np.array([0, 0, -1, 0, 0]), allowed=0) == 0.9
    assert pick_threshold(confidence, np.array([0, 0, -1, 0, 0]), allowed=0.7) == 0.7
    # What is won on the surest texts does not excuse what is lost on the others.
    assert pick_threshold(confidence, np.array([1, 1, 0, 0, -1]), allowed=0) == 0.7
    assert pick_threshold(-np.sort(-confidence), np.array([-1, -1, 0, 0, 0]), allowed=0) is None
    # Of the three that cost nothing, the surest two thirds, or third; fewer than one are none.
    costs = np.array([0, 0, 0, -1, -1])
    assert [pick_threshold(confidence, costs, 0, part) for part in (1, 0.7, 0.4, 0.1)] == [0.8, 0.9, 0.99, None]
    # The same confidence is answered together.
    assert pick_threshold(np.full(5, 0.8), np.array([0, 0, -1, 0, 0]), allowed=0) is None


def test_the_threshold_is_near_that_of_the_true_costs():
    """A student whose answers cost 0 above 0.6 and more and more below: 2,000 samples tell about where 1 % is lost."""
    random, found = np.random.RandomState(0), []
    for _ in range(20):
        confidence = random.uniform(0.2, 1, 2000)
        costs = random.rand(2000) < np.maximum(0, 0.6 - confidence)  # expected loss from 1 down to c: (0.6 - c)² / 1.6
        noise = random.choice([-1, 0, 1], 2000, p=[0.02, 0.96, 0.02])
        found.append(pick_threshold(confidence, noise - costs, allowed=20))
    assert 0.42 < np.mean(found) < 0.52 and np.std(found) < 0.05  # the true one: 0.474


def test_a_cascade_keeps_its_promise_on_other_samples():
    student, model, truth = draw(6000, noise=(1.5, 0.5))
    half = slice(0, 3000), slice(3000, 6000)
    first = [values[half[0]] for values in (student, model, truth)]
    facts = cascade_facts(*first, PATHS, 0.5, seed=0, calibrate=(False, False))
    assert 0.2 < facts["share"] < 1 and facts["lost"] <= 0.5 and facts["samples"] == 3000
    is_first = softmax(student[half[1]], axis=1).max(axis=1) >= facts["threshold"]
    right = [logits[half[1]].argmax(axis=1) == truth[half[1]] for logits in (student, model)]
    lost = 100 * (right[1].mean() - np.where(is_first, *right).mean())
    assert abs(lost - facts["lost"]) < 4 * facts["lost_error"]
    assert facts["share"] == pytest.approx(is_first.mean(), abs=0.05)
    assert facts["model_accuracy"] == pytest.approx((model[half[0]].argmax(1) == truth[half[0]]).mean(), abs=1e-6)
    assert "0.95" in facts["thresholds"] and "0.9" in facts["conformal"]
    # A larger loss lets the student answer more; the same arguments, the same choice.
    arguments = student[half[0]], model[half[0]], truth[half[0]], PATHS
    assert cascade_facts(*arguments, 5.0, seed=0)["share"] > cascade_facts(*arguments, 0.2, seed=0)["share"]
    assert cascade_facts(*arguments, 0.2, seed=3) == cascade_facts(*arguments, 0.2, seed=3)


def test_where_all_that_seems_to_cost_nothing_costs_too_much():
    """A student that is as good as the model on its surest half, by luck up to four fifths: the half is kept."""
    found = []
    for seed in range(3):
        random = np.random.RandomState(seed)
        truth, sure = random.randint(0, 4, 1500), np.linspace(4, 0.2, 1500)
        wrong = random.rand(1500) < np.where(np.arange(1500) < 750, 0.0, 0.03)
        student = sure[:, None] * np.eye(4)[(truth + wrong) % 4]
        model = 5 * np.eye(4)[(truth + (random.rand(1500) < 0.005)) % 4]
        found.append(cascade_facts(student, model, truth, PATHS, 0.1, seed, calibrate=False))
    assert all(0.1 < facts["share"] < 0.75 and facts["lost"] <= 0.1 for facts in found)


def test_no_cascade():
    student, model, truth = draw(noise=(0.0, 0.0))
    assert "dev has 99 samples" in cascade_facts(student[:99], model[:99], truth[:99], PATHS, 0.2, 0)["why"]
    wrong = 5.0 * np.eye(4)[(truth + 1) % 4]
    assert cascade_facts(wrong, model, truth, PATHS, 0.2, 0)["why"].startswith("at no threshold")


def test_a_blend_is_offered_where_it_is_surely_better():
    student, model, truth = draw(noise=(2.0, 2.0))
    facts = blend_facts(student, model, truth, PATHS, seed=0)
    assert 0.6 <= facts["weight"] <= 1.6 and facts["chance"] < 0.05 and facts["accuracy"] > facts["model_accuracy"]
    assert facts["better"] - facts["worse"] == round(3000 * (facts["accuracy"] - facts["model_accuracy"]))
    assert facts["temperature"] > 1 and facts["thresholds"] and facts["conformal"]
    student, model, truth = draw(noise=(4.0, 0.1))
    facts = blend_facts(student, model, truth, PATHS, seed=0)
    assert "not surely more accurate" in facts["why"] and "weight" not in facts
    assert "dev has 50 samples" in blend_facts(student[:50], model[:50], truth[:50], PATHS, 0)["why"]


def test_the_weight_and_the_parts():
    student, model, truth = draw(noise=(3.0, 0.5))
    assert pick_weight(student, model, truth) < pick_weight(model, student, truth)
    folds = folds_of(103, seed=1)
    assert (np.bincount(folds) >= 20).all() and (folds == folds_of(103, seed=1)).all()
    assert (folds != folds_of(103, seed=2)).any()
