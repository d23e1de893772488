"""Cosine similarity of pairs of texts, by a checkpoint.

    python retrieval_based/predict.py --model_name_or_path checkpoint/retrieval/model_best --text_pair_file pairs.txt

--text_pair_file: <text>, a tab, <text>. The result has the similarity as a third column.
"""

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from utils import exit_on_usage_error, load_module, write_lines  # noqa: E402

data = load_module("retrieval_data", HERE / "data.py")
recall = load_module("retrieval_recall", HERE / "recall.py")


def parse_flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model_name_or_path", default="checkpoint/retrieval/model_best", help="a checkpoint (%(default)s)")
    add("--text_pair_file", type=Path, required=True, help="<text>, tab, <text>")
    add("--output_file", type=Path, help="for the result; by default it is printed")
    add("--max_seq_length", type=int, help="tokens kept of a text (default: as in training)")
    add("--batch_size", type=int, default=64, help="(default: %(default)s)")
    add("--device", default="gpu", help="gpu, gpu:<n> or cpu; without a GPU the CPU is used (default: %(default)s)")
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_flags(argv)
    pairs = data.read_pairs(args.text_pair_file)
    embedder = recall.load_embedder(args)
    firsts, seconds = (embedder.vectors(texts, args.batch_size) for texts in zip(*pairs))
    write_similarities(pairs, (firsts * seconds).sum(axis=1), args.output_file)


def write_similarities(pairs, similarities, path):
    """Print the pairs with their similarities, or write them to a file; deploy/python/predict.py uses it too."""
    lines = [f"{one}\t{other}\t{value:.6f}" for (one, other), value in zip(pairs, similarities)]
    if path is None:
        print("\n".join(lines))
        return
    write_lines(path.parent, {path.name: lines}, "--output_file")
    print(f"{len(lines)} similarities are in {path}")


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
