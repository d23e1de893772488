"""Fixtures of the tests of retrieval_based/: a Milvus server, a small data set, one trained and exported encoder."""

import pytest

from retrieval_based import export_model, train
from tests.helpers import LABEL_WORDS, ROOT, write_data
from tests.retrieval_based.helpers import call, train_flags
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


@pytest.fixture(scope="session")
def texts(tmp_path_factory, sample_lines):
    """train.txt, dev.txt and label.txt of three labels, with words."""
    folder = tmp_path_factory.mktemp("texts")
    words = [f"{label}=={word}" for label, word in LABEL_WORDS.items()]
    write_data(folder, sample_lines["train"][:60], sample_lines["dev"][:25], words)
    return folder


@pytest.fixture(scope="session")
def once(tmp_path_factory, texts, tiny_model):
    """The folder of one training, made once: three epochs of four steps."""
    output = tmp_path_factory.mktemp("dual")
    train.main(train_flags(texts, tiny_model, output))
    return output


@pytest.fixture(scope="session")
def exported(tmp_path_factory, once):
    """Its export folders, with ONNX and without."""
    folder = tmp_path_factory.mktemp("exported")
    for name, types in (("onnx", ["paddle", "onnx"]), ("paddle", ["paddle"])):
        paths = ["--params_path", once / "model_best", "--output_path", folder / name]
        call(export_model, *paths, "--export_type", *types)
    return folder
