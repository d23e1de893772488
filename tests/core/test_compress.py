"""compress.py on the tiny ERNIE: the exported widths are what they say, and answer as they were scored."""

import json
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import paddle
import pytest

import train
from core import batches, checkpoints, compress, encoders, loading, progress
from core.arguments import PRUNERS, check_widths
from core.predictor import Predictor
from tests.helpers import compress_flags
from utils import UsageError, read_examples, read_json

WIDTHS = {"3/4": "0.75", "2/3": "0.67", "1/2": "0.5"}


@pytest.fixture(scope="module", params=PRUNERS)
def pruned(request, trained_once, tmp_path_factory):
    """(data, checkpoint, prune folder) of the documented command with three widths, and INT8 beside them."""
    if request.param == "paddleslim":
        pytest.importorskip("paddleslim")
    output = tmp_path_factory.mktemp("pruned")
    flags = compress_flags(*trained_once, output, "--strategy", "dynabert+ptq", "--export_type", "onnx")
    flags += ["--pruner", request.param]
    train.main([*flags, "--width_mult_list", *WIDTHS])
    return (*trained_once, output)


def accuracy(predictor, data):
    texts, truth = read_examples(data / "dev.txt", predictor.labels)
    return float((predictor.probabilities(texts).argmax(axis=1) == np.array(truth)).mean())


def test_tree_and_table(pruned):
    _, _, output = pruned
    results = json.loads((output / "all_results.json").read_text())
    for width in WIDTHS.values():
        names = {path.name for path in (output / f"width_mult_{width}").iterdir()}
        assert (
            set(
                (
                    "pruned_model.pdmodel pruned_model.pdiparams pruned_model.pdiparams.info "
                    "model_state.pdparams config.json tokenizer_config.json vocab.txt special_tokens_map.json "
                    "id2label.json export.json parity.json pruned_model.onnx pruned_model_int8.onnx tokenizer.json "
                    "README.md README_en.md"
                ).split()
            )
            == names
        )
        assert 0 <= results[f"width_mult_{width}_accuracy"] <= 1
        assert f"width_mult_{width}_onnx_int8_accuracy" in results
        card = (output / f"width_mult_{width}" / "README_en.md").read_text(encoding="utf-8")
        assert "Pruned to the width" in card and "`--width_mult_list" in card and "pruned_model_int8.onnx" in card
        assert "dev chose which evaluation of the pruning is kept" in card
    assert results["teacher_accuracy"] > 0.5


@pytest.mark.parametrize("width", WIDTHS)
def test_the_graph_has_the_width_it_says(pruned, width):
    folder = pruned[2] / f"width_mult_{WIDTHS[width]}"
    graph = paddle.jit.load(str(folder / "pruned_model"))
    shapes = Counter(tuple(value.shape) for value in graph.parameters() if value.ndim == 2)
    units, neurons = int(48 * Fraction(width)), int(96 * Fraction(width))
    embeddings = [shape for shape in shapes if shape[0] > 96 or shape == (2, 48)]
    layer = [(48, units)] * 3 + [(units, 48), (48, neurons), (neurons, 48)]
    head = [(48, 48), (48, 3)]
    assert shapes == Counter(embeddings + layer * 2 + head)


@pytest.mark.parametrize("width", WIDTHS.values())
def test_all_products_of_a_pruned_layer_are_integers(pruned, width):
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(str(pruned[2] / f"width_mult_{width}" / "pruned_model_int8.onnx")).graph
    operations = Counter(node.op_type for node in graph.node)
    # Two layers of six products. The four of attention itself have no weights; pooler and classifier stay in float32.
    assert operations["MatMulIntegerToFloat"] == 12 and operations["MatMul"] == 4 + 2


@pytest.mark.parametrize("width", WIDTHS.values())
def test_the_exported_graph_scores_what_was_logged(pruned, width):
    data, _, output = pruned
    folder = output / f"width_mult_{width}"
    results = json.loads((output / "all_results.json").read_text())
    for format, suffix in {"paddle": "", "onnx": "_onnx", "onnx_int8": "_onnx_int8"}.items():
        measured = accuracy(Predictor(folder, format), data)
        assert measured == pytest.approx(results[f"width_mult_{width}{suffix}_accuracy"], abs=1e-9)


