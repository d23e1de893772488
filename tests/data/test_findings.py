"""data/findings.py: what is found in files and single lines, with its place."""

import pytest

from data import check
from tests.data.folders import TEXT, add_lines, rows_of, run
from tests.helpers import LABELS
from utils import UsageError, read_examples


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
        (2, "blank line"),
        (5, "label '医疗费用' is already in line 3"),
        (6, "a tab inside the label '多\\t余'"),
    ]
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


def test_characters(data_dir):
    texts = ["控制\x1a字符在这里", "零宽\u200b空格在这里", "私用\ue001字符在这里", "丢了\ufffd一个字"]
    texts += ["這個藥的副作用", "这个藥有什么副作用", "？？", "药", "👨‍👩‍👧一家人看病", "  前后有空格的文本  "]
    add_lines(data_dir, "train", *(f"{text}\t就医建议" for text in texts))
    assert [row[1:] for row in rows_of(data_dir, "control_character")] == [(49, "U+001A"), (50, "U+200B")]
    assert [row[1:] for row in rows_of(data_dir, "private_use")] == [(51, "U+E001")]
    assert [row[1:] for row in rows_of(data_dir, "lost_character")] == [(52, "U+FFFD")]
    assert [row[1:] for row in rows_of(data_dir, "mixed_script")] == [
        (53, "traditional, most texts are simplified"),
        (54, "both in one text"),
    ]
    assert [row[1] for row in rows_of(data_dir, "short_text")] == [55, 56]


def test_lengths_with_a_tokenizer(data_dir, tiny_model):
    add_lines(data_dir, "train", "头疼" * 20 + "\t就医建议", "headache medicine " * 3 + "\t就医建议")
    count = check.token_counter(str(tiny_model), 32)
    # The tiny vocabulary has Chinese characters and single letters: "headache" is one unknown word.
    truncated = rows_of(data_dir, "truncated", max_length=32, count_tokens=count)
    assert ("train.txt", 49, "42 tokens") in truncated
    assert not any(row[:2] == ("train.txt", 50) for row in truncated)
    truth = read_examples(data_dir / "train.txt", LABELS)[0]
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


def test_max_listed(data_dir):
    add_lines(data_dir, "train", *["坏行"] * 30)
    [finding] = check.check_folder(data_dir, max_listed=7, few=0).summary()["findings"]
    assert (finding["count"], len(finding["rows"])) == (30, 7)


def test_html_addresses_and_mojibake(data_dir):
    texts = [
        "头疼&nbsp;怎么办&#39;",
        "头疼<br/>怎么办",
        "见https://a.cn/x?y=1 怎么办",
        "www.a.com 怎么样",
        "a < b & c > d 吗",
    ]
    texts.append("头疼，应该挂什么科？".encode().decode("gbk", "ignore"))
    add_lines(data_dir, "train", *(f"{text}\t就医建议" for text in texts))
    assert rows_of(data_dir, "html") == [("train.txt", 49, "&nbsp;"), ("train.txt", 50, "<br/>")]
    assert rows_of(data_dir, "url") == [("train.txt", 51, "https://a.cn/x?y=1"), ("train.txt", 52, "www.a.com")]
    [(_, line, message)] = rows_of(data_dir, "mojibake")
    assert line == 54 and message.startswith("probably '头疼，应该挂")


def test_similar_labels(data_dir):
    add_lines(data_dir, "label", "ｑａ", "QA", "就医建议。")
    assert [row[2] for row in rows_of(data_dir, "similar_labels")] == [
        "'QA' and 'ｑａ'",
        "'就医建议。' and '就医建议'",
    ]


def test_columns(data_dir, capsys):
    lines = (data_dir / "train.txt").read_text(encoding="utf-8").splitlines()
    (data_dir / "train.txt").write_text("文本\t标签\n" + "\n".join(lines), encoding="utf-8")
    add_lines(data_dir, "label", "标签")
    assert [row[:2] for row in rows_of(data_dir, "columns")] == [("train.txt", 1)]
    assert run("--dataset_dir", data_dir) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("next: put the columns right")
    assert run("--dataset_dir", data_dir, "--trust_columns") == 0
    (data_dir / "train.txt").write_text(
        "\n".join("\t".join(line.split("\t")[::-1]) for line in lines), encoding="utf-8"
    )
    (data_dir / "label.txt").unlink()
    [(_, line, message)] = rows_of(data_dir, "columns")
    assert line is None and "the wrong way round" in message


def test_unknown_tokens(data_dir, tiny_model):
    add_lines(
        data_dir, "train", *(f"{text}\t就医建议" for text in ("голова болит", "у меня температура", "头疼ж怎么办"))
    )
    options = {"count_tokens": check.token_counter(str(tiny_model), 128)}
    [(_, _, message)] = rows_of(data_dir, "unknown_tokens", **options)
    assert "Cyrillic 100%" in message and "characters: " in message
    assert [row[1:] for row in rows_of(data_dir, "unreadable_text", **options)][:2] == [
        (49, "100% [UNK]"),
        (50, "100% [UNK]"),
    ]
