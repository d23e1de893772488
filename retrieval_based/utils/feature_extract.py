"""Vectors of texts by what export_model.py wrote.

    python retrieval_based/utils/feature_extract.py --model_dir checkpoint/retrieval/export \\
        --corpus_file data/train.txt --output_dir features

writes features/vectors.npy (float32 [texts, dim]) and features/corpus.tsv (text, tab, label) in the same order.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository's root
from core.arguments import parse_argv
from retrieval_based.checkpoints import read_export
from retrieval_based.data import read_corpus
from utils import exit_on_usage_error, staged_files


def parse_flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model_dir", type=Path, default=Path("checkpoint/retrieval/export"), help="(default: %(default)s)")
    add("--corpus_file", type=Path, required=True, help="label names, one a line, or <text>, tab, <label>")
    add("--output_dir", type=Path, default=Path("features"), help="(default: %(default)s)")
    add("--batch_size", type=int, default=32, help="(default: %(default)s)")
    add("--device", default="cpu", help="cpu, gpu or gpu:<n> (default: %(default)s)")
    return parse_argv(parser, argv)


def main(argv=None):
    args = parse_flags(argv)
    corpus = read_corpus(args.corpus_file)
    read_export(args.model_dir)
    from retrieval_based.utils.extractor import FeatureExtractor  # needs paddlenlp, which takes seconds

    vectors = FeatureExtractor(args.model_dir, args.device, args.batch_size).encode(corpus.texts, progress=True)
    with staged_files(args.output_dir) as stage:
        np.save(stage / "vectors.npy", vectors)
        lines = [f"{text}\t{label}\n" for text, label in zip(corpus.texts, corpus.labels)]
        (stage / "corpus.tsv").write_bytes("".join(lines).encode("utf-8"))
    print(f"{len(vectors)} vectors of {vectors.shape[1]} numbers are in {args.output_dir}")
    print(f'Row i of numpy.load("{args.output_dir / "vectors.npy"}") is line i of {args.output_dir / "corpus.tsv"}')


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
