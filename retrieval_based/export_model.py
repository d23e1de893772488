"""Write the dual encoder as one graph: text in, unit vector out; for utils/feature_extract.py and deploy/python.

    python retrieval_based/export_model.py --params_path checkpoint/retrieval/model_best \\
        --output_path checkpoint/retrieval/export --export_type paddle onnx

The folder holds model.pdmodel and model.pdiparams, model.onnx where asked for, the tokenizer, and dual_encoder.json
with the settings and model_hash. Vectors of models with another hash are of another space: an index refuses them.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository's root
from core.arguments import parse_argv, require_onnx
from retrieval_based.checkpoints import check_checkpoint
from utils import exit_on_usage_error


def parse_flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--params_path", default="checkpoint/retrieval/model_best", help="a checkpoint (default: %(default)s)")
    add("--output_path", type=Path, default=Path("checkpoint/retrieval/export"), help="(default: %(default)s)")
    add("--export_type", nargs="+", default=["paddle"], choices=("paddle", "onnx"), help="(default: paddle)")
    return parse_argv(parser, argv)


def main(argv=None):
    args = parse_flags(argv)
    require_onnx(args.export_type)
    check_checkpoint(args.params_path, "--params_path")
    from retrieval_based.export import export_checkpoint  # needs paddle, which takes seconds

    model_hash = export_checkpoint(args.params_path, args.output_path, args.export_type)
    print(f"{' '.join(dict.fromkeys(['paddle', *args.export_type]))}: {args.output_path}, model_hash {model_hash}")
    print(
        f"Next: python retrieval_based/utils/vector_insert.py --model_dir {args.output_path} "
        "--corpus_file data/train.txt --uri ./milvus.db"
    )


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
