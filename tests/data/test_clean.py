"""data/clean.py: what check.py --fix mends, leaves out, and never touches."""

import csv
import subprocess
import sys

import pytest

from tests.data.folders import TEXT, add_lines, run
from tests.helpers import LABELS, ROOT
from utils import UsageError, read_examples, read_labels


def test_fix(data_dir, tmp_path, capsys):
    lines = ["", "没有标签也没有空格", f"{TEXT}\u3000就医建议", f"{TEXT}要\t加急\t就医建议", f"就医建议\t{TEXT}换列"]
    lines += [f"{TEXT}错\t啥", f"控\x1a制\x0b{TEXT}\t就医建议 ", f"{TEXT}全角\t就医建议\u3000", f"{TEXT}\t就医建议"]
    dev_text = (data_dir / "dev.txt").read_text(encoding="utf-8").split("\t")[0]
    add_lines(data_dir, "train", *lines, f"{dev_text}？\t就医建议", f"{TEXT}国标\t就医建议".encode("gbk"))
    add_lines(data_dir, "data", "没标的\t文本", "没标的 文本", "")
    before = {path.name: path.read_bytes() for path in data_dir.iterdir()}
    clean = tmp_path / "clean"
    assert run("--dataset_dir", data_dir, "--fix", clean) == 0
    assert {path.name: path.read_bytes() for path in data_dir.iterdir()} == before
    labels = read_labels(clean / "label.txt")
    texts, _ = read_examples(clean / "train.txt", labels)
    assert texts[48:] == [TEXT, f"{TEXT}要 加急", f"{TEXT}换列", f"控制 {TEXT}", f"{TEXT}全角", f"{TEXT}国标"]
    assert (clean / "data.txt").read_text(encoding="utf-8") == "没标的 文本\n"
    assert (clean / "dev.txt").read_bytes() == before["dev.txt"]
    with (clean / "changes.csv").open(encoding="utf-8-sig", newline="") as file:
        changes = {(row["file"], row["line"]): row for row in csv.DictReader(file)}
    assert changes["train.txt", "50"]["change"] == "left out: no_tab"
    assert changes["train.txt", "51"]["after"] == f"{TEXT}\t就医建议"
    assert changes["train.txt", "54"]["before"] == f"{TEXT}错\t啥"
    assert changes["train.txt", "57"]["change"] == "left out: the same as an earlier line"
    assert changes["train.txt", "58"]["change"] == "left out: the text is in dev.txt or test.txt too"
    assert len([row for row in changes.values() if row["file"] == "train.txt"]) == 11
    *_, counts, step = capsys.readouterr().out.splitlines()
    assert "0 errors" in counts and step.endswith(f"--data_dir {clean}")


def test_fix_writes_missing_labels(data_dir, tmp_path):
    (data_dir / "label.txt").unlink()
    assert run("--dataset_dir", data_dir, "--fix", tmp_path / "clean") == 0
    assert set(read_labels(tmp_path / "clean" / "label.txt")) == set(LABELS)


@pytest.mark.parametrize("content", [None, b"", b"\n \n"], ids=["missing", "empty", "blank"])
def test_fix_as_a_program_without_labels(data_dir, tmp_path, content):
    """The copy gets its label.txt from the samples' own labels."""
    (data_dir / "label.txt").unlink()
    if content is not None:
        (data_dir / "label.txt").write_bytes(content)
    command = [sys.executable, ROOT / "data" / "check.py", "--dataset_dir", data_dir, "--fix", tmp_path / "clean"]
    result = subprocess.run(list(map(str, command)), capture_output=True, encoding="utf-8")
    assert (result.returncode, result.stderr) == (0, "")
    counts, step = result.stdout.splitlines()[-2:]
    assert counts.startswith("0 errors, ") and step.startswith("next: python train.py ")
    assert set(read_labels(tmp_path / "clean" / "label.txt")) == set(LABELS)
    assert read_examples(tmp_path / "clean" / "train.txt", LABELS) == read_examples(data_dir / "train.txt", LABELS)


def test_fix_keeps_the_words_of_labels(data_dir, tmp_path):
    lines = [f"{label}=={label}词" for label in LABELS]
    (data_dir / "label.txt").write_text("\n".join([*lines, f"{LABELS[0]}==别的"]), encoding="utf-8")
    assert run("--dataset_dir", data_dir, "--fix", tmp_path / "clean") == 0
    assert (tmp_path / "clean" / "label.txt").read_text(encoding="utf-8").splitlines() == lines


def test_fix_never_writes_where_something_is(data_dir, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x").write_text("mine")
    for target in (data_dir, tmp_path / "mine", tmp_path / "mine" / "x"):
        with pytest.raises(UsageError, match="give a new one"):
            run("--dataset_dir", data_dir, "--fix", target)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["x"]


def test_fix_that_cannot_be_written_leaves_nothing(data_dir, tmp_path, monkeypatch):
    def full_disk(self, name):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("data.clean.Cleaner.write_split", full_disk)
    with pytest.raises(UsageError, match="No space left"):
        run("--dataset_dir", data_dir, "--fix", tmp_path / "clean")
    assert list((tmp_path / "clean").iterdir()) == []
