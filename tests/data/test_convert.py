"""data/convert.py: a data folder of any file, parts, refusals."""

import csv
import subprocess
import sys
from collections import Counter

import pytest

from data import convert
from data.conversion import OUTPUTS
from tests.core.test_folders import imdb
from tests.data import zoo
from tests.helpers import ROOT
from utils import UsageError, read_examples, read_labels, read_lines


def run(tmp_path, *flags):
    convert.main([*map(str, flags), "--save_dir", str(tmp_path / "out")])
    return parts_of(tmp_path / "out")


def parts_of(folder):
    """Part -> (text, label) of a data folder."""
    labels = read_labels(folder / "label.txt")
    found = {}
    for name in ("train", "dev", "test"):
        if (folder / f"{name}.txt").exists():
            texts, ids = read_examples(folder / f"{name}.txt", labels)
            found[name] = [(text, labels[index]) for text, index in zip(texts, ids)]
    return found


def test_a_split(tmp_path, capsys):
    path, samples = zoo.excel_utf8(tmp_path)
    parts = run(tmp_path, "--input_file", path, "--near_duplicate_threshold", 0)
    assert Counter(row for part in parts.values() for row in part) == Counter(samples)
    assert [len(parts[name]) for name in ("train", "dev", "test")] == [48, 6, 6]
    out = capsys.readouterr().out
    assert "编号" in out and f"in {tmp_path / 'out'}" in out and "next: python data/check.py" in out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(set(OUTPUTS[:4]))


