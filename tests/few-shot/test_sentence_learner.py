"""few-shot/sentence_learner.py: loss and n-gram layer against their formulas, and what tuning does."""

import numpy as np
import pytest

from core import linear_heads as heads
from tests.helpers import LABELS
from utils import read_examples


def test_contrastive_loss_is_its_formula(learning):
    import paddle

    rng = np.random.RandomState(0)
    vectors, labels, temperature = rng.randn(7, 5).astype("float32"), np.array([0, 1, 0, 2, 1, 0, 3]), 0.2
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = []
    for i in range(7):
        positives = [p for p in range(7) if p != i and labels[p] == labels[i]]
        others = sum(np.exp(unit[i] @ unit[a] / temperature) for a in range(7) if a != i)
        if positives:
            logs = [np.log(np.exp(unit[i] @ unit[p] / temperature) / others) for p in positives]
            expected.append(-np.mean(logs))
    loss = learning.contrastive_loss(paddle.to_tensor(vectors), paddle.to_tensor(labels), temperature)
    assert float(loss) == pytest.approx(np.mean(expected), rel=1e-5)
    assert float(learning.contrastive_loss(paddle.to_tensor(vectors[:2]), paddle.to_tensor([0, 1]), 0.2)) == 0


def test_a_batch_has_some_samples_of_some_labels(learning):
    labels = np.array([0] * 10 + [1] * 2 + [2] * 10 + [3] * 10)
    rng = np.random.RandomState(0)
    for _ in range(20):
        rows = learning.draw_batch(labels, 3, 4, rng)
        found, counts = np.unique(labels[rows], return_counts=True)
        assert len(found) == 3 and len(set(rows)) == len(rows)
        assert counts.tolist() == [2 if label == 1 else 4 for label in found]


def test_tuning_brings_texts_of_a_label_together(few, learning, setfit, tiny_model):
    """What it is for, on training texts: similarity within labels rises over that between them."""
    flags = "--do_train --max_seq_length 32 --device cpu --max_steps 20 --learning_rate 2e-3 --tuned_share 1".split()
    flags = setfit.parse_flags([*flags, "--model_name_or_path", str(tiny_model)])
    learner = learning.Learner(flags, {label: label for label in LABELS})
    texts, labels = read_examples(few / "train.txt", LABELS)
    labels = np.array(labels)

    def contrast():
        vectors = learner.vectors(learner.encode(texts))
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        similar, same = unit @ unit.T, labels[:, None] == labels
        return similar[same].mean() - similar[~same].mean()

    before = contrast()
    learner.fit(texts, labels)
    assert contrast() > before + 0.3


def test_the_ngram_layer_is_tf_idf_svd_and_head(learning):
    """Padding adds nothing, unknown n-grams nothing but nothing breaks; both against scikit-learn's tf-idf."""
    import paddle
    from sklearn.feature_extraction.text import TfidfVectorizer

    rng = np.random.RandomState(0)
    token_ids = [[1, *rng.randint(5, 20, size=size), 2] for size in rng.randint(1, 9, size=60)]
    ngrams = heads.Ngrams(token_ids[:50], seed=0)
    head = rng.randn(len(ngrams.components), 3)
    layer = learning.NgramLayer(ngrams, head, vocab_size=30, pad_token_id=0)
    padded = np.zeros([62, 12], "int64")
    for row, ids in zip(padded, token_ids):
        row[: len(ids)] = ids
    padded[60, :3] = [25, 26, 27]
    logits = layer(paddle.to_tensor(padded)).numpy()
    np.testing.assert_allclose(logits[:60], ngrams.vectors(token_ids) @ head, atol=1e-5)
    assert (logits[60:] == 0).all()

    once = [ids for ids in token_ids[:50] if len(set(ids)) == len(ids)]  # where no n-gram is there twice
    texts = [" ".join(map(str, ids)) for ids in token_ids[:50]]
    reference = TfidfVectorizer(analyzer="word", token_pattern=r"\d+", ngram_range=(1, 2), min_df=2).fit(texts)
    expected = reference.transform([" ".join(map(str, ids)) for ids in once]).toarray()
    rows = ngrams.rows(once).toarray()
    assert rows.shape == expected.shape
    np.testing.assert_allclose(rows @ rows.T, expected @ expected.T, atol=1e-9)
