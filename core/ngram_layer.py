"""The n-grams of core/ngrams.py in a graph: a layer from token ids to logits, and classifiers with it as second tower.

The tower's logits are added to the classifier's own. Both are in the weights' file, and config.json says that they
belong together, as it does with mean pooling (core/heads.py).
"""

import contextlib
import functools

import numpy as np
import paddle

from core.batches import GIVEN_LOGITS
from core.ngrams import NGRAM_FACTOR, NGRAM_SLOTS, TOWER_SHARE
from utils import UsageError

# In config.json: the ids that have no part in an n-gram. The tower's numbers are among the weights, with TOWER before
# their names.
NGRAM_FEATURES = "ngram_features"
TOWER = "ngrams"

# What config.json calls a classifier with a tower. PaddleNLP's own loading, a dynamic Taskflow's too, finds no class
# by it and ends with an error: it would leave the tower out, and answer otherwise than the model was trained to.
NGRAM_CLASS = "NgramForSequenceClassification"


class NgramLayer(paddle.nn.Layer):
    """The n-grams' logits [batch, classes] for input_ids int64 [batch, tokens].

    Args:
        keys (np.ndarray): int64 [n-grams], core.ngrams.Ngrams.keys.
        table (np.ndarray): float32 [1 + n-grams, classes + 1], core.ngrams.Ngrams.table.
        vocab_size (int): ids are below it.
        special_ids (Iterable[int]): neither they nor pairs with them are n-grams; padding among them.
        bias (np.ndarray | None): [classes].
        by_place (bool): rows are divided by the root of the sum of squared idf over places, where an n-gram that is
            there twice counts as two; else by their length, as in tf-idf.
    """

    def __init__(self, keys, table, vocab_size, special_ids, bias=None, by_place=False):
        super().__init__()
        self.special_ids, self.by_place, self.vocab_size = list(special_ids), by_place, vocab_size
        bias = np.zeros(table.shape[1] - 1) if bias is None else bias
        self.register_buffer("keys", paddle.to_tensor(np.asarray(keys, "int64")))
        self.register_buffer("table", paddle.to_tensor(np.asarray(table, "float32")))
        self.register_buffer("bias", paddle.to_tensor(np.asarray(bias, "float32")))
        self.register_buffer("row_of_key", paddle.to_tensor(self._rows(keys)), persistable=False)

    def _rows(self, keys):
        rows = np.zeros([NGRAM_SLOTS + self.vocab_size], dtype="int64")
        rows[np.asarray(keys)] = np.arange(1, len(keys) + 1)
        return rows

    def forward(self, input_ids):
        values, counted, squares = self.places(input_ids)
        total = (values * counted.unsqueeze(-1)).sum(axis=1)
        return total / squares.sum(axis=1, keepdim=True).clip(min=1e-9).sqrt() + self.bias

    def places(self, input_ids):
        """What each place of a text adds: pairs first, then tokens.

        Returns:
            tuple: values [batch, places, classes]; counted [batch, places], 1 at an n-gram and 0 at a special token;
                squares [batch, places], whose sum over a text is the square of what its values are divided by.
        """
        # Not by a number: ONNX would get a multiplication of float32, too coarse for these products.
        factor = paddle.full_like(input_ids, NGRAM_FACTOR)
        pairs = (input_ids * factor)[:, :-1] + input_ids[:, 1:]
        slots = paddle.full_like(pairs, NGRAM_SLOTS)
        pairs, tokens = pairs % slots, input_ids + NGRAM_SLOTS
        keys = paddle.concat([pairs, tokens], axis=1)
        kept = paddle.ones_like(input_ids).astype(self.table.dtype)
        for special_id in self.special_ids:
            kept = kept * (input_ids != special_id).astype(self.table.dtype)
        of_pairs = kept[:, :-1] * kept[:, 1:]
        counted = paddle.concat([of_pairs, kept], axis=1)
        rows = paddle.gather(self.row_of_key, keys.flatten())
        values = paddle.gather(self.table, rows).reshape([keys.shape[0], keys.shape[1], self.table.shape[1]])
        squares = values[:, :, -1] * counted
        if not self.by_place:  # (times * idf)^2 is times * idf^2 at each of the places
            squares = squares * paddle.concat([times(pairs, of_pairs), times(tokens, kept)], axis=1)
        return values[:, :, :-1], counted, squares

    def token_scores(self, input_ids):
        """What each token adds, half of its pairs' parts included: [batch, tokens, classes]; with the bias, their sum
        over the tokens is the text's logits."""
        values, counted, squares = self.places(input_ids)
        lengths = squares.sum(axis=1, keepdim=True).clip(min=1e-9).sqrt()
        scores = values * (counted / lengths).unsqueeze(-1)
        pairs = input_ids.shape[1] - 1
        halves, none = scores[:, :pairs] / 2, paddle.zeros_like(scores[:, :1])
        return scores[:, pairs:] + paddle.concat([halves, none], axis=1) + paddle.concat([none, halves], axis=1)


def times(keys, counted):
    """How often a text has the key of each of its places, at places that count: [batch, places] from the same."""
    same = (keys.unsqueeze(2) == keys.unsqueeze(1)).astype(counted.dtype)
    return (same * counted.unsqueeze(1)).sum(axis=2)


