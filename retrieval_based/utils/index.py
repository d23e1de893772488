"""The index of a running system, wherever its vectors are.

index = open_index("./milvus.db", extractor.dim, extractor.model_hash)
"""

import re

from retrieval_based.utils import config
from retrieval_based.utils.hnsw_util import HnswIndex
from retrieval_based.utils.milvus_util import MilvusIndex


def is_milvus(uri):
    """Whether a URI is a Milvus server or a file of Milvus Lite, not a folder of hnswlib."""
    return bool(re.match(r"https?://", uri)) or uri.endswith(".db")


def open_index(
    uri,
    dim,
    model_hash,
    m=config.HNSW_M,
    ef_construction=config.HNSW_EF_CONSTRUCTION,
    ef=config.HNSW_EF,
    collection=config.COLLECTION,
):
    """The index at a URI (see config.URI); it is made where there is none.

    Raises:
        UsageError: another model's index is there, the server is not, or a package is not installed.
    """
    options = {"m": m, "ef_construction": ef_construction, "ef": ef}
    if is_milvus(uri):
        return MilvusIndex(uri, dim, model_hash, collection=collection, **options)
    return HnswIndex(uri, dim, model_hash, **options)
