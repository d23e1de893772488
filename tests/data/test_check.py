"""data/check.py: each finding with its place, every encoding, --json, --html, --fix; what train.py takes, and fuzz."""

import csv
import json
import random
import shutil

import check
import pytest
from tests.helpers import LABELS, train_flags, write_data
from near_duplicates import normalise

import train
from utils import UsageError, read_examples, read_labels

TEXT = "孩子反复咳嗽半个月了应该挂哪个科室的号"


def rows_of(folder, kind, **options):
    """(file, line, message) of each finding of a kind."""
    summary = check.check_folder(folder, **options).summary()
    found = [finding for finding in summary["findings"] if finding["kind"] == kind]
    return [(row["file"], row["line"], row["message"]) for finding in found for row in finding["rows"]]


def add_lines(folder, name, *lines):
    path = folder / f"{name}.txt"
    old = path.read_bytes() if path.is_file() else b""
    path.write_bytes(old + b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines))


def run(*flags):
    return check.main([str(flag) for flag in flags])


def test_good_data_has_no_findings_but_few_samples(data_dir):
    summary = check.check_folder(data_dir, few=1).summary()
    assert summary["findings"] == [] and summary["errors"] == summary["warnings"] == 0
    assert summary["files"]["train.txt"]["samples"] == 48
    assert sum(summary["files"]["dev.txt"]["labels"].values()) == 21


def test_all_errors_at_once(data_dir):
    lines = ["", "没有标签", "一\t二\t就医建议", "\t就医建议", "就医建议\t" + TEXT, TEXT + "\t就医建意"]
    add_lines(data_dir, "train", *lines, TEXT + "\t就医建议")
    kinds = ["blank_line", "no_tab", "extra_tab", "empty_text", "swapped_columns", "unknown_label"]
    for line, kind in enumerate(kinds, 49):
        [(file, number, message)] = rows_of(data_dir, kind)
        assert (file, number) == ("train.txt", line)
        # The linter and train.py say the same of the same line.
        (data_dir / "one.txt").write_bytes((lines[line - 49] + "\nx\t就医建议\n").encode())
        with pytest.raises(UsageError) as error:
            read_examples(data_dir / "one.txt", LABELS)
        assert str(error.value) == f"{data_dir / 'one.txt'}:1: {message}"
    assert check.check_folder(data_dir).findings.number_of("error") == 6
    assert run("--dataset_dir", data_dir) == 1


def test_label_file(data_dir):
    (data_dir / "label.txt").write_bytes("病情诊断\n\n医疗费用\n就医建议\n医疗费用\n多\t余\n".encode())
    assert [(line, message.partition(";")[0]) for _, line, message in rows_of(data_dir, "label_file")] == [
        (2, "blank line"), (5, "label '医疗费用' is already in line 3"), (6, "a tab inside the label '多\\t余'"),
    ]  # fmt: skip
    (data_dir / "label.txt").write_bytes("病情诊断\n".encode())
    assert "only one label" in rows_of(data_dir, "label_file")[0][2]


@pytest.mark.parametrize("name", ["train", "dev", "label"])
def test_missing_and_empty_files(data_dir, name):
    (data_dir / f"{name}.txt").unlink()
    assert rows_of(data_dir, "file")[0][:2] == (f"{name}.txt", None)
    (data_dir / f"{name}.txt").write_bytes(b"\n \n")
    assert check.check_folder(data_dir).findings.number_of("error") == 1
    (data_dir / f"{name}.txt").unlink()
    (data_dir / f"{name}.txt").mkdir()
    assert check.check_folder(data_dir).findings.number_of("error") == 1


@pytest.mark.parametrize(
    ("encoding", "name"),
    [("gbk", "GBK (GB18030)"), ("gb18030", "GBK (GB18030)"), ("big5", "BIG5"), ("utf-16", "UTF-16"),
     ("utf-16-le", "UTF-16LE"), ("utf-16-be", "UTF-16BE")],
)  # fmt: skip
def test_encodings_are_named_and_the_rest_is_checked(data_dir, encoding, name):
    lines = [f"第{number}次檢查的結果應該怎麼看\t就医建议" for number in range(40)]
    if encoding == "big5":
        (data_dir / "label.txt").write_bytes("病情诊断\n医疗费用\n就醫建議\n".encode())
        lines = [line.replace("就医建议", "就醫建議") for line in lines]
    (data_dir / "dev.txt").write_bytes("\n".join([*lines, "没标签"[:1] + "標籤"]).encode(encoding, "replace") + b"\n")
    [file, line, message] = rows_of(data_dir, "encoding")[0]
    assert file == "dev.txt" and name in message
    assert line == (None if encoding.startswith("utf-16") else 1)
    assert [line for _, line, _ in rows_of(data_dir, "no_tab")] == [41]


