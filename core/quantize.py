"""An ONNX model with its matrix products in 8-bit integers."""

import numpy as np
import onnxruntime
from onnx import TensorProto, helper
from onnx.numpy_helper import from_array, to_array

from core.batches import make_collator
from core.long_texts import flat
from utils import UsageError

# Whole numbers on each side of 0 that a quantised weight may be.
WEIGHT_LEVELS = 63

# Batches of dev that give the ranges of activations: every n-th, so that short and long texts take part.
CALIBRATION_BATCHES = 32


def calibration_batches(dev, tokenizer):
    """Batches of dev, short and long texts alike, as ONNX inputs.

    Raises:
        UsageError: no dev data.
    """
    if dev is None:
        raise UsageError("--export_type onnx_int8 measures the ranges of activations on dev data; give --dev_path")
    features, _ = flat([dict(dev[index]) for index in range(len(dev))])
    order = np.argsort([len(feature["input_ids"]) for feature in features], kind="stable")
    groups = np.array_split(order, max(1, len(order) // 32))
    collate = make_collator(tokenizer)
    for group in groups[:: max(1, len(groups) // CALIBRATION_BATCHES)]:
        batch = collate([{**features[index], "labels": 0} for index in group])
        yield {name: batch[name] for name in ("input_ids", "token_type_ids") if name in batch}


def quantize_onnx(model, batches):
    """Give a model's matrix products with weights 8-bit integers; everything else stays in float32.

    Static quantisation (arXiv 1712.05877): activations get one scale and zero point a tensor, from the ranges seen
    in `batches`; weights get one scale an output unit. Unlike with dynamic quantisation, what a text gets
    does not depend on the texts beside it. Weights keep 7 bits: with 8, processors without VNNI
    overflow in the 16-bit sums and give other answers.

    Args:
        model (onnx.ModelProto): with initializers.
        batches (Iterable[dict[str, np.ndarray]]): inputs.

    Returns:
        onnx.ModelProto: for ONNX Runtime (it uses its MatMulIntegerToFloat).
    """
    result = type(model)()
    result.CopyFrom(model)
    graph = result.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    products = [node for node in graph.node if node.op_type == "MatMul" and node.input[1] in weights]
    ranges = activation_ranges(model, sorted({node.input[0] for node in products}), batches)
    readers = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)

    nodes, tensors, dropped = [], {}, set()
    for node in graph.node:
        if node.output[0] in dropped:
            continue
        if node.op_type != "MatMul" or node.input[1] not in weights:
            nodes.append(node)
            continue
        x, w = node.input
        if f"{x}.scale" not in tensors:
            tensors[f"{x}.scale"], tensors[f"{x}.zero_point"] = affine(*ranges[x])
            inputs = [x, f"{x}.scale", f"{x}.zero_point"]
            nodes.append(helper.make_node("QuantizeLinear", inputs, [f"{x}.int8"]))
        weight = to_array(weights[w])
        scale = np.maximum(np.abs(weight).max(axis=0) / WEIGHT_LEVELS, 1e-8).astype("float32")
        tensors[f"{w}.int8"] = np.round(weight / scale).astype("int8")
        tensors[f"{w}.scale"], tensors[f"{w}.zero_point"] = scale, np.zeros(len(scale), "int8")
        inputs = [f"{x}.int8", f"{w}.int8", f"{x}.scale", f"{w}.scale", f"{x}.zero_point", f"{w}.zero_point"]
        output = node.output[0]
        following = readers.get(output, [])
        add = following[0] if len(following) == 1 else node
        bias = [name for name in add.input if name in weights and list(weights[name].dims) == [len(scale)]]
        if add.op_type == "Add" and bias:
            inputs.append(bias[0])
            output = add.output[0]
            dropped.add(output)
        nodes.append(helper.make_node("MatMulIntegerToFloat", inputs, [output], domain="com.microsoft"))

    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend([*kept, *(from_array(value, name) for name, value in tensors.items())])
    if all(opset.domain != "com.microsoft" for opset in result.opset_import):
        result.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return result


def activation_ranges(model, names, batches):
    """The range to quantise each of these tensors in: dict[str, tuple[float, float]].

    The whole range would be wide because of a few outliers, and its steps coarse for all other values. So it is
    shrunk to the share of it with the smallest squared error on values drawn from all batches.
    """
    observed = type(model)()
    observed.CopyFrom(model)
    observed.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    session = onnxruntime.InferenceSession(observed.SerializeToString(), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    limits = dict.fromkeys(names, (0.0, 0.0))
    drawn = {name: [] for name in names}
    for batch in batches:
        for name, value in zip(names, session.run(names, batch)):
            low, high = limits[name]
            limits[name] = min(low, float(value.min())), max(high, float(value.max()))
            drawn[name].append(rng.choice(value.ravel(), 4096))

    def squared_error(name, share):
        scale, zero_point = affine(limits[name][0] * share, limits[name][1] * share)
        values = np.concatenate(drawn[name])
        return np.square((np.clip(np.round(values / scale) + zero_point, 0, 255) - zero_point) * scale - values).mean()

    shares = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1)
    best = {name: min(shares, key=lambda share: squared_error(name, share)) for name in names}
    return {name: (limits[name][0] * best[name], limits[name][1] * best[name]) for name in names}


def affine(low, high):
    """Scale and zero point that map low … high, 0 among them, on 0 … 255."""
    scale = max((high - low) / 255, 1e-8)
    return np.float32(scale), np.uint8(np.clip(round(-low / scale), 0, 255))