@pytest.mark.parametrize("width", WIDTHS.values())
def test_the_dynamic_weights_give_the_graph_s_answers(pruned, width):
    """model_state.pdparams loads as a plain model; only 'it runs' would not show noise."""
    data, _, output = pruned
    folder = output / f"width_mult_{width}"
    predictor = Predictor(folder)
    config, tokenizer = loading.load_config_and_tokenizer(str(folder))
    model = loading.load_model(str(folder), config, predictor.labels)
    model.eval()
    texts, _ = read_examples(data / "dev.txt", predictor.labels)
    features = predictor.encode(texts[:16])
    batch = {name: paddle.to_tensor(value) for name, value in batches.make_collator(tokenizer)(features).items()}
    with paddle.no_grad():
        expected = model(**batch).numpy()
    assert np.abs(predictor.logits(features) - expected).max() < 1e-4
    train.main(
        (
            f"--do_parity --device cpu --data_dir {data} --model_name_or_path {folder} --output_dir {folder / 'out'}"
        ).split()
    )


def test_taskflow_runs_the_pruned_folder_as_documented(pruned, taskflow):
    data, _, output = pruned
    folder = output / "width_mult_0.67"
    predictor = Predictor(folder)
    texts = read_examples(data / "dev.txt", predictor.labels)[0][:5]
    answers = taskflow(folder, is_static_model=True)(texts)
    for answer, (label, score) in zip(answers, predictor.classify(texts)):
        assert answer["predictions"][0]["label"] == label
        assert answer["predictions"][0]["score"] == pytest.approx(score, abs=1e-5)


def test_sorting_by_importance_changes_no_answer_and_puts_the_important_first(trained_once):
    data, checkpoint = trained_once
    config, tokenizer = loading.load_config_and_tokenizer(str(checkpoint))
    labels = [line for line in (data / "label.txt").read_text(encoding="utf-8").split("\n") if line]
    model = loading.load_model(str(checkpoint), config, labels)
    model.eval()
    texts, truth = read_examples(data / "train.txt", labels)
    features = encoders.make_encoder(tokenizer, 32, True)(texts[:32])
    batch = {name: paddle.to_tensor(value) for name, value in batches.make_collator(tokenizer)(features).items()}
    before = model(**batch).numpy()
    # One head and one neuron that do nothing must end up last.
    layer = compress.encoder_layers(model)[0]
    weight = layer.self_attn.out_proj.weight.numpy()
    weight[:4] = 0
    layer.self_attn.out_proj.weight.set_value(weight)
    weight = layer.linear2.weight.numpy()
    weight[0] = 0
    layer.linear2.weight.set_value(weight)
    before = model(**batch).numpy()
    compress.make_supernet(model)
    labelled = {**batch, "labels": paddle.to_tensor(truth[:32])}
    compress.sort_by_importance(model, [labelled], paddle.nn.CrossEntropyLoss())
    assert np.abs(model(**batch).numpy() - before).max() < 1e-5
    assert not layer.self_attn.out_proj.weight.numpy()[-4:].any() and not layer.linear2.weight.numpy()[-1].any()
    assert layer.self_attn.out_proj.weight.numpy()[:4].any()
    # At 11/12 the head that does nothing is gone, and so are 8 of 96 neurons: only these matter.
    compress.set_width(model, Fraction(11, 12))
    narrow = compress.narrow_copy(model)
    assert np.abs(narrow(**batch).numpy() - model(**batch).numpy()).max() < 1e-5


def test_head_importance_is_the_gradient_of_a_mask(trained_once):
    """|sum(W * dW)| over a unit's outgoing rows is |d loss / d mask|: checked by a finite difference."""
    data, checkpoint = trained_once
    config, tokenizer = loading.load_config_and_tokenizer(str(checkpoint))
    model = loading.load_model(str(checkpoint), config, ["a", "b", "c"])
    model.eval()
    features = encoders.make_encoder(tokenizer, 32, True)(["头疼挂什么科", "做一次检查多少钱"])
    batch = {name: paddle.to_tensor(value) for name, value in batches.make_collator(tokenizer)(features).items()}
    target = paddle.to_tensor([0, 1])
    weight = compress.encoder_layers(model)[1].self_attn.out_proj.weight
    loss = paddle.nn.functional.cross_entropy(model(**batch), target)
    loss.backward()
    by_rows = float((weight * weight.grad)[8:12].sum())
    values = weight.numpy()
    losses = []
    for mask in (1.01, 0.99):
        changed = values.copy()
        changed[8:12] *= mask
        weight.set_value(changed)
        losses.append(float(paddle.nn.functional.cross_entropy(model(**batch), target)))
    assert by_rows == pytest.approx((losses[0] - losses[1]) / 0.02, rel=0.05, abs=1e-4)


def test_ptq_alone_quantises_the_full_model(trained_once, tmp_path):
    data, checkpoint = trained_once
    train.main(compress_flags(data, checkpoint, tmp_path, "--strategy", "ptq"))
    results = json.loads((tmp_path / "all_results.json").read_text())
    assert accuracy(Predictor(tmp_path, "onnx_int8"), data) == pytest.approx(results["model_onnx_int8_accuracy"])
    assert results["model_accuracy"] == pytest.approx(results["teacher_accuracy"])


