"""An ERNIE encoder with the weights of another model, as a directory that train.py takes."""

import numpy as np
import paddle
from paddlenlp.transformers import ErnieConfig, ErnieModel, ErnieTokenizer

from data.e5_weights import SPECIAL_TOKENS, build_vocab, convert
from utils import staged_files


def build(source, layers, output_dir):
    """Write an ERNIE encoder into the folder `output_dir`, aside first and then moved into place.

    Args:
        source (SourceModel): where the weights come from.
        layers (list[int]): the source's layers that are kept, see kept_layers.
        output_dir: folder to write; its other files stay.

    Returns:
        int: entries of the vocabulary.
    """
    # The source's <mask> is the last of its pieces; the rows behind it belong to no piece.
    special_ids = [source.pad, source.bos, source.eos, source.unk, len(source.pieces) - 1]
    tokens, rows = build_vocab(source.pieces, special_ids)
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
    standardise_pooler(model, tokens)
    with staged_files(output_dir) as folder:
        (folder / "vocab.txt").write_bytes(("\n".join(tokens) + "\n").encode("utf-8"))
        ErnieTokenizer(str(folder / "vocab.txt"), model_max_length=source.num_positions).save_pretrained(str(folder))
        model.save_pretrained(str(folder))
    return len(tokens)


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
