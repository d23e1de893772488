"""Write the folder that predicts: static graph, ONNX, INT8 ONNX, tokenizer, labels, and what is known about them.

An export folder holds

    <name>.pdmodel, .pdiparams    Paddle's static graph, always (<name> is model, or pruned_model for pruned ones)
    <name>.onnx                   --export_type onnx
    <name>_int8.onnx              --export_type onnx_int8: products in 8-bit integers, ranges from dev
    tokenizer files, id2label.json
    tokenizer.json                for the tokenizers library, where its ids are proven equal: ONNX without PaddleNLP
    export.json                   max_length, versions, metrics on dev, and the size of every file; label_separator
                                  where labels are paths (core/label_paths.py); what is known of the probabilities
                                  (core/calibration.py); long_text where long texts are not truncated
                                  (core/long_texts.py)
    parity.json                   a few texts with the probabilities that the model gave before it was exported
    README.md, README_en.md       the model card (core/model_card.py)

core/predictor.py reads it.
"""

import contextlib
import importlib.metadata
import json
import os
import platform
from pathlib import Path

import numpy as np
import paddle
from paddlenlp.transformers import export_model
from paddlenlp.utils.log import logger

from core.batches import make_collator
from core.checkpoints import CARD_FILES, EXPORT_FILE, EXPORT_TYPES, PARITY_FILE
from core.confidence import temperature_of
from core.encoders import make_encoder
from core.heads import reads_all_tokens
from core.loading import uses_token_types
from core.long_texts import KEY, LongText, flat
from core.tokenizer_json import RUNTIME_KEY, no_runtime, write_tokenizer_json
from core.windows import one_window
from utils import UsageError, read_json, staged_files, write_json

OPSET = 13

# Short, long, mixed, and with characters that few vocabularies know; none of them is anybody's data.
PARITY_TEXTS = [
    "头疼应该挂什么科",
    "高血压患者能不能喝咖啡，一天最多几杯？",
    "ＣＴ检查一次多少钱 医保报销吗",
    "How long does a cold usually last?",
    "血糖6.1mmol/L 正常吗",
    "龘",
    "这条文本故意写得很长，用来检查截断：" + "先说症状，再说时间，最后说用过什么药。" * 40,
]


# ------------------------------------------------------------------------------------------------ the static graph


class FirstTokenLayer(paddle.nn.Layer):
    """The last encoder layer for the first token alone, which is all that a classifier reads.

    The other tokens still take part as keys and values, so the answer is the same; ten twelfths of the layer's work
    are saved.
    """

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    @property
    def norm1(self):
        """DistilBERT asks its first layer, which may be its last, for this one's dtype."""
        return self.layer.norm1

    def forward(self, src, src_mask=None, cache=None, output_attentions=False):
        layer, first = self.layer, src[:, :1]
        first = layer.norm1(first + layer.self_attn(first, src, src, src_mask))
        return layer.norm2(first + layer.linear2(layer.activation(layer.linear1(first))))


@contextlib.contextmanager
def first_token_only(model, example):
    """Replace the model's last encoder layer by FirstTokenLayer for a while, where that changes no answer.

    Args:
        model: a classifier in evaluation mode.
        example (dict): inputs on which the answer must stay the same to 1e-4.
    """
    encoder = getattr(model.base_model, "encoder", None)
    layers = getattr(encoder, "layers", None)
    # Others than Paddle's own kind of layer have no normalize_before.
    if not layers or getattr(layers[-1], "normalize_before", True) or reads_all_tokens(model):
        yield
        return
    before = model(**example)
    original = layers[-1]
    layers[-1] = FirstTokenLayer(original)
    try:
        after = model(**example)
        if float((after - before).abs().max()) > 1e-4:  # a head that reads other tokens too
            layers[-1] = original
        yield
    finally:
        layers[-1] = original


class TruncatingClassifier(paddle.nn.Layer):
    """A classifier that cuts its input to max_length tokens itself, the last one kept being [SEP].

    Its logits are divided by the temperature, so that their softmax is calibrated (core/calibration.py).

    It masks padding by its id, so the graph needs no further input (core.families.mask_padding).
    Whoever runs the exported graph, with whatever limit (Taskflow cuts at 512), gets the answer that the model
    gave in training, and a text longer than the position embeddings is no error.
    """

    def __init__(self, model, max_length, pad_token_id, sep_token_id, temperature=1.0):
        super().__init__()
        self.model, self.temperature = model, temperature
        self.max_length = max_length
        self.pad_token_id = pad_token_id
        self.sep_token_id = sep_token_id

    def forward(self, input_ids, token_type_ids=None):
        lengths = (input_ids != self.pad_token_id).astype("int64").sum(axis=1, keepdim=True)
        input_ids = input_ids[:, : self.max_length]
        positions = paddle.ones_like(input_ids[:1]).cumsum(axis=1)
        is_cut = paddle.logical_and(lengths > self.max_length, positions == self.max_length)
        input_ids = paddle.where(is_cut, paddle.full_like(input_ids, self.sep_token_id), input_ids)
        more = {} if token_type_ids is None else {"token_type_ids": token_type_ids[:, : self.max_length]}
        logits = self.model(input_ids, **more)
        return logits if self.temperature == 1.0 else logits / self.temperature