def test_one_line_of_another_encoding(data_dir):
    add_lines(
        data_dir, "train", TEXT + "\t就医建议", ("血压高吃什么药\t就医建议").encode("gbk"), b"\xff\xfe\xfd\t\xff"
    )
    found = rows_of(data_dir, "encoding")
    assert found == [
        ("train.txt", 50, "looks like GBK (GB18030)"),
        ("train.txt", 51, "not in a known encoding"),
    ]


def test_copies_conflicts_and_leaks(data_dir):
    copy, near = TEXT + "\t就医建议", TEXT.replace("半个月", "两个月") + "\t就医建议"
    add_lines(data_dir, "train", copy, copy, f"{TEXT}？\t就医建议", f" {TEXT}\t医疗费用")
    assert rows_of(data_dir, "duplicate") == [("train.txt", 50, "same as line 49")]
    assert rows_of(data_dir, "normalised_duplicate") == [("train.txt", 51, "same as line 49")]
    assert rows_of(data_dir, "conflict") == [("train.txt", 52, "'医疗费用', but '就医建议' in train.txt:49")]

    add_lines(data_dir, "dev", TEXT + "\t病情诊断", f"{TEXT}！\t就医建议", near)
    add_lines(data_dir, "test", near, copy)
    add_lines(data_dir, "data", TEXT + "。", "从来没有标过的一句话", "从来没有标过的一句话")
    assert ("dev.txt", 22, "'病情诊断', but '就医建议' in train.txt:49") in rows_of(data_dir, "conflict")
    assert rows_of(data_dir, "leakage") == [
        ("dev.txt", 22, "also train.txt:49"), ("test.txt", 2, "also train.txt:49"), ("test.txt", 1, "also dev.txt:24"),
    ]  # fmt: skip
    assert rows_of(data_dir, "normalised_leakage") == [("dev.txt", 23, "also train.txt:49")]
    assert rows_of(data_dir, "near_leakage", threshold=0.6)[0][:2] == ("dev.txt", 24)
    assert rows_of(data_dir, "near_leakage", threshold=0) == []
    assert rows_of(data_dir, "already_labelled") == [("data.txt", 1, "labelled in train.txt:49")]
    assert ("data.txt", 3, "same as line 2") in rows_of(data_dir, "duplicate")


def test_near_leakage_shows_both_texts(data_dir):
    add_lines(data_dir, "train", TEXT + "\t就医建议")
    add_lines(data_dir, "dev", f"请问{TEXT}呢\t就医建议")
    summary = check.check_folder(data_dir).summary()
    [row] = [row for finding in summary["findings"] if finding["kind"] == "near_leakage" for row in finding["rows"]]
    assert (row["text"], row["other_text"]) == (f"请问{TEXT}呢", TEXT)
    assert row["message"].startswith("0.8") and row["message"].endswith("like train.txt:49")


def test_labels(data_dir):
    (data_dir / "label.txt").write_bytes("\n".join([*LABELS, "没人用"]).encode())
    add_lines(data_dir, "train", *(f"第{number}个完全不同的问题是什么\t就医建议" for number in range(400)))
    assert rows_of(data_dir, "unused_label") == [("label.txt", None, "'没人用'")]
    assert rows_of(data_dir, "not_in_dev") == [("dev.txt", None, "'没人用'")]
    few = [message for *_, message in rows_of(data_dir, "few_samples", few=20)]
    assert [message.partition(":")[0] for message in few] == ["'病情诊断'", "'医疗费用'"]
    counts = check.check_folder(data_dir).summary()["files"]["train.txt"]["labels"]
    most, least = counts["就医建议"], min(counts["病情诊断"], counts["医疗费用"])
    [(file, _, message)] = rows_of(data_dir, "imbalance")
    assert file == "train.txt" and message.endswith(f"{least}: {most / least:.0f} to 1") and most > 400
    [(file, _, message)] = rows_of(data_dir, "label_shift")
    assert file == "dev.txt" and "'就医建议' most of all: 9" in message


