"""data/ernie_encoder.py: a small E5S1 file as an ERNIE directory."""

import numpy as np
import pytest

import train
from core import model_card
from core.predictor import Predictor, runs_slim
from data.e5_weights import SourceModel
from tests.data.e5 import HEADS, HIDDEN, PIECES, build, forward, hidden_states, shapes
from tests.helpers import train_flags, write_data
from utils import read_json


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


# ----------------------------------------------------------------------------------------- a vocabulary of one's own

TEXTS = ["머리가 아파요", "голова болит", "đau đầu", "ปวดหัว", "头疼 The headache"]


@pytest.fixture(scope="module")
def own(many, tmp_path_factory):
    """A folder with an encoder of TEXTS, and what build_own gave."""
    from data import ernie_encoder

    folder = tmp_path_factory.mktemp("own") / "encoder"
    source = SourceModel(many)
    return folder, ernie_encoder.build_own(source, [0, 2], folder, TEXTS * 30, 100_000)


def test_an_encoder_of_texts(own):
    from core.loading import load_config_and_tokenizer

    folder, (found, before, after) = own
    config, tokenizer = load_config_and_tokenizer(str(folder))
    assert type(tokenizer).__name__ == "ErnieTokenizer" and config.vocab_size == len(found.tokens)
    assert config.num_hidden_layers == 2 and tokenizer.convert_ids_to_tokens(list(range(9))) == found.tokens[:9]
    cut = {
        "머리가 아파요": ["머리", "##가", "아파", "##요"],
        "The HEAD": ["The", "H", "##E", "##A", "##D"],
        "đau đầu": ["đau", "đầu"],
        "ปวดหัว": ["ปวด", "##หัว"],
    }
    assert {text: tokenizer.tokenize(text) for text in cut} == cut
    assert after == 0 and 0.3 < before < 0.9


def test_its_rows_are_the_source_s(own, many):
    folder, (found, *_) = own
    source = SourceModel(many)
    cache = {name: source.tensor(name, shape) for name, shape in shapes(vocab=source.vocab_size)}
    tokens = ["[CLS]", "머리", "##가", "[SEP]"]
    ids = [0, source.pieces.index("▁머리"), source.pieces.index("가"), 2]
    expected = forward(cache.__getitem__, ids, [0, 2], HEADS, HIDDEN)
    actual = hidden_states(folder, [found.tokens.index(token) for token in tokens])
    np.testing.assert_allclose(actual, expected, atol=1e-4)


def test_tokenizer_json_gives_its_ids(own, tmp_path):
    from core.encoders import make_encoder
    from core.loading import load_config_and_tokenizer
    from core.tokenizer_json import write_tokenizer_json

    tokenizer = load_config_and_tokenizer(str(own[0]))[1]
    texts = [*TEXTS, *(text.swapcase() for text in TEXTS), "น้ำ ﾒｰﾙ đa\u0302\u0300u ❤\ufe0f"]
    assert write_tokenizer_json(tmp_path, tokenizer, 20, texts)["tokenizer"] == "tokenizer.json"
    assert make_encoder(tokenizer, 20, True, texts).is_fast


def test_the_pooler_of_an_own_encoder_is_set_by_the_texts(own, many, tmp_path):
    """And by random strings where there are few texts."""
    import paddle

    from data import ernie_encoder

    few = tmp_path / "few"
    ernie_encoder.build_own(SourceModel(many), [0, 2], few, TEXTS, 100_000)
    states = [paddle.load(str(folder / "model_state.pdparams")) for folder in (own[0], few)]
    differing = {name for name in states[0] if not np.array_equal(states[0][name].numpy(), states[1][name].numpy())}
    assert differing == {"pooler.dense.weight", "pooler.dense.bias"}


def test_the_folder_states_its_licence(own, small, tmp_path):
    assert model_card.stated_licence(own[0]) == ("mit", "README.md")
    build(small[0], tmp_path / "encoder")
    assert model_card.stated_licence(tmp_path / "encoder") == ("mit", "README.md")
    config = (tmp_path / "encoder" / "config.json").read_text(encoding="utf-8")
    assert "licen" not in config, "a training would hand it on, as if its own weights were so licensed"


def test_it_is_trained_exported_and_asked_like_any_other(own, tmp_path):
    """Paddle's export and the runtime without Paddle agree, and the card tells the licence."""
    folder, _ = own
    data, output = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    lines = [f"{text}\t{label}" for text, label in zip(TEXTS * 8, "ab" * 20)]
    write_data(data, lines, lines[:10], ["a", "b"])
    short = "--do_eval --do_export --export_type paddle onnx --max_steps 2 --max_length 16".split()
    short += "--evaluation_strategy epoch --save_strategy no --load_best_model_at_end False".split()
    train.main(train_flags(data, folder, output, *short))
    export = output / "export"
    assert read_json(export / "export.json")["runtime"]["tokenizer"] == "tokenizer.json"
    assert "Licence of the base model `encoder`: mit" in (export / "README_en.md").read_text(encoding="utf-8")
    onnx, paddle = (Predictor(export, format=name) for name in ("onnx", "paddle"))
    assert runs_slim(export, "onnx") and not runs_slim(export, "paddle")
    features = onnx.encode(TEXTS)
    assert features == paddle.encode(TEXTS)
    np.testing.assert_allclose(onnx.logits(features), paddle.logits(features), atol=1e-5)
