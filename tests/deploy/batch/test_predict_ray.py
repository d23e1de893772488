"""predict_ray.py on a real Ray of two nodes here: workers and a node are killed, and every row is there once."""

import csv
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from core.batch_answers import Answerer, Job
from core.batch_output import WINDOW_NAMES
from core.predictor import Predictor
from deploy.batch import parts, predict_ray
from tests.deploy.exporting import export_flags
from tests.helpers import ROOT
from utils import UsageError

VENV = ROOT / ".venv-ray"
PORT = 46390
ENVIRONMENT = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
ROWS = 20_000
needs_ray = pytest.mark.skipif(
    not list(VENV.glob("lib/python*/site-packages/ray")), reason="no .venv-ray; run: make .venv-ray/.installed"
)


@pytest.fixture(scope="module")
def exported(trained_once, tmp_path_factory):
    import train

    data, checkpoint = trained_once
    folder = tmp_path_factory.mktemp("exported") / "export"
    train.main(export_flags(data, checkpoint, folder, "onnx"))
    return folder


def test_an_actor_answers_as_predictor_does(exported):
    texts = [f"医保卡{number}" + "能刷吗" * (number % 7) for number in range(300)]
    predictor = Predictor(exported, "onnx", 1)
    rows = predictor.probabilities(texts)
    job = Job(str(exported), "onnx", top_k=2, slice_texts=50_000)
    found = predict_ray.answered(Answerer(job), texts)
    assert list(found) == ["label", "score", "label_1", "score_1", "label_2", "score_2"]
    assert found["label"] == found["label_1"] == [predictor.labels[place] for place in rows.argmax(axis=1)]
    assert found["score_2"] == [round(float(sorted(row)[-2]), 6) for row in rows]
    job = Job(str(exported), "onnx", min_confidence=0.3, slice_texts=50_000, has_windows=True)
    answers, found = predictor.classify(texts, 0.3), predict_ray.answered(Answerer(job), texts)
    assert list(found)[:4] == ["label", "score", "guess", "guess_score"]
    assert list(zip(*list(found.values())[:4])) == [
        (answer.label, round(answer.confidence, 6), answer.guess, round(answer.guess_confidence, 6))
        for answer in answers
    ]
    assert [found[name] for name in WINDOW_NAMES] == [[None] * len(texts)] * 4
    assert set(map(len, predict_ray.answered(Answerer(job), []).values())) == {0}


def test_a_part_that_is_there_is_not_done_again(tmp_path):
    """Ray does the whole block of an actor again that was lost."""
    source, output = tmp_path / "a.csv", tmp_path / "out"
    source.write_text("text\n头疼\n\n感冒\n", encoding="utf-8")
    first, second = parts.plan_file(str(source), 0, 2, "text")
    asked = []

    class Answers:
        job, names = Job("", "onnx"), (["甲"], ["甲"], 1)
        look = asked.extend

        def __call__(self, texts):
            return np.zeros((len(texts), 1), "int32"), np.full((len(texts), 1), 500_000, "int32"), None, None, None

    actor = object.__new__(predict_ray.PartPredictor)
    actor.answerer, actor.options = (
        Answers(),
        {"output": str(output), "output_format": "csv", "text_column": "text"},
    )
    assert [actor.predict(part)[1] for part in (first, first, second, first)] == [2, 2, 1, 2]
    assert asked == ["头疼", "感冒"]
    assert (output / f"{first.name}.csv").read_text(encoding="utf-8") == "text,label,score\n头疼,甲,0.5\n"
    assert (output / predict_ray.REJECTED_FOLDER / f"{first.name}.jsonl").is_file()


def test_without_ray_it_says_what_to_install(tmp_path):
    flags = ["--model_dir", str(tmp_path), "--input", "a.csv", "--output", "b"]
    with pytest.raises(UsageError, match=r"pip install -r deploy/batch/requirements\.txt"):
        predict_ray.main(flags)