def write_graph(model, input_spec, folder):
    """Write model.pdmodel and model.pdiparams; --recompute, which has no static form, is off meanwhile."""
    recomputing = [layer for layer in model.sublayers() if getattr(layer, "enable_recompute", False)]
    for layer in recomputing:
        layer.enable_recompute = False
    try:
        with paddle.no_grad():
            export_model(model=model, input_spec=input_spec, path=str(folder))
    finally:
        for layer in recomputing:
            layer.enable_recompute = True


def export_classifier(
    model, tokenizer, labels, max_length, export_dir, name="model", types=("paddle",), dev=None, facts=None, texts=()
):
    """Write an export folder (see the top of this file).

    Args:
        model: a classifier; it is put into evaluation mode.
        tokenizer: its tokenizer; saved with model_max_length = max_length.
        labels (list[str]): label names in class order.
        max_length (int): tokens that training kept of a text; stored in the graph and beside it.
        export_dir: the folder. Files of an earlier export that this one does not replace are removed: they would
            be another model's. All other files stay.
        name (str): the graphs' file name without its ending.
        types (Iterable[str]): of EXPORT_TYPES; the Paddle graph is always written.
        dev (TextDataset | None): the data whose activations give onnx_int8 its ranges.
        facts (dict | None): more for export.json, such as metrics; the temperature in its calibration
            (core/calibration.py) goes into the graphs, and into parity.json.
        texts (list[str]): some on which tokenizer.json must agree with the tokenizer, beside all characters.

    Raises:
        UsageError: a conversion failed, or what it needs is not installed; the folder is then as it was.
    """
    model.eval()
    types = [kind for kind in EXPORT_TYPES if kind == "paddle" or kind in types]
    token_types = uses_token_types(model)
    long_text = LongText(getattr(getattr(model, "config", None), KEY, None), max_length)
    encode = make_encoder(tokenizer, max_length, token_types, long_text=long_text)
    windows, counts = flat(encode(PARITY_TEXTS))
    batch = make_collator(tokenizer)(windows)
    inputs = {key: paddle.to_tensor(batch[key]) for key in ("input_ids", "token_type_ids") if key in batch}
    temperature = temperature_of(facts or {})
    with paddle.no_grad():
        pooled = paddle.to_tensor(long_text.pool(model(**inputs).numpy(), counts))
        probabilities = paddle.nn.functional.softmax(pooled / temperature, axis=-1).numpy().astype("float64")

    names = ["input_ids", "token_type_ids"] if token_types else ["input_ids"]
    spec = [paddle.static.InputSpec(shape=[None, None], dtype="int64", name=key) for key in names]
    special = tokenizer.pad_token_id, tokenizer.sep_token_id
    wrapped = TruncatingClassifier(model, max_length, *special, temperature)
    wrapped.eval()
    old_files = read_json(Path(export_dir) / EXPORT_FILE).get("files", {})
    with staged_files(export_dir) as stage:
        with paddle.no_grad(), one_window(model), first_token_only(model, inputs):
            write_graph(wrapped, spec, stage)
        for path in stage.glob("model.pd*"):
            os.replace(path, path.with_name(path.name.replace("model", name, 1)))
        if set(types) & {"onnx", "onnx_int8"}:
            onnx_model = convert_to_onnx(stage, name)
            if "onnx_int8" in types:
                from core.quantize import calibration_batches, quantize_onnx  # needs onnxruntime, an extra

                batches = calibration_batches(dev, tokenizer)
                save_onnx(quantize_onnx(onnx_model, batches), stage / f"{name}_int8.onnx")
            if "onnx" in types:
                save_onnx(onnx_model, stage / f"{name}.onnx")
        save_labels_and_tokenizer(stage, tokenizer, labels, max_length)
        runtime = write_tokenizer_json(stage, tokenizer, max_length, texts)
        rounded = [[float(f"{value:.8g}") for value in row] for row in probabilities]
        write_json(stage / PARITY_FILE, {"texts": PARITY_TEXTS, "labels": labels, "probabilities": rounded}, True)
        files = file_sizes(stage)
        content = {
            "max_length": max_length,
            "num_labels": len(labels),
            "types": types,
            **long_text_note(long_text),
            **(facts or {}),
            RUNTIME_KEY: runtime,
        }
        write_json(stage / EXPORT_FILE, {**content, "versions": versions(), "files": files}, ascii_only=True)
    delete_replaced(export_dir, old_files, files)
    if long_text.way != "truncate":
        logger.warning(
            f"{export_dir}: --long_text {long_text.way} is done by what reads the texts, core/predictor.py and all of "
            f"deploy/; Taskflow does not know of it: it reads the first {max_length} tokens of a text, and answers by "
            "them alone"
        )
    if why := no_runtime({RUNTIME_KEY: runtime}):
        logger.info(f"{export_dir}: runs with PaddleNLP alone, not with deploy/requirements-runtime.txt: {why}")


