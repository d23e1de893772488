"""predict_ray.py on a real Ray of two nodes here: workers and a node are killed, and every row is there once."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from core.batch_answers import Job
from core.batch_output import WINDOW_NAMES
from deploy.batch import parts, predict, predict_ray
from tests.deploy.exporting import export_flags
from tests.helpers import ROOT
from utils import UsageError, read_json, write_json

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


@pytest.fixture(scope="module")
def staged(distilled, tmp_path_factory):
    """An export with a student, of which a cascade and a blend each answer in their own way."""
    folder = tmp_path_factory.mktemp("staged") / "export"
    shutil.copytree(distilled[1] / "export", folder)
    stages = read_json(folder / "student" / "stages.json")
    for least, found in zip((0.02, 0.4, 0.3), stages["formats"].values()):
        sets = {"0.9": {**found["cascade"]["conformal"]["0.9"], "least_probability": least}}
        found["cascade"] = {**found["cascade"], "threshold": 0.8, "conformal": sets}
        found["blend"] = {"weight": 0.7, "temperature": 1.5}
    write_json(folder / "student" / "stages.json", stages)
    return folder


def write_rows(path, sample_lines):
    """JSON lines with the samples' texts."""
    texts = [line.split("\t")[0] for line in sample_lines["dev"]]
    rows = [{"id": number, "text": text} for number, text in enumerate(texts)]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def actor_of(source, output, args, monkeypatch, **more):
    """An actor as Ray starts it, and the files that it is sent."""
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get=lambda files: files))
    files, content = predict_ray.model_files(args.model_dir, args.format)
    args.has_windows = more.get("has_windows", False)
    labels = list(json.loads(files["id2label.json"]).values())
    [columns] = {part.names for part in parts.plan_file(str(source), 0, 1000, "text")}
    args.added = predict_ray.new_names(args, labels, columns or parts.first_names(source), "jsonl")
    return predict_ray.PartPredictor([files], {**vars(args), "output": output, "output_format": "jsonl"}), files


def flags_of(folder, source, output, *more):
    return list(map(str, ["--model_dir", folder, "--input", source, "--output", output, *more]))


ALL_FLAGS = [
    "--format onnx --conformal 0.9",
    "--format onnx_int8 --conformal 0.95 --top_k 2 --min_confidence 0.5",
    "--format ngram --conformal 0.9",
    "--format cascade --conformal 0.9",
    "--format cascade:onnx --top_k 3",
    "--format cascade:onnx_int8 --conformal 0.9 --min_confidence 0.6",
    "--format blend --top_k 2",
    "--format blend:onnx",
    "--format blend:onnx_int8 --min_confidence 0.4",
]


