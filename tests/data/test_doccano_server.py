"""The annotation loop against a real doccano server: label, export, convert, correct, merge. `make test-slow`."""

import json
import shutil
import subprocess
import sys

import pytest

from data import check, doccano
from tests.data.doccano_server import running_doccano
from tests.helpers import ROOT
from utils import UsageError, read_examples, read_labels

VENV = ROOT / ".venv-doccano"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (VENV / "bin" / "doccano").is_file(), reason="no .venv-doccano; run: make test-slow"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("doccano")
    with running_doccano(VENV, folder) as client:
        yield client


@pytest.fixture
def samples():
    """Text -> label of 110 texts of the shipped data, ten a label."""
    labels = read_labels(ROOT / "data" / "label.txt")
    texts, ids = read_examples(ROOT / "data" / "train.txt", labels)
    chosen = [row for label in range(11) for row in [row for row, i in enumerate(ids) if i == label][:10]]
    return {texts[row]: labels[ids[row]] for row in chosen}


def read_all(folder, names=("train", "dev", "test")):
    labels = read_labels(folder / "label.txt")
    pairs = [read_examples(folder / f"{name}.txt", labels) for name in names]
    return {text: labels[i] for texts, ids in pairs for text, i in zip(texts, ids)}


def test_the_whole_loop(server, samples, tmp_path, capsys):
    # Raw texts are imported and labelled; one is left out.
    raw = tmp_path / "data.txt"
    raw.write_bytes("".join(f"{text}\n" for text in samples).encode("utf-8"))
    to_annotate = tmp_path / "to_annotate.jsonl"
    doccano.main(["--text_file", str(raw), "--export_file", str(to_annotate)])
    project = server.create_project("loop")
    assert server.upload(project, to_annotate) == []
    examples = server.examples(project)
    assert [example["text"] for example in examples] == list(samples)
    for label in dict.fromkeys(samples.values()):
        server.call("POST", f"projects/{project}/category-types", json={"text": label})
    for example in examples[1:]:
        server.set_label(project, example["id"], samples[example["text"]])

    for file_format in ("JSONL", "JSON"):
        export = server.download(project, tmp_path / f"{file_format}.zip", file_format)
        folder = tmp_path / file_format
        assert doccano.main(["--doccano_file", str(export), "--save_dir", str(folder)]) in (None, 0)
        assert read_all(folder) == dict(list(samples.items())[1:])
        assert (folder / "data.txt").read_text(encoding="utf-8").splitlines() == [next(iter(samples))]
        assert check.check_folder(folder).findings.number_of("error") == 0
    for name in ("train", "dev", "test", "label"):
        assert (tmp_path / "JSONL" / f"{name}.txt").read_bytes() == (tmp_path / "JSON" / f"{name}.txt").read_bytes()

    # Bad cases come back with the model's label: one is corrected, one confirmed. One text gets its first label.
    folder = tmp_path / "JSONL"
    truth = read_all(folder, ["dev"])
    wrong, right = list(truth)[:2]
    labels = read_labels(folder / "label.txt")
    new_label, model_label = [label for label in labels if label != truth[wrong]][:2]
    bad_case = folder / "bad_case.txt"
    rows = [f"{text}\t{truth[text]}\t{model_label}\t0.61" for text in (wrong, right)]
    lines = ["Text\tLabel\tPrediction\tScore", *rows]
    bad_case.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8"))
    again = tmp_path / "again.jsonl"
    texts = [str(bad_case), str(folder / "data.txt")]
    doccano.main(["--text_file", *texts, "--export_file", str(again)])
    second = server.create_project("corrections")
    assert server.upload(second, again) == []
    imported = {example["text"]: example for example in server.examples(second)}
    assert imported[wrong]["meta"] == {"score": "0.61", "given_label": truth[wrong], "origin": "bad_case.txt:2"}
    for label in set(labels) - set(server.labels(second)):
        server.call("POST", f"projects/{second}/category-types", json={"text": label})
    unlabelled = next(iter(samples))
    for text, label in ((wrong, new_label), (right, truth[right]), (unlabelled, samples[unlabelled])):
        server.set_label(second, imported[text]["id"], label)
        server.approve(second, imported[text]["id"])
    corrected = server.download(second, tmp_path / "corrected.zip", approved_only=True)
    capsys.readouterr()
    merge = ["--doccano_file", str(corrected), "--merge_into", str(folder)]
    assert doccano.main(merge) == 0
    assert "3 labelled texts: 3 changes, 0 conflicts" in capsys.readouterr().out
    assert read_all(folder) == {**samples, wrong: new_label}
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert doccano.main(merge) == 0
    assert "3 labelled texts: 0 changes, 0 conflicts" in capsys.readouterr().out
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_other_projects_are_refused(server, tmp_path):
    spans = tmp_path / "spans.jsonl"
    spans.write_bytes(json.dumps({"text": "张三去了北京", "label": [[0, 2, "人名"]]}).encode() + b"\n")
    for use_relation in (False, True):
        project = server.create_project(
            "spans", "SequenceLabeling", allow_overlapping=False, grapheme_mode=False, use_relation=use_relation
        )
        assert server.upload(project, spans, task="SequenceLabeling") == []
        export = server.download(project, tmp_path / f"{use_relation}.zip")
        with pytest.raises(UsageError, match="all.jsonl:1: spans"):
            doccano.main(["--doccano_file", str(export), "--save_dir", str(tmp_path / "out")])


def test_annotators_apart(server, samples, tmp_path):
    """Without shared annotation doccano writes a file an annotator, named after them."""
    file = tmp_path / "in.jsonl"
    lines = [json.dumps({"text": text, "label": [label]}, ensure_ascii=False) for text, label in samples.items()]
    file.write_bytes("\n".join(lines).encode("utf-8"))
    project = server.create_project("apart", collaborative_annotation=False)
    assert server.upload(project, file) == []
    export = server.download(project, tmp_path / "apart.zip")
    doccano.main(["--doccano_file", str(export), "--save_dir", str(tmp_path / "out")])
    assert read_all(tmp_path / "out") == samples


def test_the_command_line(server, samples, tmp_path):
    file = tmp_path / "in.jsonl"
    lines = [json.dumps({"text": text, "label": [label]}, ensure_ascii=False) for text, label in samples.items()]
    file.write_bytes("\n".join(lines).encode("utf-8"))
    project = server.create_project("command line")
    assert server.upload(project, file) == []
    export = server.download(project, tmp_path / "export.zip")
    shutil.unpack_archive(export, tmp_path)
    command = "data/doccano.py --doccano_file {} --save_dir {} --splits 0.8 0.1 0.1 --task_type multi_class"
    done = subprocess.run(
        [sys.executable, *command.format(tmp_path / "all.jsonl", tmp_path / "out").split(), "--is_shuffle", "True"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert read_all(tmp_path / "out") == samples
