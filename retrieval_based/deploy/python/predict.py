"""Vectors and similarities by the exported dual encoder, on ONNX Runtime or Paddle Inference.

    python retrieval_based/deploy/python/predict.py --model_dir checkpoint/retrieval/export --text_pair_file pairs.txt
    python retrieval_based/deploy/python/predict.py --model_dir checkpoint/retrieval/export --text_file texts.txt \\
        --output_file vectors.npy

--text_pair_file: <text>, a tab, <text>; the similarity becomes a third column. --text_file: a text a line (what
follows a tab is left aside); --output_file then is a numpy file of float32 [texts, dim].
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # the repository's root
from core.arguments import parse_argv
from retrieval_based.checkpoints import read_export
from retrieval_based.data import read_pairs, write_similarities
from retrieval_based.lines import output_that_may_end
from utils import exit_on_usage_error, read_cases, staged_files


def parse_flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--model_dir", type=Path, default=Path("checkpoint/retrieval/export"), help="(default: %(default)s)")
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("--text_pair_file", type=Path, help="<text>, tab, <text>")
    given.add_argument("--text_file", type=Path, help="a text a line")
    add("--output_file", type=Path, help="of the result; similarities are printed without it")
    add("--batch_size", type=int, default=32, help="(default: %(default)s)")
    add("--num_threads", type=int, help="CPU threads (default: the cores)")
    add("--device", default="cpu", help="cpu, gpu or gpu:<n> (default: %(default)s)")
    args = parse_argv(parser, argv)
    if args.text_file and not args.output_file:
        parser.error("--text_file: the vectors need an --output_file")
    return args


def main(argv=None):
    args = parse_flags(argv)
    pairs = read_pairs(args.text_pair_file) if args.text_pair_file else None
    texts = None if pairs else [text for _, text, *_ in read_cases(args.text_file)]
    read_export(args.model_dir)
    from retrieval_based.utils.extractor import FeatureExtractor  # needs paddlenlp, which takes seconds

    extractor = FeatureExtractor(args.model_dir, args.device, args.batch_size, args.num_threads)
    if pairs:
        firsts, seconds = (extractor.encode(side) for side in zip(*pairs))
        write_similarities(pairs, (firsts * seconds).sum(axis=1), args.output_file)
        return
    with staged_files(args.output_file.parent) as stage, (stage / args.output_file.name).open("wb") as file:
        np.save(file, extractor.encode(texts, progress=True))
    print(f"{len(texts)} vectors of {extractor.dim} numbers are in {args.output_file}")


if __name__ == "__main__":
    with exit_on_usage_error(), output_that_may_end():
        main()
