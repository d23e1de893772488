"""Vectors of texts by what export_model.py wrote.

from retrieval_based.utils.extractor import FeatureExtractor
extractor = FeatureExtractor("checkpoint/retrieval/export")
vectors = extractor.encode(["头疼应该挂什么科", "医保卡能刷吗"])
"""

import importlib.util
from pathlib import Path

import numpy as np

from core.predictor import GraphRunner
from core.progress import progress_bar
from retrieval_based.checkpoints import SETTINGS_FILE, model_hash, read_export
from utils import UsageError

# Texts that are tokenised at once.
CHUNK = 1000


class FeatureExtractor:
    """An exported dual encoder: texts to unit vectors.

    Args:
        model_dir: what export_model.py wrote. model.onnx is run where it is there and ONNX Runtime is installed,
            else the Paddle graph: the vectors are the same to 1e-5.
        device (str): cpu, gpu or gpu:<n>.
        batch_size (int): texts that are run together.
        num_threads (int | None): CPU threads; None means what core.cpu.prepare_cpu chose.

    Attributes:
        dim (int): numbers of a vector.
        model_hash (str): of the model; vectors of another one cannot be compared with these.
        max_seq_length (int): tokens kept of a text.
        graph (GraphRunner): what is run.

    Raises:
        UsageError: a file is missing or broken.
    """

    def __init__(self, model_dir, device="cpu", batch_size=32, num_threads=None):
        folder = Path(model_dir)
        settings = read_export(folder)
        self.model_hash = model_hash(folder, settings)
        if self.model_hash != settings["model_hash"]:
            raise UsageError(f"{folder}: the model is not the one of {SETTINGS_FILE}; export it again")
        self.dim, self.max_seq_length = settings["dim"], settings["max_seq_length"]
        onnx = (folder / "model.onnx").is_file() and importlib.util.find_spec("onnxruntime")
        options = {"num_threads": num_threads, "batch_size": batch_size, "device": device}
        self.graph = GraphRunner(folder, "onnx" if onnx else "paddle", **options)

    def encode(self, texts, progress=False):
        """Unit vectors of texts, float32 [texts, dim]; `progress` shows a bar."""
        texts = list(texts)
        result = np.empty((len(texts), self.dim), "float32")
        with progress_bar(total=len(texts), desc="vectors", unit="text", disable=not progress) as bar:
            for start in range(0, len(texts), CHUNK):
                chunk = texts[start : start + CHUNK]
                features = self.graph.encode(chunk)
                self.graph.look(chunk, features)
                result[start : start + CHUNK] = self.graph.outputs(features)
                bar.update(len(features))
        return result
