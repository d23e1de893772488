"""Which encoding a text file has when it is not UTF-8."""

import re

# Name, codec, and the two-byte codes of punctuation and of the characters that the standard sorts as frequent.
CHINESE_ENCODINGS = (
    ("GB18030", "gb18030", re.compile(rb"[\xA1\xA3\xB0-\xD7][\xA1-\xFE]")),
    ("BIG5", "big5", re.compile(rb"[\xA1\xA4-\xC6][\x40-\xFE]")),
)

# Bytes that are enough to tell an encoding.
ENCODING_SAMPLE = 1 << 16

# Encodings that Chinese users' files come in, by the library's name; more candidates mean more wrong guesses.
ENCODINGS = {
    "gb18030": "GB18030",  # of which GBK and GB2312 are parts
    "big5": "BIG5",
    "cp1252": "CP1252",
}


def describe_encoding(path, data, position):
    """The message for bytes that are not UTF-8: the line of `position`, the byte, and what the file may be instead."""
    utf16 = utf16_variant(data)
    if utf16:
        return f"{path}:1: the file is {utf16}, not UTF-8; save it as UTF-8 (iconv -f {utf16} -t UTF-8)"
    line = data.count(b"\n", 0, position) + 1
    start = data.rfind(b"\n", 0, position) + 1
    encoding = guess_encoding(data[start : start + ENCODING_SAMPLE])
    name = "GBK" if encoding == "GB18030" else encoding
    hint = f"it looks like {name}; convert it: iconv -f {encoding} -t UTF-8" if encoding else "save it as UTF-8"
    return f"{path}:{line}: byte 0x{data[position]:02X} is not UTF-8; {hint}"


def utf16_variant(data):
    """UTF-16, UTF-16LE or UTF-16BE where a file begins like one of these, by its mark or its line ends; else None."""
    head = data[:ENCODING_SAMPLE]
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "UTF-16"
    for name, line_end in (("UTF-16LE", b"\n\0"), ("UTF-16BE", b"\0\n")):
        if head.count(line_end) > head.count(b"\n") / 2:
            return name
    return None


def guess_encoding(data):
    """The most likely encoding of bytes that are neither UTF-8 nor UTF-16, as iconv and Python name it, or None."""
    from charset_normalizer import from_bytes

    # A few Chinese characters are too little for the library's statistics, but not for these.
    shares = {name: _share_of_frequent(data, codec, frequent) for name, codec, frequent in CHINESE_ENCODINGS}
    likely = max(shares, key=shares.get)
    if shares[likely] > 0.8:
        return likely
    best = from_bytes(data, cp_isolation=list(ENCODINGS)).best()
    return ENCODINGS.get(best.encoding) if best else None


def _share_of_frequent(data, codec, frequent):
    """The share of the non-ASCII characters that are frequent ones, where the bytes have this encoding."""
    text = data.decode(codec, "ignore")
    characters = [character.encode(codec) for character in text if ord(character) > 0x7F]
    if not characters or "\0" in text:
        return 0.0
    return sum(frequent.fullmatch(code) is not None for code in characters) / len(characters)
