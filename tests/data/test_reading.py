"""data/reading.py: files of every encoding."""

import pytest

from tests.data.folders import TEXT, add_lines, rows_of

NAMES = {
    "gbk": "GBK (GB18030)",
    "gb18030": "GBK (GB18030)",
    "big5": "BIG5",
    "utf-16": "UTF-16",
    "utf-16-le": "UTF-16LE",
    "utf-16-be": "UTF-16BE",
}


@pytest.mark.parametrize(("encoding", "name"), NAMES.items())
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
