"""The n-grams' tower in a graph: against the regression, beside other texts, in each family, exported, saved."""

import copy
import json

import numpy as np
import paddle
import pytest
from scipy.special import softmax
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression

from core import checkpoints, export, families, heads, loading, ngram_layer, ngrams, quantize
from core.batches import TextDataset, make_collator
from tests.core.foreign_models import tiny_classifier
from tests.core.test_families import EXPORTED, batch_of_100, inputs_for
from tests.core.test_heads import logits
from tests.core.test_ngrams import random_texts
from utils import UsageError

SPECIAL = [0, 1, 2, 4]


def padded(texts, width=24, pad=0):
    """[CLS] text [SEP], padded: int64 [texts, width]."""
    rows = np.full((len(texts), width), pad, "int64")
    for row, ids in zip(rows, texts):
        row[: len(ids) + 2] = [1, *ids, 2]
    return rows


def random_layer(config, special=SPECIAL, seed=0):
    """A layer of 3 classes with known ids of 5 and more, and much to say."""
    rng = np.random.RandomState(seed)
    found = ngrams.Ngrams([rng.randint(5, 60, size=30).tolist() for _ in range(200)])
    weight = rng.randn(len(found.keys), 3) * 5
    return ngram_layer.NgramLayer(found.keys, found.table(weight), config.vocab_size, special, rng.randn(3))


def two_towers(family, pooling="cls"):
    """A random classifier with a random tower."""
    model = heads.set_pooling(families.mask_padding(tiny_classifier(family, spread=0.1)), pooling)
    special = sorted({0, 1, 2, 4, model.config.pad_token_id})
    return ngram_layer.add_tower(model, random_layer(model.config, special))


@pytest.mark.parametrize("num_labels", [2, 3])
def test_the_layer_gives_scikit_learns_probabilities(num_labels):
    """From the same hashed counts, of texts with n-grams twice, new n-grams, and none at all."""
    texts, labels = random_texts(num_labels=num_labels)
    tower = ngrams.Tower(texts[:100], labels[:100], num_labels, seed=0)
    table = tower.ngrams.table(tower.weight)
    layer = ngram_layer.NgramLayer(tower.ngrams.keys, table, 1000, SPECIAL, tower.bias)
    texts = [*texts, [7, 7, 7, 7, 8, 7, 7], [900, 901, 902], []]
    counts = tower.ngrams.counts(texts)
    transformer = TfidfTransformer().fit(counts[:100])
    model = LogisticRegression(C=tower.strength, tol=1e-3, max_iter=1000)
    model.fit(transformer.transform(counts[:100]), labels[:100])
    expected = model.predict_proba(transformer.transform(counts))
    probabilities = softmax(layer(paddle.to_tensor(padded(texts))).numpy(), axis=1)
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    assert np.abs(expected[:100] - expected[-1]).max() > 0.3
    left = np.roll(padded(texts), 7, axis=1)  # padding on both sides, as no tokenizer here does
    np.testing.assert_allclose(softmax(layer(paddle.to_tensor(left)).numpy(), axis=1), expected, atol=1e-5)


def test_what_each_place_adds():
    """The places of a text sum to its logits."""
    texts, labels = random_texts()
    tower = ngrams.Tower(texts, labels, 3, seed=0)
    layer = ngram_layer.NgramLayer(tower.ngrams.keys, tower.ngrams.table(tower.weight), 1000, SPECIAL, tower.bias)
    ids = paddle.to_tensor(padded(texts))
    values, counted, squares = (part.numpy() for part in layer.places(ids))
    assert values.shape == (120, 47, 3) and counted.shape == squares.shape == (120, 47)
    total = (values * counted[:, :, None]).sum(axis=1) / np.sqrt(squares.sum(axis=1, keepdims=True)) + tower.bias
    np.testing.assert_allclose(total, layer(ids).numpy(), atol=1e-5)
    scores = layer.token_scores(ids).numpy()
    assert scores.shape == (120, 24, 3) and not scores[:, [0, 23]].any()
    np.testing.assert_allclose(scores.sum(axis=1) + tower.bias, total, atol=1e-5)
    assert not counted[:, [0, 23]].any()  # [CLS] and its pair, and the last token, which is padding


