"""Tensors of the Open Inference Protocol (KServe V2): a request's texts and its answer, in JSON or binary behind it.

In binary a BYTES element is its length as 4 bytes, the lowest first, and then itself; FP32 is little-endian. The
tensors follow the JSON in its order; `binary_data_size` says how long each is, and the header
Inference-Header-Content-Length how long the JSON. Names and shapes are those of deploy/triton_serving.
"""

import functools
import json
import struct

import numpy as np

from deploy.simple_serving.answers import PIECE, joined
from deploy.simple_serving.query import (
    MAX_QUOTED,
    SMALLEST,
    Refusal,
    check_keys,
    kind_of,
    parameter_problem,
    parse_json,
    text_problem,
)

INPUT, VERSION = "INPUT", "1"
# Outputs and their types; each has a row a text.
OUTPUTS = {"label": "BYTES", "confidence": "FP32", "probabilities": "FP32"}
EXAMPLE = '{"inputs": [{"name": "INPUT", "shape": [1, 1], "datatype": "BYTES", "data": ["…"]}]}'

# Parameters of a request: of the protocol's extensions, of this server, and what Triton ignores here too.
IGNORED = ("timeout", "priority")
PARAMETERS = ("binary_data_output", "max_seq_len", "batch_size", *IGNORED)
MAX_ID = 200


def read_inference(body, json_size, settings):
    """Check a request.

    Args:
        body (bytes): JSON, and behind it the texts where they are in binary.
        json_size (str | None): what the header Inference-Header-Content-Length says.
        settings (Settings): with the limits.

    Returns:
        dict: texts (list[str]), id (str | None), max_seq_len (int | None), batch_size (int), outputs (list of name,
        whether in binary, and classes of the classification extension or 0).

    Raises:
        Refusal: 400, 413 or 422.
    """
    size = len(body)
    if json_size is not None:
        if not (json_size.isdecimal() and json_size.isascii() and len(json_size) < 16 and int(json_size) <= size):
            what = "Inference-Header-Content-Length is %s; give how many bytes of the body are JSON"
            raise Refusal(400, f"{what}, at most its {size}", quoted=json_size[:MAX_QUOTED])
        size = int(json_size)
    content, binary = parse_json(body[:size], EXAMPLE), body[size:]
    check_keys(content, "", "the body", ("id", "parameters", "inputs", "outputs"))
    identity = content.get("id")
    if identity is not None and not (isinstance(identity, str) and len(identity) <= MAX_ID):
        raise Refusal(422, f"give a string of at most {MAX_ID} characters, or leave it out", "id")
    if identity is not None and text_problem(f"x{identity}", MAX_ID + 1):
        raise Refusal(422, "it holds a NUL character or half of a surrogate pair", "id")
    query = {"id": identity, "max_seq_len": None, "batch_size": 32}
    parameters = content.get("parameters")
    check_keys({} if parameters is None else parameters, "parameters", "parameters", PARAMETERS)
    for name, value in (parameters or {}).items():
        problem = parameter_problem(name, value) if name in SMALLEST else None
        if name == "binary_data_output" and not isinstance(value, bool):
            problem = "give true or false"
        if problem:
            raise Refusal(422, f"%s; {problem}", f"parameters.{name}", quoted=value)
        query[name] = value
    query["outputs"] = _read_outputs(content.get("outputs"), query.pop("binary_data_output", False))
    return {**query, "texts": _read_texts(content.get("inputs"), binary, settings)}


