"""Make the Triton model repository of an export folder.

    python build_models.py --export_dir ../../checkpoint/export --output_dir models
    python build_models.py --export_dir ../../checkpoint/prune/width_mult_0.67 --format onnx_int8

    models/tokenizer/             texts -> token ids          tokenizer_model.py, tokenizer.json
    models/seqcls_model/          token ids -> logits         model.onnx
    models/seqcls_postprocess/    logits -> labels            postprocess_model.py, labels.txt
    models/seqcls/                the three one after another: the model that clients ask

Labels, length, inputs and tokenizer come from the export folder. The repository needs nothing outside itself.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import unicodedata
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))
from utils import PARITY_FILE, UsageError, exit_on_usage_error, read_json, require_packages, write_json  # noqa: E402

# In the repository's own folder: what it was made from, and the files that belong to it.
REPOSITORY_FILE = "repository.json"
# How far a probability may be from what the model gave before it was exported.
TOLERANCE = {"onnx": 1e-3, "onnx_int8": 0.2}
TYPES = {"tensor(int64)": "TYPE_INT64", "tensor(float)": "TYPE_FP32"}


def parse_flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--export_dir", type=Path, default=HERE.parent.parent / "checkpoint" / "export", help="what train.py exported")
    add("--output_dir", type=Path, default=Path("models"), help="the model repository (default: %(default)s)")
    add("--format", choices=list(TOLERANCE), default="onnx", help="(default: %(default)s)")
    add("--device", choices=["cpu", "gpu"], default="cpu", help="what the ONNX model runs on (default: %(default)s)")
    add("--max_batch_size", type=int, default=64, help="texts that are run together (default: %(default)s)")
    add("--instances", type=int, default=1, help="copies of the ONNX model (default: %(default)s)")
    add("--tokenizer_instances", type=int, default=1, help="processes that tokenise (default: %(default)s)")
    add("--threads", type=int, default=0, help="CPU threads of a copy; 0: ONNX Runtime decides (default: 0)")
    add("--max_queue_delay", type=int, default=0, help="microseconds that a request waits for others (default: 0)")
    add("--pad_to_multiple_of", type=int, default=16, help="token lengths are rounded up to it (default: %(default)s)")
    args = parser.parse_args(argv)
    smallest = {"max_batch_size": 1, "instances": 1, "tokenizer_instances": 1, "threads": 0, "max_queue_delay": 0,
                "pad_to_multiple_of": 1}  # fmt: skip
    for name, least in smallest.items():
        if getattr(args, name) < least:
            parser.error(f"--{name} {getattr(args, name)}: give a number from {least}")
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
        known = set(read_json(output / REPOSITORY_FILE).get("files", []))
        found = {str(path.relative_to(output)) for path in output.rglob("*") if not path.is_dir()}
        strange = sorted(name for name in found - known if "__pycache__" not in name)
        if strange:
            raise UsageError(f"{output / strange[0]}: not made by build_models.py; choose another --output_dir")
    elif os.path.lexists(output):
        raise UsageError(f"{output}: is a file; choose another --output_dir")


# ------------------------------------------------------------------------------------------------------ tokenizer


def character_rules(tokenizer, rust):
    """What to replace in a text, so that the Rust tokenizer cuts it as PaddleNLP does: tried on all of Unicode.

    The two differ where one of them knows a newer Unicode, and on some blocks.

    Args:
        tokenizer: PaddleNLP's tokenizer.
        rust (tokenizers.Tokenizer): its twin.

    Returns:
        list[tuple[str, str]]: characters and ranges for a regular expression's [], and what each becomes.
    """
    from tqdm import tqdm

    def words(probes):
        normal = rust.normalizer.normalize_str(" ".join(probes))
        return [word for word, _ in rust.pre_tokenizer.pre_tokenize_str(normal)]

    def expected(characters):
        return tokenizer.basic_tokenizer.tokenize(" ".join(f"头{char}疼a{char}b" for char in characters))

    in_vocabulary = set().union(*tokenizer.vocab.token_to_idx)
    # A letter that no token has makes its word [UNK], as any other such letter does.
    letter = next(char for char in map(chr, range(0xA000, 0xA48D)) if char not in in_vocabulary)
    chosen, different = {}, []
    for start in tqdm(range(0, sys.maxunicode + 1, 256), unit="block", leave=False, mininterval=1):
        kinds = {char: unicodedata.category(char) for char in map(chr, range(start, start + 256))}
        # Not assigned, private: PaddleNLP drops them. NUL is dropped later than special tokens are found, so that
        # "[S" + char + "EP]" stays text. Surrogates are not in any UTF-8 text.
        chosen.setdefault("\0", []).extend(char for char, kind in kinds.items() if kind in ("Cn", "Co"))
        block = [char for char, kind in kinds.items() if kind not in ("Cn", "Co", "Cs")]
        if expected(block) != words([f"头{char}疼a{char}b" for char in block]):
            different += [char for char in block if expected([char]) != words([f"头{char}疼a{char}b"])]
    for char in different:
        for becomes in ("\0", f" {char} ", unicodedata.normalize("NFD", char.lower()), letter):
            result = words([f"头{becomes}疼a{becomes}b"])
            if becomes == letter and char not in in_vocabulary:
                result = [word.replace(letter, char) for word in result]
            if result == expected([char]):
                chosen.setdefault(becomes.replace(char, r"\g<0>"), []).append(char)
                break
        else:
            raise UsageError(f"U+{ord(char):04X}: the Rust tokenizer cannot be made to treat it as PaddleNLP does")
    return [(ranges(sorted(characters)), becomes) for becomes, characters in chosen.items()]


def ranges(characters):
    """Sorted characters as the inside of a regular expression's [], such as \\U00000041-\\U0000005a."""
    runs = []
    for code in map(ord, characters):
        if runs and code == runs[-1][1] + 1:
            runs[-1][1] = code
        else:
            runs.append([code, code])
    return "".join(rf"\U{first:08x}-\U{last:08x}" for first, last in runs)


