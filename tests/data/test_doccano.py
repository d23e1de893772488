"""data/doccano.py: exports to training data, texts to annotate, corrections that come back."""

import json
import subprocess
import sys

import pytest

from data import doccano
from tests.data.exports import SHAPES, TEXTS, convert, many, write_jsonl
from tests.helpers import ROOT
from utils import UsageError


def test_texts_without_a_label_go_to_data_txt(tmp_path, capsys):
    records = many(SHAPES["a string"])
    records += [{"text": "没标的", "label": []}, {"text": "也没标", "label": None}, {"text": "无"}]
    records.append({"text": "没标的", "label": "费用"})
    _, parts = convert(write_jsonl(tmp_path / "x", records), tmp_path / "out")
    assert (tmp_path / "out" / "data.txt").read_text(encoding="utf-8").split() == ["也没标", "无"]
    assert ("没标的", "费用") in [row for rows in parts.values() for row in rows]
    assert "44 records: 41 labelled texts, 2 without a label (data.txt), 1 repeated" in capsys.readouterr().out


def test_the_same_seed_gives_the_same_files(tmp_path):
    export = write_jsonl(tmp_path / "x", many(SHAPES["a string"]))
    for name, flags in zip("abcd", (["--seed", 1], ["--seed", 1], ["--seed", 2], ["--is_shuffle", "False"])):
        convert(export, tmp_path / name, *flags)
    parts = ("train", "dev", "test")
    files = {name: [(tmp_path / name / f"{part}.txt").read_bytes() for part in parts] for name in "abcd"}
    assert files["a"] == files["b"] != files["c"]
    rows = (tmp_path / "d" / "train.txt").read_text(encoding="utf-8").splitlines()
    assert rows == [f"{text}\t{label}" for text, label in many(lambda text, label: (text, label), 8)]


def test_label_file(tmp_path):
    label_file = tmp_path / "label.txt"
    label_file.write_bytes("病因\n费用\n就医\n治疗\n别的\n".encode())
    export = write_jsonl(tmp_path / "x", many(SHAPES["a string"]))
    labels, _ = convert(export, tmp_path / "out", "--label_file", label_file)
    assert labels == ["病因", "费用", "就医", "治疗", "别的"]
    label_file.write_bytes("病因\n费用\n就医\n".encode())
    with pytest.raises(UsageError, match=r"x:1: label '治疗' is not in .*label.txt; add it there"):
        convert(export, tmp_path / "out2", "--label_file", label_file)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--task_type", "multi_label"], "only multi_class"),
        (["--splits", "0.5", "0.2"], "in sum 1"),
        (["--text_file", "x"], "either --doccano_file"),
        (["--doccano_file", "nowhere.jsonl"], "nowhere.jsonl: cannot be read"),
    ],
)
def test_usage_errors(tmp_path, flags, message):
    export = write_jsonl(tmp_path / "x", many(SHAPES["a string"]))
    with pytest.raises(UsageError, match=message):
        convert(export, tmp_path / "out", *flags)
    with pytest.raises(UsageError, match="say with --export_file"):
        doccano.main(["--text_file", "x"])
    with pytest.raises(SystemExit):
        doccano.main(["--doccano_file", "x", "--is_shuffle", "maybe"])


def test_files_that_are_there_are_kept(tmp_path):
    export = write_jsonl(tmp_path / "x", many(SHAPES["a string"]))
    (tmp_path / "train.txt").write_text("mine")
    with pytest.raises(UsageError, match="already has train.txt; add --force"):
        convert(export, tmp_path)
    assert (tmp_path / "train.txt").read_text() == "mine"
    assert convert(export, tmp_path, "--force")[0] == list(TEXTS.values())


