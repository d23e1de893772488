"""Fixtures of data/prepare.py's tests."""

import pytest

from data import prepare
from tests.data.kuake import DEV, TRAIN
from utils import UsageError


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
