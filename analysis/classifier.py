"""What the scripts of analysis/ share: their flags, and the trained model with its features.

The features of a text are what the model's last layer, the classifier, sees of it: for ERNIE the pooled [CLS] state.
They are computed in length-sorted batches, once: the cache in the checkpoint's folder is keyed by the weights, the
tokenizer, the length and the texts.
"""

import argparse
import hashlib
import logging
import sys
import types
from pathlib import Path

import numpy as np
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)] if str(ROOT) not in sys.path else []
import utils  # noqa: E402
from utils import UsageError, read_labels, staged_files  # noqa: E402

CACHE_DIR = "feature_cache"
# Files that decide a text's features.
MODEL_FILES = ("config.json", "model_state.pdparams", "tokenizer_config.json", "vocab.txt", "sentencepiece.bpe.model")
# Rows of the left matrix in one product of similarities: 1,024 x 100,000 floats are 0.4 GB.
SIMILARITY_ROWS = 1024


def make_parser(description, batch_size=32):
    """A parser with the flags that all scripts of analysis/ have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--device", default="gpu", help="gpu, gpu:<n> or cpu; without a GPU the CPU is used (default: gpu)")
    add("--dataset_dir", type=Path, required=True, help="the folder with the files named below")
    add("--params_path", type=Path, default=Path("../checkpoint/"), help="the trained model (default: ../checkpoint/)")
    add("--max_seq_length", type=int, default=128, help="tokens kept of a text (default: 128)")
    add("--batch_size", type=int, default=batch_size, help=f"texts that are run together (default: {batch_size})")
    add("--seed", type=int, default=3, help="of everything random (default: 3)")
    add("--train_file", default="train.txt", help="in --dataset_dir (default: train.txt)")
    add("--dev_file", default="dev.txt", help="in --dataset_dir (default: dev.txt)")
    add("--label_file", default="label.txt", help="in --dataset_dir (default: label.txt)")
    return parser


def check_positive(args, *names):
    """Raise UsageError for a flag below 1."""
    for name in names:
        if getattr(args, name) < 1:
            raise UsageError(f"--{name} {getattr(args, name)}: give 1 or more")


def read_model_labels(args):
    """The labels of the trained model in its class order, without loading it.

    Raises:
        UsageError: no trained classifier in --params_path, or other labels than in --label_file.
    """
    from train import trained_labels

    label_path = args.dataset_dir / args.label_file
    labels = read_labels(label_path)
    if not args.params_path.is_dir():
        raise UsageError(f"--params_path {args.params_path}: no such directory; give the --output_dir of a training")
    try:
        return trained_labels(str(args.params_path), labels, label_path)
    except UsageError as error:
        raise UsageError(str(error).replace("--model_name_or_path", "--params_path")) from None


def load_jieba():
    """The module jieba with its dictionary loaded, without its log lines. `lcut` gives a text's words."""
    import jieba

    jieba.setLogLevel(logging.WARNING)
    jieba.initialize()
    return jieba


