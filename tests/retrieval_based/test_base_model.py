"""retrieval_based/base_model.py: vectors of encoders and of checkpoints."""

import numpy as np
import paddle

from retrieval_based.base_model import Embedder


def test_checkpoints_load_with_another_projection(once, log):
    """Without the flag the stored one; another size is drawn anew, 0 leaves it out."""
    texts = ["头疼", "多少钱"]
    stored = Embedder(str(once / "model_best"))
    assert stored.vectors(texts).shape == (2, 16) and stored.settings["max_seq_length"] == 32
    assert Embedder(str(once / "model_best"), output_emb_size=8).vectors(texts).shape == (2, 8)
    assert "its 16 units are left aside for --output_emb_size 8; the new projection is untrained" in log[-1]
    plain = Embedder(str(once / "model_best"), output_emb_size=0)
    assert plain.vectors(texts).shape == (2, 48) and plain.model.projection is None
    np.testing.assert_allclose(np.linalg.norm(plain.vectors(texts), axis=1), 1, rtol=1e-5)


def test_pooling(tiny_model):
    """The mean of the real tokens' states, or the first one's, whatever stands beside it in the batch."""
    texts = ["头疼怎么办", "钱"]
    for pooling in ("mean", "cls"):
        embedder = Embedder(str(tiny_model), pooling=pooling, output_emb_size=0)
        vectors = embedder.vectors(texts)
        for text, vector in zip(texts, vectors):
            states = embedder.model.encoder(**embedder.batch(embedder.encode([text])))[0][0].numpy()
            expected = states[0] if pooling == "cls" else states.mean(axis=0)
            np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-5)
    assert paddle.is_tensor(embedder.model(**embedder.batch(embedder.encode(texts))))
