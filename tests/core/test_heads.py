"""Mean pooling: what the head reads, in each family, in dygraph and in what is exported, and what config.json says."""

import copy
import json

import numpy as np
import paddle
import pytest

from core import checkpoints, export, families, heads, loading
from core.pooling import PooledEncoder
from tests.core.foreign_models import tiny_classifier
from tests.core.test_families import EXPORTED, batch_of_100, inputs_for
from utils import UsageError


def logits(model, ids):
    with paddle.no_grad():
        return model(**{name: paddle.to_tensor(value) for name, value in inputs_for(model, ids).items()}).numpy()


def mean_by_hand(model, ids):
    """What a family's head makes of the mean of the tokens, written out."""
    encoder = PooledEncoder(model.base_model, model.config.pad_token_id)
    more = {"token_type_ids": paddle.to_tensor(ids * 0)} if loading.uses_token_types(encoder) else {}
    with paddle.no_grad():
        mean, family = encoder.pooled(paddle.to_tensor(ids), **more), model.config.model_type
        if family in ("electra", "roberta"):
            return model.classifier(mean.unsqueeze(1)).numpy()
        if family == "distilbert":
            return model.classifier(paddle.nn.functional.relu(model.pre_classifier(mean))).numpy()
        if family == "roformerv2":
            return model.classifier(mean).numpy()
        pooler = model.base_model.pooler
        pooled = paddle.tanh(pooler(mean)) if family == "albert" else pooler(mean.unsqueeze(1))
        return model.classifier(paddle.nn.functional.relu(pooled) if family == "tinybert" else pooled).numpy()


@pytest.mark.parametrize("family", families.FAMILIES)
def test_the_head_reads_the_mean(family):
    model = families.mask_padding(tiny_classifier(family, spread=0.1))
    ids = batch_of_100(model.config.pad_token_id)
    first_token, expected = logits(model, ids), mean_by_hand(model, ids)
    state = model.state_dict().keys()
    assert heads.set_pooling(model) is model and not heads.reads_all_tokens(model)  # as its config says: nothing
    assert not hasattr(model.config, heads.POOLING)
    takes_types = loading.uses_token_types(model), loading.uses_token_types(model.base_model)
    heads.set_pooling(model, "mean")
    assert heads.reads_all_tokens(model) and model.config.classifier_pooling == "mean"
    assert takes_types == (loading.uses_token_types(model), loading.uses_token_types(model.base_model))
    assert model.state_dict().keys() == state
    answers = logits(model, ids)
    np.testing.assert_allclose(answers, expected, atol=1e-5)
    assert np.abs(answers - first_token).max() > 1e-2
    np.testing.assert_allclose(answers[0], logits(model, ids[:1, :5])[0], atol=1e-5)  # the padding has no part
    np.testing.assert_array_equal(logits(copy.deepcopy(model), ids), answers)


@pytest.mark.parametrize("family", ["ernie", "albert", "electra"])
def test_the_exported_graphs_read_the_mean(family, tmp_path):
    """A weak last layer differs little from its first token alone: the whole layer is exported all the same."""
    onnxruntime = pytest.importorskip("onnxruntime")
    assert family in EXPORTED
    model = heads.set_pooling(families.mask_padding(tiny_classifier(family, spread=0.1)), "mean")
    pad = model.config.pad_token_id
    ids = batch_of_100(pad)
    inputs = inputs_for(model, ids)
    wrapped = export.TruncatingClassifier(model, 20, pad, 2)
    wrapped.eval()
    with paddle.no_grad():
        expected = wrapped(**{name: paddle.to_tensor(value) for name, value in inputs.items()}).numpy()
        example = {name: paddle.to_tensor(value[:4]) for name, value in inputs.items()}
        with export.first_token_only(model, example):
            assert not any(isinstance(layer, export.FirstTokenLayer) for layer in model.sublayers())
            export.write_graph(wrapped, [paddle.static.InputSpec([None, None], "int64", name) for name in inputs],
                               tmp_path)  # fmt: skip
    graph = paddle.jit.load(str(tmp_path / "model"))
    np.testing.assert_allclose(graph(*map(paddle.to_tensor, inputs.values())).numpy(), expected, atol=1e-5)
    export.save_onnx(export.convert_to_onnx(tmp_path, "model"), tmp_path / "model.onnx")
    onnx = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(onnx.run(None, inputs)[0], expected, atol=1e-5)


def test_the_structured_outputs_of_the_library(tmp_path):
    """analysis/ asks for attentions by name."""
    for family in ("ernie", "electra"):
        model = heads.set_pooling(families.mask_padding(tiny_classifier(family, spread=0.1)), "mean")
        ids = batch_of_100(model.config.pad_token_id)
        inputs = {name: paddle.to_tensor(value) for name, value in inputs_for(model, ids).items()}
        with paddle.no_grad():
            output = model(**inputs, output_attentions=True, return_dict=True)
        np.testing.assert_allclose(output.logits.numpy(), logits(model, ids), atol=1e-6)
        assert len(output.attentions) == 1


def test_a_saved_model_remembers(tiny_model, tmp_path):
    """PaddleNLP's own loading, by which a dynamic Taskflow answers, is stopped: it would read the first token."""
    from paddlenlp import Taskflow
    from paddlenlp.transformers import AutoModelForSequenceClassification

    labels = ["a", "b"]
    config, tokenizer = loading.load_config_and_tokenizer(str(tiny_model))
    model = loading.load_model(str(tiny_model), config, labels, "mean")
    model.eval()
    model.save_pretrained(str(tmp_path))
    tokenizer.save_pretrained(str(tmp_path))
    saved = json.loads((tmp_path / "config.json").read_text())
    assert saved["classifier_pooling"] == "mean" and saved["architectures"] == [heads.MEAN_CLASS]
    assert checkpoints.trained_labels(str(tmp_path), labels, "label.txt") == labels
    ids = np.random.default_rng(0).integers(5, 60, (3, 9))
    config, _ = loading.load_config_and_tokenizer(str(tmp_path))
    again = loading.load_model(str(tmp_path), config, labels)
    again.eval()
    np.testing.assert_array_equal(logits(again, ids), logits(model, ids))
    other = loading.load_model(str(tmp_path), config, labels, "cls")
    other.eval()
    assert np.abs(logits(other, ids) - logits(model, ids)).max() > 1e-4
    assert other.config.classifier_pooling == "cls" and type(other).__name__ == "ErnieForSequenceClassification"
    for load in (
        AutoModelForSequenceClassification.from_pretrained,
        lambda path: Taskflow("text_classification", task_path=path, is_static_model=False),
    ):
        with pytest.raises(AttributeError, match="Unable to parse 'architectures'.*config.json"):
            load(str(tmp_path))


def test_the_final_layer():
    model = tiny_classifier("roberta")
    assert heads.final_linear(model, 3) is model.classifier.out_proj
    with pytest.raises(UsageError, match="no linear layer with 7 outputs"):
        heads.final_linear(model, 7)