def test_characters(data_dir):
    texts = ["控制\x1a字符在这里", "零宽\u200b空格在这里", "私用\ue001字符在这里", "丢了\ufffd一个字",
             "這個藥的副作用", "这个藥有什么副作用", "？？", "药", "👨‍👩‍👧一家人看病",
             "  前后有空格的文本  "]  # fmt: skip
    add_lines(data_dir, "train", *(f"{text}\t就医建议" for text in texts))
    assert [row[1:] for row in rows_of(data_dir, "control_character")] == [(49, "U+001A"), (50, "U+200B")]
    assert [row[1:] for row in rows_of(data_dir, "private_use")] == [(51, "U+E001")]
    assert [row[1:] for row in rows_of(data_dir, "lost_character")] == [(52, "U+FFFD")]
    assert [row[1:] for row in rows_of(data_dir, "mixed_script")] == [
        (53, "traditional, most texts are simplified"), (54, "both in one text"),
    ]  # fmt: skip
    assert [row[1] for row in rows_of(data_dir, "short_text")] == [55, 56]


def test_lengths_with_a_tokenizer(data_dir, tiny_model):
    add_lines(data_dir, "train", "头疼" * 20 + "\t就医建议", "headache medicine " * 3 + "\t就医建议")
    count = check.token_counter(str(tiny_model), 32)
    # The tiny vocabulary has Chinese characters and single letters: "headache" is one unknown word.
    truncated = rows_of(data_dir, "truncated", max_length=32, count_tokens=count)
    assert ("train.txt", 49, "42 tokens") in truncated
    assert not any(row[:2] == ("train.txt", 50) for row in truncated)
    truth = train.read_examples(data_dir / "train.txt", LABELS)[0]
    assert [row[1] for row in truncated if row[0] == "train.txt"] == [
        number for number, text in enumerate(truth, 1) if count([text])[0] > 32
    ]
    summary = check.check_folder(data_dir, max_length=32, count_tokens=count).summary()
    assert summary["tokens"] == "counted"
    tokens = summary["files"]["train.txt"]["tokens"]
    assert tokens["max"] >= 42 and tokens["over_max_length"] == sum(row[0] == "train.txt" for row in truncated)
    histogram = summary["files"]["train.txt"]["token_histogram"]
    assert sum(histogram["counts"]) == 50 and histogram["counts"][42 // histogram["bin_width"]] > 0
    # The estimate agrees on Chinese.
    assert ("train.txt", 49, "42 tokens") in rows_of(data_dir, "truncated", max_length=32)


def test_json(data_dir, tmp_path, capsys):
    add_lines(data_dir, "train", "坏行")
    assert run("--dataset_dir", data_dir, "--json") == 1
    printed = json.loads(capsys.readouterr().out)
    assert run("--dataset_dir", data_dir, "--json", tmp_path / "new" / "report.json") == 1
    assert json.loads((tmp_path / "new" / "report.json").read_text(encoding="utf-8")) == printed
    assert printed["findings"][0]["rows"] == [
        {"file": "train.txt", "line": 49, "message": "no tab; write <text>, a tab, <label>", "text": "坏行",
         "other_text": None}
    ]  # fmt: skip


def test_the_terminal_report_counts_all_and_shows_some(data_dir, capsys):
    add_lines(data_dir, "train", *["坏行\x1b[31m"] * 30)
    assert run("--dataset_dir", data_dir) == 1
    out = capsys.readouterr().out
    assert "ERROR no_tab (30)" in out and f"{data_dir / 'train.txt'}:49: no tab" in out
    assert out.count("坏行") == check.ROWS_IN_TERMINAL and "… and 25 more" in out
    assert "\x1b" not in out and "30 errors, " in out


def test_max_listed(data_dir):
    add_lines(data_dir, "train", *["坏行"] * 30)
    [finding] = check.check_folder(data_dir, max_listed=7, few=0).summary()["findings"]
    assert (finding["count"], len(finding["rows"])) == (30, 7)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset_dir", "nowhere"], "nowhere: no such folder"),
        (["--max_length", "2"], "give 3 or more"),
        (["--near_duplicate_threshold", "1.5"], "from 0 to 1"),
        (["--max_listed", "0"], "give 1 or more"),
        (["--model_name_or_path", "./nowhere"], "no such directory"),
    ],
)
def test_usage_errors(data_dir, flags, message):
    with pytest.raises(UsageError, match=message):
        run("--dataset_dir", data_dir, *flags)


# ------------------------------------------------------------------------------------------------------------ html


def test_html_in_a_browser(data_dir, tmp_path, rendered):
    add_lines(
        data_dir, "train", f"{TEXT}<script>document.title='x'</script>", f"{TEXT}\t就医建议", f"{TEXT}\t医疗费用"
    )
    page = tmp_path / "report.html"
    assert run("--dataset_dir", data_dir, "--html", page) == 1
    text = page.read_text(encoding="utf-8")
    assert text.count("<svg") == 2 and "<script" not in text and "src=" not in text and 'href="http' not in text
    dom = rendered(page)
    for wanted in ("病情诊断", "--max_length 128", "conflict (1)", "no_tab (1)", "train.txt:51"):
        assert wanted in dom
    assert "<title>Data check" in dom


