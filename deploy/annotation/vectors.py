"""The vectors of texts from a frozen encoder, each computed once: they stay in the working folder."""

import json
import os
import threading
from pathlib import Path

import numpy as np

from core.quick_model import Texts

# Texts that are encoded between two looks at whether something more urgent waits.
CHUNK, BATCH_SIZE = 64, 32


class Encoder:
    """An encoder with the mean of a text's token states as its vector.

    Args:
        name (str): a folder or a name of PaddleNLP.
        max_length (int): tokens kept of a text.

    Raises:
        UsageError: no such model.
    """

    def __init__(self, name, max_length):
        import paddle
        from paddlenlp.transformers import AutoModel

        from core.checkpoints import weights_digest
        from core.encoders import make_encoder, pad_batch, run_sorted
        from core.loading import load_config_and_tokenizer, load_weights, max_positions, uses_token_types
        from core.pooling import PooledEncoder

        config, tokenizer = load_config_and_tokenizer(str(name))
        positions = max_positions(config)
        max_length = min(max_length, positions) if positions else max_length
        model = PooledEncoder(load_weights(AutoModel, str(name)), tokenizer.pad_token_id)
        model.eval()
        own = weights_digest(name) if Path(name).is_dir() else name
        self.key = f"{str(own)[:16]}-{max_length}".replace("/", "_")
        self.tokenize = make_encoder(tokenizer, max_length, uses_token_types(model))
        mutex = threading.Lock()

        def run_batch(features):
            batch = pad_batch(features, features[0], tokenizer.pad_token_id)
            with mutex, paddle.no_grad():
                return model.pooled(**{part: paddle.to_tensor(rows) for part, rows in batch.items()}).numpy()

        self.vectors = lambda features: run_sorted(features, BATCH_SIZE, run_batch)


class Vectors:
    """Texts with their vectors and token ids, kept in two files of a folder that only grow.

    Args:
        encoder (Encoder): or what has its key, tokenize and vectors.
        folder (Path): of the files; those of another encoder have another name.
    """

    def __init__(self, encoder, folder):
        self.encoder, folder = encoder, Path(folder)
        self.lines, self.rows = folder / f"vectors-{encoder.key}.jsonl", folder / f"vectors-{encoder.key}.f32"
        self._mutex, self._texts, self._ids = threading.RLock(), {}, []
        width = encoder.vectors(encoder.tokenize(["a"])).shape[1]
        self._array = np.zeros((0, width), np.float32)  # longer than there are texts, so that it seldom grows
        self._load(width)

    def _load(self, width):
        """Read what is there; what a crash left half written is cut off."""
        if not self.lines.is_file() or not self.rows.is_file():
            return
        data = self.lines.read_bytes()
        texts = [json.loads(line) for line in data[: data.rfind(b"\n") + 1].split(b"\n")[:-1]]
        count = min(len(texts), self.rows.stat().st_size // (4 * width))
        texts = texts[:count]
        ends = [len(json.dumps(text).encode("ascii")) + 1 for text in texts]
        os.truncate(self.lines, sum(ends))
        os.truncate(self.rows, 4 * width * count)
        if count:
            self._keep(texts, np.fromfile(self.rows, np.float32).reshape(count, width))

    def _keep(self, texts, vectors, features=None):
        ids = [feature["input_ids"] for feature in features or self.encoder.tokenize(texts)]
        with self._mutex:
            first, last = len(self._ids), len(self._ids) + len(texts)
            if last > len(self._array):
                longer = np.zeros((max(last, 2 * len(self._array)), self._array.shape[1]), np.float32)
                longer[:first] = self._array[:first]
                self._array = longer
            self._array[first:last] = vectors
            self._ids += ids
            self._texts.update({text: first + number for number, text in enumerate(texts)})

    def missing(self, texts):
        """Those of the texts, in their order, that have no vector yet."""
        return [text for text in texts if text not in self._texts]

    def add(self, texts):
        """Compute the vectors of texts that have none, and keep them."""
        texts = self.missing(dict.fromkeys(texts))
        for start in range(0, len(texts), CHUNK):
            some = texts[start : start + CHUNK]
            features = self.encoder.tokenize(some)
            vectors = self.encoder.vectors(features).astype(np.float32)
            with self._mutex:
                with self.lines.open("ab") as file:  # the texts first: a row without its text would be another's
                    file.write("".join(json.dumps(text) + "\n" for text in some).encode("ascii"))
                with self.rows.open("ab") as file:
                    file.write(vectors.tobytes())
                self._keep(some, vectors, features)

    def of(self, texts):
        """The Texts of texts that have vectors, in this order.

        Raises:
            KeyError: one has none; see `add`.
        """
        with self._mutex:
            rows = [self._texts[text] for text in texts]
            return Texts(self._array[rows], [self._ids[row] for row in rows])

    def passing(self, texts):
        """The Texts of any texts; vectors of new ones are computed and not kept."""
        texts, new = list(texts), self.missing(dict.fromkeys(texts))
        known = [text for text in dict.fromkeys(texts) if text in self._texts]
        found = self.of(known)
        if new:
            features = self.encoder.tokenize(new)
            found = found.plus(Texts(self.encoder.vectors(features), [feature["input_ids"] for feature in features]))
        place = {text: row for row, text in enumerate([*known, *new])}
        return found.take([place[text] for text in texts])