def test_texts_to_annotate(tmp_path):
    files = {
        "bad_case.txt": "Text\tLabel\tPrediction\tScore\n头疼\t甲\t乙\t0.91\n发烧\t甲\t丙\t0.5\n",
        "sparse.txt": "咳嗽\t甲\n头疼\t甲\n",
        "data.txt": "新的一条\n发烧\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_bytes(text.encode("utf-8"))
    out = tmp_path / "new" / "to_annotate.jsonl"
    doccano.main(["--text_file", *(str(tmp_path / name) for name in files), "--export_file", str(out)])
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert rows == [
        {"text": "头疼", "label": ["乙"], "score": "0.91", "given_label": "甲", "origin": "bad_case.txt:2"},
        {"text": "发烧", "label": ["丙"], "score": "0.5", "given_label": "甲", "origin": "bad_case.txt:3"},
        {"text": "咳嗽", "label": ["甲"], "score": "", "given_label": "甲", "origin": "sparse.txt:1"},
        {"text": "新的一条", "label": [], "score": "", "given_label": "", "origin": "data.txt:1"},
    ]
    with pytest.raises(UsageError, match="already has to_annotate.jsonl"):
        doccano.main(["--text_file", str(tmp_path / "data.txt"), "--export_file", str(out)])


def test_the_model_labels_texts_beforehand(trained_once, tmp_path):
    data, checkpoint = trained_once
    texts = [line.split("\t")[0] for line in (data / "dev.txt").read_text(encoding="utf-8").splitlines()[:5]]
    (tmp_path / "data.txt").write_bytes("\n".join(texts).encode("utf-8"))
    out = tmp_path / "out.jsonl"
    flags = ["--text_file", str(tmp_path / "data.txt"), "--export_model_dir", str(checkpoint / "export")]
    doccano.main([*flags, "--export_file", str(out)])
    from core.predictor import Predictor

    expected = Predictor(checkpoint / "export").classify(texts)
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [(row["label"], row["score"]) for row in rows] == [([label], f"{score:.4f}") for label, score in expected]


@pytest.mark.parametrize(("line", "message"), [("\t甲", "x.txt:1: no text"), ("a\tb\tc\td\te", "x.txt:1: 5 columns")])
def test_bad_lines_to_annotate(tmp_path, line, message):
    (tmp_path / "x.txt").write_bytes(line.encode())
    with pytest.raises(UsageError, match=message):
        doccano.main(["--text_file", str(tmp_path / "x.txt"), "--export_file", str(tmp_path / "y.jsonl")])
    assert not (tmp_path / "y.jsonl").exists()


@pytest.fixture
def folder(tmp_path):
    """A small data folder with a byte-order mark, CRLF ends and odd spaces, which stay as they are."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "label.txt").write_bytes("甲\n乙\n丙\n".encode())
    (folder / "train.txt").write_bytes("\ufeff头疼  怎么办\t甲\r\n发烧\t乙\r\n咳嗽\t丙".encode())
    (folder / "dev.txt").write_bytes("挂号\t甲\n买药\t乙\n".encode())
    (folder / "data.txt").write_bytes("没标的一条\n还没标\n".encode())
    return folder


def merge(folder, tmp_path, *records):
    export = write_jsonl(tmp_path / "corrected.jsonl", records)
    return doccano.main(["--doccano_file", str(export), "--merge_into", str(folder)])


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_corrections_go_where_the_text_is(folder, tmp_path, capsys):
    records = [
        {"text": "头疼 怎么办", "label": ["乙"], "given_label": "甲", "origin": "bad_case.txt:2", "score": "0.9"},
        {"text": "买药", "label": ["丙"]},
        {"text": "没标的一条", "label": ["甲"]},
        {"text": "咳嗽", "label": ["丙"]},
        {"text": "还没标", "label": []},
    ]
    assert merge(folder, tmp_path, *records) == 0
    after = contents(folder)
    assert after["train.txt"].decode() == "\ufeff头疼  怎么办\t乙\r\n发烧\t乙\r\n咳嗽\t丙\n没标的一条\t甲\n"
    assert after["dev.txt"].decode() == "挂号\t甲\n买药\t丙\n"
    assert after["data.txt"].decode() == "还没标\n"
    out = capsys.readouterr().out
    assert f"{folder / 'train.txt'}:1: '甲' -> '乙' | 头疼 怎么办" in out
    assert f"{folder / 'train.txt'}:4: added '甲' | 没标的一条" in out
    assert "4 labelled texts: 4 changes, 0 conflicts; 1 texts without a label" in out
    # Once is enough.
    assert merge(folder, tmp_path, *records) == 0
    assert contents(folder) == after
    assert "4 labelled texts: 0 changes, 0 conflicts" in capsys.readouterr().out


def test_conflicts_are_listed_and_the_rest_is_merged(folder, tmp_path, capsys):
    records = [
        {"text": "头疼 怎么办", "label": ["乙"], "given_label": "丙"},  # train.txt says 甲 meanwhile
        {"text": "发烧", "label": ["甲"]},
        {"text": "发烧", "label": ["丙"]},  # two annotators
        {"text": "咳嗽", "label": ["丁"]},  # not in label.txt
        {"text": "挂号", "label": ["丙"], "given_label": "丙"},  # nothing was corrected: the folder's 甲 stays
        {"text": "买药", "label": ["丙"], "given_label": "乙"},
    ]
    assert merge(folder, tmp_path, *records) == 1
    after = contents(folder)
    assert after["train.txt"].decode() == "\ufeff头疼  怎么办\t甲\r\n发烧\t乙\r\n咳嗽\t丙"
    assert after["dev.txt"].decode() == "挂号\t甲\n买药\t丙\n"
    conflicts = [line for line in capsys.readouterr().out.splitlines() if line.startswith("conflict: ")]
    assert len(conflicts) == 3
    assert "corrected.jsonl:3: '发烧' has the label '丙', but '甲' in" in conflicts[0]
    assert "corrected.jsonl:4: label '丁' is not in" in conflicts[1]
    assert (
        "train.txt:1: label '甲', but '乙' in" in conflicts[2] and "it was '丙' when it was exported" in conflicts[2]
    )


def test_a_folder_that_cannot_be_read_is_left_alone(folder, tmp_path):
    (folder / "train.txt").write_bytes("头疼\t甲\n".encode("gbk"))
    before = contents(folder)
    with pytest.raises(UsageError, match="train.txt:1: byte"):
        merge(folder, tmp_path, {"text": "头疼", "label": ["乙"]})
    assert contents(folder) == before
    with pytest.raises(UsageError, match="label.txt: no such file"):
        merge(tmp_path / "nowhere", tmp_path, {"text": "头疼", "label": ["乙"]})


def test_as_a_program(folder, tmp_path):
    flags = ["--doccano_file", write_jsonl(tmp_path / "x", [{"text": "买药", "label": "丙"}]), "--merge_into", folder]
    command = [sys.executable, ROOT / "data" / "doccano.py", *flags]
    result = subprocess.run(list(map(str, command)), capture_output=True, encoding="utf-8")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1] == f"next: python data/check.py --dataset_dir {folder}"


def test_conflicts_are_set_aside(tmp_path, capsys):
    records = many(SHAPES["a string"])
    records[3] = {**records[3], "label": ["费用", "就医"]}  # two annotators of one record
    records.append({**records[5], "label": "病因"})  # the same text again
    assert (
        doccano.main(["--doccano_file", str(write_jsonl(tmp_path / "x", records)), "--save_dir", str(tmp_path / "o")])
        == 1
    )
    out = capsys.readouterr().out
    assert "conflict: " in out and "x:4: 2 labels (费用, 就医)" in out and "x:41: " in out
    assert "41 records: 38 labelled texts, 0 without a label (data.txt), 1 repeated" in out
    aside = (tmp_path / "o" / "conflicts.txt").read_text(encoding="utf-8").splitlines()
    assert [line.split("\t")[0] for line in aside] == [records[3]["text"], records[5]["text"]]
    written = "".join(
        (tmp_path / "o" / f"{name}.txt").read_text(encoding="utf-8") for name in ("train", "dev", "test")
    )
    assert records[3]["text"] not in written and records[5]["text"] not in written


def test_a_project_of_several_labels_is_refused(tmp_path):
    records = [
        {**row, "label": ["费用", "就医"]} if i % 5 == 0 else row for i, row in enumerate(many(SHAPES["a string"]))
    ]
    with pytest.raises(UsageError, match=r"x:1: 2 labels \(费用, 就医\); multi_class needs"):
        convert(write_jsonl(tmp_path / "x", records), tmp_path / "out")


@pytest.mark.parametrize("label", ['["治疗"]', "['治疗']", ["['治疗']"]])
def test_lists_that_were_written_as_texts(tmp_path, label):
    records = many(SHAPES["a string"])
    for row in records:
        row["label"] = label if row["label"] == "治疗" else row["label"]
    labels, _ = convert(write_jsonl(tmp_path / "x", records), tmp_path / "out")
    assert labels == list(TEXTS.values())


@pytest.mark.parametrize("label", ["[治疗, 就医]", "['治疗', '就医']", "[治疗，就医]"])
def test_several_labels_are_no_name(tmp_path, label, capsys):
    records = [*many(SHAPES["a string"]), {"text": "两个", "label": label}, {"text": "括号", "label": "[其他]"}]
    labels, _ = convert(write_jsonl(tmp_path / "x", records), tmp_path / "out", "--splits", 1, 0)
    assert labels == [*TEXTS.values(), "[其他]"] and "2 labels (治疗, 就医)" in capsys.readouterr().out


def test_files_with_cr_ends_keep_them(folder, tmp_path):
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r"))
    assert merge(folder, tmp_path, {"text": "买药", "label": ["丙"]}, {"text": "没标的一条", "label": ["甲"]}) == 0
    assert (folder / "dev.txt").read_bytes().decode() == "挂号\t甲\r买药\t丙\r"
    assert (folder / "train.txt").read_bytes().decode().endswith("咳嗽\t丙\r没标的一条\t甲\r")
    assert (folder / "data.txt").read_bytes().decode() == "还没标\r"


def test_a_thousand_changes_are_not_all_printed(folder, tmp_path, capsys):
    assert merge(folder, tmp_path, *({"text": f"新的{number}", "label": ["甲"]} for number in range(1000))) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == doccano.MAX_CHANGES + 3 and "… and 800 more" in lines
