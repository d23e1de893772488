"""retrieval_based/utils/index.py: which kind of index a URI means."""

import pytest

from retrieval_based.utils import config, index
from retrieval_based.utils.hnsw_util import HnswIndex
from utils import UsageError

KINDS = {"./milvus.db": True, "http://host:19530": True, "https://host": True, "index": False, "a.db/index": False}
KINDS.update({"HTTP://host:19530": True, "Https://host": True, "C:\\index": False, "D:/a b": False, "index:a": False})
# Each would be taken for a folder.
REFUSED = {
    "": "is empty",
    " ": "is empty",
    "tcp://host:19530": "an address such as http://host:19530",
    "grpc://host": "an address such as http://host",
    "host:19530": "an address such as http://host:19530",
    "127.0.0.1:19530/": "an address such as http://127.0.0.1:19530",
    "milvus.DB": "Milvus Lite wants .db in small letters; give milvus.db",
}


@pytest.mark.parametrize("uri, is_milvus", KINDS.items())
def test_the_uri_decides(uri, is_milvus):
    assert index.is_milvus(uri) == is_milvus
    index.check_uri(uri)


@pytest.mark.parametrize("uri, message", REFUSED.items())
def test_addresses_that_are_no_server_s(uri, message):
    with pytest.raises(UsageError, match=message):
        index.open_index(uri, 4, "a")


def test_a_folder_is_opened_by_hnswlib(tmp_path):
    pytest.importorskip("hnswlib", reason="hnswlib is not installed")
    opened = index.open_index(str(tmp_path / "index"), 4, "a", config.Graph(m=8))
    assert isinstance(opened, HnswIndex) and len(opened) == 0 and opened.dim == 4


def test_a_file_is_opened_by_milvus_lite(tmp_path):
    pytest.importorskip("pymilvus", reason="pymilvus is not installed")
    opened = index.open_index(str(tmp_path / "milvus.db"), 4, "a", collection="own")
    try:
        assert opened.is_lite and opened.collection == "own" and len(opened) == 0
    finally:
        opened.close()