def _read_outputs(outputs, is_binary):
    """Which outputs are asked for: list[tuple[str, bool, int]]; all of them where none is named."""
    if outputs is None or outputs == []:
        return [(name, is_binary, 0) for name in OUTPUTS]
    if not isinstance(outputs, list) or len(outputs) > len(OUTPUTS):
        what = f"{kind_of(outputs)} instead of a list of at most {len(OUTPUTS)} outputs, each once"
        raise Refusal(422, what, "outputs")
    found = []
    for index, output in enumerate(outputs):
        field = f"outputs[{index}]"
        check_keys(output, field, field, ("name", "parameters"))
        name, parameters = output.get("name"), output.get("parameters")
        if not isinstance(name, str) or name not in OUTPUTS or name in [other for other, *_ in found]:
            raise Refusal(422, f"%s; use {', '.join(OUTPUTS)}, each once", f"{field}.name", quoted=name)
        parameters, field = {} if parameters is None else parameters, f"{field}.parameters"
        check_keys(parameters, field, field, ("binary_data", "classification"))
        in_binary, classes = parameters.get("binary_data", is_binary), parameters.get("classification", 0)
        if not isinstance(in_binary, bool):
            raise Refusal(422, "%s; give true or false", f"{field}.binary_data", quoted=in_binary)
        if not isinstance(classes, int) or isinstance(classes, bool) or classes < 0:
            raise Refusal(422, "%s; give a whole number from 0", f"{field}.classification", quoted=classes)
        if "classification" in parameters and name != "probabilities":
            raise Refusal(422, "only the output probabilities has classes to choose from", f"{field}.classification")
        found.append((name, in_binary, classes))
    return found


def _read_texts(inputs, binary, settings):
    if not isinstance(inputs, list) or len(inputs) != 1:
        raise Refusal(422, f"give a list with one input; send {EXAMPLE}", "inputs")
    given, field = inputs[0], "inputs[0]"
    check_keys(given, field, field, ("name", "shape", "datatype", "data", "parameters"))
    for name, expected in {"name": INPUT, "datatype": "BYTES"}.items():
        if given.get(name) != expected:
            raise Refusal(422, f"%s; give {json.dumps(expected)}", f"{field}.{name}", quoted=given.get(name))
    shape, parameters = given.get("shape"), given.get("parameters")
    is_shape = isinstance(shape, list) and len(shape) in (1, 2) and all(type(size) is int for size in shape)
    if not is_shape or shape[0] < 1 or shape[1:] not in ([], [1]):
        raise Refusal(422, "give [texts, 1], with at least one text", f"{field}.shape")
    if shape[0] > settings.max_texts:
        raise Refusal(413, f"{shape[0]} texts; send at most {settings.max_texts} a request", f"{field}.shape")
    check_keys({} if parameters is None else parameters, f"{field}.parameters", "parameters", ("binary_data_size",))
    if parameters:
        if "data" in given:
            raise Refusal(422, "data and binary_data_size are both there; give one of them", field)
        texts = _read_binary(parameters["binary_data_size"], binary, shape[0])
    elif binary:
        what = f"{len(binary)} bytes follow the JSON, and no input has them; give its parameters a binary_data_size"
        raise Refusal(422, what, field)
    else:
        texts = _read_data(given.get("data"))
    if len(texts) != shape[0]:
        raise Refusal(422, f"{len(texts)} texts, but the shape says {shape[0]}", f"{field}.data")
    for index, text in enumerate(texts):
        if problem := text_problem(text, settings.max_characters):
            raise Refusal(*problem, f"INPUT[{index}]")
    return texts


def _read_data(data):
    """The texts of a JSON tensor, which may be flat or nested as its shape [texts, 1]."""
    if not isinstance(data, list):
        raise Refusal(422, f"{kind_of(data)} instead of a list of texts", "inputs[0].data")
    if data and all(isinstance(row, list) and len(row) == 1 for row in data):
        return [row[0] for row in data]
    return data


def _read_binary(size, binary, count):
    """The texts of a binary tensor, list[str]."""
    if type(size) is not int or size != len(binary):
        what = f"give the {len(binary)} bytes that follow the JSON (see the header Inference-Header-Content-Length)"
        raise Refusal(422, f"%s; {what}", "inputs[0].parameters.binary_data_size", quoted=size)
    texts, place = [], 0
    while place < size and len(texts) <= count:
        (length,) = struct.unpack_from("<I", binary, place) if place + 4 <= size else (size,)
        place += 4 + length
        if place > size:
            raise Refusal(422, "it ends in the middle: 4 bytes of length before each", f"INPUT[{len(texts)}]")
        try:
            texts.append(binary[place - length : place].decode("utf-8"))
        except UnicodeDecodeError as error:
            what = f"byte {error.start} is not UTF-8; send UTF-8 (not GBK)"
            raise Refusal(422, what, f"INPUT[{len(texts)}]") from None
    return texts


# ------------------------------------------------------------------------------------------------------------ answers