def test_without_a_folder_nothing_is_written(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path, _ = zoo.label_first(tmp_path)
    convert.main(["--input_file", str(path)])
    assert "nothing was written: add --save_dir" in capsys.readouterr().out and len(list(tmp_path.iterdir())) == 1


def test_near_copies_stay_together_and_the_seed_decides(tmp_path):
    # Pieces of a long number have little in common.
    texts = [(f"{zoo.WORDS[n].split()[i % 8]}{(i + 7) ** 9}号", n) for i, (_, n) in enumerate(zoo.SAMPLES[:36])]
    rows = texts + [(f"请问{text}", label) for text, label in texts]
    path = zoo.write(tmp_path / "a.tsv", "".join(f"{t}\t{n}\n" for t, n in rows))
    flags = ["--input_file", path, "--splits", 0.5, 0.5, "--near_duplicate_threshold"]
    parts = run(tmp_path, *flags, 0)
    assert len(parts["train"]) == 36
    first = (tmp_path / "out" / "train.txt").read_bytes()
    assert run(tmp_path, *flags, 0, "--force") == parts and (tmp_path / "out" / "train.txt").read_bytes() == first
    assert run(tmp_path, *flags, 0, "--force", "--seed", 3) != parts
    together = run(tmp_path, *flags, 0.7, "--force")
    texts = {text.removeprefix("请问") for text, _ in together["train"]}
    assert not texts & {text.removeprefix("请问") for text, _ in together["dev"]}


def test_equal_texts_stay_together_without_the_texts_in_memory(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("data.conversion.MAX_COMPARED", 10)
    rows = zoo.SAMPLES + [(f" {text}！", label) for text, label in zoo.SAMPLES]
    path = zoo.write(tmp_path / "a.tsv", "".join(f"{t}\t{n}\n" for t, n in rows))
    parts = run(tmp_path, "--input_file", path)
    texts = [{text.strip("！") for text, _ in part} for part in parts.values()]
    assert sum(map(len, texts)) == 60 and sum(map(len, parts.values())) == 120
    assert "only equal texts stay together" in capsys.readouterr().out


def test_given_parts(tmp_path, capsys):
    for name, rows in (("train", zoo.SAMPLES), ("dev", zoo.SAMPLES[:9]), ("test", zoo.SAMPLES[9:30])):
        zoo.write(tmp_path / "in" / f"{name}.csv", zoo.table([["text", "label"], *rows]))
    zoo.write(tmp_path / "in" / "README.md", "about")
    zoo.write(tmp_path / "in" / "labels.txt", "\n".join(reversed(zoo.NAMES)))
    wanted = {"train": zoo.SAMPLES, "dev": zoo.SAMPLES[:9], "test": zoo.SAMPLES[9:30]}
    assert run(tmp_path, "--input_file", tmp_path / "in") == wanted  # in the order of the files
    assert "labels.txt: names of labels, not samples" in capsys.readouterr().out
    flags = [flag for name in wanted for flag in (f"--{name}_path", tmp_path / "in" / f"{name}.csv")]
    assert run(tmp_path, *flags, "--force", "--label_names", tmp_path / "in" / "labels.txt") == wanted
    assert read_labels(tmp_path / "out" / "label.txt") == zoo.NAMES[::-1]


def test_a_data_folder_of_ours(tmp_path):
    for name, rows in (("train", zoo.SAMPLES), ("dev", zoo.SAMPLES[:9])):
        zoo.write(tmp_path / "in" / f"{name}.txt", "".join(f"{text}\t{label}\n" for text, label in rows))
    zoo.write(tmp_path / "in" / "data.txt", "没有标签的，文本\n还有一条，文本\n")
    assert run(tmp_path, "--input_file", tmp_path / "in") == {"train": zoo.SAMPLES, "dev": zoo.SAMPLES[:9]}
    assert read_lines(tmp_path / "out" / "data.txt") == ["没有标签的，文本", "还有一条，文本"]


def test_dev_is_divided_from_train(tmp_path):
    zoo.write(tmp_path / "train.csv", zoo.table([["text", "label"], *zoo.SAMPLES]))
    zoo.write(tmp_path / "test.csv", zoo.table([["text", "label"], *zoo.SAMPLES[:9]]))
    parts = run(tmp_path, "--train_path", tmp_path / "train.csv", "--test_path", tmp_path / "test.csv",
                "--near_duplicate_threshold", 0)  # fmt: skip
    assert parts["test"] == zoo.SAMPLES[:9] and len(parts["dev"]) == 6
    assert Counter(parts["train"] + parts["dev"]) == Counter(zoo.SAMPLES)


def test_what_is_left_out_is_told(tmp_path, capsys):
    text = zoo.table([["text", "label"], *zoo.SAMPLES]) + "没有标签,\n,体育\n多,一,列\n"
    path = zoo.write(tmp_path / "a.csv", text)
    parts = run(tmp_path, "--input_file", path)
    assert Counter(row for part in parts.values() for row in part) == Counter(zoo.SAMPLES)
    assert read_lines(tmp_path / "out" / "data.txt") == ["没有标签"]
    with (tmp_path / "out" / "rejected.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["file", "line", "reason", "content"]
    assert rows[1:] == [[str(path), "63", "no text", "\t体育"], [str(path), "64", "3 fields, not 2", "多,一,列"]]
    out = capsys.readouterr().out
    assert "1 texts without a label" in out and "2 of 63 rows were left out" in out
    with pytest.raises(UsageError, match="already has .* rejected.csv; add --force"):
        run(tmp_path, "--input_file", path)
    clean = zoo.write(tmp_path / "b.csv", zoo.table([["text", "label"], *zoo.SAMPLES]))
    with pytest.raises(UsageError, match="has data.txt, which would stay beside the new files"):
        run(tmp_path, "--input_file", clean, "--force")
    assert read_lines(tmp_path / "out" / "data.txt") == ["没有标签"]
    (tmp_path / "out" / "data.txt").unlink()
    run(tmp_path, "--input_file", clean, "--force")
    assert (tmp_path / "out" / "rejected.csv").read_text(encoding="utf-8-sig").count("\n") == 1  # none any more


def test_texts_alone(tmp_path):
    path = zoo.write(tmp_path / "a.txt", "".join(f"{text}\n" for text, _ in zoo.SAMPLES))
    flags = ["--input_file", str(path), "--label_column", "none", "--separator", "none"]
    convert.main([*flags, "--save_dir", str(tmp_path / "out")])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["data.txt"]
    assert read_lines(tmp_path / "out" / "data.txt") == [text for text, _ in zoo.SAMPLES]


def refused(tmp_path, match, *flags):
    with pytest.raises(UsageError, match=match):
        run(tmp_path, *flags)
    assert not any(tmp_path.glob("out/*")) and not any(tmp_path.glob("out/.*")), "something was written"


def test_refusals(tmp_path):
    good = zoo.write(tmp_path / "train.csv", zoo.table([["text", "label"], *zoo.SAMPLES]))
    bad = zoo.write(tmp_path / "b.csv", zoo.table([["text", "label"], *zoo.SAMPLES[:30]]) + "多,一,列\n" * 9)
    refused(tmp_path, "give --input_file")
    refused(tmp_path, "give either it", "--input_file", good, "--dev_path", good)
    refused(tmp_path, "nowhere.csv: no such file", "--input_file", "nowhere.csv")
    refused(tmp_path, "--encoding klingon: not known", "--input_file", good, "--encoding", "klingon")
    refused(tmp_path, r"3 fields, not 2 \(9 rows\)\n9 of 39 rows would be left out, .*--max_left_out 0.24",
            "--input_file", bad, "--separator", "comma")  # fmt: skip
    refused(tmp_path, "b.csv: train, dev or test", "--input_file", good, bad)
    refused(tmp_path, "so nothing is divided", "--train_path", good, "--dev_path", good, "--test_path", good,
            "--splits", 0.9, 0.1)  # fmt: skip
    refused(tmp_path, "in sum 1", "--input_file", bad, "--splits", 0.9)
    one = zoo.write(tmp_path / "c.csv", zoo.table([["text", "label"], *((text, "体育") for text, _ in zoo.SAMPLES)]))
    refused(tmp_path, "only one label, '体育'", "--input_file", one)
    few = zoo.write(tmp_path / "d.csv", zoo.table([["text", "label"], *zoo.SAMPLES[:3]]))
    refused(tmp_path, "none is left for dev.txt", "--input_file", few)


def test_as_a_program(tmp_path):
    """Where it is unsure: what it sees, exit code 2, nothing written."""
    rows = [["title", "content", "label"], *((text, text * 2, label) for text, label in zoo.SAMPLES)]
    path = zoo.write(tmp_path / "a.csv", zoo.table(rows))
    command = [sys.executable, ROOT / "data" / "convert.py", "--input_file", path, "--save_dir", tmp_path / "out"]
    result = subprocess.run(list(map(str, command)), capture_output=True, encoding="utf-8")
    assert result.returncode == 2 and result.stderr.count("\n") == 1
    assert "or join them: --text_column title content" in result.stderr and "title    ?" in result.stdout
    assert not (tmp_path / "out").exists()


def test_folders_of_parts(tmp_path):
    """Test data stay test data, not divided anew."""
    for part, rows in (("train", zoo.SAMPLES[:48]), ("test", zoo.SAMPLES[48:])):
        zoo.write(tmp_path / "in" / part / "data.csv", zoo.table([["text", "label"], *rows]))
    zoo.write(tmp_path / "in" / "dataset_infos.json", "{}")
    parts = run(tmp_path, "--input_file", tmp_path / "in", "--near_duplicate_threshold", 0)
    assert parts["test"] == zoo.SAMPLES[48:] and Counter(parts["train"] + parts["dev"]) == Counter(zoo.SAMPLES[:48])
    zoo.write(tmp_path / "in" / "more.csv", "text,label")
    refused(tmp_path / "new", "more.csv: train, dev or test", "--input_file", tmp_path / "in")


def test_imdb_as_it_is_unpacked(tmp_path, capsys):
    """Word lists and addresses beside the folders are told; train and test stay; unsup has no labels."""
    parts = run(tmp_path, "--input_file", imdb(tmp_path / "aclImdb"), "--near_duplicate_threshold", 0)
    assert {label for part in parts.values() for _, label in part} == {"neg", "pos"}
    assert [len(parts[name]) for name in ("train", "dev", "test")] == [22, 2, 24]
    assert all("of test" in text and "<br" not in text for text, _ in parts["test"])
    assert len(read_lines(tmp_path / "out" / "data.txt")) == 12
    assert "not read: imdb.vocab imdbEr.txt" in capsys.readouterr().out
    assert not (tmp_path / "out" / "rejected.csv").exists()


def test_folders_in_folders(tmp_path, capsys):
    for number, (text, label) in enumerate(zoo.SAMPLES):
        zoo.write(tmp_path / "in" / label / f"第{number % 2}组" / f"{'test_' * (number < 9)}{number}.txt", text)
    parts = run(tmp_path, "--input_file", tmp_path / "in", "--near_duplicate_threshold", 0)
    assert Counter(row for part in parts.values() for row in part) == Counter(zoo.SAMPLES)
    assert "folders inside them are not in the labels (--folder_labels path: 体育##第0组)" in capsys.readouterr().out
    run(tmp_path, "--input_file", tmp_path / "in", "--folder_labels", "path", "--force")
    wanted = sorted(f"{name}##第{group}组" for name in zoo.NAMES for group in range(2))
    assert sorted(read_labels(tmp_path / "out" / "label.txt")) == wanted
