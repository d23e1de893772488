"""retrieval_based/utils/index.py: which kind of index a URI means."""

import pytest

from retrieval_based.utils import index
from retrieval_based.utils.hnsw_util import HnswIndex

KINDS = {"./milvus.db": True, "http://host:19530": True, "https://host": True, "index": False, "a.db/index": False}


@pytest.mark.parametrize("uri, is_milvus", KINDS.items())
def test_the_uri_decides(uri, is_milvus):
    assert index.is_milvus(uri) == is_milvus


def test_a_folder_is_opened_by_hnswlib(tmp_path):
    pytest.importorskip("hnswlib", reason="hnswlib is not installed")
    opened = index.open_index(str(tmp_path / "index"), 4, "a", m=8)
    assert isinstance(opened, HnswIndex) and len(opened) == 0 and opened.dim == 4


def test_a_file_is_opened_by_milvus_lite(tmp_path):
    pytest.importorskip("pymilvus", reason="pymilvus is not installed")
    opened = index.open_index(str(tmp_path / "milvus.db"), 4, "a", collection="own")
    try:
        assert opened.is_lite and opened.collection == "own" and len(opened) == 0
    finally:
        opened.close()
