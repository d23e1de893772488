"""analysis/monitor.py and its page: runs from files to exit codes."""

import json
import types

import numpy as np
import prometheus_client
import pytest

from analysis import monitor
from analysis.monitor_page import new_words, plot_values
from analysis.monitor_words import WORDS
from analysis.traffic import Traffic
from core.predictor import Predictor
from deploy.simple_serving.prediction_log import PredictionLog
from tests.helpers import LABELS
from utils import UsageError, write_json


def write_predictions(path, rows):
    lines = ["text\tlabel\tscore", *("\t".join(map(str, row)) for row in rows)]
    path.write_bytes(("\n".join(lines) + "\n").encode("utf-8"))
    return path


@pytest.fixture
def files(tmp_path, sample_lines):
    """(reference, log of the same kind, log of other texts): predictions."""
    random = np.random.default_rng(1)
    rows = [line.split("\t") for line in sample_lines["train"]]
    rows = [(*rows[place], f"{random.uniform(0.4, 1):.4f}") for place in random.permutation(len(rows))]
    half = len(rows) // 2
    other = [(f"<b>第{place}期股市行情报告</b>", LABELS[0], 0.3) for place in range(60)]
    parts = {"reference": rows[:half], "same": rows[half:], "other": other}
    return {name: write_predictions(tmp_path / f"{name}.tsv", part) for name, part in parts.items()}


def run(tmp_path, reference, log, *more):
    flags = ["--reference", reference, "--log", log, "--report_dir", tmp_path / "report", "--export_dir", tmp_path]
    return monitor.main([*map(str, flags), *map(str, more)])


def test_a_quiet_run_and_an_alarm(tmp_path, files, capsys):
    assert run(tmp_path, files["reference"], files["same"]) == 0
    page = (tmp_path / "report" / "monitor.html").read_text(encoding="utf-8")
    assert "No alarm" in page and "give dev.txt as --reference" in page and page.count("<svg") == 2
    metrics = tmp_path / "texts.prom"
    assert run(tmp_path, files["reference"], files["other"], "--metrics_file", metrics, "--lang", "zh") == 1
    page = (tmp_path / "report" / "monitor.html").read_text(encoding="utf-8")
    assert "警报：标签, 置信度, 长度, 用词" in page and "股市" in page.replace(" ", "") and "<b>第" not in page
    assert f'text_monitor_alarm{{model="{tmp_path}"}} 1\n' in metrics.read_text(encoding="utf-8")
    found = json.loads((tmp_path / "report" / "monitor.json").read_text(encoding="utf-8"))
    assert found["alarms"] == ["labels", "confidence", "length", "vocabulary"] and found["alpha"] == 0.01
    assert len((tmp_path / "report" / "to_label.txt").read_text(encoding="utf-8").splitlines()) == 60
    assert "ALARM: labels, confidence, length, vocabulary" in capsys.readouterr().out


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--alpha", "5"], "--alpha 5.0: give a number between 0 and 1"),
        (["--last", "3"], "--last 3: must be at least 30"),
        (["--least_accuracy", "0.5"], "--least_accuracy 0.5: the accuracy is not known: the reference has no true"),
        (["--metrics_file", "a.txt"], "node_exporter reads names that end in .prom alone"),
        (["--params_path", "nowhere"], "--params_path nowhere: not a fine-tuned classifier"),
    ],
)
def test_refusals(tmp_path, files, flags, message):
    with pytest.raises(UsageError, match=message):
        run(tmp_path, files["reference"], files["same"], *flags)
    assert not (tmp_path / "report").exists()


def test_too_few_answers_and_no_export(tmp_path, files, data_dir):
    few = write_predictions(tmp_path / "few.tsv", [("头疼", LABELS[0], 0.5)] * 29)
    with pytest.raises(UsageError, match="29 answers; nothing can be seen with fewer than 30"):
        run(tmp_path, files["reference"], few)
    with pytest.raises(UsageError, match="--export_dir .*: not an export; give the one that answered"):
        run(tmp_path, data_dir / "dev.txt", files["same"])


def test_a_reference_in_which_nothing_can_be_seen_is_refused(tmp_path, files, trained_once):
    few = write_predictions(tmp_path / "few.tsv", [("头疼", LABELS[0], 0.5)] * 29)
    with pytest.raises(UsageError, match="few.tsv: 29 texts; nothing can be seen with fewer than 30: give a larger"):
        run(tmp_path, few, files["other"])
    lines = (trained_once[0] / "dev.txt").read_text(encoding="utf-8").splitlines()[:5]
    (tmp_path / "dev.txt").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(UsageError, match="dev.txt: 5 texts; nothing can be seen"):
        run(tmp_path, tmp_path / "dev.txt", files["other"], "--export_dir", trained_once[1] / "export")


def test_a_page_shows_texts_of_several_lines(tmp_path, files):
    rows = [line.split("\t") for line in files["same"].read_text(encoding="utf-8").splitlines()[1:]]
    path = tmp_path / "log.jsonl"
    lines = [json.dumps({"text": f"甲\n{text}\t乙", "label": label, "score": float(p)}) for text, label, p in rows]
    path.write_text("\n".join(lines), encoding="utf-8")
    assert run(tmp_path, files["reference"], path) in (0, 1)
    chosen = (tmp_path / "report" / "to_label.txt").read_text(encoding="utf-8").splitlines()
    assert len(chosen) == min(100, len(rows)) and all(one.startswith("甲 ") and one.endswith(" 乙") for one in chosen)