@pytest.mark.parametrize("given", ALL_FLAGS)
def test_an_actor_writes_what_predict_py_does(given, staged, sample_lines, tmp_path, monkeypatch):
    """From the files that it is sent alone."""
    source = write_rows(tmp_path / "in.jsonl", sample_lines)
    predict.main(flags_of(staged, source, tmp_path / "one.jsonl", "--threads", "1", *given.split()))
    args = predict_ray.parse_flags(flags_of(staged, source, tmp_path, *given.split()))
    actor, files = actor_of(source, str(tmp_path), args, monkeypatch)
    [part] = parts.plan_file(str(source), 0, 1000, "text")
    actor.predict(part)
    assert (tmp_path / f"{part.name}.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()
    graphs = [name for name in files if name.endswith((".onnx", ".pdmodel", ".pdiparams"))]
    assert len(graphs) == (args.format != "ngram")  # no more than it needs goes to all machines
    assert ("student/stages.json" in files) == args.format.startswith(("cascade", "blend"))


@pytest.mark.parametrize("named", ["onnx", None])
def test_a_student_that_is_a_graph(named, staged, sample_lines, tmp_path, monkeypatch):
    """As of --student layers:6; here it is the model itself, in another format."""
    folder = tmp_path / "export"
    shutil.copytree(staged, folder, ignore=shutil.ignore_patterns("student"))
    shutil.copytree(folder, tmp_path / "student")
    shutil.move(tmp_path / "student", folder)
    stages = read_json(staged / "student" / "stages.json")
    del stages["student"]
    for found in stages["formats"].values():
        found["cascade"].pop("student_format", None)
        found["cascade"].update({"student_format": named} if named else {})
    write_json(folder / "student" / "stages.json", stages)
    source = write_rows(tmp_path / "in.jsonl", sample_lines)
    given = ["--format", "cascade:onnx"]
    predict.main(flags_of(folder, source, tmp_path / "one.jsonl", "--threads", "1", *given))
    actor, files = actor_of(
        source, str(tmp_path), predict_ray.parse_flags(flags_of(folder, source, "", *given)), monkeypatch
    )
    [part] = parts.plan_file(str(source), 0, 1000, "text")
    actor.predict(part)
    assert (tmp_path / f"{part.name}.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()
    student = "student/model.onnx" if named else "student/model_int8.onnx"
    assert {name for name in files if name.endswith(".onnx")} == {"model.onnx", student}
    assert "student/tokenizer.json" in files


def test_texts_cleaned_and_names_that_clash(staged, tmp_path, monkeypatch):
    rows = [{"text": "头疼<br>挂&amp;科", "label": 1}, {"text": "<br>"}, {"text": "感冒"}, {"text": "头疼\n挂科"}]
    source = tmp_path / "in.jsonl"

    def write(rows):
        source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    def predicted(name, *given):
        args = predict_ray.parse_flags(flags_of(staged, source, tmp_path, "--format", "onnx", *given))
        actor, _ = actor_of(source, str(tmp_path / name), args, monkeypatch)
        [part] = parts.plan_file(str(source), 0, 1000, "text")
        actor.predict(part)
        return (tmp_path / name / f"{part.name}.jsonl").read_bytes()

    write(rows)
    for name, *given in (("html", "--clean", "html"), ("none", "--clean", "none", "--prefix", "my_")):
        flags = flags_of(staged, source, tmp_path / f"{name}.jsonl", "--threads", "1", "--format", "onnx", *given)
        predict.main([*flags, "--label_column", "none"])
        found = predicted(name, *given)
        assert (
            found == (tmp_path / f"{name}.jsonl").read_bytes() and found.count(b"\n") == {"html": 3, "none": 4}[name]
        )
    assert json.loads((tmp_path / "html" / "_rejected" / "00000-in-00000.jsonl").read_text())["reason"] == "no text"
    # What the first record does not tell of.
    write([*rows, {"text": "感冒", "predicted_score": 2}])
    assert predicted("later").count(b"\n") == 4
    rejected = json.loads((tmp_path / "later" / "_rejected" / "00000-in-00000.jsonl").read_text())
    assert (rejected["row"], rejected["reason"]) == (5, "a field predicted_score as what is added; add --prefix")
    args = predict_ray.parse_flags(flags_of(staged, source, tmp_path, "--prefix", ""))
    args.has_windows = False
    with pytest.raises(UsageError, match="the input has columns called label; give another name .*: --prefix"):
        predict_ray.new_names(args, ["a"], ["text", "label"], "csv")


def test_windows_of_texts_that_have_one(staged, sample_lines, tmp_path, monkeypatch):
    source = write_rows(tmp_path / "in.jsonl", sample_lines)
    args = predict_ray.parse_flags(flags_of(staged, source, tmp_path, "--format", "onnx"))
    actor, _ = actor_of(source, str(tmp_path), args, monkeypatch, has_windows=True)
    [part] = parts.plan_file(str(source), 0, 1000, "text")
    actor.predict(part)
    for line in (tmp_path / f"{part.name}.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        assert list(row)[2:] == ["label", "score", *WINDOW_NAMES]
        assert [row[name] for name in WINDOW_NAMES] == [None] * 4


def test_the_format_that_is_found(tmp_path):
    for name in ("model.pdmodel", "model_int8.onnx"):
        (tmp_path / name).touch()
    assert predict_ray.found_format(tmp_path) == "onnx_int8"
    (tmp_path / "model.onnx").touch()
    assert predict_ray.found_format(tmp_path) == "onnx"
    (tmp_path / "ngram_student.npz").touch()
    assert predict_ray.found_format(tmp_path) == "ngram"


def without_student(folder):
    shutil.rmtree(folder / "student")


def without_cascade(folder):
    path = folder / "student" / "stages.json"
    stages = read_json(path)
    stages["formats"]["onnx"]["cascade"] = {"why": "it would not be sooner"}
    write_json(path, stages)


def cut_short(folder):
    path = folder / "model_int8.onnx"
    path.write_bytes(path.read_bytes()[:1000])


def cut_student(folder):
    path = folder / "student" / "ngram_student.npz"
    path.write_bytes(path.read_bytes()[:1000])


def called_unknown(folder):
    names = read_json(folder / "id2label.json")
    write_json(folder / "id2label.json", {**names, "0": "unknown"})


def of_another(folder):
    write_json(folder / "export.json", {**read_json(folder / "export.json"), "weights": "0" * 64})


@pytest.mark.parametrize(
    "change, given, message",
    [
        (without_student, "--format cascade:onnx_int8", "no student is there, which the format cascade needs"),
        (without_student, "--format blend", "no student is there, which the format blend needs"),
        (without_cascade, "--format cascade", "no cascade with onnx: it would not be sooner"),
        (of_another, "--format ngram", "the student of another model"),
        (cut_short, "--format cascade:onnx_int8", "1000 bytes, but [0-9]+ were written"),
        (cut_student, "--format cascade:onnx", "1000 bytes, but [0-9]+ were written"),
        (called_unknown, "--format onnx --min_confidence 0.5", "the model has a label 'unknown'"),
        (None, "--format cascade:onnx --conformal 0.95", "conformal 0.95: .*export.json has one for 0.9$"),
        (None, "--format onnx --conformal 0.8", "conformal 0.8: .*export.json has one for 0.9, 0.95$"),
        (None, "--conformal 90", "--conformal 90: give how often"),
        (None, "--min_confidence accuracy:0.123", "no threshold for that"),
    ],
)
def test_refused_as_by_predict_py_before_ray_is_started(change, given, message, staged, tmp_path, monkeypatch):
    monkeypatch.setattr(predict_ray, "load_ray", lambda: None)  # which nothing can be started with
    folder, source = tmp_path / "export", tmp_path / "in.csv"
    shutil.copytree(staged, folder)
    if change:
        change(folder)
    source.write_text("text\n头疼\n", encoding="utf-8")
    with pytest.raises(UsageError, match=message) as ours:
        predict_ray.main(flags_of(folder, source, tmp_path / "out", *given.split()))
    with pytest.raises(UsageError) as theirs:
        predict.main(flags_of(folder, source, tmp_path / "out.csv", *given.split()))
    assert str(ours.value) == str(theirs.value) and not (tmp_path / "out").exists()


def test_a_cascade_on_the_paddle_graph_is_refused(staged, tmp_path):
    shutil.copytree(staged, tmp_path / "export")
    (tmp_path / "export" / "model.onnx").unlink()
    with pytest.raises(UsageError, match=r"cannot run without PaddleNLP \(format paddle\)"):
        predict_ray.model_files(tmp_path / "export", "cascade")
    files, _ = predict_ray.model_files(tmp_path / "export", "cascade:onnx_int8")
    assert "model_int8.onnx" in files and "model.pdmodel" not in files


def test_a_plan_knows_its_conformal(tmp_path):
    """Those of runs without it are as they were before there was such a flag."""
    [part] = [parts.Part("a.csv", "csv", "00000-a-00000", 1, 2, 5, 9, 0, ("text",))]

    def check(*more):
        args = predict_ray.parse_flags(flags_of("export", "a.csv", tmp_path / name, *more))
        args.added, args.has_windows = ["label"], False
        return predict_ray.check_plan(args, "csv", [part], {"model.onnx": b"1"})

    for name, own, others in (("with", ["--conformal", "0.9"], [[], ["--conformal", "0.95"]]), ("without", [], [])):
        assert check(*own) == check(*own) == set()
        assert ("conformal" in read_json(tmp_path / name / predict_ray.PLAN_FILE)) == bool(own)
        for other in others or [["--conformal", "0.9"]]:
            with pytest.raises(UsageError, match="holds answers to another conformal;"):
                check(*other)


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
        {"output": str(output), "output_format": "csv", "text_column": "text", "clean": None},
    )
    actor.options["added"] = ["label", "score"]
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
        ("--format cascade:paddle", "invalid choice: 'cascade:paddle'"),
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


@pytest.mark.slow
@needs_ray
def test_a_real_ray_writes_what_predict_py_does(staged, cluster, sample_lines, tmp_path):
    source = write_rows(tmp_path / "in.jsonl", sample_lines)
    given = ["--format", "cascade:onnx_int8", "--conformal", "0.9"]
    ray = start(staged, source, tmp_path / "ray", cluster, *given)
    told, _ = ray.communicate(timeout=300)
    assert ray.returncode == 0, told
    command = [VENV / "bin" / "python", ROOT / "deploy/batch/predict.py", "--threads", "1", *given]
    subprocess.run([*command, *flags_of(staged, source, tmp_path / "one.jsonl")], env=ENVIRONMENT, check=True)
    [part] = (tmp_path / "ray").glob("0*.jsonl")
    assert part.read_bytes() == (tmp_path / "one.jsonl").read_bytes()
