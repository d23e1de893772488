"""Search a corpus for the nearest texts of each query, and write them down for evaluate.py.

    python retrieval_based/recall.py --model_name_or_path checkpoint/retrieval/model_best \\
        --corpus_file data/label.txt --similar_text_pair_file data/dev.txt --recall_result_dir recall_result

--corpus_file is either label names, one a line (label.txt), or texts with their labels (train.txt), which then vote.
The result has a header, and a line a hit: query, its label, rank (1 is the best; it begins anew at each query), text
and label of the corpus, similarity (cosine), with tabs between.
"""

import argparse
import sys
import types
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from utils import (  # noqa: E402
    UsageError,
    exit_on_usage_error,
    load_module,
    prepare_cpu,
    read_examples,
    require_packages,
    write_lines,
)

data = load_module("retrieval_data", HERE / "data.py")


def add_corpus_flags(parser):
    """The flags about what is searched, how, and for what; train.py has them too."""
    add = parser.add_argument
    add("--corpus_file", type=Path, default=Path("data/label.txt"),
        help="label names, one a line, or <text>, tab, <label> (default: %(default)s)")  # fmt: skip
    add("--similar_text_pair_file", type=Path, default=Path("data/dev.txt"),
        help="queries: <text>, tab, <label> (default: %(default)s)")  # fmt: skip
    add("--recall_num", type=int, default=20, help="hits of a query (default: %(default)s)")
    add("--recall_result_dir", type=Path, default=Path("recall_result"), help="(default: %(default)s)")
    add("--recall_result_file", default="recall_result.txt", help="its name there (default: %(default)s)")
    add("--hnsw_m", type=int, default=100, help="neighbours of a node of the index (default: %(default)s)")
    add("--hnsw_ef", type=int, default=100, help="candidates of a search; more are more exact (%(default)s)")
    add("--hnsw_max_elements", type=int, help="room of the index (default: as many as there are texts)")


def check_corpus_flags(parser, args):
    for name in ("recall_num", "hnsw_ef", "hnsw_max_elements"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f"--{name} {getattr(args, name)}: give 1 or more")
    if args.hnsw_m < 2:
        parser.error(f"--hnsw_m {args.hnsw_m}: give 2 or more")
    if Path(args.recall_result_file).name != args.recall_result_file:
        parser.error(f"--recall_result_file {args.recall_result_file}: a name; the folder is --recall_result_dir")
    try:
        require_packages("hnswlib's index", "hnswlib", requirements="requirements-retrieval.txt")
    except UsageError as error:
        parser.error(str(error))


def parse_flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model_name_or_path", default="checkpoint/retrieval/model_best", help="a checkpoint (%(default)s)")
    add_corpus_flags(parser)
    add("--max_seq_length", type=int, help="tokens kept of a text (default: as in training)")
    add("--batch_size", type=int, default=64, help="(default: %(default)s)")
    add("--device", default="gpu", help="gpu, gpu:<n> or cpu; without a GPU the CPU is used (default: %(default)s)")
    args = parser.parse_args(argv)
    check_corpus_flags(parser, args)
    return args


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
    HnswIndex = load_module("retrieval_hnsw_util", HERE / "utils" / "hnsw_util.py").HnswIndex

    def vectors(texts, what):
        return embedder.vectors(texts, args.batch_size, None if progress is None else f"{progress}{what}")

    index = HnswIndex(
        None, embedder.dim, "in memory", m=args.hnsw_m, ef_construction=args.hnsw_ef, ef=args.hnsw_ef,
        max_elements=max(args.hnsw_max_elements or 0, len(corpus.texts)),
    )  # fmt: skip
    index.upsert(corpus.texts, corpus.labels, vectors(corpus.texts, "corpus"))
    return index.search(vectors(queries, "queries"), min(args.recall_num, len(index)))


def load_embedder(args):
    """The dual encoder of --model_name_or_path on --device.

    Raises:
        UsageError: it is not a checkpoint of a dual encoder.
    """
    if not (Path(args.model_name_or_path) / "dual_encoder.json").is_file():
        raise UsageError(
            f"--model_name_or_path {args.model_name_or_path}: no dual_encoder.json there; give a checkpoint of "
            "retrieval_based/train.py, such as checkpoint/retrieval/model_best"
        )
    prepare_cpu()
    from train import set_device

    set_device(types.SimpleNamespace(device=args.device, fp16=False))
    Embedder = load_module("retrieval_base_model", HERE / "base_model.py").Embedder
    return Embedder(args.model_name_or_path, max_seq_length=args.max_seq_length)


def main(argv=None):
    args = parse_flags(argv)
    corpus = data.read_corpus(args.corpus_file)
    labels = list(corpus.names)
    queries, label_ids = read_examples(args.similar_text_pair_file, labels)
    embedder = load_embedder(args)
    hits = search_corpus(embedder, corpus, queries, args, progress="")
    lines = data.recall_lines(queries, [labels[index] for index in label_ids], hits)
    write_lines(args.recall_result_dir, {args.recall_result_file: lines}, "--recall_result_dir")
    print(f"{len(lines) - 1} hits of {len(queries)} queries are in {args.recall_result_dir / args.recall_result_file}")


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
