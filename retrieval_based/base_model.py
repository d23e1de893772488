"""The dual encoder: one encoder for queries and corpus, and the folder that it is kept in.

A checkpoint folder holds the encoder (config.json, model_state.pdparams, tokenizer), which any script here takes as
--model_name_or_path too, dual_encoder.json with the settings below, and projection.pdparams where there is one.
"""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import paddle
from paddlenlp.transformers import AutoModel
from paddlenlp.utils.log import logger
from tqdm import tqdm

import trainer as lib
from utils import UsageError, read_json, write_json

SETTINGS_FILE = "dual_encoder.json"
PROJECTION_FILE = "projection.pdparams"
# What vectors depend on beside the weights; a checkpoint keeps them. 0 units: no projection.
DEFAULTS = {"pooling": "mean", "output_emb_size": 256, "max_seq_length": 64}


class DualEncoder(paddle.nn.Layer):
    """Texts to unit vectors; the cosine of two is their dot product.

    Args:
        encoder (PretrainedModel): without a head.
        pooling (str): mean of all tokens, or cls: the first one.
        output_emb_size (int): units of the projection; 0: none.
        pad_token_id (int): its tokens have no part in the mean.
    """

    def __init__(self, encoder, pooling, output_emb_size, pad_token_id):
        super().__init__()
        self.encoder, self.pooling, self.pad_token_id = encoder, pooling, pad_token_id
        hidden = encoder.config.hidden_size
        self.projection = paddle.nn.Linear(hidden, output_emb_size) if output_emb_size else None
        self.dim = output_emb_size or hidden

    def embed(self, input_ids, **more):
        states = self.encoder(input_ids, **more)[0]
        if self.pooling == "cls":
            vectors = states[:, 0]
        else:
            mask = (input_ids != self.pad_token_id).astype(states.dtype).unsqueeze(-1)
            vectors = (states * mask).sum(axis=1) / mask.sum(axis=1)
        if self.projection is not None:
            vectors = self.projection(vectors)
        return paddle.nn.functional.normalize(vectors, axis=-1)

    def forward(self, input_ids, token_type_ids):
        """float32 [batch, dim] from int64 [batch, tokens]."""
        return self.embed(input_ids, token_type_ids=token_type_ids)


class DualEncoderWithoutTokenTypes(DualEncoder):
    """The same on encoders such as ERNIE-M that take no token types."""

    def forward(self, input_ids):
        return self.embed(input_ids)


class Embedder:
    """A dual encoder with its tokenizer, in dygraph.

    Args:
        name (str): a checkpoint folder, or the name or folder of an encoder, which gets a fresh projection.
        **settings: pooling, output_emb_size, max_seq_length; None means the checkpoint's, else the default.

    Raises:
        UsageError: no such model, or one without room for max_seq_length tokens.
    """

    def __init__(self, name, **settings):
        config, self.tokenizer = lib.load_config_and_tokenizer(name)
        self.stored = read_json(Path(name) / SETTINGS_FILE)
        chosen = {key: value for key, value in settings.items() if value is not None}
        known = {key: self.stored[key] for key in DEFAULTS if key in self.stored}
        self.settings = {**DEFAULTS, **known, **chosen}
        max_length, positions = self.settings["max_seq_length"], lib.max_positions(config)
        if positions and max_length > positions:
            raise UsageError(f"--max_seq_length {max_length}: {name} has positions for {positions}; use at most that")
        encoder = lib.load_weights(AutoModel, name)
        kind = DualEncoder if lib.uses_token_types(type(encoder)) else DualEncoderWithoutTokenTypes
        self.model = kind(
            encoder, self.settings["pooling"], self.settings["output_emb_size"], self.tokenizer.pad_token_id
        )
        self._load_projection(name)
        self.model.eval()
        self.dim = self.model.dim
        self.encode = lib.make_encoder(self.tokenizer, max_length, lib.uses_token_types(type(self.model)))

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
        batch = lib.pad_batch(features, features[0], self.tokenizer.pad_token_id)
        return {name: paddle.to_tensor(rows) for name, rows in batch.items()}

    def vectors(self, texts, batch_size=64, progress=None):
        """Unit vectors of texts, float32 [texts, dim], without dropout; `progress` names a progress bar."""
        features = self.encode(list(texts))
        order = np.argsort([-len(feature["input_ids"]) for feature in features], kind="stable")
        result = np.empty((len(features), self.dim), "float32")
        was_training = self.model.training
        self.model.eval()
        with paddle.no_grad(), tqdm(total=len(order), desc=progress, unit="text", disable=progress is None) as bar:
            for start in range(0, len(order), batch_size):
                chosen = order[start : start + batch_size]
                result[chosen] = self.model(**self.batch([features[index] for index in chosen])).numpy()
                bar.update(len(chosen))
        self.model.train() if was_training else self.model.eval()
        return result

    def save(self, folder, **facts):
        """Write a checkpoint into a folder that is there; `facts` stand in its settings too."""
        self.model.encoder.save_pretrained(str(folder))
        self.tokenizer.save_pretrained(str(folder))
        if self.model.projection is not None:
            paddle.save(self.model.projection.state_dict(), str(Path(folder) / PROJECTION_FILE))
        write_json(Path(folder) / SETTINGS_FILE, {**self.settings, "dim": self.dim, **facts})


@contextlib.contextmanager
def replaced_folder(target):
    """Yield an empty folder beside `target`; when the block ends well, it becomes `target` by a rename.

    An earlier checkpoint of that name is deleted; whoever looks sees the old one, none or the new one, never a part.

    Raises:
        UsageError: the folder cannot be written, or `target` is not a checkpoint of ours.
    """
    target = Path(target)
    if target.exists() and not (target / SETTINGS_FILE).is_file():
        raise UsageError(f"{target}: is there and is no checkpoint; move it away, or choose another --save_dir")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=".writing-", dir=target.parent))
    except OSError as error:
        raise UsageError(f"{target.parent}: cannot write there ({error.strerror}); choose another folder") from None
    try:
        (stage / "new").mkdir()
        yield stage / "new"
        if target.exists():
            os.replace(target, stage / "old")
        os.replace(stage / "new", target)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
