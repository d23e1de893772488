"""predict_flags.py: train.py --do_predict gives the answers of the export, which it makes where there is none."""

import csv
import json
import shutil

import pytest

import train
from core.checkpoints import weights_digest
from core.predictor import Predictor
from utils import UsageError, read_json


def flags_of(data, checkpoint, *more):
    flags = ["--do_predict", "--device", "cpu", "--data_dir", data, "--model_name_or_path", checkpoint, *more]
    return list(map(str, flags))


def test_the_answers_are_those_of_the_export(trained, tmp_path, capsys):
    data, checkpoint = trained
    texts = ["头疼挂什么科", "医保卡能刷吗, 真的", "高血压怎么办"]
    with (tmp_path / "in.csv").open("w", encoding="gb18030", newline="") as file:
        csv.writer(file).writerows([["编号", "文本"], *enumerate(texts)])
    expected = Predictor(checkpoint / "export", "paddle").classify(texts)
    before = (checkpoint / "export" / "export.json").stat().st_mtime_ns
    train.main(flags_of(data, checkpoint, "--test_path", tmp_path / "in.csv", "--predict_path", tmp_path / "out.csv"))
    with (tmp_path / "out.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["文本"], row["label"]) for row in rows] == [
        (text, label) for text, (label, _) in zip(texts, expected)
    ]
    for row, (_, score) in zip(rows, expected):
        assert float(row["score"]) == pytest.approx(score, abs=2e-6)
    assert (checkpoint / "export" / "export.json").stat().st_mtime_ns == before
    assert "3 rows: 3 predicted, 0 left out" in capsys.readouterr().out


def test_the_export_is_made_where_there_is_none(trained, capsys):
    data, checkpoint = trained
    shutil.rmtree(checkpoint / "export")
    train.main(flags_of(data, checkpoint))
    assert read_json(checkpoint / "export" / "export.json")["weights"] == weights_digest(checkpoint)
    lines = (checkpoint / "predictions.csv").read_text(encoding="utf-8-sig").splitlines()
    dev = (data / "dev.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "text,label,predicted_label,predicted_score" and len(lines) == len(dev) + 1
    assert "Accuracy in test dataset" in capsys.readouterr().out
    with pytest.raises(UsageError, match="predictions.csv: is there already; move it away, or choose another --pred"):
        train.main(flags_of(data, checkpoint))


def test_sets_of_labels(calibrated, tmp_path, capsys):
    data, checkpoint, folder = calibrated
    (tmp_path / "in.txt").write_text("头疼挂什么科\n医保卡能刷吗\n高血压怎么办\n", encoding="utf-8")
    given = ["--test_path", tmp_path / "in.txt", "--predict_path", tmp_path / "out.jsonl", "--conformal"]
    with pytest.raises(UsageError, match="conformal 0.7: .*export.json has one for 0.9, 0.95"):
        train.main(flags_of(data, checkpoint, *given, "0.7"))
    train.main(flags_of(data, checkpoint, *given, "0.95"))
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    expected = Predictor(folder, "onnx").label_sets([line["text"] for line in lines], 0.95)
    assert [line["label_set"] for line in lines] == [[label for label, _ in labels] for labels in expected]
    assert len(lines) == 3 and "sets of labels (--conformal)" in capsys.readouterr().out


def test_refusals(trained_once):
    data, checkpoint = trained_once
    for more, message in {
        ("--header", "maybe"): "--header maybe: give yes or no",
        ("--min_confidence", "2"): "--min_confidence 2: give a number",
        ("--conformal", "1"): "--conformal 1: give how often a set shall hold",
        ("--encoding", "nonsense"): "--encoding nonsense: not known",
        ("--test_path", "none.csv"): "none.csv: no such file",
    }.items():
        with pytest.raises(UsageError, match=message):
            train.main(flags_of(data, checkpoint, *more))
    with pytest.raises(UsageError, match="--sheet: has a part in a prediction only; add --do_predict"):
        train.main(["--do_eval", "--sheet", "x", "--model_name_or_path", str(checkpoint)])
