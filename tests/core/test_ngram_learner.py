"""ngram_learner.py: what the student learns, and that its table is what was fitted."""

import numpy as np
import pytest
from scipy.special import softmax

from core import ngram_learner
from core.ngram_learner import NgramTable, choose_strength, count_ngrams, fit, learn
from core.ngram_student import read_characters
from tests.helpers import LABELS
from utils import UsageError


@pytest.fixture(scope="module")
def lines(sample_lines):
    pairs = [line.split("\t") for split in ("train", "dev") for line in sample_lines[split]]
    return [text for text, _ in pairs], np.array([LABELS.index(label) for _, label in pairs])


def test_the_student_gives_what_was_fitted(lines):
    texts = lines[0]
    probabilities = softmax(np.random.RandomState(0).randn(len(texts), 3), axis=1)
    counts = count_ngrams(texts, 32)
    table = NgramTable(counts, 3)
    rows = table.rows(counts)
    assert np.sqrt(np.asarray(rows.multiply(rows).sum(axis=1))).max() < 3  # of length 1 but for what comes twice
    weight = fit(rows, probabilities, 10.0)
    found = table.student(weight[:-1], weight[-1]).logits(read_characters(texts, 32))
    assert found == pytest.approx(rows @ weight[:-1] + weight[-1], abs=1e-4)
    # The least loss: at it the gradient is nothing beside that at the start.
    error = softmax(rows @ weight[:-1] + weight[-1], axis=1) - probabilities
    start = np.full(probabilities.shape, 1 / 3) - probabilities
    gradient = [10 * rows.T @ part for part in (error, start)]
    assert np.abs(gradient[0] + weight[:-1]).max() < 0.02 * np.abs(gradient[1]).max()


def test_the_texts_answers_are_learnt_and_the_seed_decides(lines, monkeypatch):
    texts, truth = lines
    probabilities = 0.9 * np.eye(3)[truth] + 0.1 / 3
    student, facts = learn(texts, probabilities, 32, seed=0)
    predicted = student.logits(read_characters(texts, 32)).argmax(axis=1)
    assert (predicted == truth).mean() > 0.95
    # No text is new to the teacher, so nothing tells which strength is best.
    assert facts == {"texts": len(texts), "ngrams": len(student.table) - 1, "strength": ngram_learner.USUAL_STRENGTH}
    monkeypatch.setattr(ngram_learner, "MIN_NEW", 50)
    again, facts = learn(texts, probabilities, 32, seed=0, new=100)
    same, _ = learn(texts, probabilities, 32, seed=0, new=100)
    assert (again.table == same.table).all() and facts["agreement"] > 0.6
    assert learn(texts, probabilities, 32, seed=1, new=100)[1] != facts
    # Made texts have no part in the choice, but in what is learnt.
    more, made_facts = learn([*texts, "头疼"], np.vstack([probabilities, [[0, 0, 1]]]), 32, seed=0, new=100, made=1)
    chosen = ("strength", "agreement", "cross_entropy")
    first = learn(texts, probabilities, 32, seed=0, new=100)[1]
    assert [made_facts[name] for name in chosen] == [first[name] for name in chosen] and made_facts["made"] == 1
    assert made_facts["texts"] == len(texts) + 1 and not np.array_equal(more.table, again.table)
    # Many classes: fewer n-grams, so that the table stays in bounds.
    monkeypatch.setattr(ngram_learner, "MAX_NUMBERS", 400)
    small, facts = learn(texts, probabilities, 32, seed=0)
    assert small.table.shape == (101, 4) and facts["ngrams"] == 100


def test_a_teacher_that_is_unsure_makes_the_penalty_strong(lines):
    """Answers that have nothing to do with the texts are best learnt as little as can be."""
    texts, _ = lines
    random = np.random.RandomState(0)
    noise = softmax(3 * random.randn(len(texts), 3), axis=1)
    facts = choose_strength(count_ngrams(texts, 32), noise, 100, 0, lambda: None)
    assert facts["strength"] == ngram_learner.STRENGTHS[0]


def test_a_single_text():
    with pytest.raises(UsageError, match="no n-gram is in two"):
        learn(["头疼"], np.eye(2)[:1], 32, seed=0)
