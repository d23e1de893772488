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
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 8])]
    tensors = [from_array(weight, "w"), from_array(bias, "b")]
    model = helper.make_model(helper.make_graph(nodes, "one", inputs, outputs, tensors),
                              opset_imports=[helper.make_opsetid("", 13)])  # fmt: skip
    model.ir_version = 8
    x = rng.normal(size=(32, 16)).astype("float32")
    quantized = quantize.quantize_onnx(model, [{"x": x}])
    assert [node.op_type for node in quantized.graph.node] == ["QuantizeLinear", "MatMulIntegerToFloat"]
    onnx.checker.check_model(quantized)
    session = onnxruntime.InferenceSession(quantized.SerializeToString(), providers=["CPUExecutionProvider"])
    step = (x.max() - x.min()) / 255
    weight_step = np.abs(weight).max(axis=0) / 63
    rounded = np.round(x / step) * step @ (np.round(weight / weight_step) * weight_step) + bias
    assert np.abs(session.run(None, {"x": x})[0] - rounded).max() < 16 * step * np.abs(weight).max()
    assert np.abs(session.run(None, {"x": x})[0] - (x @ weight + bias)).mean() < 0.05
