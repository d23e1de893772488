"""data/comparisons.py: copies, conflicts, leaks and the frequencies of labels."""

import random

from data import check, comparisons, near_duplicates, seen_texts, stored_texts, verification
from tests.data.folders import TEXT, add_lines, rows_of
from tests.helpers import LABELS


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
        ("dev.txt", 22, "also train.txt:49"),
        ("test.txt", 2, "also train.txt:49"),
        ("test.txt", 1, "also dev.txt:24"),
    ]
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


def test_many_lines_are_compared_as_few_are(data_dir, tmp_path, sample_lines, monkeypatch):
    """Arrays on the disk, pieces of a few lines: the same report, and the same cleaned copy."""
    rng = random.Random(0)
    texts = [line.split("\t")[0] for line in sample_lines["train"][:150]]
    for name, count in (("train", 300), ("dev", 80), ("test", 80)):
        lines = []
        for _ in range(count):
            text, label = rng.choice(texts), rng.choice(LABELS)
            place = rng.randrange(len(text))
            lines.append(f"{text}{rng.choice(['', '？', '。', '呢'])}\t{label}")
            lines.append(f"{text[:place]}{rng.choice('的了吗')}{text[place + 1 :]}\t{label}")
        add_lines(data_dir, name, *lines, '"他说""疼""，怎么办"\t就医建议')
    add_lines(data_dir, "data", *texts[:50], *texts[:50])
    before = check.check_folder(data_dir, few=0).summary()
    assert check.main(["--dataset_dir", str(data_dir), "--fix", str(tmp_path / "a"), "--max_left_out", "1"]) in (0, 1)
    monkeypatch.setattr(stored_texts, "IN_MEMORY", 0)
    monkeypatch.setattr(comparisons, "PIECE", 7)
    monkeypatch.setattr(near_duplicates, "MAPPED_AT_ONCE", 10)
    monkeypatch.setattr(seen_texts, "BLOCK", 3)
    monkeypatch.setattr(verification, "BLOCK", 50)
    assert check.check_folder(data_dir, few=0).summary() == before
    kinds = {finding["kind"]: finding["count"] for finding in before["findings"]}
    assert min(kinds[kind] for kind in ("conflict", "leakage", "normalised_leakage", "near_leakage", "duplicate")) > 10
    assert check.main(["--dataset_dir", str(data_dir), "--fix", str(tmp_path / "b"), "--max_left_out", "1"]) in (0, 1)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
