"""analysis/classifier.py: logits and features of the real model, the cache, refusals."""

import json

import numpy as np
import pytest

import train
from analysis import classifier
from analysis.explainer import Explainer
from analysis.flags import make_parser, read_model_labels
from core.predictor import Predictor
from core.safetensors_files import read_safetensors, write_safetensors
from tests.helpers import UNREADABLE, unknown_lines
from utils import UsageError


def flags(data, checkpoint, *more):
    given = f"--device cpu --dataset_dir {data} --params_path {checkpoint} --batch_size 8".split()
    return make_parser("").parse_args([*given, *map(str, more)])


def load(args):
    return classifier.Classifier(args, read_model_labels(args))


@pytest.fixture
def texts(trained_once):
    return [line.split("\t")[0] for line in (trained_once[0] / "dev.txt").read_text(encoding="utf-8").splitlines()]


def test_logits_are_the_exported_graphs_and_come_from_the_features(trained, texts):
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
    files = sorted((trained[1] / classifier.CACHE_DIR).iterdir())
    assert len(files) == 1

    def fail(*args):
        raise AssertionError("computed again")

    again = load(flags(*trained))
    monkeypatch.setattr(again, "compute", fail)
    assert all((one == other).all() for one, other in zip(again.run(texts), first))
    short = load(flags(*trained, "--max_seq_length", 8))
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


def test_the_cache_knows_weights_of_every_kind(trained, tmp_path):
    """Of a folder with model.safetensors alone, too: other weights have other features."""
    data, checkpoint = trained
    train.main(f"--save_safetensors True --device cpu --data_dir {data} --model_name_or_path {checkpoint}".split())
    key = load(flags(data, checkpoint)).key(["头疼"])
    (checkpoint / "model_state.pdparams").rename(tmp_path / "model_state.pdparams")
    given = load(flags(data, checkpoint))
    assert given.key(["头疼"]) == key and given.max_length == 32
    path = checkpoint / "model.safetensors"
    state = {name: np.array(value) for name, value in read_safetensors(path).items()}
    write_safetensors(path, {name: value * 2 for name, value in state.items()}, {"weights": "0"})
    assert load(flags(data, checkpoint)).key(["头疼"]) != key
    write_safetensors(path, {name: state[name] for name in state if "classifier" not in name}, {"weights": "0"})
    with pytest.raises(UsageError, match="the weights lack classifier.bias, classifier.weight, which would be random"):
        load(flags(data, checkpoint))


def test_texts_that_the_model_cannot_read(trained, log):
    """Said once a run, whether their features come from the cache or not; explanations have none."""
    for number in (1, 2):
        model = load(flags(*trained))
        model.run(["头疼", "多少钱"], "dev texts")
        assert len(unknown_lines(log)) == number - 1
        model.run(UNREADABLE, "other texts")
        model.run(UNREADABLE[:1], "more texts")
        assert len(unknown_lines(log)) == number and unknown_lines(log)[-1].startswith("other texts: 100.0%")
    explainer = Explainer(load(flags(*trained)))
    explainer.make_cases([(1, UNREADABLE[0], "")])
    assert len(unknown_lines(log)) == 3 and str(trained[1]) in unknown_lines(log)[-1]


def test_a_batch_at_a_time_gives_the_same(trained_once, texts):
    small, large = (load(flags(*trained_once, "--batch_size", size)) for size in (3, 64))
    for one, other in zip(small.compute(texts), large.compute(texts)):
        assert one.dtype == np.float32 and np.abs(one - other).max() < 1e-5


def test_refusals(trained):
    data, checkpoint = trained
    with pytest.raises(UsageError, match="no linear layer with 7 outputs; it cannot be analysed"):
        classifier.find_head(load(flags(data, checkpoint)).model, 7)
    weights = checkpoint / "model_state.pdparams"
    weights.write_bytes(weights.read_bytes()[:200])
    with pytest.raises(UsageError, match="cannot be loaded"):
        load(flags(data, checkpoint))
    assert not (checkpoint / classifier.CACHE_DIR).exists()


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_texts_of_several_windows(trained, texts, pooling):
    """Logits are the documents', and so are the features: of the mean exactly, of the maximum for the answer."""
    data, checkpoint = trained
    path = checkpoint / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["long_text"] = {"way": "windows", "stride": 20, "pooling": pooling}
    path.write_text(json.dumps(config), encoding="utf-8")
    long = [text * 9 for text in texts[:6]] + texts[:3]
    model = load(flags(data, checkpoint))
    logits, features = model.run(long)
    train.main(
        f"--do_export --device cpu --data_dir {data} --model_name_or_path {checkpoint} --output_dir {checkpoint} "
        "--overwrite_output_dir".split()
    )
    exported = Predictor(checkpoint / "export")
    assert np.abs(exported.logits(exported.encode(long)) - logits).max() < 1e-4
    own = features @ model.head.weight.numpy() + model.head.bias.numpy()
    answers = logits.argmax(axis=1)
    rows = np.arange(len(long))
    assert np.abs((own - logits)[rows, answers]).max() < 1e-5
    assert pooling == "max" or np.abs(own - logits).max() < 1e-5
    with pytest.raises(UsageError, match="tokens, and this model reads texts of more than 32 by --long_text windows"):
        Explainer(model).make_cases([(1, long[0], "")])
    assert len(Explainer(model).make_cases([(1, texts[0], "")])) == 1
    with pytest.raises(UsageError, match="--stride 20: with --max_length 16"):
        load(flags(data, checkpoint, "--max_seq_length", 16))
