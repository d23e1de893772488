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


SENTENCES = {
    "SHIFT_JIS": ["頭が痛いのですが何科に行けばいいですか", "配送がとても遅かったです", "バッテリーの持ちが悪い"],
    "EUC-JP": ["画面がきれいで満足しています", "スタッフの対応が良かったので、また利用します"],
    "EUC-KR": ["머리가 아픈데 어느 과에 가야 하나요", "배송이 너무 늦었어요", "직원이 불친절합니다"],
    "CP1251": ["К какому врачу идти с головной болью", "Доставка была очень медленной", "Спасибо за помощь"],
    "KOI8-R": ["К какому врачу идти с головной болью", "Экран чёткий, батарея держит долго"],
    "CP866": ["Плохое качество, больше не куплю"],
    "CP1252": ["Très déçu par la qualité, dès la première journée", "Der Bildschirm ist schön und größer"],
    "CP1253": ["Πού πονάει το κεφάλι μου", "Η αποστολή ήταν πολύ αργή"],
    "CP1256": ["أين يقع أقرب مستشفى من هنا"],
    "CP874": ["ปวดหัวควรไปหาหมอแผนกไหน"],
    "GB18030": ["头疼应该挂什么科", "屏幕清晰电池耐用", "苹果发布新款手机", "這個藥的副作用是什麼"],
    "BIG5": ["頭痛應該掛什麼科", "小孩反覆咳嗽半個月了", "螢幕清晰電池耐用"],
}


@pytest.mark.parametrize("name", SENTENCES)
def test_single_lines_of_each_language(name):
    for text in SENTENCES[name]:
        assert encodings.likely_encodings(text.encode(encodings.codec_of(name))) == [name], text


def test_too_little_to_tell_names_both():
    data = "客服态度恶劣".encode("gbk")  # syllables of Korean, too
    assert encodings.likely_encodings(data) == ["GB18030", "EUC-KR"]
    assert encodings.guess_encoding(data) is None
    message = encodings.describe_encoding("a.txt", data, 0)
    assert "it is GBK (GB18030) or EUC-KR; look at it" in message
    assert "iconv -f GB18030 -t UTF-8, or -f EUC-KR" in message
    # What else is in the file tells which.
    assert encodings.likely_encodings(data, "快递很慢，包装破损") == ["GB18030"]
    assert encodings.likely_encodings(data, "배송이 너무 늦었어요") == ["EUC-KR"]


def test_noise_and_damaged_utf_8_are_no_encoding():
    damaged = bytearray("头疼应该挂什么科\t就医建议".encode())
    damaged[4] = 0x41
    for data in (b"\xff\xfe\xfd\t\xff", bytes(damaged), bytes(range(128, 256)), "Спасибо".encode()[:-1]):
        assert encodings.likely_encodings(data) == [], data


def test_cr_only_files_have_lines_in_messages():
    data = "好\t甲\r坏\t乙\r".encode() + TEXT.encode("gbk")
    assert encodings.describe_encoding("a.txt", data, data.index(b"\xcd\xb7")).startswith("a.txt:3: byte 0xCD")


def test_utf_16_with_cr_only_and_utf_32():
    assert encodings.utf16_variant(TEXT.replace("\n", "\r").encode("utf-16-le")) == "UTF-16LE"
    assert encodings.utf16_variant(TEXT.encode("utf-32")) == "UTF-32"


def test_the_alphabet_of_iso_8859_5_is_no_koi8():
    for text in SENTENCES["CP1251"]:
        names = encodings.likely_encodings((text * 3).encode("iso8859_5"))
        assert names == ["ISO-8859-5"], text


def test_pounds_of_english_texts():
    """Kaggle's spam.csv: in CP1250, they would be a letter of Polish."""
    data = "".join(f"ham,Win £{number} now, it’s free\n" for number in range(100, 130)).encode("cp1252")
    assert encodings.guess_encoding(data) == "CP1252"
    pounds = "".join(f"ham,Only £{number} a week\n" for number in range(100, 130)).encode("cp1252")
    assert encodings.guess_encoding(pounds) == "CP1252"
    assert encodings.guess_encoding("Łódź jest piękna, żółć i gęś, źle się śpi\n".encode("cp1250") * 3) == "CP1250"
