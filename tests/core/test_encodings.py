"""Which encoding a file has when it is not UTF-8."""

import pytest

from core import encodings

TEXT = "头疼应该挂什么科\t就医建议\n医保卡能刷吗\t医疗费用\n"


@pytest.mark.parametrize(
    "codec, name",
    [("gb18030", "GB18030"), ("gbk", "GB18030"), ("big5", "BIG5"), ("cp1252", "CP1252")],
)
def test_the_guess(codec, name):
    texts = {
        "big5": "頭痛應該掛什麼科\t就醫建議\n",
        "cp1252": "Où est la pharmacie la plus proche, s’il vous plaît ?\n" * 5,
    }
    assert encodings.guess_encoding(texts.get(codec, TEXT).encode(codec)) == name


@pytest.mark.parametrize("codec, name", [("utf-16", "UTF-16"), ("utf-16-le", "UTF-16LE"), ("utf-16-be", "UTF-16BE")])
def test_utf_16_is_seen(codec, name):
    assert encodings.utf16_variant(TEXT.encode(codec)) == name
    assert encodings.utf16_variant(TEXT.encode("utf-8")) is None


def test_the_message_names_line_byte_and_conversion():
    data = b"plain\n" + TEXT.encode("gbk")
    message = encodings.describe_encoding("train.txt", data, 6)
    assert message == "train.txt:2: byte 0xCD is not UTF-8; it looks like GBK; convert it: iconv -f GB18030 -t UTF-8"
