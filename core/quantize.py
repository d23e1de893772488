"""An ONNX model with its matrix products and word embeddings in 8-bit integers."""

import numpy as np
import onnxruntime
from onnx import TensorProto, helper
from onnx.numpy_helper import from_array, to_array

from core.batches import make_collator
from core.long_texts import flat
from utils import UsageError

# Whole numbers on each side of 0 that a quantised weight may be.
WEIGHT_LEVELS = 63
# The same of a table's rows, which are not summed up, and the numbers that a table has at least to be worth it: word
# embeddings are most of a small model's file and memory.
TABLE_LEVELS, TABLE_SIZE = 127, 2**20

# Axes of what has a row a token: [texts, tokens, units].
TOKENS_NDIM = 3

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
    """Give products with weights at each token, and large tables, 8-bit integers; all else stays in float32.

    Static quantisation (arXiv 1712.05877): activations get one scale and zero point a tensor, from the ranges seen
    in `batches`; weights get one scale an output unit. Unlike with dynamic quantisation, what a text gets
    does not depend on the texts beside it. Weights keep 7 bits: with 8, processors without VNNI
    overflow in the 16-bit sums and give other answers. Rows of embeddings get one scale each. Squares and divisions by
    roots are written as products: ONNX Runtime, which else makes one slow step of LayerNorm, runs its parts.

    What comes after the pooling takes next to no time, and what is rounded there is not averaged any more: the pooler
    alone made a logit's error 3.6 times as large.

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

    twos, roots = names_of_two(graph), {node.output[0] for node in graph.node if node.op_type == "Sqrt"}
    nodes, tensors, dropped = [], {}, set()
    for node in graph.node:
        if node.output[0] in dropped:
            continue
        if made := as_products(node, twos, roots):
            nodes.extend(made)
        elif node.op_type == "Gather" and takes_rows(node) and is_large_table(weights.get(node.input[0])):
            nodes.extend(quantized_gather(node, to_array(weights[node.input[0]]), tensors))
        elif node.op_type == "MatMul" and node.input[1] in weights and node.input[0] in ranges:
            add, bias = bias_behind(node, readers, weights)
            dropped.update(add.output if add else [])
            nodes.extend(quantized_product(node, add, bias, ranges, weights, tensors))
        else:
            nodes.append(node)

    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend([*kept, *(from_array(value, name) for name, value in tensors.items())])
    if all(opset.domain != "com.microsoft" for opset in result.opset_import):
        result.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return result


def bias_behind(node, readers, weights):
    """The node that alone reads a product and adds a bias to it, and the bias's name: None, None where there is none.

    Args:
        node (onnx.NodeProto): the MatMul.
        readers (dict[str, list[onnx.NodeProto]]): the nodes that read each tensor.
        weights (dict[str, onnx.TensorProto]): of the graph.
    """
    width, following = weights[node.input[1]].dims[1], readers.get(node.output[0], [])
    if len(following) == 1 and following[0].op_type == "Add":
        for name in following[0].input:
            if name in weights and list(weights[name].dims) == [width]:
                return following[0], name
    return None, None


def quantized_product(node, add, bias, ranges, weights, tensors):
    """A product with weights in integers.

    Args:
        node (onnx.NodeProto): the MatMul.
        add (onnx.NodeProto | None): what adds the bias to it, and is not needed any more.
        bias (str | None): the name of what it adds.
        ranges (dict[str, tuple]): of activations.
        weights (dict[str, onnx.TensorProto]): of the graph.
        tensors (dict[str, np.ndarray]): initializers, to which those of the product are added.

    Returns:
        list[onnx.NodeProto]: what takes its place.
    """
    nodes, (x, w) = [], node.input
    if f"{x}.scale" not in tensors:
        tensors[f"{x}.scale"], tensors[f"{x}.zero_point"] = affine(*ranges[x])
        nodes.append(helper.make_node("QuantizeLinear", [x, f"{x}.scale", f"{x}.zero_point"], [f"{x}.int8"]))
    weight = to_array(weights[w])
    scale = np.maximum(np.abs(weight).max(axis=0) / WEIGHT_LEVELS, 1e-8).astype("float32")
    tensors[f"{w}.int8"], tensors[f"{w}.scale"] = np.round(weight / scale).astype("int8"), scale
    inputs = [f"{x}.int8", f"{w}.int8", f"{x}.scale", f"{w}.scale", f"{x}.zero_point"]
    inputs += ["", bias] if bias else []  # the weights have no zero point
    output = (add or node).output[0]
    return [*nodes, helper.make_node("MatMulIntegerToFloat", inputs, [output], domain="com.microsoft")]


def as_products(node, twos, roots):
    """A square, or a division by a root, as products: list[onnx.NodeProto], empty where the node is neither.

    Args:
        node (onnx.NodeProto): any.
        twos, roots (set[str]): names of what is 2, and of what a Sqrt gives.
    """
    made, output = helper.make_node, node.output
    if node.op_type == "Pow" and node.input[1] in twos:
        return [made("Mul", [node.input[0], node.input[0]], output)]
    if node.op_type == "Div" and node.input[1] in roots:
        factor = f"{output[0]}.factor"
        return [made("Reciprocal", [node.input[1]], [factor]), made("Mul", [node.input[0], factor], output)]
    return []


def names_of_two(graph):
    """The names of a graph's (onnx.GraphProto) constants that are 2: set[str]."""
    values = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            values[node.output[0]] = node.attribute[0].t
    single = (name for name, tensor in values.items() if list(tensor.dims) in ([], [1]))
    return {name for name in single if to_array(values[name]).item() == 2}


