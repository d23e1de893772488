"""retrieval_based/utils/extractor.py and feature_extract.py: the export's vectors are the model's."""

import numpy as np

from core.encoders import make_encoder
from retrieval_based import learner, train
from retrieval_based.base_model import Embedder
from retrieval_based.deploy.python import predict as deployed
from retrieval_based.utils import feature_extract
from retrieval_based.utils.extractor import FeatureExtractor
from tests.helpers import UNREADABLE, unknown_lines
from tests.retrieval_based.helpers import call, train_flags


def test_the_export_gives_the_model_s_vectors(once, exported, texts, tmp_path):
    """Both graphs, whatever the texts' length, and cut where training cut."""
    queries = [line.split("\t")[0] for line in (texts / "dev.txt").read_text("utf-8").splitlines()]
    queries += ["头疼" * 100, "头疼" * 100 + "多少钱", "龘", "a"]
    expected = Embedder(str(once / "model_best")).vectors(queries)
    assert np.abs(expected[-4] - expected[-3]).max() < 1e-6
    extractors = {name: FeatureExtractor(exported / name, num_threads=1) for name in ("onnx", "paddle")}
    for name, extractor in extractors.items():
        assert extractor.graph.format == name
        vectors = extractor.encode(queries, progress=True)
        assert vectors.dtype == np.float32 and (extractor.dim, extractor.max_seq_length) == (16, 32)
        np.testing.assert_allclose(vectors, expected, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        assert extractor.encode([]).shape == (0, 16)
    # A caller that does not cut gets the same: the graph does.
    long = make_encoder(Embedder(str(once / "model_best")).tokenizer, 100, True)(queries[-4:-3])
    assert len(long[0]["input_ids"]) == 100
    np.testing.assert_allclose(extractors["onnx"].graph.outputs(long)[0], expected[-4], atol=1e-5)
    paths = ["--text_file", texts / "dev.txt", "--output_file", tmp_path / "vectors.npy"]
    call(deployed, "--model_dir", exported / "paddle", *paths)
    np.testing.assert_allclose(np.load(tmp_path / "vectors.npy"), expected[:-4], atol=1e-5)
    paths = ["--corpus_file", texts / "dev.txt", "--output_dir", tmp_path / "features"]
    call(feature_extract, "--model_dir", exported / "onnx", *paths)
    np.testing.assert_allclose(np.load(tmp_path / "features" / "vectors.npy"), expected[:-4], atol=1e-5)
    corpus = (tmp_path / "features" / "corpus.tsv").read_text("utf-8")
    assert corpus == (texts / "dev.txt").read_text("utf-8")


def test_texts_that_the_encoder_cannot_read(once, exported, texts, tmp_path, log):
    """Said once by each model: the export, the checkpoint, a training."""
    models = {exported / "paddle": FeatureExtractor(exported / "paddle").encode}
    models[once / "model_best"] = Embedder(str(once / "model_best")).vectors
    for count, (folder, encode) in enumerate(models.items()):
        encode(["头疼"])
        assert len(unknown_lines(log)) == count
        encode(["头疼", *UNREADABLE])
        encode(UNREADABLE)
        assert len(unknown_lines(log)) == count + 1 and f"that {folder} cannot read" in unknown_lines(log)[-1]
    args = train.parse_flags(list(map(str, train_flags(texts, once / "model_best", tmp_path))))
    corpus, (given, label_ids), dev = train.read_data(args)
    learner.Learner(args, corpus, ([*UNREADABLE * 5, *given[10:]], label_ids), dev)
    [_, _, line] = unknown_lines(log)
    assert line.startswith(f"{texts / 'train.txt'}: ") and "Cyrillic" in line