def write_tokenizer(folder, predictor, tokenizer):
    """Write tokenizer.json into the version folder: the Rust twin where it was proven, else PaddleNLP's own files.

    Returns:
        str: what must be installed beside Triton.
    """
    from trainer import rust_tokenizer

    content = {"max_length": predictor.max_length, "pad_token_id": predictor.pad_token_id}
    if predictor.encode.__name__ == "encode_fast":  # trainer.make_encoder has compared the two
        import tokenizers

        rust = rust_tokenizer(tokenizer, predictor.max_length)._tokenizer
        needs = f"tokenizers=={tokenizers.__version__}"
        content.update(tokenizers=tokenizers.__version__, characters=character_rules(tokenizer, rust),
                       rust=json.loads(rust.to_str()))  # fmt: skip
    else:
        needs = "paddlepaddle paddlenlp"
        tokenizer.save_pretrained(str(folder / "paddlenlp"))
    write_json(folder / "tokenizer.json", content, ascii_only=True)
    return needs


# ------------------------------------------------------------------------------------------------------- configs


def tensors(kind, values):
    """`input` or `output` of a config.pbtxt; values: [(name, type, dims)]."""
    lines = [f'  {{ name: "{name}" data_type: {data_type} dims: [ {dims} ] }}' for name, data_type, dims in values]
    return f"{kind} [\n" + ",\n".join(lines) + "\n]\n"


def step(model, inputs, outputs):
    """A step of the ensemble; inputs, outputs: tensors that have the same name in the model and in the ensemble."""
    maps = [f'      {kind}_map {{ key: "{name}" value: "{name}" }}\n' for kind, names in
            (("input", inputs), ("output", outputs)) for name in names]  # fmt: skip
    return f'    {{\n      model_name: "{model}"\n      model_version: -1\n{"".join(maps)}    }}'


