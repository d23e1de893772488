"""core/lines.py: lines of every encoding and line end, from a path and from an open file."""

import io

import pytest

from core.lines import chunks_of, read_chunks, unclear_encoding


def lines_of(data, **options):
    return [line for _, some in chunks_of(io.BytesIO(data), **options) for line in some]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk", "utf-16", "utf-16-le"])
def test_line_ends_and_encodings(newline, encoding):
    wanted = ["头疼应该挂什么科\t就医建议", "", "发烧吃什么药\t治疗方案"]
    assert lines_of(newline.join([*wanted, "", ""]).encode(encoding)) == wanted


def test_blocks_are_joined_where_they_were_cut(tmp_path, monkeypatch):
    monkeypatch.setattr("core.lines.BLOCK_BYTES", 7)
    wanted = [f"第{number}行" for number in range(50)]
    (tmp_path / "a.txt").write_bytes("\r\n".join(wanted).encode())
    chunks = list(read_chunks(tmp_path / "a.txt"))
    assert [line for _, some in chunks for line in some] == wanted and len(chunks) > 20
    assert all(some[0] == wanted[first - 1] for first, some in chunks)


def test_bad_lines_are_told():
    found = []
    data = "头疼挂什么科\n".encode() + "血压高应该吃什么药好呢\n".encode("gbk") + b"\xff\xfe\xfd\n"
    lines = lines_of(data, on_bad_line=lambda number, names: found.append((number, names)))
    assert lines[1] == "血压高应该吃什么药好呢" and found == [(2, ["GB18030"]), (3, [])]


def test_two_encodings():
    message = unclear_encoding("a.txt:3", ["GB18030", "BIG5"])
    assert message.startswith("a.txt:3: GBK (GB18030) or BIG5") and "--encoding GB18030 or --encoding BIG5" in message
