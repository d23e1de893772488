"""train.py --strategy distill on the tiny ERNIE: the student's folder, and what is chosen for it and its model."""

import json
import os
import shutil

import numpy as np
import pytest

import train
from core.distill import ANSWERS_FILE, write_ngram
from core.ngram_student import NgramStudent, read_characters
from core.predictor import Predictor, available_formats
from core.students import AGAIN
from deploy.parity import check_parity
from tests.helpers import LABELS, distill_flags
from utils import UsageError, read_examples, read_json, write_json


@pytest.fixture
def export(distilled, tmp_path):
    """A copy of the export that a test may change."""
    shutil.copytree(distilled[1] / "export", tmp_path / "export")
    return tmp_path / "export"


@pytest.fixture(scope="module")
def dev(distilled):
    texts, truth = read_examples(distilled[0] / "dev.txt", LABELS)
    return texts, np.array(truth)


def test_the_folders(distilled, dev):
    folder, beside = distilled[1] / "distill_ngram", distilled[1] / "export" / "student"
    names = {"ngram_student.npz", "id2label.json", "export.json", "parity.json", "README.md", "README_en.md"}
    assert {path.name for path in folder.iterdir()} == names
    assert {path.name for path in beside.iterdir()} == names | {"stages.json"}
    content = read_json(folder / "export.json")
    assert content["kind"] == "ngram" and content["max_length"] == 32 and content["learnt"]["unlabelled"] == 2
    # As many texts as there are, made from them, and answered before the student learnt.
    learnt, stored = content["learnt"], np.load(distilled[1] / ANSWERS_FILE)
    assert learnt["made"] == len(stored["made"]) == len(stored["texts"]) == learnt["texts"] / 2
    assert stored["made"].shape[1:] == (3,) and str(stored["made_by"]).startswith("onnx_int8, ")
    assert content["weights"] == read_json(distilled[1] / "export" / "export.json")["weights"]
    student = Predictor(folder, "ngram")
    assert available_formats(folder) == ["ngram"] and student.labels == LABELS
    accuracy = (student.probabilities(dev[0]).argmax(axis=1) == dev[1]).mean()
    assert accuracy == content["metrics"]["dev"][0]["accuracy"] > 0.5
    assert read_json(distilled[1] / "all_results.json")["distill_ngram_accuracy"] == accuracy
    assert check_parity(student).startswith("probabilities within")
    # Beside the model it is found by the model's folder.
    assert (Predictor(distilled[1] / "export", "ngram").probabilities(dev[0]) == student.probabilities(dev[0])).all()


def test_it_learns_the_model_s_answers(distilled, dev):
    """Of the texts that it was trained on, more than the labels that it was not told."""
    texts, _ = read_examples(distilled[0] / "train.txt", LABELS)
    rows = [Predictor(distilled[1] / "export", format).probabilities(texts) for format in ("ngram", "paddle")]
    assert (rows[0].argmax(axis=1) == rows[1].argmax(axis=1)).mean() > 0.9


def test_the_temperature_is_in_the_file(tmp_path):
    rows, table = np.ones(4, "int32"), np.array([[0, 0, 0], [3, 1, 1]], "float32")
    student = NgramStudent(rows, table, np.array([1, 2], "float32"), 1)
    characters = read_characters(["头疼", "头"], 8)
    logits = student.logits(characters)
    content = {"kind": "ngram", "max_length": 8, "calibration": {"temperature": 2.5}}
    write_ngram(tmp_path / "student", student, ["a", "b"], content, logits, np.array([0, 1]))
    found = Predictor(tmp_path / "student", "ngram")
    assert found.logits(found.encode(["头疼", "头"])) == pytest.approx(logits / 2.5)
    assert check_parity(found).startswith("probabilities within")


