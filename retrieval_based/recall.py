"""Search a corpus for the nearest texts of each query, and write them down for evaluate.py.

    python retrieval_based/recall.py --model_name_or_path checkpoint/retrieval/model_best \\
        --corpus_file data/label.txt --similar_text_pair_file data/dev.txt --recall_result_dir recall_result

--corpus_file is either label names, one a line (label.txt), or texts with their labels (train.txt), which then vote.
The result has a header, and a line a hit: query, its label, rank (1 is the best; it begins anew at each query), text
and label of the corpus, similarity (cosine), with tabs between.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository's root
from core.any_file import read_any_examples
from core.arguments import parse_argv
from retrieval_based.checkpoints import add_checkpoint_flags, check_checkpoint
from retrieval_based.data import read_corpus, recall_lines
from retrieval_based.search import add_corpus_flags, corpus_problems, search_corpus
from utils import exit_on_usage_error, write_lines


def parse_flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_checkpoint_flags(parser)
    add_corpus_flags(parser)
    args = parse_argv(parser, argv)
    problems = corpus_problems(args)
    if problems:
        parser.error("\n".join(problems))
    return args


def main(argv=None):
    args = parse_flags(argv)
    corpus = read_corpus(args.corpus_file)
    labels = list(corpus.names)
    queries, label_ids = read_any_examples(args.similar_text_pair_file, labels)
    check_checkpoint(args.model_name_or_path)
    from retrieval_based.base_model import load_embedder  # needs paddle, which takes seconds

    embedder = load_embedder(args.model_name_or_path, args.device, args.max_seq_length)
    hits = search_corpus(embedder, corpus, queries, args, progress="")
    lines = recall_lines(queries, [labels[index] for index in label_ids], hits)
    write_lines(args.recall_result_dir, {args.recall_result_file: lines}, "--recall_result_dir")
    path = args.recall_result_dir / args.recall_result_file
    print(f"{len(lines) - 1} hits of {len(queries)} queries are in {path}")
    print(f"Next: python retrieval_based/evaluate.py --recall_result_file {path}")


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