class TwoTowers:
    """Mixed into a classifier: its logits are its own and the n-grams' together."""

    def forward(self, *args, **options):
        if options.get("labels") is not None:
            raise ValueError("the loss would be that of one tower alone; compute it from the logits")
        input_ids = args[0] if args else options["input_ids"]
        given = options.pop(GIVEN_LOGITS, None)
        outputs = self.one_tower_forward(*args, **options)
        more = self.ngrams(input_ids) if given is None else given
        if isinstance(outputs, tuple):
            return (outputs[0] + more.astype(outputs[0].dtype), *outputs[1:])
        if isinstance(outputs, dict):
            outputs["logits"] = outputs["logits"] + more.astype(outputs["logits"].dtype)
            return outputs
        return outputs + more.astype(outputs.dtype)


@functools.cache
def two_towers_class(model_class):
    content = {"one_tower_forward": model_class.forward, "__module__": model_class.__module__}
    # For core.loading.uses_token_types, which asks for the names of the inputs.
    content["plain_forward"] = getattr(model_class, "plain_forward", model_class.forward)
    return type(model_class)(NGRAM_CLASS, (TwoTowers, model_class), content)


def add_tower(model, layer):
    """Add the logits of n-grams to a classifier's; its config.json will say so.

    Args:
        model (PretrainedModel): changed in place; a tower that it has is replaced.
        layer (NgramLayer): with as many classes.

    Returns:
        PretrainedModel: the same.
    """
    if not isinstance(model, TwoTowers):
        model.__class__ = two_towers_class(type(model))
    model.ngrams = layer
    setattr(model.config, NGRAM_FEATURES, {"special_ids": layer.special_ids})
    return model


def tower_layer(tower, config, tokenizer):
    """The layer of a fitted core.ngrams.Tower, for a model with this config: TOWER_SHARE of its logits."""
    table = tower.ngrams.table(TOWER_SHARE * tower.weight)
    return NgramLayer(tower.ngrams.keys, table, config.vocab_size, special_ids(tokenizer), TOWER_SHARE * tower.bias)


def special_ids(tokenizer):
    """The ids that a tokenizer adds to a text, or that stand for no part of it, sorted; an unknown token is a part."""
    names = ("pad_token_id", "cls_token_id", "sep_token_id", "mask_token_id", "bos_token_id", "eos_token_id")
    found = {getattr(tokenizer, name, None) for name in names} - {None, getattr(tokenizer, "unk_token_id", None)}
    return sorted(int(token) for token in found)


@contextlib.contextmanager
def logits_given(dataset, logits):
    """Let each batch of a data set bring the tower's logits of its texts for a while.

    A tower knows the texts that it was fitted to too well. With zeros the other tower learns as if it were alone; with
    their left-out logits it learns what is wanting for texts that neither has seen.

    Args:
        dataset (TextDataset): its features are dicts.
        logits (np.ndarray | None): float32 [texts, classes]; None changes nothing.
    """
    rows = [] if logits is None else logits
    for feature, row in zip(dataset.features, rows):
        feature[GIVEN_LOGITS] = row
    try:
        yield
    finally:
        for feature in dataset.features:
            feature.pop(GIVEN_LOGITS, None)


def tower_names(model, names):
    """Those of the names in a file that are a tower's, where the model's config.json says that it has one."""
    has_tower = getattr(model.config, NGRAM_FEATURES, None)
    return [name for name in names if has_tower and name.startswith(f"{TOWER}.")]


def note_tower(model, state):
    """Keep a tower's numbers from a file, which PaddleNLP has no place for, until restore_tower asks for them."""
    vars(model)["stored_tower"] = {name: state[name] for name in tower_names(model, state or ())}


def restore_tower(model, name, wanted=True):
    """Give a loaded classifier the tower that it was saved with, where its config.json says that it has one.

    Args:
        model (PretrainedModel): as core.loading loaded it.
        name (str): the directory, for messages.
        wanted (bool): False takes the note from its config instead.

    Returns:
        PretrainedModel: the same.

    Raises:
        UsageError: the file has no tower, or another one than config.json says.
    """
    known, stored = getattr(model.config, NGRAM_FEATURES, None), vars(model).pop("stored_tower", {})
    if not known:
        return model
    if not wanted:
        delattr(model.config, NGRAM_FEATURES)
        return model
    parts = {part: stored.get(f"{TOWER}.{part}") for part in ("keys", "table", "bias")}
    if any(value is None for value in parts.values()):
        raise UsageError(
            f"{name}: config.json says that the model has {NGRAM_FEATURES}, and its weights do not have them; save or "
            "copy both again, or train anew"
        )
    parts = {part: np.asarray(value) for part, value in parts.items()}
    sizes = len(parts["keys"]) + 1, len(parts["bias"]) + 1
    if parts["table"].shape != sizes or sizes[1] != model.config.num_labels + 1:
        raise UsageError(f"{name}: the {NGRAM_FEATURES} among its weights do not fit together; save the model again")
    special, vocab_size = known["special_ids"], model.config.vocab_size
    return add_tower(model, NgramLayer(parts["keys"], parts["table"], vocab_size, special, parts["bias"]))