@pytest.mark.parametrize("family", families.FAMILIES)
def test_both_towers_are_added_in_each_family(family):
    """Padding by each family's id has no part: a text alone, and beside 99 others."""
    plain = heads.set_pooling(families.mask_padding(tiny_classifier(family, spread=0.1)))
    ids = batch_of_100(plain.config.pad_token_id)
    takes_types, expected = loading.uses_token_types(plain), logits(plain, ids)
    model = ngram_layer.add_tower(plain, random_layer(plain.config, sorted({0, 1, 2, 4, plain.config.pad_token_id})))
    assert loading.uses_token_types(model) == takes_types and model is plain
    answers = logits(model, ids)
    tower = model.ngrams(paddle.to_tensor(ids)).numpy()
    np.testing.assert_allclose(answers, expected + tower, atol=1e-5)
    assert np.abs(tower).max() > 0.5
    alone = model.ngrams(paddle.to_tensor(ids[:1, :5])).numpy()
    np.testing.assert_allclose(tower[0], alone[0], atol=1e-6)
    np.testing.assert_allclose(answers[0], logits(model, ids[:1, :5])[0], atol=1e-6)
    np.testing.assert_array_equal(logits(copy.deepcopy(model), ids), answers)


def test_given_logits_take_the_towers_place():
    model = two_towers("ernie")
    ids = batch_of_100(model.config.pad_token_id)
    inputs = {name: paddle.to_tensor(value) for name, value in inputs_for(model, ids).items()}
    given = np.random.RandomState(0).randn(100, 3).astype("float32")
    with paddle.no_grad():
        answers = model(**inputs, ngram_logits=paddle.to_tensor(given)).numpy()
        output = model(**inputs, output_attentions=True, return_dict=True)
        parts = model(**inputs, output_attentions=True)
    difference = logits(model, ids) - model.ngrams(inputs["input_ids"]).numpy()
    np.testing.assert_allclose(answers, difference + given, atol=1e-5)
    for found in (output.logits, parts[0]):
        np.testing.assert_allclose(found.numpy(), logits(model, ids), atol=1e-6)
    with pytest.raises(ValueError, match="that of one tower alone"):
        model(**inputs, labels=paddle.zeros([100], "int64"))


def test_batches_bring_left_out_logits_for_a_while(tiny_model):
    """As they are: PaddleNLP's collator would make integers of them, without a word."""
    _, tokenizer = loading.load_config_and_tokenizer(str(tiny_model))
    dataset = TextDataset(["a", "b"], [0, 1], lambda texts: [{"input_ids": [1, 2]} for _ in texts])
    rows = np.array([[0.25, -2.5], [3.75, 4]], "float32")
    with ngram_layer.logits_given(dataset, rows):
        batch = make_collator(tokenizer)(dataset.features)
        assert batch["ngram_logits"].dtype == "float32" and batch["input_ids"].dtype == "int64"
        np.testing.assert_array_equal(batch["ngram_logits"], rows)
        assert dataset.features[0]["ngram_logits"].tolist() == rows[0].tolist()
    assert not any("ngram_logits" in feature for feature in dataset.features)
    with ngram_layer.logits_given(dataset, None):
        assert not any("ngram_logits" in feature for feature in dataset.features)


@pytest.mark.parametrize(
    "family, pooling", [("ernie", "cls"), ("ernie", "mean"), ("albert", "cls"), ("electra", "cls")]
)
def test_the_exported_graphs_have_both(family, pooling, tmp_path):
    """Paddle, ONNX and INT8: the same inputs, the text cut to max_length, and in INT8 the tower stays in float32."""
    onnxruntime = pytest.importorskip("onnxruntime")
    assert family in EXPORTED
    model = two_towers(family, pooling)
    pad = model.config.pad_token_id
    ids = batch_of_100(pad)
    inputs = inputs_for(model, ids)
    wrapped = export.TruncatingClassifier(model, 8, pad, 2)
    wrapped.eval()
    with paddle.no_grad():
        expected = wrapped(**{name: paddle.to_tensor(value) for name, value in inputs.items()}).numpy()
        example = {name: paddle.to_tensor(value[:4]) for name, value in inputs.items()}
        with export.first_token_only(model, example):
            spec = [paddle.static.InputSpec([None, None], "int64", name) for name in inputs]
            export.write_graph(wrapped, spec, tmp_path)
    graph = paddle.jit.load(str(tmp_path / "model"))
    np.testing.assert_allclose(graph(*map(paddle.to_tensor, inputs.values())).numpy(), expected, atol=1e-5)
    onnx_model = export.convert_to_onnx(tmp_path, "model")
    export.save_onnx(onnx_model, tmp_path / "model.onnx")
    onnx = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    assert [item.name for item in onnx.get_inputs()] == list(inputs)
    np.testing.assert_allclose(onnx.run(None, inputs)[0], expected, atol=1e-5)
    first = {name: value[:1] for name, value in inputs.items()}
    np.testing.assert_allclose(onnx.run(None, first)[0][0], expected[0], atol=1e-5)
    export.save_onnx(quantize.quantize_onnx(onnx_model, [inputs]), tmp_path / "int8.onnx")
    int8 = onnxruntime.InferenceSession(str(tmp_path / "int8.onnx"), providers=["CPUExecutionProvider"])
    tower = model.ngrams(paddle.to_tensor(ids[:, :8])).numpy()
    assert np.abs(int8.run(None, inputs)[0] - expected).max() < 0.05 < np.abs(tower).max()


