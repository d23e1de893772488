"""--ngram_features from the outside: what is trained with a tower is evaluated, exported and pruned with it."""

import json

import numpy as np
import pytest
from scipy.special import softmax

import train
from core import ngram_layer, pipeline
from core.predictor import available_formats
from core.trainer import ClassificationTrainer
from tests.helpers import LABELS, of_any_cpu, write_data
from tests.test_train import refusal, results, same_weights, state_dict
from tests.test_train_recipes import short


@pytest.fixture(scope="module")
def towers(tmp_path_factory, sample_lines, tiny_model):
    """(data folder, output folder) of a short training with n-grams, evaluated and exported in all formats."""
    folder = tmp_path_factory.mktemp("towers")
    (folder / "data").mkdir()
    write_data(folder / "data", sample_lines["train"][:96], sample_lines["dev"][:40])
    flags = "--ngram_features True --do_eval --do_export --export_type onnx onnx_int8 --num_train_epochs 1"
    train.main(short(folder / "data", tiny_model, folder / "out", flags))
    return folder / "data", folder / "out"


def test_everywhere(towers, tmp_path, taskflow):
    data, out = towers
    rows = json.loads((out / "export" / "export.json").read_text())["metrics"]["dev"]
    assert [row["format"] for row in rows] == ["dynamic", *available_formats(out / "export")]
    assert {"paddle", "onnx", "onnx_int8"} <= {row["format"] for row in rows}
    assert all(row["max_difference"] < 1e-4 for row in rows if row["format"] in ("paddle", "onnx"))
    config, state = json.loads((out / "config.json").read_text()), state_dict(out)
    assert config["ngram_features"]["special_ids"] and len(state["ngrams.keys"]) + 1 == len(state["ngrams.table"])
    assert np.abs(state["ngrams.table"][:, :-1]).max() > 0.1

    from analysis.classifier import Classifier
    from analysis.flags import make_parser
    from core.predictor import Predictor

    texts = ["头疼应该挂什么科", "CT检查多少钱", "发烧了"]
    flags = make_parser("").parse_args(["--dataset_dir", str(data), "--params_path", str(out), "--device", "cpu"])
    classifier = Classifier(flags, LABELS)
    expected = softmax(classifier.compute(texts)[0], axis=1)
    assert classifier.model.ngrams is not None
    for format in ("paddle", "onnx"):
        predictor = Predictor(out / "export", format)
        np.testing.assert_allclose(predictor.probabilities(texts), expected, atol=1e-5)
        many = [*texts, *[text * 4 for text in texts] * 33]
        np.testing.assert_allclose(predictor.probabilities(many)[:1], predictor.probabilities(texts[:1]), atol=1e-6)
    answers = taskflow(out / "export", is_static_model=True)(texts)
    for answer, row in zip(answers, expected):
        best = answer["predictions"][0]
        assert best["label"] == LABELS[row.argmax()] and best["score"] == pytest.approx(row.max(), abs=1e-5)

    loss = results(out)["eval_loss"]
    given = ["--device", "cpu", "--data_dir", str(data), "--model_name_or_path", str(out)]
    prune = "--do_compress --strategy dynabert --width_mult_list 1/2 --max_steps 2 --max_length 32".split()
    train.main([*prune, *given, "--output_dir", str(tmp_path / "prune"), "--do_eval"])
    assert results(tmp_path / "prune")["eval_loss"] == pytest.approx(loss, rel=1e-6)
    pruned = tmp_path / "prune" / "width_mult_0.5"
    rows = json.loads((pruned / "export.json").read_text())["metrics"]["dev"]
    assert all(row["max_difference"] < 1e-4 for row in of_any_cpu(rows))
    for name, value in state.items():  # the tower is kept as it is
        if name.startswith("ngrams."):
            np.testing.assert_array_equal(state_dict(pruned)[name], value)
    assert json.loads((pruned / "config.json").read_text())["ngram_features"] == config["ngram_features"]


def test_a_training_that_begins_from_it(towers, tmp_path):
    """The n-grams go on with the model, and are fitted to the new texts; --ngram_features False leaves them out."""
    data, out = towers
    flags = short(data, out, tmp_path / "on", "--num_train_epochs 1 --max_steps 2 --save_steps 2 --eval_steps 2")
    assert train.parse_all(flags).fingerprint["ngram_features"] is True
    assert "ngram_features" not in train.parse_all([*flags, "--ngram_features", "False"]).fingerprint
    lines = (data / "train.txt").read_text(encoding="utf-8").splitlines()
    (data / "other.txt").write_bytes("\n".join(lines[:60]).encode())
    train.main([*flags, "--train_path", str(data / "other.txt")])
    old, new = state_dict(out), state_dict(tmp_path / "on")
    assert len(new["ngrams.keys"]) < len(old["ngrams.keys"])
    train.main([*flags, "--output_dir", str(tmp_path / "off"), "--ngram_features", "False"])
    assert not any(name.startswith("ngrams") for name in state_dict(tmp_path / "off"))
    assert "ngram_features" not in json.loads((tmp_path / "off" / "config.json").read_text())
    assert not same_weights(tmp_path / "off", tmp_path / "on")


