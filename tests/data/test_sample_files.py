"""data/sample_files.py: what is read in pieces is what is read at once, refusals too."""

import numpy as np
import pytest

from core import lines
from core.any_file import read_any_examples
from data.sample_files import labels_in_order, read_samples
from utils import UsageError

GOOD = "\ufeff头疼 \t甲\r\n发烧\t 乙\n咳嗽\t甲\r \n\n".encode()


def write(path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.mark.parametrize("block", [1 << 22, 7])
@pytest.mark.parametrize("labels", [None, ["乙", "甲"]])
def test_good_files(tmp_path, monkeypatch, labels, block):
    monkeypatch.setattr(lines, "BLOCK_BYTES", block)
    path = write(tmp_path / "all.txt", GOOD)
    texts, ids, names, columns = read_samples(path, labels, str(tmp_path))
    assert names == (labels or labels_in_order(path)) == (labels or ["甲", "乙"])
    assert (texts.texts(np.arange(3)), ids.tolist()) == read_any_examples(path, names)
    assert columns.samples == 3 and columns.first == ("头疼", "甲")


@pytest.mark.parametrize(
    "data",
    [
        "",
        " \n",
        "头疼\t甲\n发烧 乙\n",
        "头疼\t甲\n\n发烧\t乙\n",
        "头疼\t甲\n\t乙\n",
        "头疼\t甲\n发烧\t乙\t丙\n",
        "头疼\t甲\n甲\t发烧\n",
        "头疼\t甲\n发烧\t乙\n".encode("gbk"),
        "头疼\t甲\n发烧\t乙\n".encode("utf-16"),
        "头疼\t甲\n".encode() + b"\xff\t\xe7\n",
        "__label__a 头疼\n__label__b 发烧\n",
    ],
)
def test_refusals_are_those_of_whole_files(tmp_path, data):
    path = write(tmp_path / "all.txt", data)
    for labels in (None, ["甲", "乙"]):
        with pytest.raises(UsageError) as whole:
            read_any_examples(path, labels or labels_in_order(path))
            raise UsageError("columns change places, which only the columns as a whole tell")
        try:
            read_samples(path, labels)
        except UsageError as error:
            assert str(error) == str(whole.value)
        else:
            assert "columns change places" in str(whole.value)


def test_tables(tmp_path):
    path = write(
        tmp_path / "all.csv", "text,label\n" + "".join(f"第{n}句话怎么说,{'甲乙'[n % 2]}\n" for n in range(30))
    )
    texts, ids, names, _ = read_samples(path)
    assert names == ["甲", "乙"] and len(texts) == 30 and ids.tolist() == [0, 1] * 15
    with pytest.raises(UsageError, match=r"all.csv:3: unknown label '乙'"):
        read_samples(path, ["甲", "丙"])
    with pytest.raises(UsageError, match=r"all.csv:32: .*convert it where a choice is needed"):
        read_samples(write(path, path.read_bytes() + "少一列\n".encode()))