def is_large_table(tensor):
    """Whether a tensor (TensorProto | None) is one whose rows are worth 8-bit integers."""
    if tensor is None or tensor.data_type != TensorProto.FLOAT or len(tensor.dims) != 2:
        return False
    return tensor.dims[0] * tensor.dims[1] >= TABLE_SIZE


def takes_rows(node):
    """Whether a Gather (onnx.NodeProto) is along axis 0, its default."""
    return all(one.i == 0 for one in node.attribute if one.name == "axis")


def quantized_gather(node, table, tensors):
    """Rows of a table (np.ndarray float32 [rows, width]) from integers and a scale a row.

    Args:
        node (onnx.NodeProto): the Gather along axis 0 that takes rows.
        tensors (dict[str, np.ndarray]): initializers, to which those of the table are added.

    Returns:
        list[onnx.NodeProto]: what takes its place.
    """
    name, output = node.input[0], node.output[0]
    if f"{name}.int8" not in tensors:
        scale = np.maximum(np.abs(table).max(axis=1, keepdims=True) / TABLE_LEVELS, 1e-30).astype("float32")
        tensors[f"{name}.int8"], tensors[f"{name}.scale"] = np.round(table / scale).astype("int8"), scale
    made = helper.make_node
    return [
        made("Gather", [f"{name}.int8", node.input[1]], [f"{output}.int8"]),
        made("Cast", [f"{output}.int8"], [f"{output}.whole"], to=TensorProto.FLOAT),
        made("Gather", [f"{name}.scale", node.input[1]], [f"{output}.scale"]),
        made("Mul", [f"{output}.whole", f"{output}.scale"], [output]),
    ]


def activation_ranges(model, names, batches):
    """The range to quantise each of these tensors in: dict[str, tuple[float, float]]; none of those without an axis of
    tokens.

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
            if value.ndim < TOKENS_NDIM:
                drawn.pop(name, None)
                continue
            low, high = limits[name]
            limits[name] = min(low, float(value.min())), max(high, float(value.max()))
            drawn[name].append(rng.choice(value.ravel(), 4096))

    def squared_error(name, share):
        scale, zero_point = affine(limits[name][0] * share, limits[name][1] * share)
        values = np.concatenate(drawn[name])
        return np.square((np.clip(np.round(values / scale) + zero_point, 0, 255) - zero_point) * scale - values).mean()

    shares = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1)
    best = {name: min(shares, key=lambda share: squared_error(name, share)) for name in drawn}
    return {name: (limits[name][0] * share, limits[name][1] * share) for name, share in best.items()}


def affine(low, high):
    """Scale and zero point that map low … high, 0 among them, on 0 … 255."""
    scale = max((high - low) / 255, 1e-8)
    return np.float32(scale), np.uint8(np.clip(round(-low / scale), 0, 255))