def test_a_cascade_answers_as_its_stages_do(export, dev):
    path = export / "student" / "stages.json"
    stages = json.loads(path.read_text())
    assert set(stages["formats"]) == {"paddle", "onnx", "onnx_int8"}
    student = Predictor(export, "ngram").probabilities(dev[0])
    limit = round(float(np.median(student.max(axis=1))), 4)  # the tiny data's own would let the student answer all
    for found in stages["formats"].values():
        assert found["cascade"]["accuracy"] >= found["cascade"]["model_accuracy"] - 0.03
        found["cascade"]["threshold"] = limit
    write_json(path, stages)
    for format in stages["formats"]:
        cascade, model = Predictor(export, f"cascade:{format}"), Predictor(export, format)
        features = cascade.encode(dev[0])
        is_unread = cascade.student.rows_and_unread(features, cascade.facts["least_known"])[1]
        assert 0 < cascade.facts["least_known"] < 1 and is_unread.sum() <= 1 + 0.005 * len(dev[0])
        is_first = (np.rint(student.max(axis=1) * 1e6) >= limit * 1e6 - 1e-3) & ~is_unread
        assert is_first.any() and not is_first.all()
        rows = cascade.probabilities(dev[0])
        assert (rows[is_first] == student[is_first]).all()
        assert np.abs(rows - model.probabilities(dev[0]))[~is_first].max() < 1e-5
        assert np.abs(cascade.clone().probabilities(dev[0]) - rows).max() < 1e-12
        for text, row in zip(dev[0][:20:5], rows[:20:5]):
            assert np.abs(cascade.probabilities([text])[0] - row).max() < 1e-5
    # What the student knows nothing of, or reads the beginning of only, is the model's.
    foreign = ["Где лечат головную боль", "\u200b" * 99 + "Почему", "好" * 5000]
    assert cascade.first_stage(cascade.encode(foreign))[1].all()
    assert np.abs(cascade.probabilities(foreign) - model.probabilities(foreign)).max() < 1e-5
    assert Predictor(export, "cascade").model.format == "onnx"
    assert cascade.classify([dev[0][0]])[0][0] in LABELS and cascade.probabilities([]).shape == (0, 3)


def test_a_student_of_another_model_is_refused(export):
    content = read_json(export / "export.json")
    write_json(export / "export.json", {**content, "weights": "another"})
    for format in ("ngram", "cascade:onnx"):
        with pytest.raises(UsageError, match="the student of another model.*distil it again"):
            Predictor(export, format)
    write_json(export / "export.json", {**content, "long_text": {"way": "head_tail"}})
    with pytest.raises(UsageError, match="exported anew since its student was made"):
        Predictor(export, "cascade:onnx_int8")
    write_json(export / "export.json", content)
    student = read_json(export / "student" / "export.json")
    write_json(export / "student" / "export.json", {**student, "calibration": {"temperature": 9.0}})
    with pytest.raises(UsageError, match="made for another student than the one that is there"):
        Predictor(export, "cascade:onnx")
    write_json(export / "id2label.json", {"0": "好"})
    with pytest.raises(UsageError, match="id2label.json: 1 labels, but the model has 3"):
        Predictor(export, "onnx")
    for name in ("model.onnx", "model.pdmodel"):
        (export / name).unlink()
    with pytest.raises(UsageError, match="or give the format that is there: onnx_int8"):
        Predictor(export)


def test_limits_are_the_cascade_s_own(export, dev):
    path = export / "student" / "stages.json"
    stages = json.loads(path.read_text())
    own = stages["formats"]["onnx"]["cascade"]
    own["thresholds"] = {"0.95": {"samples": 9, "levels": [{"threshold": 0.9}], "labels": {}}}
    own["conformal"] = {"0.9": {"least_probability": 0.25}}
    write_json(path, stages)
    cascade = Predictor(export, "cascade:onnx")
    rows = cascade.probabilities(dev[0])
    answers = cascade.classify(dev[0], min_confidence="accuracy:0.95")
    assert [answer.label == "unknown" for answer in answers] == (np.rint(rows.max(axis=1) * 1e6) < 9e5).tolist()
    sets = cascade.label_sets(dev[0], 0.9)
    assert [len(labels) for labels in sets] == np.maximum((np.rint(rows * 1e6) >= 250_000).sum(axis=1), 1).tolist()
    with pytest.raises(UsageError, match="no threshold for that; export.json has one for 0.95"):
        cascade.classify(dev[0], min_confidence="accuracy:0.98")


