"""Fixtures of data/: few rows for prepare.py, samples with near copies for splitting, a
small file of weights."""

import pytest

from data import prepare
from tests.data.e5 import MANY_PIECES, MANY_SCORES, small_file
from tests.data.kuake import DEV, TRAIN
from tests.helpers import ROOT
from utils import UsageError, read_examples, read_labels


@pytest.fixture(autouse=True)
def english(monkeypatch):
    """The advice is in English, whatever this machine's locale is."""
    monkeypatch.setenv("LC_ALL", "C")


@pytest.fixture
def few_rows(monkeypatch):
    """Let the data set have as few rows as those of kuake.py."""
    monkeypatch.setattr(prepare, "ROWS", {"train": len(TRAIN), "dev": len(DEV)})


@pytest.fixture
def refused(tmp_path):
    """Prepare from an archive that must be refused; return the message."""

    def run(archive):
        with pytest.raises(UsageError) as error:
            prepare.prepare(archive, tmp_path / "out")
        assert not (tmp_path / "out").exists(), "something was written in spite of the error"
        return str(error.value)

    return run


@pytest.fixture(scope="module")
def samples():
    """The shipped sample data with near copies of some texts."""
    labels = read_labels(ROOT / "data" / "label.txt")
    texts, ids = read_examples(ROOT / "data" / "train.txt", labels)
    copies = list(range(0, 880, 11))
    return texts + [f"请问{texts[row]}呢" for row in copies], ids + [ids[row] for row in copies], labels


@pytest.fixture(scope="session")
def small():
    """Bytes of an E5S1 file, and the float32 values that it holds after quantisation."""
    return small_file()


@pytest.fixture(scope="session")
def many():
    """Bytes of an E5S1 file with pieces of several scripts."""
    return small_file(MANY_PIECES, MANY_SCORES)[0]
