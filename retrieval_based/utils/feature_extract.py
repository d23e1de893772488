"""Vectors of texts by what export_model.py wrote.

    python retrieval_based/utils/feature_extract.py --model_dir checkpoint/retrieval/export \\
        --corpus_file data/train.txt --output_dir features

writes features/vectors.npy (float32 [texts, dim]) and features/corpus.tsv (text, tab, label) in the same order.
"""

import argparse
import hashlib
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# Instead of this folder, which Python puts there where this file is the script: it has other modules than the root's.
sys.path[:] = [str(ROOT), *(path for path in sys.path if path != str(HERE))]
from utils import UsageError, exit_on_usage_error, load_module, read_json, staged_files  # noqa: E402

SETTINGS_FILE = "dual_encoder.json"
# Settings that decide a text's vector.
DECIDING = ("pooling", "output_emb_size", "max_seq_length", "dim")
# Texts that are tokenised at once.
CHUNK = 1000


def model_hash(folder, settings):
    """What tells models apart: sha256 (hex) of an export folder's weights and the settings.

    The graph has no part in it: it holds the paths and line numbers of the code that wrote it.
    """
    digest = hashlib.sha256(json.dumps([settings[name] for name in DECIDING]).encode("utf-8"))
    digest.update((Path(folder) / "model.pdiparams").read_bytes())
    return digest.hexdigest()


class FeatureExtractor:
    """An exported dual encoder: texts to unit vectors.

    Args:
        model_dir: what export_model.py wrote. model.onnx is run where it is there and ONNX Runtime is installed,
            else the Paddle graph: the vectors are the same to 1e-5.
        device (str): cpu, gpu or gpu:<n>.
        batch_size (int): texts that are run together.
        num_threads (int | None): CPU threads; None means what utils.prepare_cpu chose.

    Attributes:
        dim (int): numbers of a vector.
        model_hash (str): of the model; vectors of another one cannot be compared with these.
        max_seq_length (int): tokens kept of a text.

    Raises:
        UsageError: a file is missing or broken.
    """

    def __init__(self, model_dir, device="cpu", batch_size=32, num_threads=None):
        folder = Path(model_dir)
        settings = read_json(folder / SETTINGS_FILE)
        missing = [name for name in (*DECIDING, "model_hash") if name not in settings]
        if missing:
            raise UsageError(f"{folder / SETTINGS_FILE}: missing, or without {missing[-1]}; give the folder that "
                             "export_model.py wrote")  # fmt: skip
        for name, size in settings.get("files", {}).items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != size:
                raise UsageError(f"{path}: missing or cut short; export the model again")
        self.model_hash = model_hash(folder, settings)
        if self.model_hash != settings["model_hash"]:
            raise UsageError(f"{folder}: the model is not the one of {SETTINGS_FILE}; export it again")
        self.dim, self.max_seq_length = settings["dim"], settings["max_seq_length"]

        from predictor import Predictor

        class VectorPredictor(Predictor):
            """A Predictor whose outputs are not labels' scores but a vector's numbers."""

            def _read_labels(self):
                return [str(index) for index in range(settings["dim"])]

        onnx = (folder / "model.onnx").is_file() and importlib.util.find_spec("onnxruntime")
        self._predictor = VectorPredictor(
            folder, "onnx" if onnx else "paddle", num_threads=num_threads, batch_size=batch_size, device=device
        )

    def encode(self, texts, progress=False):
        """Unit vectors of texts, float32 [texts, dim]; `progress` shows a bar."""
        texts = list(texts)
        result = np.empty((len(texts), self.dim), "float32")
        with tqdm(total=len(texts), desc="vectors", unit="text", disable=not progress) as bar:
            for start in range(0, len(texts), CHUNK):
                features = self._predictor.encode(texts[start : start + CHUNK])
                result[start : start + CHUNK] = self._predictor.logits(features)
                bar.update(len(features))
        return result


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model_dir", type=Path, default=Path("checkpoint/retrieval/export"), help="(default: %(default)s)")
    add("--corpus_file", type=Path, required=True, help="label names, one a line, or <text>, tab, <label>")
    add("--output_dir", type=Path, default=Path("features"), help="(default: %(default)s)")
    add("--batch_size", type=int, default=32, help="(default: %(default)s)")
    add("--device", default="cpu", help="cpu, gpu or gpu:<n> (default: %(default)s)")
    args = parser.parse_args(argv)
    corpus = load_module("retrieval_data", HERE.parent / "data.py").read_corpus(args.corpus_file)
    vectors = FeatureExtractor(args.model_dir, args.device, args.batch_size).encode(corpus.texts, progress=True)
    with staged_files(args.output_dir) as stage:
        np.save(stage / "vectors.npy", vectors)
        lines = [f"{text}\t{label}\n" for text, label in zip(corpus.texts, corpus.labels)]
        (stage / "corpus.tsv").write_bytes("".join(lines).encode("utf-8"))
    print(f"{len(vectors)} vectors of {vectors.shape[1]} numbers are in {args.output_dir}")


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
