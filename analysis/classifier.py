"""The trained model with its features.

The features of a text are what the model's last layer, the classifier, sees of it: for ERNIE the pooled [CLS] state.
They are computed in length-sorted batches, once: the cache in the checkpoint's folder is keyed by the weights, the
tokenizer, the length and the texts.
"""

import hashlib

import numpy as np
import paddle
from paddlenlp.trainer.trainer_utils import set_seed
from paddlenlp.utils.log import logger

from analysis.flags import max_length
from core.answers import softmax
from core.checkpoints import trained_long_text, weights_digest
from core.encoders import make_encoder, pad_batch, run_sorted
from core.heads import final_linear
from core.loading import load_config_and_tokenizer, max_positions, set_device, uses_token_types
from core.long_text_flags import check_long_text
from core.long_texts import LongText, flat
from core.trained import load_trained
from core.vocabulary import UnknownWatch
from utils import UsageError, staged_files

CACHE_DIR = "feature_cache"

# Files that decide a text's features, beside the weights.
MODEL_FILES = ("config.json", "tokenizer_config.json", "vocab.txt", "sentencepiece.bpe.model")


class Classifier:
    """A checkpoint of train.py: logits and features of texts.

    Args:
        flags: those of make_parser, checked.
        labels (list[str]): from read_model_labels.

    Attributes:
        labels (list[str]): in class order.
        max_length (int): tokens kept of a text.
        model: the PaddleNLP model in eval mode.
        watch (UnknownWatch): of the texts of `run`.

    Raises:
        UsageError: broken weights, no such device.
    """

    def __init__(self, flags, labels):
        self.labels = labels
        set_device(flags.device)
        set_seed(flags.seed)
        config, self.tokenizer = load_config_and_tokenizer(str(flags.params_path))
        limit = max_positions(config)
        self.max_length = min(max_length(flags), limit) if limit else max_length(flags)
        self.model = load_trained(str(flags.params_path), config, self.labels)
        self.model.eval()
        self.head = find_head(self.model, len(self.labels))
        facts = trained_long_text(flags.params_path)
        check_long_text(facts, self.max_length)
        self.long_text = LongText(facts, self.max_length)
        token_types = uses_token_types(self.model)
        self.encode = make_encoder(self.tokenizer, self.max_length, token_types, long_text=self.long_text)
        self.watch = UnknownWatch(self.tokenizer, self.encode, str(flags.params_path), logger.warning)
        self.batch_size, self.folder = flags.batch_size, flags.params_path
        self._model_key = None

    def run(self, texts, what="texts"):
        """Logits and features of texts, from the cache where they are there.

        Returns:
            tuple[np.ndarray, np.ndarray]: float32 [texts, classes] and [texts, hidden].
        """
        path = self.folder / CACHE_DIR / f"{self.key(texts)}.npz"
        try:
            with np.load(path) as cached:
                logits, features = cached["logits"], cached["features"]
                self.watch.say(str(cached["unknown"]) if "unknown" in cached else None)
                return logits, features
        except (OSError, ValueError, KeyError, EOFError):
            pass  # not there, or broken: computed anew
        encoded = self.encode(list(texts))
        message = self.watch.message(what, texts, encoded) or ""
        self.watch.say(message)
        logits, features = self.compute(texts, what, encoded)
        with staged_files(path.parent) as stage:
            np.savez(stage / path.name, logits=logits, features=features, unknown=message)
        return logits, features

    def compute(self, texts, what="texts", encoded=None):
        """Logits and features of texts, without the cache; `encoded` is what `encode` gives of them."""
        return self.compute_encoded(self.encode(list(texts)) if encoded is None else encoded, what)

    def compute_encoded(self, encoded, what=None):
        """Logits and features of what `encode` gives; no progress is shown where `what` is None.

        Of a text that is read in windows the features are those that its logits are made of: their mean, or, where the
        logits are maxima, those of the window that decided.
        """
        caught = []
        windows, counts = flat(encoded)

        def run_batch(some):
            logits = self.model(**self.pad(some)).numpy()
            return logits, caught.pop().numpy()

        hook = self.head.register_forward_pre_hook(lambda layer, inputs: caught.append(inputs[0]))
        try:
            with paddle.no_grad():
                logits, features = run_sorted(windows, self.batch_size, run_batch, what)
        finally:
            hook.remove()
        if counts is None:
            return logits, features
        pooled = self.long_text.pool(logits, counts)
        if self.long_text.pooling == "mean":
            return pooled, self.long_text.pool(features, counts)
        number = self.long_text.deciding(encoded, logits, counts, pooled.argmax(axis=1))["number"]
        return pooled, features[np.cumsum(counts) - counts + number - 1]

    def pad(self, encoded):
        """Tensors of one batch: input_ids and, where the model takes them, token_type_ids; int64 [batch, longest]."""
        batch = pad_batch(encoded, encoded[0], self.tokenizer.pad_token_id)
        return {name: paddle.to_tensor(rows) for name, rows in batch.items()}

    def probabilities(self, texts, what="texts"):
        """float64 [texts, classes]; each row sums to 1."""
        return softmax(self.run(texts, what)[0])

    def key(self, texts):
        """The name in the cache: a hash of the model's files, the length and the texts."""
        if self._model_key is None:
            digest = hashlib.sha256(str(weights_digest(self.folder)).encode())  # in whichever form they are
            for name in MODEL_FILES:
                path = self.folder / name
                digest.update(path.read_bytes() if path.is_file() else b"-")
            self._model_key = digest.hexdigest()
        content = "\n".join([self._model_key, str(self.max_length), *texts])
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def find_head(model, num_labels):
    """The last linear layer with an output a label: the classifier, whose input are the features.

    Raises:
        UsageError: the model has none.
    """
    try:
        return final_linear(model, num_labels)
    except UsageError as error:
        raise UsageError(f"{error}; it cannot be analysed") from None
