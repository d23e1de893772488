"""The index of a running system, wherever its vectors are.

index = open_index("./milvus.db", extractor.dim, extractor.model_hash)
"""

import re

from retrieval_based.utils import config
from retrieval_based.utils.hnsw_util import HnswIndex
from retrieval_based.utils.milvus_client import SERVER
from retrieval_based.utils.milvus_util import MilvusIndex
from utils import UsageError

# What is meant as the address of a server but is none: another scheme, or none before host:port.
ADDRESS = re.compile(r"\w[\w+.-]*://|[\w.-]*[\w-]:\d+/?$")


def check_uri(uri):
    """Raise UsageError for a URI that is no index's, but would be taken for a folder."""
    if not uri.strip():
        raise UsageError("--uri: is empty; give a name that ends in .db, a folder, or http://host:19530")
    if ADDRESS.match(uri) and not SERVER.match(uri):
        host = uri.rpartition("//")[2]
        raise UsageError(f"--uri {uri}: a Milvus server has an address such as http://{host}")
    if uri.lower().endswith(".db") and not uri.endswith(".db"):
        raise UsageError(f"--uri {uri}: Milvus Lite wants .db in small letters; give {uri[:-3]}.db")


def is_milvus(uri):
    """Whether a URI is a Milvus server or a file of Milvus Lite, not a folder of hnswlib."""
    return bool(SERVER.match(uri)) or uri.endswith(".db")


def open_index(
    uri,
    dim,
    model_hash,
    graph=config.GRAPH,
    collection=config.COLLECTION,
    writes=False,
):
    """The index at a URI (see config.URI); it is made where there is none.

    Args:
        uri (str), dim (int), model_hash (str), graph (config.Graph), collection (str): see HnswIndex and MilvusIndex.
        writes (bool): it will be changed; a folder of hnswlib is for one such process at a time.

    Raises:
        UsageError: another model's index is there, the server is not, or a package is not installed.
    """
    check_uri(uri)
    if is_milvus(uri):
        return MilvusIndex(uri, dim, model_hash, graph, collection)
    return HnswIndex(uri, dim, model_hash, graph, writes=writes)