def test_train_and_compress_in_one_run_learns(data_dir, tiny_model, tmp_path, monkeypatch, capsys):
    """The scheduler of the training ends at 0: compression must not go on with it."""
    from tests.helpers import train_flags

    monkeypatch.setattr(progress, "LINE_INTERVAL", 0)
    flags = train_flags(data_dir, tiny_model, tmp_path / "out", "--do_compress", "--width_mult_list", "0.5")
    train.main([*flags, "--num_train_epochs", "2"])
    state = paddle.load(str(tmp_path / "out" / "width_mult_0.5" / "model_state.pdparams"))
    teacher = paddle.load(str(tmp_path / "out" / "model_state.pdparams"))
    name = "ernie.embeddings.word_embeddings.weight"
    assert "Ranking heads and neurons: 100%" in capsys.readouterr().err
    digest = checkpoints.weights_digest(tmp_path / "out")
    assert read_json(tmp_path / "out" / "width_mult_0.5" / "export.json")["weights"] == digest
    assert np.abs(state[name].numpy() - teacher[name].numpy()).max() > 1e-4


@pytest.mark.parametrize("text, width", [("3/4", "3/4"), ("0.75", "3/4"), (".5", "1/2"), ("1", "1")])
def test_widths_as_fractions_and_numbers(text, width):
    assert check_widths([text], 12) == [width]


@pytest.mark.parametrize("text", ["0.6", "5/8", "0.67", "0", "3/2", "half", "1/0", "__import__('os')"])
def test_a_width_that_splits_a_head_is_refused_with_those_that_do_not(trained_once, tmp_path, text):
    flags = compress_flags(*trained_once, tmp_path / "prune", "--width_mult_list", "1/2", text)
    with pytest.raises(UsageError, match="use some of: 1/12 1/6 1/4 1/3 5/12 1/2 7/12 2/3"):
        train.parse_all(flags)
    assert not (tmp_path / "prune").exists()


def test_a_missing_teacher_is_refused(trained_once, tiny_model, tmp_path):
    data, _ = trained_once
    for model in (tiny_model, tmp_path / "nowhere"):
        with pytest.raises(UsageError, match="not a fine-tuned classifier"):
            train.parse_all(compress_flags(data, model, tmp_path / "prune"))


@pytest.mark.parametrize(
    "strategy, reason",
    [
        ("qat", "Taskflow"),
        ("dynabert+qat", "Taskflow"),
        ("dynabert+embeddings", "embeddings"),
        ("magic", "not a strategy"),
    ],
)
def test_strategies_that_give_nothing_usable_are_refused_with_the_reason(trained_once, tmp_path, strategy, reason):
    with pytest.raises(UsageError, match=f"{reason}.*use one of dynabert, dynabert.ptq, ptq"):
        train.parse_all(compress_flags(*trained_once, tmp_path, "--strategy", strategy))


def test_foreign_files_in_the_output_stay(pruned):
    data, checkpoint, output = pruned
    (output / "width_mult_0.5" / "notes.md").write_text("mine")
    flags = compress_flags(data, checkpoint, output, "--width_mult_list", "1/2")
    train.main(flags)
    folder = output / "width_mult_0.5"
    assert (folder / "notes.md").read_text() == "mine"
    assert not (folder / "pruned_model_int8.onnx").exists()  # of the model before: it would answer otherwise
    assert Path(output / "width_mult_0.67" / "pruned_model_int8.onnx").exists()


def test_each_pruned_model_has_facts_of_its_own(monkeypatch, tmp_path):
    """Its temperature comes from its own logits on dev, which then are what its formats are compared with."""
    from types import SimpleNamespace

    written = []
    logits = {"wide": np.array([[1.0, 0.0]]), "narrow": np.array([[0.0, 2.0]])}
    monkeypatch.setattr(compress, "dynamic_logits", lambda trainer, model: logits[model])
    monkeypatch.setattr(compress, "export_classifier", lambda *args, facts, **options: written.append(facts))
    trainer = SimpleNamespace(
        args=SimpleNamespace(output_dir=str(tmp_path)), tokenizer=None, max_length=8, eval_dataset=None
    )

    def know(own):
        return {"calibration": {"temperature": float(own.max())}}

    exports = [
        compress.export_width(trainer, width, model, ["a", "b"], ["paddle"], {"pruner": "builtin"}, know)
        for width, model in {Fraction(1): "wide", Fraction(1, 2): "narrow"}.items()
    ]
    assert [facts["calibration"]["temperature"] for facts in written] == [1.0, 2.0]
    assert [facts["width_mult"] for facts in written] == ["1", "1/2"]
    assert all(own is logits[model] for _, model, _, own in exports)
