"""retrieval_based/lines.py: what comes through pipes, and what goes into them."""

import io
import subprocess
import sys

import pytest

from retrieval_based import lines
from tests.helpers import ROOT
from utils import UsageError

PRINTS = """
from retrieval_based.lines import output_that_may_end
with output_that_may_end():
    for number in range(100_000):
        print(number, "\U0001f600")
"""


def read(data, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), encoding="latin-1"))
    return list(lines.stdin_lines())


def test_utf_8_whatever_the_locale(monkeypatch):
    assert read("\ufeff头疼\r\n\n  医保 \n末".encode(), monkeypatch) == ["头疼", "医保", "末"]
    monkeypatch.setattr("sys.stdin", io.StringIO("头疼\n"))  # a stand-in without bytes
    assert list(lines.stdin_lines()) == ["头疼"]


def test_other_encodings_are_named(monkeypatch):
    given = "头疼挂什么科\n".encode() * 2 + "医保卡能刷吗，可以的\n".encode("gbk")
    with pytest.raises(UsageError, match="stdin:3: byte .* is not UTF-8; it looks like GBK; convert it: iconv"):
        read(given, monkeypatch)
    with pytest.raises(UsageError, match="stdin:1: the file is UTF-16, not UTF-8"):
        read("头疼\n".encode("utf-16"), monkeypatch)
    with pytest.raises(UsageError, match="stdin:1: a zero byte; is it UTF-16?"):
        read("abc\n".encode("utf-16-le"), monkeypatch)


def test_arguments_that_are_not_utf_8():
    lines.check_arguments("--texts", ["头疼"])
    lines.check_arguments("--texts", None)
    with pytest.raises(UsageError, match=r"--texts 'a\\udcb5': not UTF-8; set the terminal to UTF-8"):
        lines.check_arguments("--texts", ["头疼", "a\udcb5"])


@pytest.mark.skipif(sys.platform == "win32", reason="sh")
def test_a_reader_that_has_seen_enough():
    command = f"PYTHONIOENCODING=gbk '{sys.executable}' -c '{PRINTS}' | head -n 1; echo ${{PIPESTATUS[0]}}"
    run = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, encoding="gbk", timeout=60)
    assert (run.stdout, run.stderr) == ("0 \\U0001f600\n0\n", "")


def test_other_errors_are_not_hidden():
    for error in (FileNotFoundError("x"), BrokenPipeError(32, "of a network")):
        with pytest.raises(type(error)), lines.output_that_may_end():
            raise error
