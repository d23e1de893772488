"""data/doccano.py: every shape of export that is documented, refusals with the record's place, the way back."""

import json
import zipfile

import doccano
import pytest

from utils import UsageError, read_examples, read_labels

TEXTS = {"头疼怎么办": "治疗", "挂哪个科": "就医", "做一次要多少钱": "费用", "为什么总咳嗽": "病因"}
# As doccano 1.8.4 wrote it (JSONL, DocumentClassification), meta data included.
REAL_LINE = (
    '{"id":1,"text":"头疼 怎么办","score":"0.93","given_label":"其他","origin":"bad_case.txt:2",'
    '"label":["治疗方案"],"Comments":[]}'
)


def many(make, count=10):
    """`count` records a label, made by make(text, label)."""
    return [make(f"{text}（第{number}位）", label) for number in range(count) for text, label in TEXTS.items()]


def write_jsonl(path, records):
    path.write_bytes("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode("utf-8"))
    return path


def write_json(path, records):
    path.write_bytes(json.dumps(records, ensure_ascii=False).encode("utf-8"))
    return path


def convert(path, save_dir, *flags):
    doccano.main(["--doccano_file", str(path), "--save_dir", str(save_dir), *map(str, flags)])
    labels = read_labels(save_dir / "label.txt")
    result = {}
    for name in ("train", "dev", "test"):
        if (save_dir / f"{name}.txt").is_file():
            texts, ids = read_examples(save_dir / f"{name}.txt", labels)
            result[name] = [(text, labels[i]) for text, i in zip(texts, ids)]
    return labels, result


SHAPES = {
    "a list, as 1.x exports it": lambda text, label: {"id": 7, "text": text, "label": [label], "Comments": []},
    "a string": lambda text, label: {"id": 7, "text": text, "label": label},
    "the same label of two annotators": lambda text, label: {"text": text, "label": [label, label]},
    "labels, as 0.x exports Text-Labels": lambda text, label: {"id": 7, "text": text, "labels": [label], "meta": {}},
    "data, as 1.5 calls the text": lambda text, label: {"id": 7, "data": text, "label": [label]},
    "Label Studio": lambda text, label: {
        "id": 7, "data": {"text": text}, "predictions": [],
        "annotations": [
            {"was_cancelled": True, "result": [{"type": "choices", "value": {"choices": ["x"]}}]},
            {"was_cancelled": False, "result": [{"type": "choices", "value": {"choices": [label]}}]},
        ],
    },
    "Label Studio before 1.0": lambda text, label: {
        "id": 7, "data": {"text": text}, "completions": [{"result": [{"value": {"choices": [label]}}]}]
    },
    "JSON-MIN": lambda text, label: {
        "text": text, "id": 7, "intent": label, "annotator": 1, "annotation_id": 3, "created_at": "", "updated_at": "",
        "lead_time": 2.4,
    },
    "JSON-MIN with a list": lambda text, label: {"text": text, "intent": {"choices": [label]}, "annotator": 1},
}  # fmt: skip


@pytest.mark.parametrize("write", [write_jsonl, write_json])
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(tmp_path, shape, write):
    labels, parts = convert(write(tmp_path / "export", many(SHAPES[shape])), tmp_path / "out")
    assert labels == list(TEXTS.values())  # the order of first appearance
    assert {name: len(rows) for name, rows in parts.items()} == {"train": 32, "dev": 4, "test": 4}
    assert sorted(row for rows in parts.values() for row in rows) == sorted(many(lambda text, label: (text, label)))
    for rows in parts.values():
        assert {label for _, label in rows} == set(labels)


def test_a_real_record():
    [(text, label, meta)] = [doccano._from_doccano(json.loads(REAL_LINE))]
    assert (text, label) == ("头疼 怎么办", "治疗方案")
    assert meta == {"score": "0.93", "given_label": "其他", "origin": "bad_case.txt:2"}


def test_numbers_are_names_too(tmp_path):
    records = many(lambda text, label: {"text": text, "label": len(label)})
    records += many(lambda text, label: {"text": text + "吗", "label": [0]})
    labels, _ = convert(write_jsonl(tmp_path / "x", records), tmp_path / "out")
    assert labels == ["2", "0"]


def test_zip_bom_and_white_space(tmp_path):
    records = many(lambda text, label: {"text": f" {text}\n还有\t{text} ", "label": [label]})
    data = "\r\n".join(json.dumps(record, ensure_ascii=False) for record in records).encode("utf-8-sig")
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        archive.writestr("all.jsonl", data)
    _, parts = convert(tmp_path / "export.zip", tmp_path / "out")
    assert all("\t" not in text and " 还有 " in text for rows in parts.values() for text, _ in rows)
    with zipfile.ZipFile(tmp_path / "export.zip", "a") as archive:
        archive.writestr("unknown.jsonl", data)
    with pytest.raises(UsageError, match=r"2 files of records \(all.jsonl unknown.jsonl\)"):
        convert(tmp_path / "export.zip", tmp_path / "out2")


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


BAD = {
    "2 labels (甲, 乙)": {"text": "一", "label": ["甲", "乙"]},
    "no text": {"text": " \n", "label": ["甲"]},
    "no text; every": {"label": ["甲"]},
    "spans instead of a label": {"text": "一", "label": [[0, 2, "甲"]]},
    "spans, as a sequence": {"text": "一", "entities": [{"label": "甲", "start_offset": 0}], "relations": []},
    "spans, as a sequence labelling or intent": {"text": "一", "cats": ["甲"]},
    "label numbers instead of names": {"text": "一", "annotations": [{"label": 2, "user": 1}]},
    "not a JSON object": ["一", "甲"],
    "is not a name": {"text": "一", "label": [True]},
    "the label '  ' is not a name": {"text": "一", "label": ["  "]},
    "spans instead of choices": {
        "data": {"text": "一"}, "annotations": [{"result": [{"value": {"start": 0, "labels": ["甲"]}}]}]
    },
    "several answers (a, b)": {"text": "一", "annotator": 1, "a": "甲", "b": "乙"},
    "2 labels (甲, 乙); multi_class": {
        "data": {"text": "一"}, "annotations": [{"result": [{"value": {"choices": [label]}}]} for label in "甲乙"]
    },
}  # fmt: skip


@pytest.mark.parametrize("message", BAD)
def test_refusals_name_the_record(tmp_path, message):
    good = {"text": "好", "label": ["甲"]}
    for write, place in ((write_jsonl, "x:2: "), (write_json, "x: record 2: ")):
        with pytest.raises(UsageError) as error:
            convert(write(tmp_path / "x", [good, BAD[message]]), tmp_path / "out")
        assert str(error.value).startswith(f"{tmp_path / 'x'}{place[1:]}") and message in str(error.value)
    assert not (tmp_path / "out").exists()


def test_all_bad_records_at_once_but_not_thousands(tmp_path):
    with pytest.raises(UsageError) as error:
        convert(write_jsonl(tmp_path / "x", [{"text": ""}] * 500), tmp_path / "out")
    lines = str(error.value).splitlines()
    assert len(lines) == doccano.MAX_PROBLEMS + 1 and lines[-1] == "… and 480 more of this kind"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no records"),
        (b"[]", "no records"),
        ('{"text": "一", "label"'.encode(), "x:1: not readable as JSON"),
        (b"[{]", "x: not readable as JSON"),
        (b"a,b\n1,2\n", "x:1: not readable as JSON"),
        ('{"text": "头疼"}'.encode("gbk"), "x:1: byte 0x.* it looks like GBK"),
        (b"PK\x03\x04broken", "x:1: "),
        ('{"text": "一", "label": "甲"}'.encode(), "1 labels in 1 labelled records"),
        (
            '{"text": "一", "label": "甲"}\n{"text": "一", "label": "乙"}'.encode(),
            "x:2: '一' has the label '乙', but '甲' in .*x:1",
        ),
    ],
)  # fmt: skip
def test_broken_files(tmp_path, content, message):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(UsageError, match=message):
        convert(tmp_path / "x", tmp_path / "out")
    assert not (tmp_path / "out").exists()


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


# --------------------------------------------------------------------------------------------------- to annotate


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


# --------------------------------------------------------------------------------------------------------- merging


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
    assert merge(
        folder, tmp_path,
        {"text": "头疼 怎么办", "label": ["乙"], "given_label": "丙"},  # train.txt says 甲 meanwhile
        {"text": "发烧", "label": ["甲"]}, {"text": "发烧", "label": ["丙"]},  # two annotators
        {"text": "咳嗽", "label": ["丁"]},  # not in label.txt
        {"text": "挂号", "label": ["丙"], "given_label": "丙"},  # nothing was corrected: the folder's 甲 stays
        {"text": "买药", "label": ["丙"], "given_label": "乙"},
    ) == 1  # fmt: skip
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
