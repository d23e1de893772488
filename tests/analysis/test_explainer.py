"""analysis/explainer.py: gradients against finite differences, attention, and the tokens of words."""

import random

import numpy as np
import paddle
import pytest

from analysis.explainer import assign_tokens
from analysis.words import load_jieba
from core.encoders import make_encoder
from tests.analysis.planted import logit, scale_layer_norms


@pytest.mark.parametrize("trainable", [True, False])
def test_gradients_are_finite_differences(loaded, trainable):
    """With frozen LayerNorm scales they are not, which is why those stay trainable."""
    _, explainer, _ = loaded
    scale_layer_norms(explainer.model, trainable)
    case = explainer.make_cases([(1, "头痛要做什么检查", "")])[0]
    start, end = (explainer.vectors(ids) for ids in ([explainer.mask_id] * len(case.owner), case.feature["input_ids"]))

    def value(place):
        points = paddle.to_tensor((start + place * (end - start))[None])
        hook = explainer.embedding.register_forward_post_hook(lambda layer, ids, output: points)
        found = logit(explainer, case, case.feature["input_ids"])
        hook.remove()
        return found

    places = np.linspace(0.05, 0.95, 10)
    slopes = explainer.slopes(case, start, places).sum(axis=1)
    expected = np.array([value(place + 0.002) - value(place - 0.002) for place in places]) / 0.004
    error = np.abs(slopes - expected).max() / np.abs(expected).max()
    assert error < 0.01 if trainable else error > 0.5


def test_the_attention_is_that_of_the_last_layer(loaded):
    _, explainer, cases = loaded
    caught, layer = [], explainer.model.ernie.encoder.layers[-1].self_attn
    hook = layer.register_forward_pre_hook(lambda layer, inputs: caught.append(inputs[0]))
    weights = explainer.attention(cases[0])
    hook.remove()
    projected = (layer.q_proj(caught[0])[0], layer.k_proj(caught[0])[0])
    split = [tensor.reshape([-1, 12, 4]).transpose([1, 0, 2]) for tensor in projected]
    expected = paddle.nn.functional.softmax(split[0] @ split[1].transpose([0, 2, 1]) / 2, axis=-1)
    assert np.abs(weights - expected[:, 0].mean(axis=0).numpy()).max() < 1e-5


@pytest.fixture(scope="module")
def encode(tmp_path_factory):
    """A function of words to tokens, with word pieces and few Chinese characters."""
    from paddlenlp.transformers import ErnieTokenizer

    tokens = "[PAD] [CLS] [SEP] [UNK] [MASK]".split() + list("头疼吃药很好，。？ab12")
    tokens += "##b ##1 cafe vita ##min".split()
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    path.write_bytes(("\n".join(tokens) + "\n").encode())
    encoder = make_encoder(ErnieTokenizer(str(path)), 64, True)
    return lambda words: [feature["input_ids"][1:-1] for feature in encoder(words)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("头疼吃药", {"头疼": 2, "吃药": 2}),
        ("头疼吃Vitamin很好", {"头疼": 2, "吃": 1, "Vitamin": 2, "很": 1, "好": 1}),
        ("café很好", {"café": 1, "很": 1, "好": 1}),  # jieba cuts before é, the tokenizer does not
        ("头疼 吃药", {"头疼": 2, " ": 0, "吃药": 2}),
        ("頭疼😀，Zzz", {"頭疼": 2, "😀": 1, "，": 1, "Zzz": 1}),  # unknown ones are one token each
    ],
)
def test_words_and_tokens(encode, text, expected):
    words, owner = assign_tokens(load_jieba().lcut(text), encode([text])[0], encode)
    counts = np.bincount(owner, minlength=len(words)).tolist()
    assert "".join(words) == text
    assert dict(zip(words, counts)) == expected


def test_any_text_is_cut_into_words_with_their_own_tokens(encode):
    generator = random.Random(0)
    for _ in range(300):
        text = "".join(generator.choices("头疼吃药b1aé́ßΣİ😀 ，-[SEP]\u200d%Ⅲ㎎", k=generator.randint(1, 12))).strip()
        if not text:
            continue
        ids = encode([text])[0]
        words, owner = assign_tokens(load_jieba().lcut(text), ids, encode)
        assert "".join(words) == text and len(owner) == len(ids) and (np.diff(owner) >= 0).all()
        for number, part in enumerate(encode(words)):
            assert [token for token, word in zip(ids, owner) if word == number] == part
