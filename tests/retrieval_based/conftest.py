"""Fixtures of the tests of retrieval_based/."""

import pytest

from tests.helpers import ROOT
from tests.retrieval_based.milvus_server import Milvus


@pytest.fixture(scope="session")
def milvus(tmp_path_factory):
    """A running Milvus server, shared by the tests."""
    venv = ROOT / ".venv-milvus"
    if not (venv / "bin" / "milvus-server").is_file():
        pytest.skip("no .venv-milvus; run: make .venv-milvus/.installed")
    server = Milvus(venv, tmp_path_factory.mktemp("milvus"))
    try:
        server.start()
    except PermissionError as error:
        pytest.skip(str(error))
    yield server
    server.stop()
