"""Texts as words with their tokens, and a classifier with what the methods of attribution.py need of it."""

import dataclasses
import itertools

import numpy as np
import paddle

from analysis.words import load_jieba
from core.answers import softmax
from utils import UsageError


@dataclasses.dataclass
class Case:
    """A text whose prediction is explained.

    Attributes:
        text (str): it is the words joined.
        label (str): "" where it is not known.
        words (list[str]): from jieba; such as share a token are one word.
        feature (dict): input_ids and the like, with [CLS] and [SEP].
        owner (np.ndarray): int64 [tokens], the word of each token, -1 for [CLS] and [SEP].
        cut_off (bool): whether --max_seq_length cut off the end of the text.
        class_id (int): the class that is explained, which is the predicted one.
        logits (np.ndarray): float64 [classes].
    """

    text: str
    label: str
    words: list
    feature: dict
    owner: np.ndarray
    cut_off: bool = False
    class_id: int = -1
    logits: np.ndarray = None

    @property
    def seen(self):
        """int64 [n]: the words that have tokens; others are blank, or cut off by --max_seq_length."""
        return np.unique(self.owner[self.owner >= 0])

    @property
    def first_cut(self):
        """The number of the first word that was cut off, and all behind it; len(words) where none was."""
        return self.owner.max() + 1 if self.cut_off else len(self.words)

    @property
    def probability(self):
        return float(softmax(self.logits[None])[0, self.class_id])

    def without(self, words, mask_id=None):
        """The feature with the tokens of these words deleted, or replaced by `mask_id`."""
        keep = ~np.isin(self.owner, words)
        if mask_id is not None:
            return {**self.feature, "input_ids": np.where(keep, self.feature["input_ids"], mask_id).tolist()}
        return {name: np.asarray(values)[keep].tolist() for name, values in self.feature.items()}

    def word_scores(self, token_scores):
        """float64 [words]: the sum over each word's tokens."""
        own = self.owner >= 0
        return np.bincount(self.owner[own], weights=np.asarray(token_scores)[own], minlength=len(self.words))


def assign_tokens(words, ids, encode, cut_off=False):
    """The word of each token. Words that the tokenizer does not cut where jieba does are joined.

    Whatever the tokenizer does with case, unknown characters or word pieces: the words' own tokens, one word after the
    other, must be those of the text. Where they differ, the word is joined with the next or the one before.

    Args:
        words (list[str]): of one text.
        ids (list[int]): the text's tokens, without [CLS] and [SEP].
        encode (Callable): from list[str] to list[list[int]], likewise.
        cut_off (bool): whether `ids` may be the first of the text's tokens only.

    Returns:
        tuple[list[str], np.ndarray]: the words, and int64 [len(ids)].
    """

    def agreement(parts):
        tokens = list(itertools.chain(*parts))
        same = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(tokens, ids)))
        return same, 0 if cut_off else min(0, len(ids) - len(tokens))

    words, parts = list(words), encode(words)
    while agreement(parts) < (len(ids), 0):
        same, owner = agreement(parts)[0], np.repeat(np.arange(len(words)), [len(part) for part in parts])
        wrong = int(owner[same]) if same < len(owner) else len(words) - 1
        pairs = [n for n in (wrong, wrong - 1) if 0 <= n < len(words) - 1]
        options = [[*words[:n], words[n] + words[n + 1], *words[n + 2 :]] for n in pairs]
        words, parts = max(((option, encode(option)) for option in options), key=lambda pair: agreement(pair[1]))
    return words, np.repeat(np.arange(len(words)), [len(part) for part in parts])[: len(ids)]


