"""What a text is beside: nothing that changes its answer, in each family, in dygraph and in what is exported."""

import numpy as np
import paddle
import pytest

from core import export, families, loading, pooling
from core.loading import uses_token_types
from core.predictor import paddle_runner
from tests.core.foreign_models import tiny_classifier
from utils import UsageError

# These are exported in every run of the tests; the others, whose code is one of these' copy, in the slow one.
EXPORTED = ("ernie", "bert", "roberta", "ernie_m", "albert", "electra", "distilbert", "squeezebert")


def batch_of_100(pad_token_id):
    """A text of 5 tokens and 99 others, up to 30 long."""
    rng = np.random.default_rng(0)
    texts = [rng.integers(5, 60, length) for length in [5, *rng.integers(3, 31, 99)]]
    ids = np.full((100, max(map(len, texts))), pad_token_id)
    for row, text in zip(ids, texts):
        row[: len(text)] = text
    return ids


def softmax(logits):
    return paddle.nn.functional.softmax(paddle.to_tensor(logits), axis=-1).numpy()


def inputs_for(model, ids):
    names = ["input_ids", "token_type_ids"] if uses_token_types(model) else ["input_ids"]
    return {name: (ids if name == "input_ids" else ids * 0).astype("int64") for name in names}


def dynamic(model, ids):
    with paddle.no_grad():
        return softmax(model(**{name: paddle.to_tensor(value) for name, value in inputs_for(model, ids).items()}))


@pytest.mark.parametrize("family", families.FAMILIES)
def test_a_text_alone_and_beside_99_others(family):
    model = tiny_classifier(family, spread=0.1)
    ids = batch_of_100(model.config.pad_token_id)
    difference = np.abs(dynamic(model, ids)[0] - dynamic(model, ids[:1, :5])[0]).max()
    assert (difference > 1e-3) == (family in families.MASK_NOTHING)  # nothing is done twice
    token_types = uses_token_types(model)
    assert families.mask_padding(model) is model and uses_token_types(model) == token_types
    answers = dynamic(families.mask_padding(model), ids)
    assert answers.std(axis=0).max() > 0.02
    np.testing.assert_allclose(answers[0], dynamic(model, ids[:1, :5])[0], atol=1e-6)


@pytest.mark.parametrize(
    "family",
    [family if family in EXPORTED else pytest.param(family, marks=pytest.mark.slow) for family in families.FAMILIES],
)
def test_alone_and_beside_99_others_once_exported(family, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    from paddle import inference

    model = families.mask_padding(tiny_classifier(family, spread=0.1))
    pad = model.config.pad_token_id
    ids = batch_of_100(pad)
    inputs = inputs_for(model, ids)
    example = {name: paddle.to_tensor(value[:4]) for name, value in inputs.items()}
    wrapped = export.TruncatingClassifier(model, 32, pad, 2)
    wrapped.eval()
    spec = [paddle.static.InputSpec([None, None], "int64", name) for name in inputs]
    with paddle.no_grad(), export.first_token_only(model, example):
        export.write_graph(wrapped, spec, tmp_path)
    config = inference.Config(str(tmp_path / "model.pdmodel"), str(tmp_path / "model.pdiparams"))
    config.disable_gpu()
    config.disable_glog_info()
    session = inference.create_predictor(config)
    assert session.get_input_names() == list(inputs)  # Taskflow gives no others
    export.save_onnx(export.convert_to_onnx(tmp_path, "model"), tmp_path / "model.onnx")
    onnx = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    for run in (paddle_runner(session), lambda batch: onnx.run(None, batch)[0]):
        beside = softmax(run(inputs))
        np.testing.assert_allclose(beside, dynamic(model, ids), atol=1e-6)
        alone = softmax(run({name: value[:1, :5] for name, value in inputs.items()}))
        np.testing.assert_allclose(alone[0], beside[0], atol=1e-6)


@pytest.mark.parametrize("family", EXPORTED)
@pytest.mark.parametrize("kind", ["mean", "cls"])
def test_pooled_states(family, kind):
    """ELECTRA and DistilBERT give their states alone, the others in a tuple."""
    model = families.mask_padding(tiny_classifier(family, spread=0.1))
    encoder = pooling.PooledEncoder(model.base_model, model.config.pad_token_id, kind)
    ids = paddle.to_tensor(batch_of_100(model.config.pad_token_id))
    types = paddle.zeros_like(ids) if loading.uses_token_types(encoder) else None
    with paddle.no_grad():
        beside, alone = (
            encoder.pooled(ids, types),
            encoder.pooled(ids[:1, :5], None if types is None else types[:1, :5]),
        )
    assert beside.shape == [100, 48]
    np.testing.assert_allclose(beside[0].numpy(), alone[0].numpy(), atol=2e-6)


def test_other_families_are_refused():
    from paddlenlp.transformers import FNetConfig, FNetForSequenceClassification

    config = FNetConfig(vocab_size=60, hidden_size=48, num_hidden_layers=1, intermediate_size=64)
    with pytest.raises(UsageError, match="models of type fnet are not supported.*use one of ernie, bert, roberta"):
        families.mask_padding(FNetForSequenceClassification(config))


def test_a_copy_and_what_is_saved_keep_the_class_s_name(tmp_path):
    import copy
    import json

    model = families.mask_padding(tiny_classifier("albert"))
    twin = copy.deepcopy(model)
    ids = batch_of_100(0)
    np.testing.assert_array_equal(dynamic(twin, ids), dynamic(model, ids))
    assert isinstance(twin.base_model, families.MaskedPadding)
    model.base_model.save_pretrained(str(tmp_path))
    assert json.loads((tmp_path / "config.json").read_text())["architectures"] == ["AlbertModel"]