def test_html_of_a_folder_without_samples(tmp_path):
    (tmp_path / "data").mkdir()
    assert run("--dataset_dir", tmp_path / "data", "--html", tmp_path / "report.html") == 1
    assert "3 errors" in (tmp_path / "report.html").read_text(encoding="utf-8")


# ------------------------------------------------------------------------------------------------------------- fix


def test_fix(data_dir, tmp_path, capsys):
    lines = ["", "没有标签也没有空格", f"{TEXT}\u3000就医建议", f"{TEXT}要\t加急\t就医建议", f"就医建议\t{TEXT}换列",
             f"{TEXT}错\t啥", f"控\x1a制\x0b{TEXT}\t就医建议 ", f"{TEXT}全角\t就医建议\u3000",
             f"{TEXT}\t就医建议"]  # fmt: skip
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
    assert "0 errors" in capsys.readouterr().out.splitlines()[-1]


def test_fix_writes_missing_labels(data_dir, tmp_path):
    (data_dir / "label.txt").unlink()
    assert run("--dataset_dir", data_dir, "--fix", tmp_path / "clean") == 0
    assert set(read_labels(tmp_path / "clean" / "label.txt")) == set(LABELS)


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

    monkeypatch.setattr("clean.Cleaner.write_split", full_disk)
    with pytest.raises(UsageError, match="No space left"):
        run("--dataset_dir", data_dir, "--fix", tmp_path / "clean")
    assert list((tmp_path / "clean").iterdir()) == []


# ------------------------------------------------------------------------------------------------------------ fuzz