class Explainer:
    """A classifier with what the methods need of it: logits, gradients by the word embeddings, attention.

    Args:
        classifier (Classifier): its linear and embedding weights are frozen, which saves about a third of the time.

    Attributes:
        background (np.ndarray): int64, the tokens of all texts of make_cases.

    Raises:
        UsageError: the tokenizer has no [MASK], or the word embeddings cannot be found.
    """

    def __init__(self, classifier):
        self.classifier = classifier
        self.model = classifier.model
        name = type(self.model).__name__
        self.mask_id = getattr(classifier.tokenizer, "mask_token_id", None)
        if self.mask_id is None:
            raise UsageError(f"{name}: its tokenizer has no mask token; its words cannot be explained")
        tables = [layer for layer in self.model.sublayers() if isinstance(layer, paddle.nn.Embedding)]
        if not tables:
            raise UsageError(f"{name}: its word embeddings cannot be found; its words cannot be explained")
        # The one with the most rows; get_input_embeddings() is not there for every model (not for ERNIE-M).
        self.embedding = max(tables, key=lambda layer: layer.weight.shape[0])
        # Not those of LayerNorm: with a frozen scale its backward pass on a CPU (Paddle 2.6.2) leaves the scale out of
        # the gradient of its input, without a word. paddle.grad() by the inputs alone does the same.
        for layer in self.model.sublayers():
            if isinstance(layer, (paddle.nn.Linear, paddle.nn.Embedding)):
                for parameter in layer.parameters(include_sublayers=False):
                    parameter.stop_gradient = True

    def encode_words(self, words):
        """The tokens of each word, without [CLS] and [SEP]."""
        return [list(feature["input_ids"])[1:-1] for feature in self.classifier.encode(list(words))]

    def make_cases(self, rows):
        """Cases of what read_cases gives, with their predictions."""
        texts = [text for _, text, *_ in rows]
        self.check_lengths(texts)
        features = self.classifier.encode(texts)
        self.classifier.watch.look("the texts", texts, features)
        cases = []
        for (_, text, label, *_), feature in zip(rows, features):
            ids = list(feature["input_ids"])[1:-1]
            full = len(ids) + 2 >= self.classifier.max_length
            words, owner = assign_tokens(load_jieba().lcut(text), ids, self.encode_words, full)
            cut_off = full and sum(map(len, self.encode_words(words))) > len(ids)
            cases.append(Case(text, label, words, feature, np.array([-1, *owner, -1], dtype=np.int64), cut_off))
        for case, logits in zip(cases, self.logits(features)):
            case.class_id, case.logits = int(logits.argmax()), logits
        self.background = np.concatenate([np.array(case.feature["input_ids"])[case.owner >= 0] for case in cases])
        return cases

    def check_lengths(self, texts):
        """Refuse texts of which the model reads more, or other, than the first tokens: each word has one place here.

        Raises:
            UsageError: naming the first of them.
        """
        whole, limit = getattr(self.classifier.encode, "whole", None), self.classifier.max_length
        for text, feature in zip(texts, [] if whole is None else whole(texts)):
            if len(feature["input_ids"]) > limit:
                raise UsageError(
                    f"{text[:20]}…: has {len(feature['input_ids'])} tokens, and this model reads texts of more than "
                    f"{limit} by --long_text {self.classifier.long_text.way}, whose words cannot be explained; give "
                    "the passage that decides (answers of core/predictor.py name its characters), or train a model "
                    "with --long_text truncate"
                )

    def logits(self, features, what=None):
        """float64 [features, classes]."""
        return self.classifier.compute_encoded(features, what)[0].astype(np.float64)

    def vectors(self, ids):
        """The word embeddings of tokens: float32 [len(ids), hidden]."""
        with paddle.no_grad():
            return self.embedding(paddle.to_tensor(ids, dtype="int64")).numpy()

    def slopes(self, case, start, places):
        """How the class's logit changes with each token on the way to the text's word embeddings.

        Args:
            case (Case): its tokens decide what is not a word embedding: positions, types, length.
            start (np.ndarray): where the way starts, float32 [tokens, hidden], or [n, tokens, hidden] for n ways.
            places (np.ndarray): [n], parts of the way, 0 to 1.

        Returns:
            np.ndarray: float64 [n, tokens], the products of gradient and way.
        """
        end, result = self.vectors(case.feature["input_ids"]), []
        for first in range(0, len(places), self.classifier.batch_size):
            some = slice(first, first + self.classifier.batch_size)
            way = end - (start if start.ndim == 2 else start[some])
            points = end - (1 - places[some, None, None]).astype("float32") * way
            inputs = paddle.to_tensor(points, stop_gradient=False)
            hook = self.embedding.register_forward_post_hook(lambda layer, ids, output, inputs=inputs: inputs)
            try:
                logits = self.model(**self.classifier.pad([case.feature] * len(points)))
            finally:
                hook.remove()
            logits[:, case.class_id].sum().backward()
            result.append((inputs.grad.numpy().astype(np.float64) * way).sum(axis=-1))
            self.model.clear_gradients()
        return np.concatenate(result)

    def ngram_scores(self, case, others):
        """What each token adds to the class's logit by n-gram features, where the model has them, and not by its word
        embedding: beyond what there is without the token's text.

        Args:
            case (Case): with its tokens.
            others (list[list[int]]): token ids in the place of the text's own; the mean of them counts.

        Returns:
            np.ndarray: float64 [tokens].
        """
        tower = getattr(self.model, "ngrams", None)
        if tower is None:
            return np.zeros(len(case.owner))
        with paddle.no_grad():
            own, other = (
                tower.token_scores(paddle.to_tensor(ids, dtype="int64"))[:, :, case.class_id]
                .numpy()
                .astype(np.float64)
                for ids in ([list(case.feature["input_ids"])], others)
            )
        return own[0] - other.mean(axis=0)

    def attention(self, case):
        """What [CLS] attends to in the last layer, mean of the heads: float [tokens].

        Raises:
            UsageError: the model does not give its attention.
        """
        try:
            with paddle.no_grad():
                output = self.model(**self.classifier.pad([case.feature]), output_attentions=True, return_dict=True)
            return output.attentions[-1].numpy()[0, :, 0].mean(axis=0)
        except (TypeError, AttributeError, IndexError):
            name = type(self.model).__name__
            raise UsageError(f"{name} does not give its attention; use another --method") from None
