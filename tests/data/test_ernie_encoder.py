"""data/ernie_encoder.py: a small E5S1 file as an ERNIE directory."""

import numpy as np
import pytest

from tests.data.e5 import HEADS, HIDDEN, PIECES, build, forward, hidden_states


@pytest.mark.parametrize("kept, layers", [(3, [0, 1, 2]), (1, [2])])
def test_hidden_states_equal_a_numpy_forward_pass(small, tmp_path, kept, layers):
    data, values = small
    build(data, tmp_path / "encoder", kept)
    tokens = (tmp_path / "encoder" / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
    text = ["[CLS]", "头", "疼", ",", "25", "##a", "么", "[UNK]", "[SEP]"]
    pieces = ["头", "疼", ",", "▁25", "a", "么"]
    rows = [0, *map(PIECES.index, pieces), 3, 2]
    expected = forward(values.__getitem__, rows, layers, HEADS, HIDDEN)
    actual = hidden_states(tmp_path / "encoder", [tokens.index(token) for token in text])
    np.testing.assert_allclose(actual, expected, atol=1e-4)
    assert np.abs(expected).max() > 0.5


def test_vocabulary_and_tokenizer(small, tmp_path):
    from paddlenlp.transformers import AutoTokenizer

    build(small[0], tmp_path / "encoder")
    tokens = (tmp_path / "encoder" / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
    assert tokens[:5] == ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"] and len(tokens) == len(set(tokens))
    assert {"头", "疼", "怎", "，", "。", "．", "ａ", "α", "##α", "abc", "##abc", "##1"} <= set(tokens)
    assert not {"头疼", "안", "ж", "A", "B"} & set(tokens)
    tokenizer = AutoTokenizer.from_pretrained(str(tmp_path / "encoder"))
    assert tokenizer.tokenize("头疼ABC，25a怎么办") == ["头", "疼", "abc", "，", "25", "##a", "怎", "么", "办"]
    assert (tokenizer.pad_token_id, tokenizer.cls_token_id, tokenizer.mask_token_id) == (0, 1, 4)


def test_the_same_bytes_every_time_and_other_files_stay(small, tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine.txt").write_text("kept")
    build(small[0], tmp_path / "a")
    build(small[0], tmp_path / "b")
    assert (tmp_path / "b" / "mine.txt").read_text() == "kept"
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_the_pooler_spreads_its_input(small, tmp_path):
    import paddle
    from paddlenlp.transformers import AutoModel

    build(small[0], tmp_path / "encoder")
    model = AutoModel.from_pretrained(str(tmp_path / "encoder"))
    model.eval()
    rng = np.random.default_rng(5)
    ids = rng.integers(5, model.config.vocab_size, (64, 12))
    ids[:, 0] = 1
    with paddle.no_grad():
        pooled = model(paddle.to_tensor(ids), paddle.zeros(ids.shape, dtype="int64"))[1].numpy()
    assert 0.2 < pooled.std(axis=0).mean() < 0.8
