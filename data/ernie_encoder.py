"""An ERNIE encoder with the weights of another model, as a directory that train.py takes."""

import tempfile
from pathlib import Path

import numpy as np
import paddle
from paddlenlp.transformers import BasicTokenizer, ErnieConfig, ErnieModel, ErnieTokenizer

from core.encoders import make_encoder, pad_batch
from core.progress import progress_bar
from data.e5_weights import SPECIAL_TOKENS, build_vocab, convert, special_ids
from data.encoder_card import write_readme
from data.own_vocabulary import own_vocabulary, some_texts
from utils import staged_files

# Texts at least, and at most, that [CLS] is looked at over, their tokens, and texts at once.
FEW_TEXTS, MOST_TEXTS, SHORT, BATCH = 100, 400, 64, 20

# Texts that are turned into tokens at once.
BLOCK = 2_000


def build_own(source, layers, output_dir, texts, max_vocab):
    """Write an ERNIE encoder whose vocabulary comes from texts, see data/own_vocabulary.py.

    Args:
        source (SourceModel), layers (list[int]), output_dir: see build.
        texts (list[str]): the texts.
        max_vocab (int): entries at most.

    Returns:
        tuple[OwnVocabulary, float, float]: the vocabulary; the share of the texts' tokens that are [UNK], 0 to 1,
        with the vocabulary that build gives without texts, and with this one, in which an entry for a character that
        the source does not have counts as [UNK], too.

    Raises:
        UsageError: see own_vocabulary.
    """
    basic = BasicTokenizer(do_lower_case=False)
    vocabulary, some = own_vocabulary(source, texts, basic.tokenize, max_vocab), some_texts(texts)
    with tempfile.TemporaryDirectory() as folder:
        old = write_tokenizer(folder, build_vocab(source.pieces, special_ids(source))[0], source.num_positions)
        before = unknown_share(old, some, source.num_positions, {old.unk_token_id})
    build(source, layers, output_dir, vocabulary, some)
    tokenizer = ErnieTokenizer.from_pretrained(str(output_dir))
    unread = {index for index, row in enumerate(vocabulary.rows) if row == source.unk}
    return vocabulary, before, unknown_share(tokenizer, some, source.num_positions, unread)


def write_tokenizer(folder, tokens, positions, **options):
    """Write vocab.txt and the tokenizer's other files; the ErnieTokenizer."""
    path = Path(folder) / "vocab.txt"
    path.write_bytes(("\n".join(tokens) + "\n").encode("utf-8"))
    tokenizer = ErnieTokenizer(str(path), model_max_length=positions, **options)
    tokenizer.save_pretrained(str(folder))
    return tokenizer


def unknown_share(tokenizer, texts, max_length, unread):
    """The share of the tokens of texts, [CLS] and [SEP] left out, that have one of some ids, 0 to 1."""
    encode = make_encoder(tokenizer, max_length, False, texts[:BLOCK])
    unknown, total = 0, 0
    with progress_bar(total=len(texts), desc="[UNK]", unit="text") as bar:
        for start in range(0, len(texts), BLOCK):
            for feature in encode(texts[start : start + BLOCK]):
                ids = feature["input_ids"][1:-1]
                unknown, total = unknown + sum(index in unread for index in ids), total + len(ids)
            bar.update(min(BLOCK, len(texts) - start))
    return unknown / max(1, total)


def build(source, layers, output_dir, vocabulary=None, texts=()):
    """Write an ERNIE encoder into the folder `output_dir`, aside first and then moved into place.

    Args:
        source (SourceModel): where the weights come from.
        layers (list[int]): the source's layers that are kept, see kept_layers.
        output_dir: folder to write; its other files stay, a README.md that somebody wrote among them.
        vocabulary (OwnVocabulary | None): the entries; None: those of build_vocab, for texts in lower case.
        texts (list[str]): with `vocabulary`, what it comes from.

    Returns:
        int: entries of the vocabulary.
    """
    if vocabulary is None:
        tokens, rows = build_vocab(source.pieces, special_ids(source))
    else:
        tokens, rows = vocabulary.tokens, vocabulary.rows
    state = convert(source, rows, layers)

    config = ErnieConfig(
        vocab_size=len(tokens),
        hidden_size=source.hidden_size,
        num_hidden_layers=len(layers),
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
    with staged_files(output_dir) as folder:
        # Lower case would come with the loss of all accents: PaddleNLP's ErnieTokenizer has one switch for both.
        options = {} if vocabulary is None else {"do_lower_case": False}
        tokenizer = write_tokenizer(folder, tokens, source.num_positions, **options)
        if len(texts) < FEW_TEXTS:
            batches = random_batches(tokens, model.config.max_position_embeddings)
        else:
            batches = text_batches(tokenizer, texts)
        standardise_pooler(model, batches)
        model.save_pretrained(str(folder))
        write_readme(folder, output_dir, len(layers), len(tokens), vocabulary is not None)
    return len(tokens)


def standardise_pooler(model, batches):
    """Set the pooler to tanh((h - mean) / (2 sd)), mean and sd of each unit of [CLS] over made-up texts.

    The source has no pooler, and its vectors lie in a narrow cone: over queries a unit of [CLS] varies by 0.06
    around a mean of 0.17, so a fresh classifier would see a constant with a little noise and learn slowly. Rounded,
    so that the last bits of another machine's sums do not show.

    Args:
        model (ErnieModel): with its weights.
        batches (Iterable[np.ndarray]): int64 [texts, tokens], padded with 0.
    """
    states = []
    model.eval()
    with paddle.no_grad():
        for ids in batches:
            hidden, _ = model(paddle.to_tensor(ids), paddle.zeros(ids.shape, dtype="int64"))
            states.append(hidden[:, 0].numpy().astype(np.float64))
    states = np.concatenate(states)
    scale = np.round(1 / (2 * np.maximum(states.std(axis=0), 1e-3)), 2)
    model.pooler.dense.weight.set_value(np.diag(scale).astype(np.float32))
    model.pooler.dense.bias.set_value((-np.round(states.mean(axis=0), 3) * scale).astype(np.float32))


def random_batches(tokens, positions):
    """400 random strings of frequent Chinese characters, so that the result depends on no file; their mean of [CLS] is
    within 0.4 sd of real queries'.

    Args:
        tokens (list[str]): the vocabulary, most frequent first behind the special tokens.
        positions (int): of the model.
    """
    frequent = [index for index, token in enumerate(tokens) if len(token) == 1 and "\u4e00" <= token <= "\u9fff"]
    rng = np.random.default_rng(0)
    for length in range(6, min(26, positions - 1)):
        ranks = np.minimum(rng.pareto(1.0, (20, length)) * 60, len(frequent) - 1).astype(int)
        ids = np.pad(np.array(frequent)[ranks], ((0, 0), (1, 1)))
        ids[:, 0], ids[:, -1] = SPECIAL_TOKENS.index("[CLS]"), SPECIAL_TOKENS.index("[SEP]")
        yield ids


def text_batches(tokenizer, texts):
    """Some of the texts, evenly spread, in batches of similar length."""
    chosen = texts[:: max(1, len(texts) // MOST_TEXTS)][:MOST_TEXTS]
    length = min(SHORT, tokenizer.model_max_length)
    features = make_encoder(tokenizer, length, False, chosen)(chosen)
    features.sort(key=lambda feature: len(feature["input_ids"]))
    for start in range(0, len(features), BATCH):
        yield pad_batch(features[start : start + BATCH], ["input_ids"], tokenizer.pad_token_id)["input_ids"]