def staged_export(folder):
    """What an export folder with a student says of itself, without the models."""
    (folder / "student").mkdir(parents=True)
    own = {"weights": "w" * 20, "calibration": {"temperature": 2.0, "before": {}}, "max_length": 32}
    write_json(folder / "export.json", own)
    write_json(folder / "student" / "export.json", {**own, "calibration": {"temperature": 1.5, "before": {}}})
    write_json(folder / "id2label.json", dict(enumerate(LABELS)))
    return own


@pytest.mark.parametrize("format", ["ngram", "cascade", "cascade:onnx_int8", "blend:onnx"])
def test_the_log_of_a_student(tmp_path, files, monkeypatch, format):
    """The server writes the version of what answered: for ngram alone, the student's own."""
    export, asked = tmp_path / "export", []
    content = staged_export(export)
    if format == "ngram":
        content = {**content, "calibration": {"temperature": 1.5}}
    rows = [line.split("\t") for line in files["same"].read_text(encoding="utf-8").splitlines()[1:]]
    model = types.SimpleNamespace(name="one", content=content, format=format, labels=LABELS)
    settings = types.SimpleNamespace(
        prediction_log=tmp_path / "log.jsonl", prediction_log_bytes=1 << 30, log_texts=False
    )
    log = PredictionLog(settings, prometheus_client.CollectorRegistry())
    ids = np.array([LABELS.index(label) for _, label, _ in rows])
    log.take(
        model,
        [text for text, *_ in rows],
        np.column_stack([ids, ids, [float(p) for *_, p in rows], ids / 9]).astype("f4"),
    )
    log.close()

    class Answering:
        def __init__(self, folder, format):
            asked.append((folder, format))

        def classify(self, texts):
            return [(LABELS[len(text) % 3], 0.9) for text in texts]

    monkeypatch.setattr("core.predictor.Predictor", Answering)
    dev = tmp_path / "dev.txt"
    dev.write_text("\n".join(f"{text}\t{label}" for text, label, _ in rows), encoding="utf-8")
    for _ in range(2):
        assert run(tmp_path, dev, tmp_path / "log.jsonl", "--export_dir", export) in (0, 1)
        assert asked == [(export, format)]
    write_json(export / "student" / "stages.json", {"formats": {"other": 1}})  # made anew
    run(tmp_path, dev, tmp_path / "log.jsonl", "--export_dir", export)
    assert len(asked) == 2
    with pytest.raises(UsageError, match="all lines are of another export"):
        run(tmp_path, dev, tmp_path / "log.jsonl", "--export_dir", export, "--format", "onnx")


def test_dev_is_answered_once_and_the_servers_log_is_read(tmp_path, trained_once, monkeypatch, capsys):
    """From the log that the server writes, which has no text, with the key beside it."""
    from deploy.simple_serving.models import Model
    from deploy.simple_serving.prediction_log import with_facts
    from deploy.simple_serving.settings import Settings

    data, checkpoint = trained_once
    export = checkpoint / "export"
    texts = [line.split("\t")[0] for line in (data / "train.txt").read_text(encoding="utf-8").splitlines()][:80]
    settings = Settings(prediction_log=str(tmp_path / "log.jsonl"), workers=1, threads=1)
    model = Model("one", export, "paddle", settings)
    log = PredictionLog(settings, prometheus_client.CollectorRegistry())
    keep = with_facts(lambda rows: np.empty((len(rows), 1), "int32,int32").astype(log_entry()))
    log.take(model, texts, keep(model.predictors[0].probabilities(texts)))
    log.close()

    code = run(tmp_path, data / "dev.txt", tmp_path / "log.jsonl", "--export_dir", export)
    out = capsys.readouterr().out
    assert code in (0, 1) and "Answering" in out and "vocabulary" in out and "to_label" not in out
    kept = json.loads((tmp_path / "report" / "reference.json").read_text(encoding="utf-8"))
    assert kept["version"].endswith("-paddle") and len(kept["label"]) == len(kept["confidence"])
    monkeypatch.setattr(Predictor, "classify", None)
    assert run(tmp_path, data / "dev.txt", tmp_path / "log.jsonl", "--export_dir", export) == code
    assert "Answering" not in capsys.readouterr().out
    found = json.loads((tmp_path / "report" / "monitor.json").read_text(encoding="utf-8"))
    assert set(found["tests"]) == {"labels", "confidence", "length", "vocabulary"} and found["texts"]["log"] == 80


def log_entry():
    from deploy.simple_serving.answers import ENTRY

    return ENTRY


def test_new_words_and_pictures_of_little():
    before = Traffic("", ["a"] * 4, np.ones(4), texts=["头疼", "感冒", "头疼", "发烧"])
    now = Traffic("", ["a"] * 4, np.ones(4), texts=["股票", "股票", "股票", "头疼"])
    assert [row[0] for row in new_words(before, now)] == ["票", "股", "股 票"]
    assert new_words(before, now)[0][1:] == (0, 0.75)
    plot_values(np.ones(3), np.ones(3), "length_axis", WORDS["en"])
