"""Cosine similarity of pairs of texts, by a checkpoint.

    python retrieval_based/predict.py --model_name_or_path checkpoint/retrieval/model_best --text_pair_file pairs.txt

--text_pair_file: <text>, a tab, <text>. The result has the similarity as a third column.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository's root
from core.arguments import parse_argv
from retrieval_based.checkpoints import add_checkpoint_flags, check_checkpoint
from retrieval_based.data import read_pairs, write_similarities
from retrieval_based.lines import output_that_may_end
from utils import exit_on_usage_error


def parse_flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add_checkpoint_flags(parser)
    add("--text_pair_file", type=Path, required=True, help="<text>, tab, <text>")
    add("--output_file", type=Path, help="for the result; by default it is printed")
    return parse_argv(parser, argv)


def main(argv=None):
    args = parse_flags(argv)
    pairs = read_pairs(args.text_pair_file)
    check_checkpoint(args.model_name_or_path)
    from retrieval_based.base_model import load_embedder  # needs paddle, which takes seconds

    embedder = load_embedder(args.model_name_or_path, args.device, args.max_seq_length)
    firsts, seconds = (embedder.vectors(texts, args.batch_size) for texts in zip(*pairs))
    write_similarities(pairs, (firsts * seconds).sum(axis=1), args.output_file)


if __name__ == "__main__":
    with exit_on_usage_error(), output_that_may_end():
        main()
