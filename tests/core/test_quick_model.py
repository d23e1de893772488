"""core/quick_model.py and what it says of its own accuracy, on planted vectors."""

import numpy as np
import pytest

from core.quick_model import Fit, Texts


def planted(number, classes=3, seed=0, spread=1.2):
    """Texts around one center a class, and their class ids; the tokens tell nothing."""
    random = np.random.RandomState(seed)
    ids = np.arange(number) % classes
    vectors = (random.randn(number, 8) * spread + 3 * np.eye(8)[ids]).astype(np.float32)
    return Texts(vectors, random.randint(5, 50, size=(number, 6)).tolist()), ids


WORDS = Texts(3 * np.eye(8)[:3].astype(np.float32), [[1, 60], [1, 61], [1, 62]])


@pytest.mark.parametrize("dev", [True, False])
def test_what_a_model_says_of_itself_is_what_new_texts_show(dev):
    texts, ids = planted(300)
    new, truth = planted(2000, seed=1)
    fit = Fit(texts, ids, WORDS, planted(500, seed=2)[0], planted(400, seed=3) if dev else None)
    model, right = fit.model()
    assert len(right) == (400 if dev else 300)
    shown = (model.logits(new).argmax(axis=1) == truth).mean()
    assert right.mean() == pytest.approx(shown, abs=0.05) and shown > 0.75
    assert model.probabilities(new).max(axis=1).mean() == pytest.approx(shown, abs=0.12)


def test_without_labels_the_words_say_what_the_classes_are():
    fit = Fit(Texts(np.zeros((0, 8), np.float32), []), [], WORDS, planted(300)[0])
    model, right = fit.model()
    new, truth = planted(500, seed=1)
    assert right is None and (model.logits(new).argmax(axis=1) == truth).mean() > 0.75
    assert model.probabilities(new).max(axis=1).mean() < 0.5  # nothing is known of how right it is


@pytest.mark.parametrize("dev", [True, False])
def test_wrong_labels_are_no_better_than_fewer_ones(dev):
    texts, ids = planted(200)
    ids = ids.copy()
    ids[100:] = (ids[100:] + 1) % 3
    fit = Fit(texts, ids, WORDS, planted(300, seed=2)[0], planted(400, seed=3) if dev else None)
    known = np.arange(100)
    before, after = fit.accuracy_without(known), fit.model()[1].mean()
    assert after < before if dev else after < 0.75
