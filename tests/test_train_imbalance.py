"""A rare class that a plain training swallows is found again, by whatever runs the export too."""

import json

import numpy as np
import pytest

import train
from core.predictor import Predictor
from tests.helpers import LABELS, of_any_cpu, train_flags, write_data
from tests.test_train import results
from tests.test_train_recipes import check_adjusted

RARE = LABELS[2]


@pytest.mark.parametrize(
    "texts_of_rare, settings, recipe",
    [
        (8, "--num_train_epochs 3", "--logit_adjustment True"),
        (16, "--num_train_epochs 10 --learning_rate 2e-3", "--class_weight balanced"),
    ],
    ids=["adjustment", "weights"],
)
def test_it_is_found_again(sample_lines, tiny_model, tmp_path, texts_of_rare, settings, recipe):
    by_label = {label: [line for line in sample_lines["train"] if line.endswith(f"\t{label}")] for label in LABELS}
    lines = [line for label in LABELS for line in by_label[label][: texts_of_rare if label == RARE else 72]]
    write_data(tmp_path, lines, sample_lines["dev"])
    texts, truth = zip(*(line.split("\t") for line in sample_lines["dev"]))

    def trained(name, *flags):
        """The macro-F1 on dev, and which of rare's texts each format of the export knows."""
        out, more = tmp_path / name, f"--metric_for_best_model macro_f1 --do_eval --do_export {settings}"
        train.main(train_flags(tmp_path, tiny_model, out, *more.split(), *flags))
        dev = json.loads((out / "export" / "export.json").read_text())["metrics"]["dev"]
        assert {row["accuracy"] for row in of_any_cpu(dev)} == {results(out)["eval_accuracy"]}
        found = {}
        for row in of_any_cpu(dev[1:]):
            labels = [label for label, _ in Predictor(out / "export", row["format"]).classify(texts)]
            assert np.mean(np.array(labels) == truth) == pytest.approx(row["accuracy"])
            found[row["format"]] = np.mean([label == RARE for label, true in zip(labels, truth) if true == RARE])
        return results(out)["eval_macro_f1"], found

    plain, lost = trained("plain")
    # Weights take more epochs, in which a plain training finds some of them too.
    assert lost.keys() == {"paddle"} and lost["paddle"] <= (0 if "logit" in recipe else 0.5)
    mended, found = trained("mended", *recipe.split(), "--export_type", "onnx")
    assert found.keys() == {"paddle", "onnx"} and min(found.values()) >= lost["paddle"] + 0.2
    assert mended > plain + 0.05
    if "logit" in recipe:
        check_adjusted(tmp_path / "mended", tmp_path)