def test_ernie_m(tiny_ernie_m, data_dir, tmp_path):
    """Whose tokens are SentencePiece's, and whose inputs are the ids alone."""
    out = tmp_path / "out"
    more = "--ngram_features True --rdrop_alpha 1.0 --do_eval --do_export --export_type onnx --num_train_epochs 1"
    train.main(short(data_dir, tiny_ernie_m, out, more))
    rows = json.loads((out / "export" / "export.json").read_text())["metrics"]["dev"]
    assert {row["format"] for row in rows} >= {"paddle", "onnx"}
    assert all(row["max_difference"] < 1e-4 for row in of_any_cpu(rows))
    assert np.abs(state_dict(out)["ngrams.table"][:, :-1]).max() > 0.01


@pytest.mark.parametrize("both", [False, True])
def test_in_training_the_encoder_is_alone_or_gets_what_was_left_out(towers, tmp_path, monkeypatch, both):
    """Against labels it learns as without n-grams; from teachers that have them, with those of other texts."""
    data, _ = towers
    seen, fit, forward = [], pipeline.fit_tower, ngram_layer.TwoTowers.forward

    def fitted(*args):
        left_out.append(fit(*args))
        return left_out[0]

    def watched(self, *args, **options):
        if self.training:
            seen.extend(options["ngram_logits"].numpy())
        else:
            assert "ngram_logits" not in options
        return forward(self, *args, **options)

    left_out = []
    monkeypatch.setattr(pipeline, "fit_tower", fitted)
    monkeypatch.setattr(ClassificationTrainer, "learns_both_towers", both)
    monkeypatch.setattr(ngram_layer.TwoTowers, "forward", watched)
    flags = "--ngram_features True --num_train_epochs 1 --save_strategy no --load_best_model_at_end False"
    train.main(short(data, towers[1], tmp_path / "out", flags))
    assert len(seen) == len(left_out[0]) == 96
    expected = left_out[0] if both else np.zeros([1, len(LABELS)])
    np.testing.assert_array_equal(np.unique(seen, axis=0), np.unique(expected, axis=0))
    assert np.abs(left_out[0] % 1).max() > 0.1


def test_the_encoder_is_the_one_without_ngrams(towers, tiny_model, tmp_path):
    """So whoever leaves the n-grams out afterwards has lost nothing."""
    flags = "--num_train_epochs 1 --save_strategy no --load_best_model_at_end False"
    train.main(short(towers[0], tiny_model, tmp_path / "plain", flags))
    train.main(short(towers[0], tiny_model, tmp_path / "more", f"{flags} --ngram_features True"))
    plain, more = state_dict(tmp_path / "plain"), state_dict(tmp_path / "more")
    assert {name for name in more if not name.startswith("ngrams.")} == set(plain)
    for name, value in plain.items():
        np.testing.assert_array_equal(more[name], value, err_msg=name)


def test_refusals(towers, tmp_path, monkeypatch):
    data, out = towers
    assert "for a training; add --do_train" in refusal("--do_eval", "--ngram_features", "True")
    flags = short(data, out, tmp_path / "out")
    text = refusal(*flags, "--ngram_features", "True", "--to_static", "True")
    assert "--ngram_features does not work with --to_static True; leave out one of them" in text
    assert "the model has them: give --ngram_features False" in refusal(*flags, "--to_static", "True")
    monkeypatch.setattr("core.recipe_flags.MAX_NGRAM_LABELS", 2)
    assert "--ngram_features: 3 labels" in refusal(*flags)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_pruning_by_paddleslim_keeps_the_tower(towers, tmp_path):
    pytest.importorskip("paddleslim")
    data, out = towers
    prune = "--do_compress --strategy dynabert --pruner paddleslim --width_mult_list 1/2 --max_steps 2 --max_length 32"
    given = ["--device", "cpu", "--data_dir", str(data), "--model_name_or_path", str(out)]
    train.main([*prune.split(), *given, "--output_dir", str(tmp_path / "prune")])
    pruned = tmp_path / "prune" / "width_mult_0.5"
    rows = json.loads((pruned / "export.json").read_text())["metrics"]["dev"]
    assert all(row["max_difference"] < 1e-4 for row in of_any_cpu(rows))
    old, new = state_dict(out), state_dict(pruned)
    for name in ("ngrams.keys", "ngrams.table", "ngrams.bias"):
        np.testing.assert_array_equal(new[name], old[name])
