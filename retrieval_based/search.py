"""The search for the nearest texts of a corpus, and its flags, which train.py and recall.py share."""

from pathlib import Path

from core.arguments import at_least, require_packages
from retrieval_based.utils.config import Graph
from retrieval_based.utils.hnsw_util import HnswIndex
from utils import UsageError


def add_corpus_flags(parser):
    """The flags about what is searched, how, and for what."""
    add = parser.add_argument
    corpus = "label names, one a line, or <text>, tab, <label> (default: %(default)s)"
    queries = "queries: <text>, tab, <label> (default: %(default)s)"
    add("--corpus_file", type=Path, default=Path("data/label.txt"), help=corpus)
    add("--similar_text_pair_file", type=Path, default=Path("data/dev.txt"), help=queries)
    add("--recall_num", type=int, default=20, help="hits of a query (default: %(default)s)")
    add("--recall_result_dir", type=Path, default=Path("recall_result"), help="(default: %(default)s)")
    add("--recall_result_file", default="recall_result.txt", help="its name there (default: %(default)s)")
    add("--hnsw_m", type=int, default=100, help="neighbours of a node of the index (default: %(default)s)")
    add("--hnsw_ef", type=int, default=100, help="candidates of a search; more are more exact (%(default)s)")
    add("--hnsw_max_elements", type=int, help="room of the index (default: as many as there are texts)")


def corpus_problems(args):
    """What is wrong with the flags of add_corpus_flags: a list of messages."""
    problems = at_least(args, recall_num=1, hnsw_ef=1, hnsw_max_elements=1, hnsw_m=2)
    if Path(args.recall_result_file).name != args.recall_result_file:
        problems.append(f"--recall_result_file {args.recall_result_file}: a name; the folder is --recall_result_dir")
    try:
        require_packages("hnswlib's index", "hnswlib", requirements="retrieval_based/requirements.txt")
    except UsageError as error:
        problems.append(str(error))
    return problems


def search_corpus(embedder, corpus, queries, args, progress=None):
    """The hits of each query in an index of the corpus, kept in memory.

    Args:
        embedder (Embedder): makes the vectors.
        corpus (Corpus): what is searched.
        queries (list[str]): texts.
        args: recall_num, batch_size, hnsw_m, hnsw_ef, hnsw_max_elements.
        progress (str | None): prefix of the progress bars' names; None shows none.

    Returns:
        list[list[Hit]]: text, label, score and id, best first.
    """

    def vectors(texts, what):
        return embedder.vectors(texts, args.batch_size, None if progress is None else f"{progress}{what}")

    room = max(args.hnsw_max_elements or 0, len(corpus.texts))
    graph = Graph(args.hnsw_m, args.hnsw_ef, args.hnsw_ef)
    index = HnswIndex(None, embedder.dim, "in memory", graph, room)
    index.upsert(corpus.texts, corpus.labels, vectors(corpus.texts, "corpus"))
    return index.search(vectors(queries, "queries"), min(args.recall_num, len(index)))
