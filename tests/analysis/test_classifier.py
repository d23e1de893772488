"""analysis/classifier.py: logits and features of the real model, the cache, neighbours, inputs, refusals."""

import types
from pathlib import Path

import classifier as lib
import numpy as np
import pytest

from utils import UsageError


def flags(data, checkpoint, **values):
    defaults = {"device": "cpu", "dataset_dir": data, "params_path": checkpoint, "max_seq_length": 32, "batch_size": 8,
                "seed": 3, "train_file": "train.txt", "dev_file": "dev.txt", "label_file": "label.txt"}  # fmt: skip
    return types.SimpleNamespace(**{**defaults, **values})


def load(args):
    return lib.Classifier(args, lib.read_model_labels(args))


@pytest.fixture
def texts(trained_once):
    return [line.split("\t")[0] for line in (trained_once[0] / "dev.txt").read_text(encoding="utf-8").splitlines()]


def test_logits_are_the_exported_graphs_and_come_from_the_features(trained, texts):
    from predictor import Predictor

    model = load(flags(*trained))
    logits, features = model.run(texts)
    exported = Predictor(trained[1] / "export")
    assert exported.labels == model.labels
    assert np.abs(exported.logits(exported.encode(texts)) - logits).max() < 1e-4
    weight, bias = model.head.weight.numpy(), model.head.bias.numpy()
    assert features.shape == (len(texts), 48)
    assert np.abs(features @ weight + bias - logits).max() < 1e-5
    one, _ = model.compute(texts[:1])
    assert np.abs(one - logits[:1]).max() < 1e-5  # whatever it is padded with
    assert model.probabilities(texts).sum(axis=1) == pytest.approx(1)


def test_the_cache_is_keyed_by_texts_length_and_weights(trained, texts, monkeypatch):
    model = load(flags(*trained))
    first = model.run(texts)
    files = sorted((trained[1] / lib.CACHE_DIR).iterdir())
    assert len(files) == 1

    def fail(*args):
        raise AssertionError("computed again")

    again = load(flags(*trained))
    monkeypatch.setattr(again, "compute", fail)
    assert all((one == other).all() for one, other in zip(again.run(texts), first))
    short = load(flags(*trained, max_seq_length=8))
    monkeypatch.setattr(short, "compute", fail)
    for model_with, other_texts in ((again, texts[1:]), (short, texts)):
        with pytest.raises(AssertionError, match="computed again"):
            model_with.run(other_texts)
    weights = trained[1] / "model_state.pdparams"
    weights.write_bytes(weights.read_bytes() + b" ")
    assert load(flags(*trained)).key(texts) != model.key(texts)

    files[0].write_bytes(b"broken")
    weights.write_bytes(weights.read_bytes()[:-1])
    assert (load(flags(*trained)).run(texts)[0] == first[0]).all()


def test_nearest_is_brute_force():
    random = np.random.RandomState(0)
    queries, corpus = random.randn(50, 16), random.randn(300, 16)
    corpus[200] = corpus[7] * 3  # the same direction: the first one comes first
    rows, values = lib.nearest(queries, corpus, 5)
    cosines = (queries @ corpus.T) / np.outer(np.linalg.norm(queries, axis=1), np.linalg.norm(corpus, axis=1))
    expected = np.argsort(-cosines.round(6), axis=1, kind="stable")[:, :5]
    assert (rows == expected).all()
    assert np.abs(values - np.take_along_axis(cosines, expected, axis=1)).max() < 1e-5
    assert lib.nearest(queries, corpus[:3], 5)[0].shape == (50, 3)
    assert lib.nearest(np.zeros((1, 16)), corpus, 1)[1] == 0


def test_refusals(trained, tmp_path):
    data, checkpoint = trained
    for values, message in (
        ({"params_path": tmp_path / "nowhere"}, "--params_path .*nowhere: no such directory"),
        ({"params_path": data}, "--params_path .*: not a fine-tuned classifier"),
        ({"batch_size": 0}, "--batch_size 0: give 1 or more"),
        ({"max_seq_length": 2}, "--max_seq_length 2: give 3"),
        ({"label_file": "nowhere.txt"}, "nowhere.txt: no such file"),
    ):
        with pytest.raises(UsageError, match=message):
            load(flags(data, checkpoint, **values))
    (data / "label.txt").write_bytes("甲\n乙\n丙\n".encode())
    with pytest.raises(UsageError, match="was not trained on"):
        load(flags(data, checkpoint))
    assert not (Path(checkpoint) / lib.CACHE_DIR).exists()
