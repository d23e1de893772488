"""The content of a Triton model repository, made of an export folder (see build_models.py)."""

import json
import shutil
from pathlib import Path

import onnxruntime

from core.long_texts import KEY
from core.predictor import Predictor
from core.tokenizer_json import RUNTIME_KEY, TOKENIZER_FILE, no_runtime, write_tokenizer_json
from deploy.parity import check_parity
from utils import write_json

HERE = Path(__file__).resolve().parent

# The step that a repository shares with core/predictor.py; it needs numpy alone.
LONG_TEXTS = HERE.parents[1] / "core" / "long_texts.py"

# The model between tokenizer and postprocessing of an export that reads long texts in windows.
WINDOWS = "seqcls_windows"

TYPES = {"tensor(int64)": "TYPE_INT64", "tensor(float)": "TYPE_FP32"}

# ------------------------------------------------------------------------------------------------------ tokenizer


def write_tokenizer(folder, predictor):
    """Write what tokenizes into the version folder: the export's tokenizer.json, else PaddleNLP's own files.

    An export from before there was tokenizer.json gets one here, where the library is proven to give PaddleNLP's ids.

    Returns:
        str: what must be installed beside Triton.
    """
    facts = predictor.content.get(RUNTIME_KEY)
    if no_runtime(predictor.content) is None:
        shutil.copyfile(predictor.folder / TOKENIZER_FILE, folder / TOKENIZER_FILE)
    else:
        from paddlenlp.transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(str(predictor.folder))
        facts = write_tokenizer_json(folder, tokenizer, predictor.max_length)
        if not facts["tokenizer"]:
            tokenizer.save_pretrained(str(folder / "paddlenlp"))
    version = facts["tokenizers"] if facts["tokenizer"] else None
    content = {"max_length": predictor.max_length, "pad_token_id": predictor.pad_token_id, "tokenizers": version}
    if predictor.long_text.way != "truncate":
        content[KEY] = predictor.content[KEY]
        shutil.copyfile(LONG_TEXTS, folder / LONG_TEXTS.name)
    write_json(folder / "encoding.json", content)
    return f"tokenizers=={version}" if version else "paddlepaddle paddlenlp"


# ------------------------------------------------------------------------------------------------------- configs


def tensors(kind, values):
    """`input` or `output` of a config.pbtxt; values: [(name, type, dims)]."""
    lines = [f'  {{ name: "{name}" data_type: {data_type} dims: [ {dims} ] }}' for name, data_type, dims in values]
    return f"{kind} [\n" + ",\n".join(lines) + "\n]\n"


def step(model, inputs, outputs):
    """A step of the ensemble; inputs, outputs: tensors that have the same name in the model and in the ensemble."""
    names = [*(("input", name) for name in inputs), *(("output", name) for name in outputs)]
    maps = [f'      {kind}_map {{ key: "{name}" value: "{name}" }}\n' for kind, name in names]
    return f'    {{\n      model_name: "{model}"\n      model_version: -1\n{"".join(maps)}    }}'


def configs(args, session, predictor):
    """The text of each config.pbtxt: dict[str, str]; where long texts are read in windows, seqcls_windows is one more.

    Args:
        args: as parse_flags gives it.
        session (onnxruntime.InferenceSession): of the graph, for the names and types of its inputs and output.
        predictor (core.predictor.Predictor): of the export folder.
    """
    labels, has_windows = predictor.labels, predictor.long_text.has_windows
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
    models = ("tokenizer", WINDOWS if has_windows else "seqcls_model", "seqcls_postprocess")
    window = [("window", "TYPE_INT32", 2)] if has_windows else []
    more = [[], ["window"] if has_windows else [], []]
    steps = [step(model, names[i], names[i + 1] + more[i]) for i, model in enumerate(models)]
    parts = {
        "tokenizer": [
            'backend: "python"\n',
            tensors("input", text) + tensors("output", ids),
            batching + group(args.tokenizer_instances),
            parameter("pad_to_multiple_of", args.pad_to_multiple_of),
        ],
        "seqcls_model": [
            'backend: "onnxruntime"\nplatform: "onnxruntime_onnx"\n',
            tensors("input", ids) + tensors("output", logits),
            batching + group(args.instances, args.device),
            parameter("intra_op_thread_count", args.threads) if args.threads else "",
        ],
        "seqcls_postprocess": [
            'backend: "python"\n',
            tensors("input", logits) + named,
            batching + group(1),
        ],
        "seqcls": [
            'platform: "ensemble"\n',
            tensors("input", text) + tensors("output", answers + window),
            "ensemble_scheduling {\n  step [\n" + ",\n".join(steps) + "\n  ]\n}\n",
        ],
    }
    if has_windows:
        parts[WINDOWS] = [
            'backend: "python"\n',
            tensors("input", ids) + tensors("output", logits + window),
            batching + group(args.instances),
            parameter("max_length", predictor.max_length) + parameter("pad_token_id", predictor.pad_token_id),
            parameter(KEY, json.dumps(predictor.content[KEY]).replace('"', '\\"')),
        ]
    common = f"max_batch_size: {args.max_batch_size}\n"
    return {name: f'name: "{name}"\n{common}{"".join(lines)}' for name, lines in parts.items()}


# -------------------------------------------------------------------------------------------------- the repository


def write_repository(folder, args):
    """Write the repository into an empty folder.

    Args:
        folder (Path): the folder.
        args: as parse_flags of build_models.py gives it.

    Returns:
        dict: what it was made from, and as pip_install (str) what must be installed beside Triton.

    Raises:
        UsageError: the export folder cannot be used, or it answers otherwise than its model did.
    """
    predictor = Predictor(args.export_dir, args.format)
    check_parity(predictor)
    session = onnxruntime.InferenceSession(str(predictor.path), providers=["CPUExecutionProvider"])
    version = {}
    for name, text in configs(args, session, predictor).items():
        version[name] = folder / name / "1"
        version[name].mkdir(parents=True)
        (folder / name / "config.pbtxt").write_bytes(text.encode("utf-8"))
    if WINDOWS in version:
        shutil.copyfile(HERE / "windows_model.py", version[WINDOWS] / "model.py")
        shutil.copyfile(LONG_TEXTS, version[WINDOWS] / LONG_TEXTS.name)
    shutil.copyfile(HERE / "tokenizer_model.py", version["tokenizer"] / "model.py")
    shutil.copyfile(HERE / "postprocess_model.py", version["seqcls_postprocess"] / "model.py")
    shutil.copyfile(predictor.path, version["seqcls_model"] / "model.onnx")
    labels = "".join(f"{label}\n" for label in predictor.labels)
    (folder / "seqcls_postprocess" / "labels.txt").write_bytes(labels.encode("utf-8"))
    (version["seqcls"] / ".keep").write_bytes(b"")  # Git and archives drop empty folders, and Triton wants this one
    needs = write_tokenizer(version["tokenizer"], predictor)
    return {
        "format": args.format,
        "graph": predictor.path.name,
        "max_length": predictor.max_length,
        "labels": predictor.labels,
        "pip_install": needs,
    }