class Classifier:
    """A checkpoint of train.py: logits and features of texts.

    Args:
        args: the flags of make_parser.
        labels (list[str]): from read_model_labels.

    Attributes:
        labels (list[str]): in class order.
        model: the PaddleNLP model in eval mode.

    Raises:
        UsageError: broken weights, a flag out of range.
    """

    def __init__(self, args, labels):
        check_positive(args, "batch_size")
        if args.max_seq_length < 3:
            raise UsageError(f"--max_seq_length {args.max_seq_length}: give 3 or more; two tokens are [CLS] and [SEP]")
        utils.prepare_cpu()
        import paddle

        import trainer as lib
        from train import set_device

        self.labels = labels
        set_device(types.SimpleNamespace(device=args.device, fp16=False))
        lib.set_seed(args.seed)
        config, self.tokenizer = lib.load_config_and_tokenizer(str(args.params_path))
        limit = lib.max_positions(config)
        self.max_length = min(args.max_seq_length, limit) if limit else args.max_seq_length
        self.model = lib.load_model(str(args.params_path), config, self.labels)
        self.model.eval()
        self.head = find_head(self.model, len(self.labels), paddle)
        self.token_types = lib.uses_token_types(type(self.model))
        self.encode = lib.make_encoder(self.tokenizer, self.max_length, self.token_types)
        self.pad_batch = lib.pad_batch
        self.paddle, self.batch_size, self.folder = paddle, args.batch_size, args.params_path
        self._model_key = None

    def run(self, texts, what="texts"):
        """Logits and features of texts, from the cache where they are there.

        Returns:
            tuple[np.ndarray, np.ndarray]: float32 [texts, classes] and [texts, hidden].
        """
        path = self.folder / CACHE_DIR / f"{self.key(texts)}.npz"
        try:
            with np.load(path) as cached:
                return cached["logits"], cached["features"]
        except (OSError, ValueError, KeyError, EOFError):
            pass  # not there, or broken: computed anew
        logits, features = self.compute(texts, what)
        with staged_files(path.parent) as stage:
            np.savez(stage / path.name, logits=logits, features=features)
        return logits, features

    def compute(self, texts, what="texts"):
        """Logits and features of texts, without the cache."""
        return self.compute_encoded(self.encode(list(texts)), what)

    def compute_encoded(self, encoded, what=None):
        """Logits and features of what `encode` gives; no progress is shown where `what` is None."""
        lengths = np.array([len(feature["input_ids"]) for feature in encoded])
        order = np.argsort(-lengths, kind="stable")
        logits = np.empty((len(encoded), len(self.labels)), dtype=np.float32)
        features, caught = None, []
        hook = self.head.register_forward_pre_hook(lambda layer, inputs: caught.append(inputs[0]))
        try:
            silent = True if what is None else None
            with self.paddle.no_grad(), tqdm(total=len(encoded), desc=what, disable=silent) as bar:
                for start in range(0, len(order), self.batch_size):
                    chosen = order[start : start + self.batch_size]
                    output = self.model(**self.pad([encoded[index] for index in chosen]))
                    state = caught.pop().numpy()
                    features = np.empty((len(encoded), state.shape[-1]), np.float32) if features is None else features
                    logits[chosen], features[chosen] = output.numpy(), state
                    bar.update(len(chosen))
        finally:
            hook.remove()
        return logits, features

    def pad(self, encoded):
        """Tensors of one batch: input_ids and, where the model takes them, token_type_ids; int64 [batch, longest]."""
        batch = self.pad_batch(encoded, encoded[0], self.tokenizer.pad_token_id)
        return {name: self.paddle.to_tensor(rows) for name, rows in batch.items()}

    def probabilities(self, texts, what="texts"):
        """float64 [texts, classes]; each row sums to 1."""
        return softmax(self.run(texts, what)[0])

    def key(self, texts):
        """The name in the cache: a hash of the model's files, the length and the texts."""
        if self._model_key is None:
            digest = hashlib.sha256()
            for name in MODEL_FILES:
                path = self.folder / name
                digest.update(path.read_bytes() if path.is_file() else b"-")
            self._model_key = digest.hexdigest()
        content = "\n".join([self._model_key, str(self.max_length), *texts])
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def softmax(logits):
    """float64 [n, classes]; each row sums to 1."""
    from scipy.special import softmax

    return softmax(np.asarray(logits, dtype=np.float64), axis=1)


def find_head(model, num_labels, paddle):
    """The last linear layer with an output a label: the classifier, whose input are the features.

    Raises:
        UsageError: the model has none.
    """
    layers = [layer for layer in model.sublayers() if isinstance(layer, paddle.nn.Linear)]
    layers = [layer for layer in layers if layer.weight.shape[1] == num_labels]
    if not layers:
        raise UsageError(f"{type(model).__name__}: no linear layer with {num_labels} outputs; it cannot be analysed")
    return layers[-1]


def nearest(queries, corpus, top_k):
    """The most similar rows by the cosine of their angle, in blocks of matrix products.

    Args:
        queries (np.ndarray): float [q, hidden].
        corpus (np.ndarray): float [c, hidden].
        top_k (int): rows wanted, at most c are given.

    Returns:
        tuple[np.ndarray, np.ndarray]: int64 and float32 [q, top_k], row numbers and similarities, best first; equal
        ones in the order of their rows.
    """
    queries, corpus = (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
                       for rows in (queries.astype(np.float32), corpus.astype(np.float32)))  # fmt: skip
    top_k = min(top_k, len(corpus))
    rows, values = np.empty((len(queries), top_k), np.int64), np.empty((len(queries), top_k), np.float32)
    for start in range(0, len(queries), SIMILARITY_ROWS):
        products = queries[start : start + SIMILARITY_ROWS] @ corpus.T
        best = np.sort(np.argpartition(-products, top_k - 1, axis=1)[:, :top_k], axis=1)
        found = np.take_along_axis(products, best, axis=1)
        order = np.argsort(-found, axis=1, kind="stable")
        some = slice(start, start + len(products))
        rows[some], values[some] = np.take_along_axis(best, order, axis=1), np.take_along_axis(found, order, axis=1)
    return rows, values
