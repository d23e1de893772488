"""A small E5S1 file written here, and the model that it holds, computed in plain numpy."""

import itertools
import math
import struct

import numpy as np

from data.e5_weights import SourceModel, kept_layers

PIECES = (
    "<s> <pad> </s> <unk> , . ▁ s ▁de ▁a a b c 1 25 ▁25 ▁abc 头 疼 ▁怎 么 办 发 烧 头疼 α 。 안 ж A ▁B <mask>"
).split(" ")
HIDDEN, LAYERS, HEADS, FFN, VOCAB, POSITIONS = 64, 3, 4, 128, len(PIECES) + 3, 20


def shapes(hidden=HIDDEN, layers=LAYERS, ffn=FFN, vocab=VOCAB, positions=POSITIONS):
    yield "emb.word", (vocab, hidden)
    yield "emb.pos", (positions, hidden)
    yield "emb.type", (2, hidden)
    yield from (("emb.ln.w", (hidden,)), ("emb.ln.b", (hidden,)))
    for layer in range(layers):
        square = dict.fromkeys(("q", "k", "v", "ao"), (hidden, hidden))
        for name, shape in {**square, "fi": (ffn, hidden), "fo": (hidden, ffn)}.items():
            yield f"l{layer}.{name}.w", shape
            yield f"l{layer}.{name}.b", shape[:1]
        for name in ("aln", "oln"):
            yield f"l{layer}.{name}.w", (hidden,)
            yield f"l{layer}.{name}.b", (hidden,)


def small_file(pieces=PIECES, scores=None):
    """Bytes of an E5S1 file, and the float32 values that it holds after quantisation.

    Args:
        pieces (list[str]): <s> <pad> </s> <unk> first, <mask> last.
        scores (list[float] | None): of the pieces; None: all 0.
    """
    vocab = len(pieces) + VOCAB - len(PIECES)
    rng = np.random.default_rng(0)
    values, blobs, directory = {}, [], []
    for name, shape in shapes(vocab=vocab):
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
    encoded = [piece.encode() for piece in pieces]
    offsets = [0, *itertools.accumulate(map(len, encoded))]
    head = (
        b"E5S1"
        + struct.pack("<I", 1)
        + struct.pack("<7ifi", HIDDEN, LAYERS, HEADS, FFN, vocab, POSITIONS, 2, 1e-12, 32)
    )
    head += struct.pack("<5i", len(pieces), 0, 2, 1, 3) + struct.pack("<Q", offsets[-1])
    head += struct.pack(f"<{len(offsets)}I", *offsets) + struct.pack(
        f"<{len(pieces)}f", *(scores or [0.0] * len(pieces))
    )
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
        q, k, v = (
            linear(x, f"l{layer}.{name}").reshape(len(ids), heads, hidden // heads).transpose(1, 0, 2)
            for name in "qkv"
        )
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


# Pieces of several scripts, and their scores: the longer, the better.
WORDS = (
    "머리 가 아파 요 골 절 절이 다리 голова болит дом đau đầu ngày ปวด หัว น้ํา メール が いたい The head ache aches 2026"
).split()
LETTERS = sorted({character for word in WORDS for character in word} | set("頭痛감기мсекбеzq😷كتاب"))
MANY_PIECES = [
    *PIECES[:-1],
    *(piece for piece in [*LETTERS, *WORDS, *("▁" + word for word in WORDS)] if piece not in PIECES),
    "<mask>",
]
MANY_SCORES = [-20.0 + 3 * len(piece) for piece in MANY_PIECES]


def build(data, output_dir, num_hidden_layers=None):
    """Write the encoder of an E5S1 file's bytes."""
    from data import ernie_encoder

    source = SourceModel(data)
    layers = kept_layers(source.num_layers, num_hidden_layers or source.num_layers)
    return ernie_encoder.build(source, layers, output_dir)