def saved(tiny_model, folder, labels):
    """A classifier with a tower, saved; config, tokenizer and the model."""
    config, tokenizer = loading.load_config_and_tokenizer(str(tiny_model))
    model = loading.load_model(str(tiny_model), config, labels)
    texts, truth = random_texts(num_labels=len(labels))
    tower = ngrams.Tower(texts, truth, len(labels), seed=0)
    ngram_layer.add_tower(model, ngram_layer.tower_layer(tower, model.config, tokenizer))
    model.eval()
    model.save_pretrained(str(folder))
    tokenizer.save_pretrained(str(folder))
    return tokenizer, model


def test_a_saved_model_remembers(tiny_model, tmp_path, log):
    """PaddleNLP's own loading, by which a dynamic Taskflow answers, is stopped: it would leave the tower out."""
    from paddlenlp.transformers import AutoModelForSequenceClassification

    labels = ["a", "b"]
    assert not checkpoints.trained_ngrams(tiny_model)
    tokenizer, model = saved(tiny_model, tmp_path, labels)
    content = json.loads((tmp_path / "config.json").read_text())
    assert content["ngram_features"] == {"special_ids": ngram_layer.special_ids(tokenizer)} == {"special_ids": SPECIAL}
    assert content["architectures"] == [ngram_layer.NGRAM_CLASS] and checkpoints.trained_ngrams(tmp_path)
    assert checkpoints.trained_labels(str(tmp_path), labels, "label.txt") == labels
    ids = batch_of_100(0)
    config, _ = loading.load_config_and_tokenizer(str(tmp_path))
    log.clear()
    again = loading.load_model(str(tmp_path), config, labels)
    assert "ngrams" not in "".join(log)
    again.eval()
    np.testing.assert_array_equal(logits(again, ids), logits(model, ids))
    config, _ = loading.load_config_and_tokenizer(str(tmp_path))
    other = loading.load_model(str(tmp_path), config, labels, tower=False)
    other.eval()
    np.testing.assert_allclose(logits(other, ids), logits(model, ids) - model.ngrams(paddle.to_tensor(ids)), atol=1e-5)
    assert not hasattr(other.config, "ngram_features") and type(other).__name__ == "ErnieForSequenceClassification"
    with pytest.raises(AttributeError, match="Unable to parse 'architectures'.*config.json"):
        AutoModelForSequenceClassification.from_pretrained(str(tmp_path))


def test_a_file_without_its_tower_is_refused(tiny_model, tmp_path):
    """It would answer by one tower, without a word."""
    saved(tiny_model, tmp_path, ["a", "b"])
    state = paddle.load(str(tmp_path / "model_state.pdparams"))
    for change, problem in (
        ({}, "its weights do not have them; save or copy both again"),
        ({"ngrams.bias": paddle.zeros([5])}, "do not fit together; save the model again"),
    ):
        kept = {name: value for name, value in state.items() if not name.startswith("ngrams.") or change}
        paddle.save({**kept, **change}, str(tmp_path / "model_state.pdparams"))
        config, _ = loading.load_config_and_tokenizer(str(tmp_path))
        with pytest.raises(UsageError, match=problem):
            loading.load_model(str(tmp_path), config, ["a", "b"])
