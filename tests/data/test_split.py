"""data/split.py: files, folds, refusals."""

import subprocess
import sys
from collections import Counter

import pytest

from data import split, stored_texts
from tests.data import zoo
from tests.helpers import ROOT
from utils import UsageError, read_examples, read_labels


@pytest.fixture
def file(tmp_path, samples):
    texts, ids, labels = samples
    path = tmp_path / "all.txt"
    path.write_bytes("".join(f"{text}\t{labels[i]}\n" for text, i in zip(texts, ids)).encode("utf-8"))
    return path


def read_parts(folder, names=("train", "dev", "test")):
    labels = read_labels(folder / "label.txt")
    return [read_examples(folder / f"{name}.txt", labels) for name in names]


def test_files(file, tmp_path, samples, capsys):
    split.main(["--input_file", str(file), "--save_dir", str(tmp_path / "out")])
    parts = read_parts(tmp_path / "out")
    assert Counter(text for part in parts for text in part[0]) == Counter(samples[0])
    assert all(abs(len(part[0]) - share * 960) <= 3 for part, share in zip(parts, (0.8, 0.1, 0.1)))
    assert read_labels(tmp_path / "out" / "label.txt")[0] == samples[2][samples[1][0]]
    out = capsys.readouterr().out
    assert f"in {tmp_path / 'out'}" in out and "nearly equal texts stayed together; the largest has 2 texts" in out
    assert out.splitlines()[-1] == f"next: python data/check.py --dataset_dir {tmp_path / 'out'}"


def test_no_test_file_without_a_share(file, tmp_path):
    split.main(["--input_file", str(file), "--save_dir", str(tmp_path / "out"), "--splits", "0.9", "0.1"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["dev.txt", "label.txt", "train.txt"]


def test_the_order_of_a_label_file_is_kept(file, tmp_path, samples):
    label_file = tmp_path / "label.txt"
    lines = [f"{label}=={label}词" for label in reversed(samples[2])]
    label_file.write_bytes("\n".join(lines).encode("utf-8"))
    flags = ["--input_file", str(file), "--label_file", str(label_file), "--save_dir"]
    split.main([*flags, str(tmp_path / "out")])
    split.main([*flags, str(tmp_path / "folds"), "--folds", "2"])
    for folder in (tmp_path / "out", tmp_path / "folds" / "fold_2"):
        assert read_labels(folder / "label.txt") == list(reversed(samples[2]))
        assert (folder / "label.txt").read_text(encoding="utf-8").splitlines() == lines


def test_a_table(tmp_path):
    path = zoo.write(
        tmp_path / "all.csv", zoo.table([["id", "text", "label"], *((i, *row) for i, row in enumerate(HONEST))])
    )
    split.main(["--input_file", str(path), "--save_dir", str(tmp_path / "out"), "--near_duplicate_threshold", "0"])
    labels = read_labels(tmp_path / "out" / "label.txt")
    rows = [(text, labels[index]) for texts, ids in read_parts(tmp_path / "out") for text, index in zip(texts, ids)]
    assert Counter(rows) == Counter(HONEST)


def test_folds(file, tmp_path, samples):
    out = tmp_path / "folds"
    split.main(["--input_file", str(file), "--save_dir", str(out), "--folds", "5"])
    dev = Counter()
    for fold in range(1, 6):
        (train_texts, _), (dev_texts, _) = read_parts(out / f"fold_{fold}", ("train", "dev"))
        assert Counter(train_texts) + Counter(dev_texts) == Counter(samples[0])
        assert abs(len(dev_texts) - len(samples[0]) / 5) <= 11
        dev.update(dev_texts)
    assert dev == Counter(samples[0])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--splits", "0.8", "0.1"], "in sum 1"),
        (["--splits", "0", "0.5", "0.5"], "train gets nothing"),
        (["--splits", "1"], "in sum 1"),
        (["--folds", "1"], "--folds 1: must be at least 2"),
        (["--folds", "100000"], "too many"),
        (["--near_duplicate_threshold", "2"], "from 0 to 1"),
        (["--input_file", "nowhere.txt"], "nowhere.txt: no such file"),
    ],
)
def test_refusals(file, tmp_path, flags, message):
    with pytest.raises(UsageError, match=message):
        split.main(["--input_file", str(file), "--save_dir", str(tmp_path / "out"), *flags])
    assert not (tmp_path / "out").exists()


