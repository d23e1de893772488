"""One vector a text, for encoders with and without token types."""

import numpy as np
import paddle
import pytest
from paddlenlp.transformers import AutoModel

from core.loading import uses_token_types
from core.pooling import PooledEncoder

IDS = [[3, 7, 8, 2], [3, 9, 2, 0]]


@pytest.mark.parametrize("kind", ["tiny_model", "tiny_ernie_m"])
def test_the_mean_leaves_padding_out(kind, request):
    encoder = AutoModel.from_pretrained(str(request.getfixturevalue(kind)))
    encoder.eval()
    pad = encoder.config.pad_token_id
    ids = np.array([[token or pad for token in row] for row in IDS], dtype="int64")
    model = PooledEncoder(encoder, pad)
    assert uses_token_types(model) == uses_token_types(encoder) == (kind == "tiny_model")
    inputs = {"token_type_ids": paddle.zeros_like(paddle.to_tensor(ids))} if uses_token_types(model) else {}
    with paddle.no_grad():
        states = encoder(paddle.to_tensor(ids), **inputs)[0].numpy()
        pooled = model.pooled(paddle.to_tensor(ids), **inputs).numpy()
        first = PooledEncoder(encoder, pad, "cls").pooled(paddle.to_tensor(ids), **inputs).numpy()
    assert np.abs(pooled[0] - states[0].mean(axis=0)).max() < 1e-5
    assert np.abs(pooled[1] - states[1, :3].mean(axis=0)).max() < 1e-5
    assert np.array_equal(first, states[:, 0])
