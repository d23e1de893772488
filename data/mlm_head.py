"""Give an ERNIE encoder a head for masked words: prompt learning (few-shot/train.py) needs one, the offline encoder
has none. `python data/build_encoder.py --mlm_texts FILE …` runs this; the texts need no labels.

1. The encoder's states at masked places, and ridge regression from them to the embeddings of the tokens that were
   there: where the head starts.
2. Training: of the head alone, on these states, or of the encoder with it.
3. How many masked tokens of texts that were held out are found, before and after.
"""

import math

import numpy as np
import paddle
from paddlenlp.transformers import ErnieForMaskedLM

from core.loading import load_config_and_tokenizer, load_weights, max_positions
from core.masked_heads import check_vocabulary
from core.masked_words import (
    HEAD_BATCH_SIZE,
    learn_masked_words,
    split_texts,
    states_at,
    train_on,
)
from data.encoder_card import copy_readme
from utils import UsageError, staged_files

LEARNING_RATES = {"head": 1e-3, "all": 2e-4}
EPOCHS = {"head": 3, "all": 2}


def head_batches(states, targets, epochs, seed):
    """Shuffled batches of cached states, as Tensors."""
    random = np.random.default_rng([seed, 2])
    for _ in range(epochs):
        order = random.permutation(len(targets))
        for start in range(0, len(order), HEAD_BATCH_SIZE):
            rows = order[start : start + HEAD_BATCH_SIZE]
            yield paddle.to_tensor(states[rows]), paddle.to_tensor(targets[rows])


def encoder_batches(model, texts, epochs):
    """States at masked places through which the gradient reaches the encoder, and the tokens that were there."""
    for number in range(epochs):
        for ids, places, tokens in texts.batches(1 + number):
            yield states_at(model, ids, places), paddle.to_tensor(tokens)


def load_encoder(name):
    """An encoder as ErnieForMaskedLM, its head drawn at random; its tokenizer; the most tokens it takes.

    Raises:
        UsageError: no such folder, another kind of model, or see check_vocabulary.
    """
    config, tokenizer = load_config_and_tokenizer(str(name))
    if config.model_type != "ernie" or config.hidden_act not in ("gelu", "relu"):
        raise UsageError(
            f"--encoder {name}: {config.model_type} with {config.hidden_act}; give an ERNIE encoder, such as the one "
            "that build_encoder.py builds without --mlm_texts"
        )
    check_vocabulary("--mlm_texts", name, config, tokenizer)
    return load_weights(ErnieForMaskedLM, str(name)), tokenizer, max_positions(config)


def add_head(encoder, texts, output_dir, train="head", epochs=None, learning_rate=None, max_length=128, seed=1):
    """Train a head for masked words and write the model with it, as ErnieForMaskedLM, into `output_dir`.

    Args:
        encoder: folder of an ErnieModel.
        texts (list[str]): see read_corpus.
        output_dir: folder to write; its other files stay.
        train (str): head, the encoder stays as it is; all, the encoder learns too.
        epochs (int | None), learning_rate (float | None): None for the default of `train`.
        max_length (int): tokens kept of a text.
        seed (int): of everything random.

    Returns:
        dict[str, dict]: start and end, see measure.

    Raises:
        UsageError: an encoder that does not fit, or texts of which too few have tokens.
    """
    epochs = EPOCHS[train] if epochs is None else epochs
    learning_rate = LEARNING_RATES[train] if learning_rate is None else learning_rate
    paddle.utils.unique_name.switch()  # the file holds the parameters' names, which count up in a process
    paddle.seed(seed)
    model, tokenizer, positions = load_encoder(encoder)
    trained, held_out = split_texts(texts, tokenizer, min(max_length, positions), seed)

    def learn(started, _):
        if train == "head":
            steps = epochs * math.ceil(len(started[1]) / HEAD_BATCH_SIZE)
            batches = head_batches(*started, epochs, seed)
            train_on(model, model.cls.parameters(), batches, steps, learning_rate, "head")
        else:
            batches = encoder_batches(model, trained, epochs)
            train_on(model, model.parameters(), batches, epochs * len(trained), learning_rate, "encoder and head")

    told = "", "linear head", "trained"
    start, end = learn_masked_words(model, trained, held_out, learn, start_from=trained, told=told)
    with staged_files(output_dir) as folder:
        tokenizer.save_pretrained(str(folder))
        model.save_pretrained(str(folder))
        copy_readme(encoder, folder, output_dir)
    return {"start": start, "end": end}