def test_files_that_are_there_are_kept(file, tmp_path):
    (tmp_path / "dev.txt").write_text("mine")
    with pytest.raises(UsageError, match="already has dev.txt; add --force"):
        split.main(["--input_file", str(file), "--save_dir", str(tmp_path)])
    assert (tmp_path / "dev.txt").read_text() == "mine"


def test_a_bad_line_is_named(tmp_path):
    (tmp_path / "all.txt").write_bytes("头疼\t甲\n发烧 乙\n".encode())
    with pytest.raises(UsageError, match="all.txt:2: no tab"):
        split.main(["--input_file", str(tmp_path / "all.txt"), "--save_dir", str(tmp_path / "out")])


def test_a_full_disk_is_told(file, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(stored_texts.StoredTexts, "add", full)
    with pytest.raises(UsageError, match="No space left on device; the samples are kept there meanwhile; free some"):
        split.main(["--input_file", str(file), "--save_dir", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_as_a_program(file, tmp_path):
    command = [sys.executable, ROOT / "data" / "split.py", "--input_file", file, "--save_dir", tmp_path / "out"]
    result = subprocess.run(list(map(str, command)), capture_output=True, encoding="utf-8")
    assert (result.returncode, result.stderr) == (0, "") and len(read_parts(tmp_path / "out")) == 3


def write(path, rows):
    path.write_bytes("".join(f"{text}\t{label}\n" for text, label in rows).encode("utf-8"))
    return str(path)


HONEST = [
    (f"第{number}位患者应该挂{'内外儿眼牙'[number % 5]}科吗{number * 7919}", f"科室{number % 5}")
    for number in range(30)
]


def test_a_small_honest_file_is_split(tmp_path):
    split.main(["--input_file", write(tmp_path / "all.txt", HONEST), "--save_dir", str(tmp_path / "out")])
    assert len(read_labels(tmp_path / "out" / "label.txt")) == 5


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(label, text) for text, label in HONEST], "all.txt: the columns are probably the wrong way round"),
        ([("text", "label"), *HONEST], "all.txt:1: 'text' and 'label' look like the names of the columns"),
        ([(text, f"{i:06}") for i, (text, _) in enumerate(HONEST)], "all.txt: 30 different labels .* numbers of rec"),
    ],
)
def test_suspicious_columns(tmp_path, rows, message):
    flags = ["--input_file", write(tmp_path / "all.txt", rows), "--save_dir", str(tmp_path / "out")]
    with pytest.raises(UsageError, match=message):
        split.main(flags)
    assert not (tmp_path / "out").exists()
    split.main([*flags, "--trust_columns", "--splits", "0.5", "0.5"])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (HONEST[:3], "3 samples: none is left for dev.txt; give more of them"),
        (
            [("头疼应该挂什么科呢", "甲"), ("头疼应该挂什么科呢！", "乙")] * 20,
            "40 of 40 texts are equal or nearly equal",
        ),
    ],
)
def test_no_dev_can_be_drawn(tmp_path, rows, message):
    with pytest.raises(UsageError, match=message):
        split.main(["--input_file", write(tmp_path / "all.txt", rows), "--save_dir", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_thousands_of_labels_are_not_all_printed(tmp_path, capsys):
    rows = [(f"{number * 7919} 第{number}位", f"标签{number % 3000}" + "长" * 100) for number in range(6000)]
    flags = ["--input_file", write(tmp_path / "all.txt", rows), "--save_dir", str(tmp_path / "out"), "--trust_columns"]
    split.main([*flags, "--near_duplicate_threshold", "0"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 60 and any("in 2,951 more labels" in line for line in lines)
    assert max(map(len, lines)) < 200
