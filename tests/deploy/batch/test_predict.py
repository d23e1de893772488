"""deploy/batch/predict.py on a real export: Predictor's answers, a runtime without Paddle, kill -9 in the middle."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from core.predictor import Predictor
from deploy.batch import predict
from tests.helpers import ROOT
from utils import UsageError, write_json

# What the runtime's environment does not have.
HIDDEN = ("paddle", "paddlenlp", "scipy", "sklearn", "psutil", "pandas", "pyarrow", "onnx", "requests")
SCRIPT = ROOT / "deploy" / "batch" / "predict.py"


@pytest.fixture
def runtime_only(tmp_path):
    """An environment in which Python finds none of HIDDEN."""
    for name in HIDDEN:
        (tmp_path / "hidden" / name).mkdir(parents=True)
        (tmp_path / "hidden" / name / "__init__.py").write_text("raise ImportError('hidden')\n")
    return {**os.environ, "PYTHONPATH": str(tmp_path / "hidden")}


@pytest.fixture
def rows(sample_lines):
    """Texts with their labels, each many times with other numbers in them."""
    lines = [line.split("\t") for line in sample_lines["train"] + sample_lines["dev"]]
    return [[str(number), f"{number} {text}", label] for number, (text, label) in enumerate(lines * 20)]


def write(path, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["id", "text", "label"], *rows])
    return path


def read(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_the_answers_are_predictor_s(calibrated, rows, tmp_path, capsys):
    *_, folder = calibrated
    source = write(tmp_path / "in.csv", rows[:300])
    flags = ["--model_dir", folder, "--input", source, "--output", tmp_path / "out.csv", "--part_rows", "90"]
    flags += ["--workers", "1", "--threads", "1", "--min_confidence", "0.5", "--top_k", "2"]
    predict.main(list(map(str, flags)))
    predictor = Predictor(folder, "onnx", 1)
    texts = [text for _, text, _ in rows[:300]]
    for row, answer, (_, text, label) in zip(read(tmp_path / "out.csv"), predictor.classify(texts, 0.5), rows):
        assert (row["text"], row["label"], row["predicted_label"]) == (text, label, answer.label)
        assert float(row["predicted_score"]) == pytest.approx(answer.confidence, abs=2e-6)
        assert (row["predicted_guess"], row["predicted_label_1"]) == (answer.guess, answer.guess)
        assert float(row["predicted_score_1"]) >= float(row["predicted_score_2"])
    said = capsys.readouterr().out
    right = sum(label == guess for (*_, label), (guess, _) in zip(rows, predictor.classify(texts)))
    assert f"Accuracy in test dataset: {right / 300:.2%}" in said and "300 rows: 300 predicted, 0 left out" in said


def test_sets_are_predictor_s(distilled, rows, tmp_path, capsys):
    """With a cascade its own quantile decides; a share that export.json does not know is refused."""
    folder = tmp_path / "export"
    shutil.copytree(distilled[1] / "export", folder)
    path = folder / "student" / "stages.json"
    stages = json.loads(path.read_text())
    for least, found in zip((0.02, 0.4, 0.3), stages["formats"].values()):
        found["cascade"]["conformal"] = {"0.9": {**found["cascade"]["conformal"]["0.9"], "least_probability": least}}
        found["cascade"]["threshold"] = 0.8
    write_json(path, stages)
    source, texts = write(tmp_path / "in.csv", rows[:200]), [text for _, text, _ in rows[:200]]
    flags = ["--model_dir", folder, "--input", source, "--workers", "1", "--threads", "1", "--conformal"]
    sizes = {}
    for format, ending in (("onnx", "csv"), ("cascade:onnx", "jsonl"), ("cascade:paddle", "csv"), ("ngram", "jsonl")):
        output = tmp_path / f"{format.replace(':', '_')}.{ending}"
        predict.main(list(map(str, [*flags, "0.9", "--format", format, "--output", output])))
        expected = [[label for label, _ in labels] for labels in Predictor(folder, format, 1).label_sets(texts, 0.9)]
        if ending == "jsonl":
            found = [
                json.loads(line)["predicted_label_set"] for line in output.read_text(encoding="utf-8").splitlines()
            ]
        else:
            found = [json.loads(row["predicted_label_set"]) for row in read(output)]
        assert found == expected
        sizes[format] = sum(map(len, found)) / len(found)
        right = sum(label in own for (*_, label), own in zip(rows, found)) / 200
        said = capsys.readouterr().out
        assert (
            f"{sizes[format]:.2f} labels on average" in said and f"200 rows with a label, {right:.2%} have it" in said
        )
    assert sizes["cascade:onnx"] < sizes["cascade:paddle"] > sizes["onnx"]  # by 0.02, not the quantile of its model
    for format, share in (("onnx", "0.8"), ("cascade:onnx", "0.95")):
        known = "0.9, 0.95" if format == "onnx" else "0.9"
        with pytest.raises(UsageError, match=f"conformal {share}: .*export.json has one for {known}"):
            predict.main(list(map(str, [*flags, share, "--format", format, "--output", tmp_path / "no.csv"])))
    with pytest.raises(UsageError, match="--conformal 90: give how often"):
        predict.main(list(map(str, [*flags, "90", "--output", tmp_path / "no.csv"])))
    assert not (tmp_path / "no.csv").exists()


def test_kill_9_in_the_middle(calibrated, rows, tmp_path, runtime_only):
    """Two processes, nothing of Paddle; the workers end with the first process."""
    *_, folder = calibrated
    rows[70][1] = "  "
    source = write(tmp_path / "in.csv", rows)
    command = [sys.executable, SCRIPT, "--model_dir", folder, "--input", source, "--part_rows", "50"]
    command = [*map(str, command), "--format", "onnx_int8", "--workers", "2", "--output"]
    parts, marker = tmp_path / "out.csv.parts", str(tmp_path / "out.csv")
    process = subprocess.Popen([*command, marker], env=runtime_only, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while len(list(parts.glob("part-*.json"))) < 3 and time.monotonic() < end and process.poll() is None:
        time.sleep(0.01)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, process.stderr.read()
    done = len(list(parts.glob("part-*.json")))
    assert 3 <= done < len(rows) / 50 and len(children) >= 2 and not (tmp_path / "out.csv").exists()
    end = time.monotonic() + 30
    while any(map(is_running, children)) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(is_running, children))
    again = subprocess.run([*command, marker], env=runtime_only, capture_output=True, encoding="utf-8", timeout=120)
    assert again.returncode == 0, again.stderr
    assert "parts are done; going on from there" in again.stdout and "1 left out" in again.stdout
    assert not parts.exists()
    flags = [*command[2:-2], "1", "--threads", "1", "--output", str(tmp_path / "whole.csv")]
    predict.main(flags)
    for name in ("{}.csv", "{}.rejected.csv", "{}.report.txt"):
        one, other = ((tmp_path / name.format(stem)).read_bytes() for stem in ("out", "whole"))
        assert one == other
    assert len(read(tmp_path / "out.csv")) == len(rows) - 1


def is_running(pid):
    """Whether a process is there and is no zombie, which nobody waits for in a container."""
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_refusals(calibrated, tmp_path):
    *_, folder = calibrated
    source = write(tmp_path / "in.csv", [["1", "头疼", "病情诊断"]])

    def refused(*more, model=folder, output="out.csv"):
        flags = ["--model_dir", model, "--input", source, "--output", tmp_path / output, *more]
        with pytest.raises(UsageError) as error:
            predict.main(list(map(str, flags)))
        return str(error.value)

    assert "has no usable id2label.json; give an export, such as checkpoint/export" in refused(model=tmp_path)
    assert "format nonsense: not known" in refused("--format", "nonsense", "--workers", "1")
    assert "format nonsense: not known" in refused("--format", "nonsense", "--workers", "2")
    assert "--top_k 0: must be at least 1" in refused("--top_k", "0")
    assert "no threshold for that" in refused("--min_confidence", "accuracy:0.123", "--workers", "1")
    assert "Add --label_column" in refused("--label_names", "a", "b")
    assert not (tmp_path / "out.csv").exists()
