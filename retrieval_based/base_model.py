"""The dual encoder: one encoder for queries and corpus, from a folder and into one (see checkpoints.py)."""

from pathlib import Path

import paddle
from paddlenlp.transformers import AutoModel
from paddlenlp.utils.log import logger

from core.encoders import make_encoder, pad_batch, run_sorted
from core.loading import check_length, load_config_and_tokenizer, load_weights, set_device
from core.pooling import PooledEncoder
from core.vocabulary import UnknownWatch
from retrieval_based.checkpoints import DEFAULTS, PROJECTION_FILE, SETTINGS_FILE
from utils import UsageError, read_json, write_json


class DualEncoder(PooledEncoder):
    """Texts to unit vectors; the cosine of two is their dot product.

    Args:
        encoder (PretrainedModel): without a head.
        pooling (str): mean of all tokens, or cls: the first one.
        output_emb_size (int): units of the projection; 0: none.
        pad_token_id (int): its tokens have no part in the mean.
    """

    def __init__(self, encoder, pooling, output_emb_size, pad_token_id):
        super().__init__(encoder, pad_token_id, pooling)
        hidden = encoder.config.hidden_size
        self.projection = paddle.nn.Linear(hidden, output_emb_size) if output_emb_size else None
        self.dim = output_emb_size or hidden

    def forward(self, input_ids, token_type_ids=None):
        """float32 [batch, dim] from int64 [batch, tokens]."""
        vectors = self.pooled(input_ids, token_type_ids)
        if self.projection is not None:
            vectors = self.projection(vectors)
        return paddle.nn.functional.normalize(vectors, axis=-1)


class Embedder:
    """A dual encoder with its tokenizer, in dygraph.

    Args:
        name (str): a checkpoint folder, or the name or folder of an encoder, which gets a fresh projection.
        **settings: pooling, output_emb_size, max_seq_length; None means the checkpoint's, else the default.

    Attributes:
        encode (Callable): from texts to features.
        watch (UnknownWatch): of the texts of `vectors`.

    Raises:
        UsageError: no such model, or one without room for max_seq_length tokens.
    """

    def __init__(self, name, **settings):
        config, self.tokenizer = load_config_and_tokenizer(name)
        self.stored = read_json(Path(name) / SETTINGS_FILE)
        chosen = {key: value for key, value in settings.items() if value is not None}
        known = {key: self.stored[key] for key in DEFAULTS if key in self.stored}
        self.settings = {**DEFAULTS, **known, **chosen}
        max_length = self.settings["max_seq_length"]
        check_length("--max_seq_length", max_length, config, name)
        encoder = load_weights(AutoModel, name)
        pooling, output_emb_size = self.settings["pooling"], self.settings["output_emb_size"]
        self.model = DualEncoder(encoder, pooling, output_emb_size, self.tokenizer.pad_token_id)
        self._load_projection(name)
        self.model.eval()
        self.dim = self.model.dim
        self.encode = make_encoder(self.tokenizer, max_length, self.model.token_types)
        self.watch = UnknownWatch(self.tokenizer, self.encode, name, logger.warning)

    def _load_projection(self, name):
        path, projection = Path(name) / PROJECTION_FILE, self.model.projection
        if not path.is_file():
            if self.stored.get("output_emb_size"):
                raise UsageError(f"{path}: no such file, but {SETTINGS_FILE} speaks of it; save the model again")
            return
        weights = paddle.load(str(path))
        if projection is None or list(weights["weight"].shape) != projection.weight.shape:
            logger.warning(
                f"{path}: its {weights['weight'].shape[1]} units are left aside for --output_emb_size "
                f"{self.settings['output_emb_size']}" + ("; the new projection is untrained" if projection else "")
            )
            return
        projection.set_state_dict(weights)

    def batch(self, features):
        """The model's inputs for tokenised texts: dict[str, paddle.Tensor]."""
        batch = pad_batch(features, features[0], self.tokenizer.pad_token_id)
        return {name: paddle.to_tensor(rows) for name, rows in batch.items()}

    def vectors(self, texts, batch_size=64, progress=None):
        """Unit vectors of texts, float32 [texts, dim], without dropout; `progress` names a progress bar.

        Args:
            texts (Iterable[str]): at least one.
        """
        texts, was_training = list(texts), self.model.training
        features = self.encode(texts)
        self.watch.look("the texts", texts, features)
        self.model.eval()
        with paddle.no_grad():
            result = run_sorted(features, batch_size, lambda some: self.model(**self.batch(some)).numpy(), progress)
        self.model.train() if was_training else self.model.eval()
        return result

    def save(self, folder, **facts):
        """Write a checkpoint into a folder that is there; `facts` stand in its settings too."""
        self.model.encoder.save_pretrained(str(folder))
        self.tokenizer.save_pretrained(str(folder))
        if self.model.projection is not None:
            paddle.save(self.model.projection.state_dict(), str(Path(folder) / PROJECTION_FILE))
        write_json(Path(folder) / SETTINGS_FILE, {**self.settings, "dim": self.dim, **facts})


def load_embedder(name, device, max_seq_length=None):
    """The dual encoder of a checkpoint on a device; see Embedder and set_device."""
    set_device(device)
    return Embedder(str(name), max_seq_length=max_seq_length)
