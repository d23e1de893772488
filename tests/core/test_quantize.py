"""Matrix products in 8-bit integers."""

import numpy as np
import pytest

from core import quantize


def test_quantised_products_against_numpy():
    """One Linear: integers times scales, within half a step of the float result."""
    onnx = pytest.importorskip("onnx")
    import onnxruntime
    from onnx import TensorProto, helper
    from onnx.numpy_helper import from_array

    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(16, 8)).astype("float32"), rng.normal(size=8).astype("float32")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["product"]), helper.make_node("Add", ["product", "b"], ["y"])]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, None, 16])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, None, 8])]
    tensors = [from_array(weight, "w"), from_array(bias, "b")]
    model = helper.make_model(helper.make_graph(nodes, "one", inputs, outputs, tensors),
                              opset_imports=[helper.make_opsetid("", 13)])  # fmt: skip
    model.ir_version = 8
    x = rng.normal(size=(4, 8, 16)).astype("float32")
    quantized = quantize.quantize_onnx(model, [{"x": x}])
    assert [node.op_type for node in quantized.graph.node] == ["QuantizeLinear", "MatMulIntegerToFloat"]
    onnx.checker.check_model(quantized)
    session = onnxruntime.InferenceSession(quantized.SerializeToString(), providers=["CPUExecutionProvider"])
    step = (x.max() - x.min()) / 255
    weight_step = np.abs(weight).max(axis=0) / 63
    rounded = np.round(x / step) * step @ (np.round(weight / weight_step) * weight_step) + bias
    assert np.abs(session.run(None, {"x": x})[0] - rounded).max() < 16 * step * np.abs(weight).max()
    assert np.abs(session.run(None, {"x": x})[0] - (x @ weight + bias)).mean() < 0.05


def test_a_large_table_has_integers_and_a_scale_a_row():
    """Rows come back within half a step of theirs, zeros as zeros; tables that are small, and other axes, stay."""
    onnx = pytest.importorskip("onnx")
    import onnxruntime
    from onnx import TensorProto, helper
    from onnx.numpy_helper import from_array

    rng = np.random.default_rng(0)
    table = (rng.normal(size=(4096, 256)) * rng.uniform(0.01, 10, size=(4096, 1))).astype("float32")
    table[0] = 0
    make, small = helper.make_node, table[:8]
    nodes = [make("Gather", ["t", "ids"], ["y"]), make("Gather", ["s", "ids"], ["z"])]
    nodes.append(make("Gather", ["t", "ids"], ["columns"], axis=1))
    inputs = [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])]
    shapes = {"y": ["n", 256], "z": ["n", 256], "columns": [4096, "n"]}
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    tensors = [from_array(table, "t"), from_array(small, "s")]
    graph = helper.make_graph(nodes[:2], "two", inputs, outputs[:2], tensors)
    with_columns = helper.make_graph(nodes, "three", inputs, outputs, tensors)
    ids, sizes = np.array([0, 3, 7, 3]), []
    for one in (graph, with_columns):
        model = helper.make_model(one, opset_imports=[helper.make_opsetid("", 13)])
        model.ir_version = 8
        quantized = quantize.quantize_onnx(model, [{"ids": ids}])
        onnx.checker.check_model(quantized)
        session = onnxruntime.InferenceSession(quantized.SerializeToString(), providers=["CPUExecutionProvider"])
        rows, of_small, *columns = session.run(None, {"ids": ids})
        step = np.abs(table[ids]).max(axis=1, keepdims=True) / 127
        assert (np.abs(rows - table[ids]) <= step * 0.501).all() and not rows[0].any() and (rows != table[ids]).any()
        np.testing.assert_array_equal(of_small, small[ids])
        sizes.append(quantized.ByteSize())
    np.testing.assert_array_equal(columns[0], table[:, ids])
    assert sizes[0] < table.nbytes * 0.26 < table.nbytes < sizes[1]


def test_layer_norm_stays_in_steps(calibrated, tmp_path):
    """Squares are products, by which ONNX Runtime knows no LayerNorm: INT8 is as fast with all its defaults."""
    onnx = pytest.importorskip("onnx")
    import onnxruntime

    for name, has_powers in (("model.onnx", True), ("model_int8.onnx", False)):
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath, options.log_severity_level = str(tmp_path / name), 3
        path = calibrated[2] / name
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        assert any(node.op_type == "Pow" for node in onnx.load(path).graph.node) is has_powers
        found = {node.op_type for node in onnx.load(tmp_path / name).graph.node}
        assert any("LayerNormalization" in kind for kind in found) is has_powers
