"""The steps of a run of train.py."""

import json

import numpy as np
import paddle
import pytest

import train
from core import loading, pipeline
from core.predictor import Predictor
from tests.helpers import train_flags, write_data
from utils import UsageError


def test_predictions_come_in_file_order(trained_once):
    """Of texts sorted by length inside; also, predict must not return None (a fault without compute_metrics)."""
    data, checkpoint = trained_once
    flags = (
        f"--do_eval --debug True --device cpu --model_name_or_path {checkpoint} --data_dir {data} "
        f"--output_dir {checkpoint} --disable_tqdm True"
    ).split()
    run = train.parse_all(flags)
    config, tokenizer = loading.load_config_and_tokenizer(str(checkpoint))
    model = loading.load_model(str(checkpoint), config, run.data.labels)
    runner = pipeline.make_trainer(model, tokenizer, run)
    output = runner.predict(runner.test_dataset)
    assert np.asarray(output.label_ids).reshape(-1).tolist() == run.data.test[1]
    model.eval()
    for index in (0, 7, 20):
        feature = runner.test_dataset[index]
        with paddle.no_grad():
            logits = model(paddle.to_tensor([feature["input_ids"]]), paddle.to_tensor([feature["token_type_ids"]]))
        np.testing.assert_allclose(output.predictions[index], logits.numpy()[0], atol=1e-5)


def test_labels_that_are_paths(tmp_path, sample_lines, tiny_model, log, monkeypatch):
    """They stay classes; the report, the results and the export have their levels, by the training's separator."""
    names = {"病情诊断": "病/诊断", "医疗费用": "钱", "就医建议": "病/就医"}
    rows = {split: [line.split("\t") for line in lines] for split, lines in sample_lines.items()}
    lines = {split: [f"{text}\t{names[label]}" for text, label in some] for split, some in rows.items()}
    (tmp_path / "data").mkdir()
    write_data(tmp_path / "data", lines["train"][:32], lines["dev"], names.values())
    output = tmp_path / "checkpoint"
    train.main(train_flags(tmp_path / "data", tiny_model, output, "--max_steps", 2, "--label_separator", "/"))
    assert json.loads((output / "config.json").read_text(encoding="utf-8"))["label_separator"] == "/"
    given = f"--data_dir {tmp_path / 'data'} --model_name_or_path {output} --output_dir {output} --device cpu".split()
    train.main([*given, "--do_eval", "--debug", "True", "--do_export"])
    [level] = [line for line in log if line.startswith("Level ")]
    results = json.loads((output / "test_results.json").read_text(encoding="utf-8"))
    assert level == (
        f"Level 1 in dev dataset: 2 labels | accuracy: {100 * results['test_level_1_accuracy']:.2f} | "
        f"macro F1 score {100 * results['test_level_1_macro_f1']:.2f}"
    )
    # The report follows the predictions: those of the export are the same.
    predictor = Predictor(output / "export")
    assert predictor.labels == list(names.values()) and predictor.paths.separator == "/"
    texts, truth = zip(*(line.split("\t") for line in lines["dev"]))
    right = [label[0] == own[0] for (label, _), own in zip(predictor.classify(texts), truth)]
    assert results["test_level_1_accuracy"] == pytest.approx(np.mean(right))
    assert results["test_accuracy"] <= results["test_level_1_accuracy"] <= 1
    # Pruned models' exports are told too; a separator that is given replaces the model's own.
    facts = []
    monkeypatch.setattr("core.compress.compress", lambda trainer, labels, types, own, pruner, know: facts.append(own))
    train.main([*given, "--do_compress"])
    assert facts[0]["label_separator"] == "/" and "weights" in facts[0]
    run = train.parse_all([*given, "--do_export", "--label_separator", "##"])
    assert pipeline.prepare(run, str(output)).model.config.label_separator == "##"


def test_nothing_is_said_of_levels_where_there_are_none(trained_once):
    for name in ("config.json", "export/export.json", "run.json"):
        assert "separator" not in (trained_once[1] / name).read_text(encoding="utf-8")


def test_a_separator_of_nothing_is_refused(trained_once):
    _, checkpoint = trained_once
    with pytest.raises(UsageError, match="--label_separator ' ': give the characters between"):
        train.parse_all(["--do_export", "--label_separator", " ", "--model_name_or_path", str(checkpoint)])