def configs(args, session, labels):
    """The text of each config.pbtxt: dict[str, str].

    Args:
        args: as parse_flags gives it.
        session (onnxruntime.InferenceSession): of the graph, for the names and types of its inputs and output.
        labels (list[str]): label names in class order.
    """
    text = [("INPUT", "TYPE_STRING", 1)]
    ids = [(value.name, TYPES[value.type], -1) for value in session.get_inputs()]
    logits = [(session.get_outputs()[0].name, TYPES[session.get_outputs()[0].type], len(labels))]
    label, confidence = ("label", "TYPE_STRING", 1), ("confidence", "TYPE_FP32", 1)
    probabilities = ("probabilities", "TYPE_FP32", len(labels))
    answers = [label, confidence, probabilities]
    named = tensors("output", answers).replace(
        f"[ {len(labels)} ] }}", f'[ {len(labels)} ] label_filename: "labels.txt" }}'
    )
    batching = f"dynamic_batching {{ max_queue_delay_microseconds: {args.max_queue_delay} }}\n"

    def group(count, device="cpu"):
        return f"instance_group [ {{ count: {count} kind: KIND_{device.upper()} }} ]\n"

    def parameter(name, value):
        return f'parameters {{ key: "{name}" value: {{ string_value: "{value}" }} }}\n'

    names = [[name for name, _, _ in values] for values in (text, ids, logits, answers)]
    models = ("tokenizer", "seqcls_model", "seqcls_postprocess")
    steps = [step(model, names[i], names[i + 1]) for i, model in enumerate(models)]
    bodies = {
        "tokenizer": 'backend: "python"\n' + tensors("input", text) + tensors("output", ids) + batching
        + group(args.tokenizer_instances) + parameter("pad_to_multiple_of", args.pad_to_multiple_of),
        "seqcls_model": 'backend: "onnxruntime"\nplatform: "onnxruntime_onnx"\n' + tensors("input", ids)
        + tensors("output", logits) + batching + group(args.instances, args.device)
        + (parameter("intra_op_thread_count", args.threads) if args.threads else ""),
        "seqcls_postprocess": 'backend: "python"\n' + tensors("input", logits) + named + batching + group(1),
        "seqcls": 'platform: "ensemble"\n' + tensors("input", text) + tensors("output", answers)
        + "ensemble_scheduling {\n  step [\n" + ",\n".join(steps) + "\n  ]\n}\n",
    }  # fmt: skip
    return {name: f'name: "{name}"\nmax_batch_size: {args.max_batch_size}\n{body}' for name, body in bodies.items()}


# -------------------------------------------------------------------------------------------------- the repository


def write_repository(folder, args):
    """Write the repository into an empty folder.

    Returns:
        str: what must be installed beside Triton.
    """
    import numpy as np
    import onnxruntime
    from paddlenlp.transformers import AutoTokenizer

    from predictor import Predictor

    predictor = Predictor(args.export_dir, args.format)
    parity = read_json(args.export_dir / PARITY_FILE)
    if parity:
        off = np.abs(predictor.probabilities(parity["texts"]) - parity["probabilities"]).max()
        if parity["labels"] != predictor.labels or not off <= TOLERANCE[args.format]:
            raise UsageError(f"{predictor.path}: gives other answers than {PARITY_FILE} says; export the model again")
    version = {name: folder / name / "1" for name in ("tokenizer", "seqcls_model", "seqcls_postprocess", "seqcls")}
    for path in version.values():
        path.mkdir(parents=True)
    session = onnxruntime.InferenceSession(str(predictor.path), providers=["CPUExecutionProvider"])
    for name, text in configs(args, session, predictor.labels).items():
        (folder / name / "config.pbtxt").write_bytes(text.encode("utf-8"))
    shutil.copyfile(HERE / "tokenizer_model.py", version["tokenizer"] / "model.py")
    shutil.copyfile(HERE / "postprocess_model.py", version["seqcls_postprocess"] / "model.py")
    shutil.copyfile(predictor.path, version["seqcls_model"] / "model.onnx")
    labels = "".join(f"{label}\n" for label in predictor.labels)
    (folder / "seqcls_postprocess" / "labels.txt").write_bytes(labels.encode("utf-8"))
    (version["seqcls"] / ".keep").write_bytes(b"")  # Git and archives drop empty folders, and Triton wants this one
    needs = write_tokenizer(version["tokenizer"], predictor, AutoTokenizer.from_pretrained(str(args.export_dir)))
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    facts = {"format": args.format, "graph": predictor.path.name, "max_length": predictor.max_length,
             "labels": predictor.labels, "pip_install": needs, "files": [*files, REPOSITORY_FILE]}  # fmt: skip
    write_json(folder / REPOSITORY_FILE, facts)
    return needs


def main(argv=None):
    args = parse_flags(argv)
    check_folders(args)
    require_packages("build_models.py", "onnxruntime", requirements="requirements-serving.txt")
    output = args.output_dir.resolve()
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=".writing-", dir=output.parent))
    except OSError as error:
        raise UsageError(f"{output}: cannot write there ({error.strerror}); choose another --output_dir") from None
    try:
        (stage / "new").mkdir()
        needs = write_repository(stage / "new", args)
        if output.is_dir():
            os.replace(output, stage / "old")
        try:
            os.replace(stage / "new", output)
        except OSError:
            if (stage / "old").is_dir():
                os.replace(stage / "old", output)
            raise
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    print(f"{args.output_dir}: ready; beside Triton it needs: pip install {needs}")


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
