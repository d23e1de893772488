"""Encoders with a head for masked words: PaddleNLP's own for ERNIE and BERT, one of the same shape for all others.

PaddleNLP has no such head for some families, and heads of different shapes and names for the rest. What
core/masked_words.py trains is an encoder (`base_model`) with `cls.predictions`, whatever the family.
"""

import numpy as np
import paddle
import paddlenlp.transformers
from paddle.nn import functional as F
from paddlenlp.transformers import BertForMaskedLM, ErnieForMaskedLM

from core.families import FAMILIES, unsupported_family
from core.loading import check_length, lacks_head, load_config_and_tokenizer, load_weights, note_missing_weights
from utils import UsageError

# Their trained encoder keeps the head, which few-shot/ learns prompts with.
MASKED_MODELS = {"ernie": ErnieForMaskedLM, "bert": BertForMaskedLM}
# At the head's start these are the identity far above 0, see core.masked_words.start_head.
LINEAR_ACTIVATIONS = ("gelu", "relu")


class TiedDecoder(paddle.nn.Layer):
    """Scores of all words: products with their embeddings, which stay the encoder's, and a bias of its own.

    Args:
        embeddings (paddle.nn.Embedding): the encoder's.
    """

    def __init__(self, embeddings):
        super().__init__()
        self.bias = self.create_parameter([embeddings.weight.shape[0]], is_bias=True)
        self.tied = (embeddings,)  # in a tuple, so that the weight has no second name in the state

    @property
    def weight(self):
        """The word embeddings: [vocabulary, embedding size]."""
        return self.tied[0].weight

    def forward(self, states):
        """[places, vocabulary] from [places, embedding size]."""
        return paddle.matmul(states, self.weight, transpose_y=True) + self.bias


class WordHead(paddle.nn.Layer):
    """BERT's head for masked words; core.masked_words.start_head fills it.

    Args:
        hidden_size (int): of the encoder's states; word embeddings may be smaller, as ELECTRA's and ALBERT's are.
        embeddings (paddle.nn.Embedding): of the words.
    """

    def __init__(self, hidden_size, embeddings):
        super().__init__()
        size = embeddings.weight.shape[1]
        self.transform = paddle.nn.Linear(hidden_size, size)
        self.layer_norm = paddle.nn.LayerNorm(size, epsilon=1e-12)
        self.decoder = TiedDecoder(embeddings)

    def forward(self, states):
        """[places, vocabulary] from [places, hidden]."""
        return self.decoder(self.layer_norm(F.gelu(self.transform(states))))


class MaskedWordsModel(paddle.nn.Layer):
    """An encoder of any family with a WordHead; what is saved of it is the encoder.

    Args:
        encoder (PretrainedModel): without a head; its padding is masked.

    Raises:
        UsageError: see word_embeddings.
    """

    def __init__(self, encoder):
        super().__init__()
        self.base_model, self.cls = encoder, paddle.nn.Layer()
        self.cls.predictions = WordHead(encoder.config.hidden_size, word_embeddings(encoder))

    @property
    def config(self):
        """The encoder's."""
        return self.base_model.config

    def get_input_embeddings(self):
        """The word embeddings; PaddleNLP's own function is missing in some families."""
        return self.cls.predictions.decoder.tied[0]

    def forward(self, input_ids):
        """Scores at all places: [texts, tokens, vocabulary]."""
        return self.cls.predictions(token_states(self.base_model, input_ids))

    def save_pretrained(self, folder):
        """Write the encoder, as PaddleNLP's model of its family: train.py fine-tunes that, and needs no such head."""
        self.base_model.save_pretrained(folder)


def token_states(encoder, input_ids):
    """The last layer's states of all tokens: [texts, tokens, hidden]."""
    outputs = encoder(input_ids)
    # ELECTRA, DistilBERT and RoFormerV2 give the states alone, the others more in a tuple.
    return outputs if isinstance(outputs, paddle.Tensor) else outputs[0]


def word_embeddings(encoder):
    """An encoder's embeddings of the vocabulary: paddle.nn.Embedding.

    Raises:
        UsageError: it has none.
    """
    for name, layer in encoder.named_sublayers():
        if name.endswith("word_embeddings"):
            return layer
    raise UsageError(
        f"--do_pretrain: {type(encoder).__name__} has no word embeddings that masked words could be compared with; "
        "leave it out, or give another model"
    )


def check_vocabulary(flag, name, config, tokenizer):
    """Make sure that words can be masked, and that all of them have an embedding.

    Args:
        flag (str): what needs it, for messages.
        name (str): directory or name, for messages.
        config, tokenizer: the model's.

    Raises:
        UsageError: saying what to do.
    """
    mask, size = tokenizer.mask_token_id, config.vocab_size
    # PaddleNLP gives a [MASK] that vocab.txt lacks the next number, which has no embedding.
    if mask is None or mask == tokenizer.unk_token_id or mask >= size:
        raise UsageError(f"{flag}: the vocabulary of {name} has no [MASK]; leave it out, or give another model")
    highest = np.setdiff1d(np.arange(len(tokenizer)), tokenizer.all_special_ids).max()
    if highest >= size:
        raise UsageError(
            f"{flag}: the tokenizer of {name} has tokens up to number {highest}, its config.json embeddings "
            f"for {size} only; give tokenizer and weights of one model, or leave it out"
        )


def load_masked(name, max_length):
    """An encoder with its head for masked words, drawn at random where its weights have none that is used.

    Args:
        name (str): directory or name, of any of core.families.FAMILIES.
        max_length (int): tokens that it must take.

    Returns:
        tuple: ErnieForMaskedLM, BertForMaskedLM or MaskedWordsModel; its tokenizer; whether the weights have the head,
            which is never looked for in those of a MaskedWordsModel.

    Raises:
        UsageError: another family, too few positions, or see check_vocabulary, word_embeddings and load_weights.
    """
    config, tokenizer = load_config_and_tokenizer(name)
    check_vocabulary("--do_pretrain", name, config, tokenizer)
    check_length("--max_length", max_length, config, name)
    kind, pad = config.model_type, config.pad_token_id
    if kind not in FAMILIES:
        raise unsupported_family(kind)
    if kind not in MASKED_MODELS or config.hidden_act not in LINEAR_ACTIVATIONS:
        encoder = load_weights(getattr(paddlenlp.transformers, f"{FAMILIES[kind]}Model"), name, pad_token_id=pad)
        return MaskedWordsModel(encoder), tokenizer, False
    missing = []
    with note_missing_weights(missing):
        model = load_weights(MASKED_MODELS[kind], name, pad_token_id=pad)
    return model, tokenizer, not lacks_head(model, missing)