def best_class(rows, with_all=False):
    """What is kept of probabilities.

    Args:
        rows (np.ndarray): float64 [texts, classes].
        with_all (bool): all of them, too.

    Returns:
        np.ndarray: float32 [texts, 2 or 2 + classes]: the most probable class, its probability, those of all.
    """
    best = rows.argmax(axis=1)[:, None]
    parts = [best, np.take_along_axis(rows, best, axis=1), *([rows] if with_all else [])]
    return np.concatenate(parts, axis=1, dtype="float32")


# One object each, so that Batcher calls it once for many requests.
KEEP = {False: best_class, True: functools.partial(best_class, with_all=True)}


class TensorWriter:
    """Answers of one model.

    Args:
        labels (list[str]): in class order.
    """

    def __init__(self, labels):
        self.labels = labels

    def pieces(self, query, kept, name):
        """An answer.

        Args:
            query (dict): as read_inference gives it.
            kept (np.ndarray): see best_class.
            name (str): of the model.

        Returns:
            tuple[Iterator[bytes], Iterator[bytes], int | None]: the JSON; the tensors behind it, and their bytes, None
            where there are none.
        """
        head, tensors, size, json_parts = {"model_name": name, "model_version": VERSION}, [], None, []
        if query["id"] is not None:
            head["id"] = query["id"]
        for output, is_binary, classes in query["outputs"]:
            array, kind, shape = self._tensor(output, kept, classes)
            about = {"name": output, "datatype": kind, "shape": shape}
            if is_binary:
                length = self._length(output, array)
                about["parameters"] = {"binary_data_size": length}
                size = (size or 0) + length
                tensors.append(array)
            json_parts.append((about, None if is_binary else array))
        binary = (piece for array in tensors for piece in self._binary(array))
        return self._json(head, json_parts), binary, size

    def _tensor(self, output, kept, classes):
        """(class ids, probabilities, or list of strings; type; shape) of an output."""
        if output == "label":
            return kept[:, 0].astype("int64"), "BYTES", [len(kept), 1]
        if output == "confidence":
            return kept[:, 1:2], "FP32", [len(kept), 1]
        rows = kept[:, 2:]
        if not classes:
            return rows, "FP32", list(rows.shape)
        order = (-rows).argsort(axis=1, kind="stable")[:, :classes]
        strings = [
            f"{row[place]:.6f}:{place}:{self.labels[place]}"
            for row, places in zip(rows, order.tolist())
            for place in places
        ]
        return strings, "BYTES", list(order.shape)

    def _parts(self, array):
        """A tensor in parts of about PIECE elements: labels and strings as list[str], probabilities as arrays."""
        step = max(1, PIECE // (1 if isinstance(array, list) or array.ndim == 1 else array.shape[1]))
        for start in range(0, len(array), step):
            part = array[start : start + step]
            if not isinstance(part, list) and part.dtype == "int64":
                part = [self.labels[place] for place in part.tolist()]
            yield part

    def _json(self, head, parts):
        yield json.dumps(head, ensure_ascii=False, separators=(",", ":"))[:-1].encode() + b',"outputs":['
        for number, (about, array) in enumerate(parts):
            comma = "," if number else ""
            text = comma + json.dumps(about, separators=(",", ":"))
            if array is None:
                yield text.encode()
                continue
            yield text[:-1].encode() + b',"data":['
            yield from joined(
                map(shown, part if isinstance(part, list) else part.ravel().tolist()) for part in self._parts(array)
            )
            yield b"]}"
        yield b"]}"

    def _length(self, output, array):
        """Bytes of a tensor in binary."""
        if isinstance(array, list):
            return sum(4 + len(text.encode()) for text in array)
        if output != "label":
            return array.size * 4
        lengths = np.array([4 + len(label.encode()) for label in self.labels])
        return int(lengths[array].sum())

    def _binary(self, array):
        for part in self._parts(array):
            if isinstance(part, list):
                coded = [text.encode() for text in part]
                yield b"".join(struct.pack("<I", len(text)) + text for text in coded)
            else:
                yield part.astype("<f4").tobytes()


def shown(value):
    """A string or a float32 as JSON has it; nine digits tell a float32 from all others."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else f"{value:.9g}"
