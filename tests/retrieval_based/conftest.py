"""Fixtures of the tests of retrieval_based/: a Milvus server, a small data set, one trained and exported encoder."""

import pytest

from retrieval_based import export_model, train
from retrieval_based.utils import vector_insert
from tests.helpers import LABEL_WORDS, ROOT, write_data
from tests.retrieval_based.helpers import call, export_untrained, train_flags
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


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory, tiny_model):
    """The export of an untrained dual encoder, whose vectors differ from text to text."""
    return export_untrained(tiny_model, tmp_path_factory.mktemp("encoder") / "export", 0)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory, sample_lines):
    """train.txt of 60 texts and dev.txt of 25, three labels."""
    folder = tmp_path_factory.mktemp("corpus")
    for split, count in (("train", 60), ("dev", 25)):
        (folder / f"{split}.txt").write_text("\n".join(sample_lines[split][:count]) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def filled(tmp_path, model_dir, corpus):
    """--uri of an index of hnswlib with the texts of train.txt."""
    flags = ["--uri", str(tmp_path / "index")]
    call(vector_insert, *flags, "--model_dir", model_dir, "--corpus_file", corpus / "train.txt")
    return flags