def test_a_blend_adds_logits(export, dev):
    path = export / "student" / "stages.json"
    stages = json.loads(path.read_text())
    facts = {"weight": 0.5, "temperature": 1.25, "thresholds": {}, "conformal": {}}
    stages["formats"]["onnx"]["blend"] = facts
    write_json(path, stages)
    parts = [Predictor(export, format) for format in ("onnx", "ngram")]
    model, student = (part.logits(part.encode(dev[0])).astype("float64") for part in parts)
    powers = np.exp((model + 0.5 * student) / 1.25)
    found = Predictor(export, "blend:onnx").probabilities(dev[0])
    assert np.abs(found - powers / powers.sum(axis=1, keepdims=True)).max() < 1e-5
    stages["formats"]["onnx"]["blend"] = {"why": "on dev it is not surely more accurate"}
    write_json(path, stages)
    with pytest.raises(UsageError, match="no blend with onnx: on dev it is not surely more accurate"):
        Predictor(export, "blend:onnx")


def test_a_stale_student_is_refused(export):
    content = read_json(export / "export.json")
    for change, message in {
        "weights": "the student of another model",
        "max_length": "the model was exported anew since",
        "types": None,
    }.items():
        write_json(export / "export.json", {**content, change: 24 if change == "max_length" else "other"})
        if message is None:
            assert Predictor(export, "cascade").labels == LABELS
        else:
            with pytest.raises(UsageError, match=message):
                Predictor(export, "cascade")
    write_json(export / "export.json", {name: value for name, value in content.items() if name != "weights"})
    with pytest.raises(UsageError, match="does not tell whose it is"):
        Predictor(export, "cascade")
    write_json(export / "export.json", content)
    stages = read_json(export / "student" / "stages.json")
    del stages["formats"]["onnx"]
    write_json(export / "student" / "stages.json", stages)
    with pytest.raises(UsageError, match="nothing for the format onnx"):
        Predictor(export, "cascade:onnx")
    shutil.rmtree(export / "student")
    with pytest.raises(UsageError, match="no student is there, which the format cascade needs") as error:
        Predictor(export, "cascade")
    assert AGAIN in str(error.value)


def test_a_student_s_folder_is_no_graph(distilled):
    folder = distilled[1] / "distill_ngram"
    for format in ("paddle", "onnx"):
        with pytest.raises(UsageError, match="a student of n-grams and no graph.*Taskflow, Triton"):
            Predictor(folder, format)


def test_a_cut_student_is_refused(export):
    path = export / "student" / "ngram_student.npz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UsageError, match="bytes, but .* were written; distil it again"):
        Predictor(export, "ngram")


def test_again_and_without_an_export(distilled, tmp_path, log):
    """The model's answers are kept; without an export of this model there is no cascade, which is said."""
    data, checkpoint = distilled
    shutil.copytree(checkpoint, tmp_path / "checkpoint", ignore=shutil.ignore_patterns("export", "distill_ngram"))
    before = os.stat(tmp_path / "checkpoint" / ANSWERS_FILE).st_mtime_ns
    train.main(distill_flags(data, tmp_path / "checkpoint"))
    assert any("so there is no cascade: export it" in line for line in log)
    assert os.stat(tmp_path / "checkpoint" / ANSWERS_FILE).st_mtime_ns == before
    again, first = (folder / "distill_ngram" for folder in (tmp_path / "checkpoint", checkpoint))
    arrays = [Predictor(folder, "ngram").student for folder in (again, first)]
    assert (arrays[0].table == arrays[1].table).all() and (arrays[0].rows == arrays[1].rows).all()
    # A folder of somebody else's in the student's place stays.
    shutil.copytree(checkpoint / "export", tmp_path / "checkpoint" / "export")
    shutil.rmtree(tmp_path / "checkpoint" / "export" / "student")
    (tmp_path / "checkpoint" / "export" / "student").mkdir()
    (tmp_path / "checkpoint" / "export" / "student" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="is there and was not made here"):
        train.main(distill_flags(data, tmp_path / "checkpoint"))
    assert (tmp_path / "checkpoint" / "export" / "student" / "mine.txt").read_text() == "mine"