def long_text_note(long_text):
    """What export.json says of long texts: nothing where they are truncated, as Taskflow does it."""
    if long_text.way == "truncate":
        return {}
    own = {"head": long_text.head}
    if long_text.has_windows:
        own = {"stride": long_text.stride, "pooling": long_text.pooling}
    return {KEY: {"way": long_text.way, **own, "taskflow": f"reads the first {long_text.max_length} tokens alone"}}


def delete_replaced(folder, old_files, new_files):
    """Delete what an earlier export wrote, as it wrote it, and the new one did not: it is another model's.

    Args:
        folder: the export folder.
        old_files, new_files (dict[str, int]): sizes by name, as in export.json. Model cards stay: whether one was
            changed is not seen by its size, and the new one takes its place.
    """
    for name, size in old_files.items():
        path = Path(folder) / name
        if name not in new_files and name not in CARD_FILES and path.is_file() and path.stat().st_size == size:
            path.unlink()


def file_sizes(folder):
    """The size of every file in a folder and below it, by its path from there."""
    paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}


def graph_bytes(path):
    """The size of a graph's file, together with its weights where these are in another one."""
    return path.stat().st_size + (path.with_suffix(".pdiparams").stat().st_size if path.suffix == ".pdmodel" else 0)


def save_labels_and_tokenizer(folder, tokenizer, labels, max_length):
    """Write the tokenizer's files, with model_max_length = max_length, and id2label.json into `folder`."""
    save_tokenizer(folder, tokenizer, max_length)
    write_json(folder / "id2label.json", {str(i): label for i, label in enumerate(labels)}, ascii_only=True)


def save_tokenizer(folder, tokenizer, max_length):
    """Write the tokenizer's files, with model_max_length = max_length, into `folder`."""
    tokenizer.save_pretrained(str(folder))
    config_file = folder / "tokenizer_config.json"
    config = json.loads(config_file.read_text(encoding="utf-8"))
    config["model_max_length"] = max_length
    # Taskflow opens these in the machine's own encoding, which on Chinese Windows is GBK.
    write_json(config_file, config, ascii_only=True)


def versions():
    """What made this export: Python and the libraries that are installed."""
    result = {"python": platform.python_version()}
    for name in ("paddlepaddle", "paddlepaddle-gpu", "paddlenlp", "paddle2onnx", "onnx", "onnxruntime", "tokenizers"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            result[name] = importlib.metadata.version(name)
    return result


# ------------------------------------------------------------------------------------------------------------ ONNX


def convert_to_onnx(folder, name):
    """Convert the static graph in `folder` to an onnx.ModelProto.

    Raises:
        UsageError: paddle2onnx wrote nothing that ONNX can read. Its own exit code does not tell: after a failure
            it leaves an empty file and returns as usual.
    """
    import onnx
    import paddle2onnx

    target = folder / "converted.onnx"
    error = None
    try:
        graph, weights = (str(folder / f"{name}{ending}") for ending in (".pdmodel", ".pdiparams"))
        paddle2onnx.export(graph, weights, save_file=str(target), opset_version=OPSET, enable_onnx_checker=True)
        model = onnx.load(str(target))
        onnx.checker.check_model(model)
    except Exception as caught:
        error = str(caught).strip().splitlines()[-1:] or [type(caught).__name__]
    if error or not model.graph.node:
        raise UsageError(
            f"the conversion to ONNX failed ({error[0] if error else 'it wrote an empty file'}); this model "
            "cannot be exported as ONNX here, use --export_type paddle"
        )
    target.unlink()

    return with_initializers(model)


def with_initializers(model):
    """Turn Constant nodes into initializers, which is where quantisers and fusions look for weights; in place."""
    from onnx.numpy_helper import from_array, to_array

    graph = model.graph
    values = {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}
    kept = []
    for node in graph.node:
        if node.op_type == "Mul" and all(name in values for name in node.input):
            # The embeddings times a mask of their own size, which hides the padding row.
            values[node.output[0]] = from_array(np.multiply(*(to_array(values[name]) for name in node.input)))
        elif node.op_type != "Constant":
            kept.append(node)
    used = {name for node in kept for name in node.input}
    del graph.node[:]
    graph.node.extend(kept)
    for name in sorted(used & values.keys()):
        values[name].name = name
        graph.initializer.append(values[name])
    return model


def save_onnx(model, path):
    """Write a model and make sure that ONNX Runtime loads it."""
    import onnx
    import onnxruntime

    onnx.save(model, str(path))
    try:
        onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:
        why = str(error).strip().splitlines()[0]
        raise UsageError(f"{path.name}: ONNX Runtime cannot load what was converted ({why})") from error
