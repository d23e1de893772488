"""tensors.py: what a request may be, and the bytes of its answer."""

import json
import struct

import numpy as np
import pytest

from deploy.simple_serving.query import Refusal
from deploy.simple_serving.settings import Settings
from deploy.simple_serving.tensors import PIECE, TensorWriter, best_class, read_inference

LABELS = ["病", '"二"', "c"]


def packed(*elements):
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def tensor(shape, **more):
    return {"name": "INPUT", "shape": shape, "datatype": "BYTES", **more}


def read(content, binary=b"", size=..., **settings):
    head = content if isinstance(content, bytes) else json.dumps(content).encode()
    size = (str(len(head)) if binary else None) if size is ... else size
    return read_inference(head + binary, size, Settings(**settings))


def test_texts_in_json_and_in_binary():
    everything = [("label", False, 0), ("confidence", False, 0), ("probabilities", False, 0)]
    flat = read({"inputs": [tensor([2, 1], data=["头疼", "b"])]})
    assert flat == {"id": None, "max_seq_len": None, "batch_size": 32, "outputs": everything, "texts": ["头疼", "b"]}
    assert read({"inputs": [tensor([2], data=[["头疼"], ["b"]])], "outputs": []}) == flat
    binary = packed("头疼".encode(), b"b")
    of_bytes = {"inputs": [tensor([2, 1], parameters={"binary_data_size": len(binary)})]}
    assert read(of_bytes, binary) == flat
    wanted = [{"name": "probabilities", "parameters": {"classification": 2}}, {"name": "label", "parameters": None}]
    parameters = {"binary_data_output": True, "max_seq_len": 9, "timeout": 5}
    content = {"id": "7", "inputs": [tensor([1, 1], data=["a"])], "outputs": wanted, "parameters": parameters}
    found = read(content)
    assert found["outputs"] == [("probabilities", True, 2), ("label", True, 0)]
    assert (found["id"], found["max_seq_len"], found["texts"]) == ("7", 9, ["a"])


BINARY = tensor([1, 1], parameters={"binary_data_size": 5})


@pytest.mark.parametrize(
    "content, binary, size, status, field, message",
    [
        (b"", b"", None, 400, None, 'the body is empty; send {"inputs"'),
        ({"inputs": []}, b"", "999", 400, None, "Inference-Header-Content-Length is '999'; give how many bytes"),
        ({"inputs": []}, b"", "x", 400, None, "Inference-Header-Content-Length is 'x'"),
        ({"inputs": [], "data": 1}, b"", None, 422, None, "'data' is not known; use id, parameters, inputs, outputs"),
        ({"id": 5}, b"", None, 422, "id", "give a string"),
        ({"id": "\ud800"}, b"", None, 422, "id", "it holds a NUL"),
        ({"parameters": {"sequence_id": 1}}, b"", None, 422, "parameters", "'sequence_id' is not known"),
        (
            {"parameters": {"max_seq_len": 1}},
            b"",
            None,
            422,
            "parameters.max_seq_len",
            "1; give a whole number from 3",
        ),
        ({"parameters": {"binary_data_output": 1}}, b"", None, 422, "parameters.binary_data_output", "1; give true"),
        ({"outputs": {}}, b"", None, 422, "outputs", "empty instead of a list"),
        ({"outputs": [{"name": "x"}]}, b"", None, 422, "outputs[0].name", "'x'; use label, confidence, probabilities"),
        ({"outputs": [{"name": "label"}] * 2}, b"", None, 422, "outputs[1].name", "'label'; use label, confidence"),
        (
            {"outputs": [{"name": "label", "parameters": {"classification": 1}}]},
            b"",
            None,
            422,
            "outputs[0].parameters.classification",
            "only the output probabilities",
        ),
        ({"inputs": [tensor([1, 1])] * 2}, b"", None, 422, "inputs", "give a list with one input"),
        ({"inputs": [{"name": "x"}]}, b"", None, 422, "inputs[0].name", "'x'; give \"INPUT\""),
        ({"inputs": [{**tensor([1]), "datatype": "FP32"}]}, b"", None, 422, "inputs[0].datatype", "'FP32'; give"),
        ({"inputs": [tensor([1, 2], data=["a", "b"])]}, b"", None, 422, "inputs[0].shape", "give [texts, 1]"),
        ({"inputs": [tensor([True], data=["a"])]}, b"", None, 422, "inputs[0].shape", "give [texts, 1]"),
        ({"inputs": [tensor([2, 1], data=["a"])]}, b"", None, 422, "inputs[0].data", "1 texts, but the shape says 2"),
        ({"inputs": [tensor([1, 1])]}, b"", None, 422, "inputs[0].data", "null instead of a list of texts"),
        ({"inputs": [tensor([1, 1], data=[5])]}, b"", None, 422, "INPUT[0]", "a number instead of a text"),
        ({"inputs": [tensor([2, 1], data=["a", " "])]}, b"", None, 422, "INPUT[1]", "there is nothing to read in it"),
        ({"inputs": [tensor([3, 1], data=["a"] * 3)]}, b"", None, 413, "inputs[0].shape", "3 texts; send at most 2"),
        ({"inputs": [tensor([1, 1], data=["长" * 6])]}, b"", None, 413, "INPUT[0]", "6 characters; send at most 5"),
        ({"inputs": [tensor([1, 1], data=["a"])]}, b"more", ..., 422, "inputs[0]", "4 bytes follow the JSON"),
        ({"inputs": [{**BINARY, "data": ["a"]}]}, b"", None, 422, "inputs[0]", "data and binary_data_size are both"),
        ({"inputs": [BINARY]}, b"", None, 422, "inputs[0].parameters.binary_data_size", "5; give the 0 bytes"),
        ({"inputs": [BINARY]}, packed(b"\xff"), ..., 422, "INPUT[0]", "byte 0 is not UTF-8"),
        ({"inputs": [BINARY]}, b"\xff\xff\xff\xffa", ..., 422, "INPUT[0]", "it ends in the middle"),
        ({"inputs": [BINARY]}, b"\1\0\0\0a"[:4] + b"\0", ..., 422, "INPUT[0]", "it holds a NUL character"),
        (
            {"inputs": [tensor([1, 1], parameters={"shared_memory_region": "x"})]},
            b"",
            None,
            422,
            "inputs[0].parameters",
            "'shared_memory_region' is not known; use binary_data_size",
        ),
    ],
)
def test_what_is_refused(content, binary, size, status, field, message):
    with pytest.raises(Refusal) as caught:
        read(content, binary, size, max_texts=2, max_characters=5)
    assert (caught.value.status, caught.value.field) == (status, field)
    assert caught.value.message.startswith(message)


