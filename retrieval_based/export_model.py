"""Write the dual encoder as one graph: text in, unit vector out; for utils/feature_extract.py and deploy/python.

    python retrieval_based/export_model.py --params_path checkpoint/retrieval/model_best \\
        --output_path checkpoint/retrieval/export --export_type paddle onnx

The folder holds model.pdmodel and model.pdiparams, model.onnx where asked for, the tokenizer, and dual_encoder.json
with the settings and model_hash. Vectors of models with another hash are of another space: an index refuses them.
"""

import argparse
import sys
import types
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from utils import (  # noqa: E402
    exit_on_usage_error,
    load_module,
    prepare_cpu,
    read_json,
    require_onnx,
    staged_files,
    write_json,
)

recall = load_module("retrieval_recall", HERE / "recall.py")
extract = load_module("retrieval_feature_extract", HERE / "utils" / "feature_extract.py")


def parse_flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--params_path", default="checkpoint/retrieval/model_best", help="a checkpoint (default: %(default)s)")
    add("--output_path", type=Path, default=Path("checkpoint/retrieval/export"), help="(default: %(default)s)")
    add("--export_type", nargs="+", default=["paddle"], choices=("paddle", "onnx"), help="(default: paddle)")
    return parser.parse_args(argv)


def export(embedder, folder, types_):
    """Write an export folder (see the top of this file).

    Args:
        embedder (Embedder): the dual encoder.
        folder (Path): files of an earlier export that this one does not replace are removed, all others stay.
        types_ (list[str]): of paddle, which is always written, and onnx.

    Returns:
        str: the model's hash.

    Raises:
        UsageError: the conversion to ONNX failed; the folder is then as it was.
    """
    import paddle

    import export as lib
    from trainer import uses_token_types

    model, tokenizer = embedder.model, embedder.tokenizer
    model.eval()
    max_length = embedder.settings["max_seq_length"]
    names = ["input_ids", "token_type_ids"] if uses_token_types(type(model)) else ["input_ids"]
    spec = [paddle.static.InputSpec(shape=[None, None], dtype="int64", name=name) for name in names]
    wrapped = lib.TruncatingClassifier(model, max_length, tokenizer.pad_token_id, tokenizer.sep_token_id)
    wrapped.eval()
    old_files = read_json(folder / extract.SETTINGS_FILE).get("files", {})
    with staged_files(folder) as stage:
        lib.write_graph(wrapped, spec, stage)
        if "onnx" in types_:
            lib.save_onnx(lib.convert_to_onnx(stage, "model"), stage / "model.onnx")
        lib.save_tokenizer(stage, tokenizer, max_length)
        settings = {**embedder.settings, "dim": embedder.dim}
        model_hash, files = extract.model_hash(stage, settings), lib.file_sizes(stage)
        content = {**settings, "model_hash": model_hash, "versions": lib.versions(), "files": files}
        write_json(stage / extract.SETTINGS_FILE, content, ascii_only=True)
    lib.delete_replaced(folder, old_files, files)
    return model_hash


def main(argv=None):
    args = parse_flags(argv)
    require_onnx(args.export_type)
    flags = types.SimpleNamespace(model_name_or_path=args.params_path, max_seq_length=None, device="cpu")
    prepare_cpu()
    import paddle

    # The graph's order of the weights follows their names, which are numbers in the process: the same each time.
    paddle.utils.unique_name.switch()
    model_hash = export(recall.load_embedder(flags), args.output_path, args.export_type)
    print(f"{' '.join(dict.fromkeys(['paddle', *args.export_type]))}: {args.output_path}, model_hash {model_hash}")


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
