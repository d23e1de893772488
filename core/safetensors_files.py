"""Weights in .safetensors: a header in JSON and numbers, so that loading a stranger's file can run nothing.

By the format's definition (https://huggingface.co/docs/safetensors): 8 bytes with the header's length, the header,
the numbers without gaps. Files that are written here are PaddleNLP's weights as they are in model_state.pdparams, and
say in their header, beside `format`, which PaddleNLP's own loading asks for,

    layout        paddle: names and shapes are PaddleNLP's, integers are among the weights
    tensors       how many there are
    numbers       SHA-256 of the numbers: a file that was damaged is seen
    weights       SHA-256 of the model_state.pdparams that they are from, by which exports know their model
    max_length    tokens that training kept of a text, where that is known

Nothing here needs paddle.
"""

import hashlib
import json
import os
from pathlib import Path

SAFETENSORS_FILE = "model.safetensors"

# safetensors' types -> numpy's; bfloat16 is the upper half of a float32.
DTYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1"},
    **{"U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?"},
}
# numpy's -> safetensors'; Paddle's bfloat16 is numpy's uint16, and nothing else of a model's is.
NAMES = {kind.lstrip("<"): name for name, kind in DTYPES.items() if name != "U16"}

# The definition allows no more, and a header of terabytes would be read into memory.
MAX_HEADER = 100_000_000

LAYOUT = {"format": "np", "layout": "paddle"}


def read_header(path):
    """The header of a .safetensors file, checked against the file's length.

    Returns:
        tuple[dict, dict, int]: by tensor its dtype (of DTYPES), shape and data_offsets; the metadata, dict[str, str];
        where the numbers begin.

    Raises:
        ValueError: not such a file, cut short, or with a header that contradicts itself.
        OSError: no such file.
    """
    size = os.stat(path).st_size
    with Path(path).open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        if size < 8 or start > size:
            raise ValueError("the file is cut short, or is no .safetensors file")
        if start > MAX_HEADER:
            raise ValueError("its header is too long; it is no .safetensors file")
        text = file.read(start - 8)
    try:
        header = json.loads(text)
        metadata = header.pop("__metadata__", None) or {}
        places = sorted((*entry["data_offsets"], name) for name, entry in header.items())
        end = 0
        for first, last, name in places:
            entry = header[name]
            if entry["dtype"] not in DTYPES:
                raise ValueError(f"{name} is in {entry['dtype']}, which cannot be read here")
            length = _item_size(entry["dtype"])
            for side in entry["shape"]:
                if not isinstance(side, int) or side < 0:
                    raise TypeError
                length *= side
            if first != end or last - first != length:
                raise ValueError(f"its header is wrong: {name} has another place or length than its shape")
            end = last
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        raise ValueError("its header is damaged, or it is no .safetensors file") from None
    if start + end > size:
        raise ValueError(f"the file is cut short: {size} bytes instead of {start + end}")
    if start + end < size:
        raise ValueError(f"its header is wrong: {size - start - end} bytes behind the last tensor")
    return header, metadata, start


def _item_size(name):
    """Bytes of one number of a type of DTYPES."""
    return int(DTYPES[name][-1]) if DTYPES[name] != "?" else 1


def own_facts(path):
    """The metadata of a file that was written here; empty for another's, and where there is none that can be read."""
    try:
        metadata = read_header(path)[1] if Path(path).is_file() else {}
    except (ValueError, OSError):
        return {}
    return metadata if "weights" in metadata and metadata.get("layout") == LAYOUT["layout"] else {}


def numbers_digest(path):
    """SHA-256 of what is behind a file's header."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        file.seek(8 + int.from_bytes(file.read(8), "little"))
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def stored_digest(path):
    """The weights' digest that a file of ours has, where its numbers are those that were written; else None."""
    facts = own_facts(path)
    return facts["weights"] if facts and facts.get("numbers") == numbers_digest(path) else None


def read_safetensors(path):
    """Read a .safetensors file.

    Returns:
        dict[str, np.ndarray]: as stored, bfloat16 as float32.

    Raises:
        ValueError: cut short, damaged, or not such a file; a file that was written here and has changed.
        OSError: no such file.
    """
    import numpy as np

    header, metadata, start = read_header(path)
    if own_facts(path):
        if metadata.get("tensors") != str(len(header)):
            raise ValueError(f"it has {len(header)} of the {metadata.get('tensors')} tensors that were written")
        if metadata.get("numbers") != numbers_digest(path):
            raise ValueError("its numbers are not those that were written: it was damaged on the way")
    data, state = np.memmap(path, np.uint8, "r"), {}
    for name, entry in header.items():
        first, last = (start + offset for offset in entry["data_offsets"])
        value = data[first:last].view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
        if entry["dtype"] == "BF16":
            value = (np.asarray(value).astype(np.uint32) << 16).view(np.float32)
        state[name] = value
    return state


def write_safetensors(path, state, metadata):
    """Write a .safetensors file, which others' readers take too.

    Args:
        path (Path): where to.
        state (dict[str, np.ndarray]): the weights; uint16 is Paddle's bfloat16.
        metadata (dict[str, str]): for the header, beside LAYOUT, the number of tensors and the digest of the numbers.
    """
    import numpy as np

    # By size of the numbers, then by name, as the format's authors do it: each then lies at a multiple of its size.
    order = sorted(state, key=lambda name: (-state[name].dtype.itemsize, name))
    header, place, digest = {}, 0, hashlib.sha256()
    for name in order:
        value = state[name]
        entry = {"dtype": NAMES[value.dtype.str.lstrip("<|=")], "shape": list(value.shape)}
        header[name] = {**entry, "data_offsets": [place, place + value.nbytes]}
        place += value.nbytes
        digest.update(np.ascontiguousarray(value).data)
    facts = {**LAYOUT, **metadata, "tensors": str(len(order)), "numbers": digest.hexdigest()}
    text = json.dumps({"__metadata__": facts, **header}, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with Path(path).open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            file.write(np.ascontiguousarray(state[name]).data)
