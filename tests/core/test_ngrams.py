"""N-grams and the regression on them against scikit-learn, and what is left out where."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.feature_extraction.text import TfidfTransformer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from core import ngrams
from utils import UsageError


def random_texts(count=120, num_labels=3, seed=0):
    """Token ids of a label's own tokens and of all, some of them twice, and class ids."""
    rng = np.random.RandomState(seed)
    labels = rng.randint(num_labels, size=count)
    texts = [
        [*rng.randint(5 + 6 * label, 13 + 6 * label, size=rng.randint(1, 6)), *rng.randint(5, 30, size=3)]
        for label in labels
    ]
    return [[int(token) for token in text] for text in texts], labels


def test_rows_are_scikit_learns_tf_idf():
    """Of the same hashed counts, and where no two pairs share a slot, of the n-grams themselves."""
    texts, _ = random_texts()
    found = ngrams.Ngrams(texts[:100])
    counts = found.counts(texts)
    assert counts.shape == (120, len(found.keys)) and counts.max() >= 2  # some n-gram is there twice
    entries = found.entries(texts)
    assert set(entries.data) == {1} and (entries.toarray() == counts.toarray()).all()  # toarray adds them up
    expected = TfidfTransformer().fit(counts[:100]).transform(counts)
    rows = found.tf_idf(texts)
    np.testing.assert_allclose(found.idf, TfidfTransformer().fit(counts[:100]).idf_, atol=1e-12)
    np.testing.assert_allclose(rows.toarray(), expected.toarray(), atol=1e-12)
    words = [" ".join(map(str, ids)) for ids in texts]
    reference = TfidfVectorizer(analyzer="word", token_pattern=r"\d+", ngram_range=(1, 2), min_df=2).fit(words[:100])
    others = reference.transform(words).toarray()
    np.testing.assert_allclose((rows @ rows.T).toarray(), others @ others.T, atol=1e-12)
    assert not found.tf_idf([[900, 901], []]).toarray().any()


@pytest.mark.parametrize("num_labels", [2, 3])
def test_the_regression_is_scikit_learns(num_labels):
    texts, labels = random_texts(num_labels=num_labels)
    tower = ngrams.Tower(texts, labels, num_labels, seed=0)
    rows = TfidfTransformer().fit_transform(tower.ngrams.counts(texts))
    model = LogisticRegression(C=tower.strength, tol=1e-3, max_iter=1000).fit(rows, labels)
    np.testing.assert_allclose(softmax(tower.logits(texts), axis=1), model.predict_proba(rows), atol=1e-5)
    assert tower.left_out.shape == (120, num_labels) and tower.left_out.dtype == "float32"


def test_left_out_logits_have_not_seen_the_text():
    texts, labels = random_texts()
    tower = ngrams.Tower(texts, labels, 3, seed=0)
    folds = ngrams.stratified_folds(labels, 0)
    for label in range(3):
        sizes = np.bincount(folds[labels == label], minlength=ngrams.FOLDS)
        assert sizes.max() - sizes.min() <= 1
    own, others = np.flatnonzero(folds == 2), np.flatnonzero(folds != 2)
    found = ngrams.Ngrams([texts[row] for row in others])
    rows = found.tf_idf([texts[row] for row in others])
    model = LogisticRegression(C=tower.strength, tol=1e-3, max_iter=1000).fit(rows, labels[others])
    expected = model.predict_proba(found.tf_idf([texts[row] for row in own]))
    np.testing.assert_allclose(softmax(tower.left_out[own], axis=1), expected, atol=1e-5)
    assert tower.accuracy == (tower.left_out.argmax(axis=1) == labels).mean()
    right = (tower.logits(texts).argmax(axis=1) == labels).mean()
    assert 0.5 < tower.accuracy < right  # the texts that it was fitted to are easier
    again = ngrams.Tower(texts, labels, 3, seed=0)
    np.testing.assert_array_equal(again.left_out, tower.left_out)
    np.testing.assert_array_equal(again.weight, tower.weight)


def test_the_strength_is_the_one_of_the_lowest_loss():
    """Of clear texts a weak penalty, of noise a strong one."""
    texts, labels = random_texts(200)
    clear = ngrams.Tower([[5 + label, *text] for text, label in zip(texts, labels)], labels, 3, seed=0)
    noise = ngrams.Tower(texts, np.random.RandomState(1).permutation(labels), 3, seed=0)
    assert clear.strength > noise.strength == ngrams.STRENGTHS[0]


def test_a_part_of_many_texts_chooses_the_strength(monkeypatch):
    texts, labels = random_texts(200)
    whole = ngrams.Tower(texts, labels, 3, seed=0)
    monkeypatch.setattr(ngrams, "TEXTS_FOR_STRENGTH", 60)
    some = ngrams.Tower(texts, labels, 3, seed=0)
    assert some.left_out.shape == (200, 3) and some.left_out.any(axis=1).all()
    assert some.accuracy > whole.accuracy - 0.15


def test_few_numbers_for_many_labels(monkeypatch):
    """The n-grams of the most texts are kept."""
    texts, labels = random_texts()
    monkeypatch.setattr(ngrams, "MAX_NUMBERS", 3 * 20)
    tower, all_of_them = ngrams.Tower(texts, labels, 3, seed=0), ngrams.Ngrams(texts)
    assert len(tower.ngrams.keys) == 20 and tower.weight.shape == (20, 3)
    rare = all_of_them.idf[~np.isin(all_of_them.keys, tower.ngrams.keys)]
    assert rare.min() >= tower.ngrams.idf.max() and (np.diff(tower.ngrams.keys) > 0).all()


def test_classes_without_texts():
    texts, labels = random_texts()
    tower = ngrams.Tower(texts, labels + (labels > 0), 5, seed=0)  # none of 1 and 4
    assert not tower.weight[:, [1, 4]].any() and (tower.bias[[1, 4]] == tower.bias.min()).all()
    assert not np.isin(tower.logits(texts).argmax(axis=1), [1, 4]).any()
    few = ngrams.Tower(texts[:6], [0, 0, 0, 0, 0, 1], 2, seed=0)  # without the last text there is one class
    assert np.isfinite(few.left_out).all() and few.left_out[5].tolist() == [0, 0]


def test_what_nothing_can_be_learnt_from():
    with pytest.raises(UsageError, match="texts of one label alone; leave it out"):
        ngrams.Tower([[5, 6], [5, 7]], [1, 1], 2, seed=0)
    with pytest.raises(UsageError, match="no two training texts have a token in common"):
        ngrams.Tower([[5, 6], [7, 8]], [0, 1], 2, seed=0)


def test_special_tokens_are_left_out():
    assert ngrams.without_special([1, 5, 4, 6, 2], [0, 1, 2, 4]) == [5, 6]
