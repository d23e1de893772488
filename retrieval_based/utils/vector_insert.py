"""Insert texts with their labels, or label names, into the index.

    python retrieval_based/utils/vector_insert.py --model_dir checkpoint/retrieval/export \\
        --corpus_file data/train.txt --uri ./milvus.db

--corpus_file: <text>, a tab, <label> in every line, or label names alone. --uri: a file that ends in .db (Milvus
Lite), http://host:19530 (a Milvus server), or a folder (hnswlib). Started again, after a kill or with more lines in
the file, it passes over what is there with the same label and --version.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository's root
from core.arguments import parse_argv
from core.progress import progress_bar
from retrieval_based.checkpoints import read_export
from retrieval_based.data import read_corpus
from retrieval_based.settings import read_notes
from retrieval_based.utils import config
from retrieval_based.utils.index import check_uri, open_index
from utils import UsageError, exit_on_usage_error

# A folder of hnswlib is written as a whole, so not after every batch.
SAVE_ROWS = 20_000


def insert(index, extractor, texts, labels, version=""):
    """Bring texts into the index, batch by batch; of a text that is there twice, the last label counts.

    Args:
        index: of open_index.
        extractor: has encode(texts), which gives float32 [texts, dim].
        texts, labels (list[str]): [rows].
        version (str): kept with the rows.

    Yields:
        tuple[int, int]: how many texts are safe by now, and how many of them were written, not there before.
    """
    label_of = dict(zip(texts, labels))
    texts, written, unsaved = list(label_of), 0, 0
    for start in range(0, len(texts), config.INSERT_BATCH):
        batch = texts[start : start + config.INSERT_BATCH]
        stored = index.stored([config.content_id(text) for text in batch])
        new = [text for text in batch if stored.get(config.content_id(text)) != (label_of[text], version)]
        if new:
            index.upsert(new, [label_of[text] for text in new], extractor.encode(new), version)
        written, unsaved, done = written + len(new), unsaved + len(new), start + len(batch)
        if done == len(texts) or unsaved >= SAVE_ROWS and not index.is_durable:
            index.save()
            unsaved = 0
        if not unsaved or index.is_durable:
            yield done, written


def check_renamed(index, path, labels):
    """Refuse labels that this index has renamed: their texts would get the former name again, without a word."""
    settings, _ = read_notes(index.notes())
    renamed = {label: now for label, now in settings["renamed"].items() if label in set(labels)}
    back = sorted(set(renamed) - index.present(renamed))
    if back:
        raise UsageError(
            f"{path}: the index has renamed {back[0]!r} to {renamed[back[0]]!r}; rename it in the file too. For a new "
            f"label of the former name: run_system.py --add_label {back[0]}, then insert"
        )


def parse_flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model_dir", type=Path, default=Path("checkpoint/retrieval/export"), help="(default: %(default)s)")
    add("--corpus_file", type=Path, required=True, help="texts with labels, or label names")
    add("--uri", default=config.URI, help="of the index (default: %(default)s)")
    add("--collection", default=config.COLLECTION, help="in Milvus (default: %(default)s)")
    add("--version", default="", help="kept with the rows, such as a date (default: none)")
    add("--hnsw_m", type=int, default=config.Graph.m, help="links a row of a new index (default: %(default)s)")
    add("--batch_size", type=int, default=32, help="texts encoded together (default: %(default)s)")
    add("--num_threads", type=int, help="CPU threads (default: the cores)")
    add("--device", default="cpu", help="cpu, gpu or gpu:<n> (default: %(default)s)")
    args = parse_argv(parser, argv)
    if len(args.version.encode("utf-8", "surrogatepass")) > config.MAX_VERSION_BYTES:
        parser.error(f"--version: at most {config.MAX_VERSION_BYTES} bytes; give a shorter one")
    return args


def main(argv=None):
    args = parse_flags(argv)
    check_uri(args.uri)
    corpus = read_corpus(args.corpus_file)
    read_export(args.model_dir)
    from retrieval_based.utils.extractor import FeatureExtractor  # needs paddlenlp, which takes seconds

    extractor = FeatureExtractor(args.model_dir, args.device, args.batch_size, args.num_threads)
    own = {"graph": config.Graph(m=args.hnsw_m), "collection": args.collection, "writes": True}
    index = open_index(args.uri, extractor.dim, extractor.model_hash, **own)
    count, written = len(set(corpus.texts)), 0
    try:
        check_renamed(index, args.corpus_file, corpus.labels)
        with progress_bar(total=count, unit="text", desc="insert") as bar:
            for done, new in insert(index, extractor, corpus.texts, corpus.labels, args.version):
                bar.update(done - bar.n)
                written = new
        print(f"{args.uri}: {written} of {count} texts written, {count - written} were there; now {len(index)} texts")
        print(
            f"Next: python retrieval_based/run_system.py --model_dir {args.model_dir} --uri {args.uri} --texts TEXT …"
        )
    finally:
        index.close()


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