def test_a_million_elements_of_nothing_are_not_all_read():
    """Each is four bytes of zeros; as soon as there are more than the shape says, that is enough."""
    binary = bytes(4_000_000)
    content = {"inputs": [tensor([1, 1], parameters={"binary_data_size": len(binary)})]}
    with pytest.raises(Refusal) as caught:
        read(content, binary)
    assert caught.value.message == "2 texts, but the shape says 1"


def answer(rows, outputs, labels=LABELS, identity=None):
    """(the JSON, the bytes behind it) of an answer."""
    kept = best_class(np.array(rows), any(name == "probabilities" for name, *_ in outputs))
    pieces, binary, size = TensorWriter(labels).pieces({"id": identity, "outputs": outputs}, kept, "m")
    pieces, binary = list(pieces), list(binary)
    assert (size or 0) == sum(map(len, binary)) and max(map(len, [*pieces, *binary])) < 60 * PIECE
    return json.loads(b"".join(pieces)), b"".join(binary)


ROWS = [[0.2, 0.7, 0.1], [0.25, 0.25, 0.5]]


def test_an_answer_in_json():
    found, rest = answer(
        ROWS, [("confidence", False, 0), ("label", False, 0), ("probabilities", False, 0)], LABELS, "7"
    )
    assert rest == b"" and found["id"] == "7" and found["model_version"] == "1"
    assert found["outputs"][0]["shape"] == found["outputs"][1]["shape"] == [2, 1]
    assert found["outputs"][1] == {"name": "label", "datatype": "BYTES", "shape": [2, 1], "data": ['"二"', "c"]}
    probabilities = np.array(found["outputs"][2]["data"], "float32").reshape(found["outputs"][2]["shape"])
    assert (probabilities == np.array(ROWS, "float32")).all()


def test_an_answer_in_binary_and_one_in_both():
    found, rest = answer(ROWS, [("label", True, 0), ("probabilities", True, 0), ("confidence", False, 0)])
    sizes = [output.get("parameters", {}).get("binary_data_size") for output in found["outputs"]]
    names = packed('"二"'.encode(), b"c")
    assert sizes == [len(names), 24, None] and "data" not in found["outputs"][0] and "id" not in found
    assert rest == names + np.array(ROWS, "<f4").tobytes()
    assert found["outputs"][2]["data"] == pytest.approx([0.7, 0.5])


def test_the_most_probable_classes_as_triton_writes_them():
    found, rest = answer(ROWS, [("probabilities", False, 2)])
    assert found["outputs"] == [
        {
            "name": "probabilities",
            "datatype": "BYTES",
            "shape": [2, 2],
            "data": ['0.700000:1:"二"', "0.200000:0:病", "0.500000:2:c", "0.250000:0:病"],
        }
    ]
    assert answer(ROWS, [("probabilities", True, 9)])[0]["outputs"][0]["shape"] == [2, 3]


@pytest.mark.parametrize("is_binary", [False, True])
def test_a_large_answer_comes_in_small_pieces(is_binary):
    rows = np.random.default_rng(0).dirichlet(np.full(1500, 0.01), 7)
    labels = [f"第{index}类" for index in range(1500)]
    found, rest = answer(rows, [("probabilities", is_binary, 0)], labels)
    data = np.frombuffer(rest, "<f4") if is_binary else np.array(found["outputs"][0]["data"], "float32")
    assert (data.reshape(7, 1500) == rows.astype("float32")).all()