ENCODINGS = ["gbk", "gb18030", "big5", "utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "latin-1"]
ODD_CHARACTERS = [
    "\u200b",
    "\ufeff",
    "\u3000",
    "\xa0",
    "\ue000",
    "\U0010ffff",
    "\u2028",
    "\x1c",
    "\x85",
    "﷽",
    "𠮷",
    "é",
]


def mutate(folder, rng):
    """Damage one to three files of a data folder the way transfers, editors and people do."""
    for _ in range(rng.randrange(1, 4)):
        path = folder / f"{rng.choice(['train', 'train', 'dev', 'label', 'test', 'data'])}.txt"
        data = path.read_bytes() if path.is_file() else b""
        lines = data.split(b"\n")
        at, row = rng.randrange(len(data) + 1), rng.randrange(len(lines))
        kind = rng.randrange(18)
        if kind == 0:  # bytes flipped
            for _ in range(rng.randrange(1, 20)):
                at = rng.randrange(len(data)) if data else 0
                data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
        elif kind == 1:  # cut off
            data = data[:at]
        elif kind == 2:  # tabs added
            data = data[:at] + b"\t" * rng.randrange(1, 3) + data[at:]
        elif kind == 3:  # line ends added
            data = (
                data[:at]
                + rng.choice([b"\n", b"\n\n\n", b"\r", b"\r\n", b"\x0b", b"\xc2\x85", b"\xe2\x80\xa8"])
                + data[at:]
            )
        elif kind == 4:  # NULs
            data = data[:at] + b"\0" * rng.choice([1, 3, 5000]) + data[at:]
        elif kind == 5:  # a huge line
            data = (
                data[:at] + rng.choice(["药", "a", " ", "药 a"]).encode() * rng.choice([10_000, 300_000]) + data[at:]
            )
        elif kind in (6, 7):  # the whole file in another encoding
            encoding = rng.choice(
                ["gbk", "gb18030", "big5", "utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "latin-1"]
            )
            data = data.decode("utf-8", "replace").encode(encoding, "replace")
        elif kind == 8:  # one line in another encoding
            lines[row] = lines[row].decode("utf-8", "replace").encode(rng.choice(["gbk", "big5", "utf-16"]), "replace")
            data = b"\n".join(lines)
        elif kind == 9:  # lines lost
            data = b"\n".join(line for line in lines if rng.random() < 0.5)
        elif kind == 10:  # lines repeated
            data = b"\n".join(lines + rng.choices(lines, k=rng.randrange(1, 30)))
        elif kind == 11:
            data = data.replace(b"\n", b"\r\n" if rng.random() < 0.7 else b"\r")
        elif kind == 12:  # columns change places
            data = b"\n".join(b"\t".join(reversed(line.split(b"\t"))) for line in lines)
        elif kind == 13:
            data = data.replace(b"\t", rng.choice([b" ", b",", b"    ", b"\\t", b""]), rng.choice([1, -1]))
        elif kind == 14:  # odd characters, some of them blank to str.strip
            odd = rng.choice(ODD_CHARACTERS)
            data = data[:at] + odd.encode() * rng.randrange(1, 5) + data[at:]
        elif kind == 15:
            data = rng.choice([b"", b"\n", b"\xef\xbb\xbf", b"\xff\xfe", b"\t", b" \n\t\n", b"\0"])
        elif kind == 16:
            path.unlink(missing_ok=True)
            continue
        else:  # texts of another file
            other = folder / f"{rng.choice(['train', 'dev', 'label'])}.txt"
            data += other.read_bytes()[:2000] if other.is_file() else b""
        path.write_bytes(data)


def refused_by_train(folder):
    """The message with which train.py refuses the folder, or None; read as its --do_train --do_eval reads it."""
    flags = [
        "--do_train",
        "--do_eval",
        "--device",
        "cpu",
        "--data_dir",
        str(folder),
        "--output_dir",
        str(folder / "out"),
    ]
    try:
        train.parse_all(flags)
    except UsageError as error:
        return str(error)
    return None


def fuzz(count, seed, tmp_path, sample_lines):
    """Check `count` damaged folders; returns how many train.py takes and refuses."""
    passed = refused = 0
    for number in range(count):
        rng = random.Random(f"{seed}-{number}")
        folder = tmp_path / str(number)
        folder.mkdir()
        write_data(folder, sample_lines["train"][:24], sample_lines["dev"][:9])
        add_lines(folder, "data", "没有标签的一条文本")
        mutate(folder, rng)
        message = refused_by_train(folder)
        summary = check.check_folder(folder).summary()
        "\n".join(check.report(summary)).encode("utf-8")
        json.dumps(summary)
        errors = [row for finding in summary["findings"] if finding["severity"] == "error" for row in finding["rows"]]
        here = [row for row in errors if row["file"] in ("train.txt", "dev.txt", "label.txt")]
        assert bool(here) == (message is not None), (number, message, here[:3])
        passed, refused = passed + (message is None), refused + (message is not None)
        try:
            code = run("--dataset_dir", folder, "--fix", folder / "clean")
        except UsageError as error:
            assert "no label is known" in str(error), number
        else:
            if code == 0:
                assert refused_by_train(folder / "clean") is None, number
        shutil.rmtree(folder)
    return passed, refused


def test_damaged_folders(tmp_path, sample_lines, capsys):
    passed, refused = fuzz(200, 1, tmp_path, sample_lines)
    assert passed + refused == 200 and min(passed, refused) > 20


@pytest.mark.slow
def test_a_thousand_damaged_folders(tmp_path, sample_lines, capsys):
    passed, refused = fuzz(1000, 2, tmp_path, sample_lines)
    assert passed + refused == 1000


def test_what_the_linter_passes_is_trained_on(tmp_path, sample_lines, tiny_model, capsys):
    """Not only read: damaged folders that pass go through a real training step."""
    trained = 0
    for number in range(100):
        folder = tmp_path / str(number)
        folder.mkdir()
        write_data(folder, sample_lines["train"][:24], sample_lines["dev"][:9])
        mutate(folder, random.Random(f"train-{number}"))
        if run("--dataset_dir", folder) == 0 and trained < 3:
            train.main(train_flags(folder, tiny_model, folder / "out", "--do_eval", "--max_steps", "1"))
            trained += 1
    assert trained == 3


# ------------------------------------------------------------------------------------------------------ large files


def test_memory_stays_small_and_lines_are_quick(tmp_path, sample_lines):
    """A tenth of the size that the README promises; `make bench-data` measures all of it."""
    import time
    import tracemalloc

    rng = random.Random(0)
    characters = sorted({character for line in sample_lines["train"] for character in line.split("\t")[0]})
    lines = ["".join(rng.choices(characters, k=18)) + "\t" + rng.choice(LABELS) for _ in range(100_000)]
    write_data(tmp_path, lines[:95_000], lines[95_000:])
    del lines
    tracemalloc.start()
    check.check_folder(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 250e6
    start = time.perf_counter()
    check.check_folder(tmp_path)
    assert time.perf_counter() - start < 30


def test_normalise_matches_line_by_line(sample_lines):
    texts = [line.split("\t")[0] for line in sample_lines["train"]]
    assert normalise(texts) == [normalise([text])[0] for text in texts]
