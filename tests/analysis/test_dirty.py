"""analysis/dirty.py: flipped labels are found, files and refusals."""

import json

import numpy as np
import pytest

from analysis import dirty
from core.origins import ORIGINS_FILE
from tests.helpers import ROOT
from utils import UsageError, read_examples, read_labels


@pytest.fixture
def flipped(tmp_path):
    """The shipped sample data with 88 of 880 labels wrong: (folder, numbers of the wrong ones)."""
    labels = read_labels(ROOT / "data" / "label.txt")
    texts, ids = read_examples(ROOT / "data" / "train.txt", labels)
    random = np.random.RandomState(0)
    wrong = random.permutation(len(ids))[:88]
    ids = np.array(ids)
    ids[wrong] = (ids[wrong] + random.randint(1, 11, 88)) % 11
    lines = [f"{text}\t{labels[i]}\n" for text, i in zip(texts, ids)]
    (tmp_path / "train.txt").write_bytes("".join(lines).encode("utf-8"))
    (tmp_path / "label.txt").write_bytes("\n".join(labels).encode("utf-8"))
    return tmp_path, {lines[row] for row in wrong}


def run(folder, *more):
    dirty.main(["--device", "cpu", "--dataset_dir", str(folder), *map(str, more)])
    return [(folder / name).read_text(encoding="utf-8").splitlines(True) for name in FILES]


FILES = ("train_dirty.txt", "train_dirty_rest.txt")


def test_confident_learning_finds_flipped_labels(flipped, capsys):
    folder, wrong = flipped
    found, rest = run(folder, "--dirty_num", 88)
    lines = (folder / "train.txt").read_text(encoding="utf-8").splitlines(True)
    assert len(found) == 88 and sorted(found + rest) == sorted(lines)
    assert rest == [line for line in lines if line in set(rest)]  # in the order of the file
    assert len(wrong & set(found)) > 44  # by chance: 9
    out = capsys.readouterr().out
    assert "of 880 labels for wrong" in out and "(rather " in out
    summary = out.splitlines()[-3:]
    assert summary[0] == f"88 samples in {folder / FILES[0]}, 792 in {FILES[1]}"
    assert f"doccano.py --text_file {folder / FILES[0]} " in summary[1]
    assert f"--train_path {folder / FILES[1]}" in summary[2]
    origins = [dict(zip(("text", "label"), line.rstrip("\n").split("\t")), origin="llm:m") for line in wrong]
    lines = "".join(json.dumps(origin, ensure_ascii=False) + "\n" for origin in origins)
    (folder / ORIGINS_FILE).write_text(lines, encoding="utf-8")
    assert run(folder, "--dirty_num", 88) == [found, rest]  # the seed fixes the folds
    seen = len(wrong & set(found))
    assert f"of the 88 labels from llm:m, {seen:,} are among the suspicious ones\n" in capsys.readouterr().out


def test_origins_lie_beside_the_training_file(flipped, capsys):
    folder, wrong = flipped
    (folder / "llm").mkdir()
    (folder / "train.txt").rename(folder / "llm" / "train.txt")
    origins = [dict(zip(("text", "label"), line.rstrip("\n").split("\t")), origin="llm:m") for line in wrong]
    lines = "".join(json.dumps(origin, ensure_ascii=False) + "\n" for origin in origins)
    (folder / "llm" / ORIGINS_FILE).write_text(lines, encoding="utf-8")
    run(folder, "--dirty_num", 88, "--train_file", "llm/train.txt")
    assert "of the 88 labels from llm:m, " in capsys.readouterr().out


@pytest.mark.parametrize("method", ["representer_points", "loss"])
def test_methods_with_a_model(trained, method):
    data, checkpoint = trained
    lines = (data / "train.txt").read_text(encoding="utf-8").splitlines()
    clean = set(run(data, "--method", method, "--params_path", checkpoint, "--dirty_num", 20)[0])
    texts, labels = zip(*(line.split("\t") for line in lines))
    wrong = [f"{texts[row]}\t{next(label for label in labels if label != labels[row])}" for row in range(0, 200, 20)]
    for row, line in zip(range(0, 200, 20), wrong):
        lines[row] = line
    (data / "train.txt").write_bytes("\n".join(lines).encode("utf-8"))
    found, rest = run(data, "--method", method, "--params_path", checkpoint, "--dirty_num", 20)
    assert len(found) == 20 and len(rest) == len(lines) - 20
    assert sum(f"{line}\n" in found for line in wrong) >= 6 and clean != set(found)


def test_threshold(flipped, capsys):
    folder, _ = flipped
    assert len(run(folder, "--dirty_num", 500, "--dirty_threshold", "0.9")[0]) < 500
    found, rest = run(folder, "--dirty_threshold", "0.99999")
    assert found == [] and len(rest) == 880 and "lower --dirty_threshold" in capsys.readouterr().out


def test_rare_labels_and_few_samples(tmp_path, capsys):
    (tmp_path / "label.txt").write_bytes("甲\n乙\n丙\n丁\n".encode())
    lines = [*(f"头疼第{number}次\t甲" for number in range(6)), *(f"发烧第{number}次\t乙" for number in range(3))]
    lines.append("咳嗽\t丙")
    (tmp_path / "train.txt").write_bytes("\n".join(lines).encode())
    found, rest = run(tmp_path, "--dirty_num", 2)
    assert len(found) == 2 and len(rest) == 8
    (tmp_path / "train.txt").write_bytes("头疼\t甲\n发烧\t甲\n".encode())
    with pytest.raises(UsageError, match="2 samples of 1 labels: too few"):
        run(tmp_path)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dirty_num", "0"], "--dirty_num 0: must be at least 1"),
        (["--dirty_threshold", "1"], "from 0 to below 1"),
        (["--dirty_file", "train.txt"], "two names that are not that of --train_file"),
        (["--method", "loss", "--params_path", "nowhere"], "nowhere: no such directory"),
    ],
)
def test_refusals(flipped, flags, message):
    folder, _ = flipped
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UsageError, match=message):
        run(folder, *flags)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
