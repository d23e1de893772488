"""Exports with a temperature: every format's probabilities are calibrated, its labels are the model's own."""

import json
import shutil

import numpy as np
import pytest
from scipy.special import softmax

import train
from core import calibration, loading
from core.label_paths import LabelPaths
from core.predictor import Predictor
from tests.helpers import LABELS
from utils import UsageError, read_examples


def read(folder):
    return json.loads((folder / "export.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def own(calibrated):
    """The model's own logits on dev, in file order, and the classes of dev."""
    import paddle

    data, checkpoint, folder = calibrated
    texts, truth = read_examples(data / "dev.txt", LABELS)
    config, _ = loading.load_config_and_tokenizer(str(checkpoint))
    model = loading.load_model(str(checkpoint), config, LABELS)
    model.eval()
    predictor = Predictor(folder)
    with paddle.no_grad():
        rows = []
        for feature in predictor.encode(texts):
            batch = predictor._collate([feature])
            rows.append(model(**{name: paddle.to_tensor(value) for name, value in batch.items()}).numpy()[0])
    return np.stack(rows), np.array(truth)


def test_the_temperature_is_in_every_graph(calibrated, own):
    data, _, folder = calibrated
    content, (logits, truth) = read(folder), own
    facts = content["calibration"]
    temperature = facts["temperature"]
    assert temperature and abs(np.log(temperature)) > 0.05 and facts["samples"] == len(truth) and "why" not in facts
    assert temperature == pytest.approx(calibration.fit_temperature(logits, truth), rel=1e-2)
    assert facts["after"]["log_loss"] < facts["before"]["log_loss"]
    texts, _ = read_examples(data / "dev.txt", LABELS)
    expected = softmax(logits.astype("float64") / temperature, axis=1)
    for format, tolerance in {"paddle": 1e-5, "onnx": 1e-5, "onnx_int8": 0.2}.items():
        found = Predictor(folder, format).probabilities(texts)
        assert np.abs(found - expected).max() < tolerance
        if format != "onnx_int8":
            assert (found.argmax(axis=1) == logits.argmax(axis=1)).all()
    # What is written down is what was measured before and after it, each half with the other's temperature.
    assert facts["before"] == pytest.approx(calibration.quality(logits, truth), abs=1e-4)
    found = calibration.quality(logits, truth, calibration.cross_fit(logits, truth, facts["seed"])[1])
    assert facts["after"] == pytest.approx(found, abs=1e-4)
    rows = {row["format"]: row for row in content["metrics"]["dev"]}
    assert rows["paddle"]["max_difference"] < 1e-4 and rows["onnx"]["label_agreement"] == 1.0


def test_parity_knows_of_the_temperature(calibrated, own, tmp_path):
    """parity.json has calibrated answers; --do_parity passes, and fails where the graph's temperature is another."""
    data, checkpoint, folder = calibrated
    parity = json.loads((folder / "parity.json").read_text(encoding="utf-8"))
    found = Predictor(folder, "onnx").probabilities(parity["texts"])
    assert np.abs(found - parity["probabilities"]).max() < 1e-5
    shutil.copytree(folder, tmp_path / "export")
    flags = f"--do_parity --device cpu --data_dir {data} --model_name_or_path {checkpoint} --output_dir {checkpoint}"
    before = read(tmp_path / "export")
    train.main([*flags.split(), "--export_model_dir", str(tmp_path / "export")])
    after = read(tmp_path / "export")
    assert {name: before[name] for name in ("calibration", "thresholds", "conformal", "formats")} == {
        name: after[name] for name in ("calibration", "thresholds", "conformal", "formats")
    }
    after["calibration"]["temperature"] *= 1.01
    (tmp_path / "export" / "export.json").write_text(json.dumps(after), encoding="utf-8")
    with pytest.raises(SystemExit):
        train.main([*flags.split(), "--export_model_dir", str(tmp_path / "export")])


def test_promises_are_of_the_probabilities_that_each_format_serves(calibrated, own):
    data, _, folder = calibrated
    content, (logits, truth) = read(folder), own
    seed, paths = content["calibration"]["seed"], LabelPaths(LABELS)
    _, temperatures = calibration.cross_fit(logits, truth, seed)
    found = calibration.promises(logits, truth, paths, temperatures)
    assert found["thresholds"].keys() == content["thresholds"].keys() and "0.95" in content["thresholds"]
    for name, row in content["conformal"].items():
        assert row["least_probability"] == pytest.approx(found["conformal"][name]["least_probability"], abs=1e-3)
    texts, _ = read_examples(data / "dev.txt", LABELS)
    predictor = Predictor(folder, "onnx_int8")
    int8 = predictor.logits(predictor.encode(texts)) * content["calibration"]["temperature"]
    found = calibration.promises(int8, truth, paths, temperatures)
    mine = content["formats"]["onnx_int8"]
    assert mine["conformal"]["0.9"]["least_probability"] == pytest.approx(
        found["conformal"]["0.9"]["least_probability"], abs=1e-2
    )
    assert mine["thresholds"].keys() == found["thresholds"].keys()


def test_predictor_takes_what_is_promised(calibrated, tmp_path):
    data, _, folder = calibrated
    texts, _ = read_examples(data / "dev.txt", LABELS)
    content = read(folder)
    for format in ("onnx", "onnx_int8"):
        own = content if format == "onnx" else content["formats"][format]
        predictor = Predictor(folder, format)
        rows, limit = predictor.probabilities(texts), own["thresholds"]["0.95"]["levels"][0]["threshold"]
        answers = predictor.classify(texts, min_confidence="accuracy:0.95")
        assert answers == predictor.classify(texts, min_confidence=limit)
        least = own["conformal"]["0.95"]["least_probability"]
        for labels, row in zip(predictor.label_sets(texts, 0.95), rows):
            expected = {index for index, value in enumerate(row) if round(value * 1e6) >= round(least * 1e6)}
            assert {label for label, _ in labels} == {LABELS[index] for index in expected | {row.argmax()}}
            assert labels[0] == (LABELS[row.argmax()], row.max())
            assert [score for _, score in labels] == sorted((score for _, score in labels), reverse=True)
    with pytest.raises(UsageError, match="accuracy:0.97: no threshold for that; export.json has one for 0.95"):
        predictor.classify(texts, min_confidence="accuracy:0.97")
    with pytest.raises(UsageError, match="conformal 0.5: no least probability for that; export.json has one for 0.9"):
        predictor.label_sets(texts, 0.5)


def test_taskflow_gives_the_same_probabilities(calibrated, taskflow):
    data, _, folder = calibrated
    texts = read_examples(data / "dev.txt", LABELS)[0][:5]
    found = taskflow(folder, is_static_model=True)(texts)
    expected = Predictor(folder).classify(texts)
    assert [row["predictions"][0]["label"] for row in found] == [label for label, _ in expected]
    scores = [row["predictions"][0]["score"] for row in found]
    assert scores == pytest.approx([score for _, score in expected], abs=1e-5)


def test_calibrate_false_leaves_the_graph_alone(calibrated, own, tmp_path, log):
    data, checkpoint, _ = calibrated
    flags = f"--do_export --device cpu --data_dir {data} --model_name_or_path {checkpoint} --output_dir {checkpoint}"
    more = f"--export_model_dir {tmp_path / 'export'} --calibrate False --do_parity"
    train.main([*flags.split(), *more.split()])
    content = read(tmp_path / "export")
    assert content["calibration"]["temperature"] is None and content["calibration"]["why"] == "--calibrate False"
    assert "The export's probabilities are not calibrated: --calibrate False" in log
    texts, _ = read_examples(data / "dev.txt", LABELS)
    found = Predictor(tmp_path / "export").probabilities(texts)
    np.testing.assert_allclose(found, softmax(own[0].astype("float64"), axis=1), atol=1e-5)
    assert content["thresholds"] == calibration.promises(*own, LabelPaths(LABELS), 1.0)["thresholds"]


def test_what_is_wrong_with_dev_is_said_and_no_error(calibrated, tmp_path):
    """An export alone needs no dev data; before, it did not look for any."""
    data, checkpoint, _ = calibrated
    flags = (
        f"--do_export --device cpu --model_name_or_path {checkpoint} --output_dir {checkpoint} --data_dir {tmp_path}"
    )

    def reason(*more):
        held = train.parse_all([*flags.split(), *more]).data
        assert held.export_dev is None and held.dev is None
        return held.why_no_dev

    assert reason() == f"there is no {tmp_path / 'dev.txt'} to fit a temperature on; give --data_dir or --dev_path"
    shutil.copy(data / "dev.txt", tmp_path)
    (tmp_path / "label.txt").write_text("甲\n乙\n", encoding="utf-8")
    assert reason() == f"{tmp_path / 'label.txt'} has other labels than the model; give --data_dir"
    shutil.copy(data / "label.txt", tmp_path)
    (tmp_path / "dev.txt").write_text("没有标签\n", encoding="utf-8")
    assert reason().startswith(f"{tmp_path / 'dev.txt'}:1: ")
    assert reason("--calibrate", "False") == ""
    shutil.copy(data / "dev.txt", tmp_path)
    assert len(train.parse_all(flags.split()).data.export_dev[0]) > 100
    with pytest.raises(UsageError, match="--calibrate False: has a part in an export only"):
        train.parse_all(f"--do_eval --calibrate False --model_name_or_path {checkpoint} --data_dir {data}".split())


def test_a_training_s_fingerprint_does_not_know_of_it(calibrated, tiny_model, tmp_path):
    """Dev data that only calibrates an export is no part of what a training depends on."""
    data, _, _ = calibrated
    for name, source in {"train.txt": "dev.txt", "dev.txt": "dev.txt", "label.txt": "label.txt"}.items():
        shutil.copy(data / source, tmp_path / name)
    flags = f"--do_train --do_export --device cpu --data_dir {tmp_path} --model_name_or_path {tiny_model} --output_dir"
    runs = [train.parse_all([*flags.split(), str(tmp_path / "out"), *more]) for more in ([], ["--calibrate", "False"])]
    assert runs[0].data.export_dev and runs[0].data.dev is None and runs[1].data.export_dev is None
    assert runs[0].fingerprint == runs[1].fingerprint
