"""Make the Triton model repository of an export folder.

    python build_models.py --export_dir ../../checkpoint/export --output_dir models
    python build_models.py --export_dir ../../checkpoint/prune/width_mult_0.67 --format onnx_int8

    models/tokenizer/             texts -> token ids          tokenizer_model.py, encoding.json, tokenizer.json
    models/seqcls_model/          token ids -> logits         model.onnx
    models/seqcls_postprocess/    logits -> labels            postprocess_model.py, labels.txt
    models/seqcls/                the three one after another: the model that clients ask
    models/seqcls_windows/        only for an export of --long_text windows: token ids of all windows of a text ->
                                  logits of the text; in seqcls it takes the place of seqcls_model, which it asks

Labels, length, inputs and tokenizer come from the export folder. The repository needs nothing outside itself.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository's root

from core.arguments import at_least, parse_argv, require_packages
from utils import UsageError, exit_on_usage_error, read_json, replaced_folder, write_json

ROOT = Path(__file__).resolve().parents[2]
# In the repository's own folder: what it was made from, and the files that belong to it.
REPOSITORY_FILE = "repository.json"
FORMATS = ("onnx", "onnx_int8")
# Flags and their smallest values.
SMALLEST = {
    **dict.fromkeys(("max_batch_size", "instances", "tokenizer_instances", "pad_to_multiple_of"), 1),
    **dict.fromkeys(("threads", "max_queue_delay"), 0),
}


def parse_flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--export_dir", type=Path, default=ROOT / "checkpoint" / "export", help="what train.py exported")
    add("--output_dir", type=Path, default=Path("models"), help="the model repository (default: %(default)s)")
    add("--format", choices=FORMATS, default="onnx", help="(default: %(default)s)")
    add("--device", choices=["cpu", "gpu"], default="cpu", help="what the ONNX model runs on (default: %(default)s)")
    add("--max_batch_size", type=int, default=64, help="texts that are run together (default: %(default)s)")
    add("--instances", type=int, default=1, help="copies of the ONNX model (default: %(default)s)")
    add("--tokenizer_instances", type=int, default=1, help="processes that tokenise (default: %(default)s)")
    add("--threads", type=int, default=0, help="CPU threads of a copy; 0: ONNX Runtime decides (default: 0)")
    add("--max_queue_delay", type=int, default=0, help="microseconds that a request waits for others (default: 0)")
    add("--pad_to_multiple_of", type=int, default=16, help="token lengths are rounded up to it (default: %(default)s)")
    args = parse_argv(parser, argv)
    if problems := at_least(args, **SMALLEST):
        parser.error("; ".join(problems))
    return args


def check_folders(args):
    """Refuse an export folder without the graph, and an output folder that holds anything else than a repository.

    Raises:
        UsageError: see above.
    """
    graphs = [path.stem for path in args.export_dir.glob("*.pdmodel")]
    if len(graphs) != 1:
        raise UsageError(f"{args.export_dir}: no export folder; give what train.py --do_export wrote (--export_dir)")
    graph = args.export_dir / f"{graphs[0]}{'_int8' if args.format == 'onnx_int8' else ''}.onnx"
    if not graph.is_file():
        raise UsageError(
            f"{graph}: no such file; make it in the repository's root: python train.py --do_export --device cpu "
            f"--model_name_or_path checkpoint --output_dir checkpoint --export_type paddle {args.format}"
        )
    output = args.output_dir
    if output.is_dir():
        if strange := strange_files(output):
            raise UsageError(f"{output / strange[0]}: not made by build_models.py; choose another --output_dir")
    elif os.path.lexists(output):
        raise UsageError(f"{output}: is a file; choose another --output_dir")


def strange_files(folder):
    """The files in a folder that build_models.py has not written, by their path from there: sorted list[str]."""
    known = set(read_json(folder / REPOSITORY_FILE).get("files", []))
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}
    return sorted(name for name in found - known if "__pycache__" not in name)


def main(argv=None):
    args = parse_flags(argv)
    check_folders(args)
    require_packages("build_models.py", "onnxruntime", requirements="deploy/requirements.txt")
    from deploy.triton_serving.repository import write_repository

    with replaced_folder(args.output_dir.resolve(), lambda folder: not strange_files(folder)) as folder:
        facts = write_repository(folder, args)
        files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
        write_json(folder / REPOSITORY_FILE, {**facts, "files": [*files, REPOSITORY_FILE]})
    print(f"{args.output_dir}: ready; beside Triton it needs: pip install {facts['pip_install']}")
    print("Start it: tritonserver --model-repository=…; then ask it: python seqcls_grpc_client.py --wait 60")


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