@pytest.mark.parametrize(
    "flags, message",
    [
        ("--top_k 0", "--top_k 0: must be at least 1"),
        ("--top_k 2 --min_confidence 0.5", "--top_k and --min_confidence: give one of them"),
        ("--num_workers 0", "--num_workers 0: must be at least 1"),
    ],
)
def test_flags_that_are_refused(flags, message, capsys):
    with pytest.raises(SystemExit) as error:
        predict_ray.main(["--model_dir", "a", "--input", "a.csv", "--output", "b", *flags.split()])
    assert error.value.code == 2 and message in capsys.readouterr().err


def ray_command(*words):
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.run([str(VENV / "bin" / "ray"), *words], env=ENVIRONMENT, timeout=120, **streams)


@pytest.fixture
def cluster():
    more = ["--num-cpus", "1", "--object-store-memory", "200000000"]
    head = ray_command("start", "--head", "--port", str(PORT), "--include-dashboard", "false", *more)
    assert head.returncode == 0, head.stdout
    node = ray_command("start", "--address", f"127.0.0.1:{PORT}", *more)
    assert node.returncode == 0, node.stdout
    yield f"127.0.0.1:{PORT}"
    ray_command("stop", "--force")


def processes(words):
    """Process ids whose command has these words."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if words in command:
            found.append((int(path.parent.name), command))
    return sorted(found)


def start(exported, source, output, address, *more):
    flags = ["--model_dir", exported, "--input", source, "--output", output, "--address", address]
    command = [VENV / "bin" / "python", ROOT / "deploy/batch/predict_ray.py", *flags, "--part_rows", "500", *more]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(list(map(str, command)), env=ENVIRONMENT, **streams)


def wait_for_parts(output, count, process):
    end = time.monotonic() + 180
    while len(list(output.glob("*.csv"))) < count:
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < end, "no parts"
        time.sleep(0.05)


def contents(folder):
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != predict_ray.PLAN_FILE)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.slow
@needs_ray
def test_every_row_is_there_once_though_workers_and_a_node_are_killed(exported, cluster, tmp_path):
    source = tmp_path / "texts.csv"
    with source.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        for number in range(ROWS):
            text = (
                ""
                if number % 5000 == 11
                else f'头疼第{number}次，\n"挂什么科"'
                if number % 7 == 0
                else f"医保卡{number}"
            )
            writer.writerow([number, text])
    calm = start(exported, source, tmp_path / "calm", cluster)
    told, _ = calm.communicate(timeout=300)
    assert calm.returncode == 0, told
    assert f"The answers to {ROWS - 4:,} rows are in" in told and "4 rows are left out" in told

    killed = start(exported, source, tmp_path / "killed", cluster)
    wait_for_parts(tmp_path / "killed", 3, killed)
    os.kill(processes("ray::MapWorker")[-1][0], signal.SIGKILL)
    wait_for_parts(tmp_path / "killed", 8, killed)
    killed.kill()  # the script itself; the same command goes on
    killed.communicate()
    killed = start(exported, source, tmp_path / "killed", cluster)
    wait_for_parts(tmp_path / "killed", 14, killed)
    node = [number for number, command in processes("raylet/raylet") if "--head" not in command][-1]
    os.kill(node, signal.SIGKILL)
    told, _ = killed.communicate(timeout=300)
    assert killed.returncode == 0, told
    assert "40 parts, 0 of them finished" not in told

    assert contents(tmp_path / "killed") == contents(tmp_path / "calm")
    found = []
    for path in sorted((tmp_path / "calm").glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            found += [int(row["id"]) for row in csv.DictReader(file)]
    rejected = (tmp_path / "calm" / predict_ray.REJECTED_FOLDER).glob("*.jsonl")
    left_out = [json.loads(line)["row"] - 1 for path in sorted(rejected) for line in path.read_text().splitlines()]
    assert left_out == [11, 5011, 10011, 15011]
    assert found == [number for number in range(ROWS) if number not in left_out]

    other = start(exported, source, tmp_path / "calm", cluster, "--top_k", "2")
    told, _ = other.communicate(timeout=120)
    assert other.returncode == 2 and "holds answers to another top_k" in told and "Traceback" not in told
