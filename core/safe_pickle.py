"""Weights that come as pickles, which run foreign code when they are simply loaded: only tensors are built here.

Where PaddleNLP 2.8.1 or Paddle 2.6.2 is wrong, the smallest piece is overridden here, and the comment says which
fault it mends.
"""

import io
import pickle
import sys
import zipfile

import numpy as np
import paddle.framework.io
import paddle.framework.io_utils
from paddlenlp.utils import serialization

from utils import UsageError

# All that a file written by paddle.save or torch.save needs: arrays, tensors as (name, array), plain containers.
SAFE_GLOBALS = {
    ("builtins", "tuple"),
    ("builtins", "list"),
    ("builtins", "dict"),
    ("builtins", "set"),
    ("builtins", "bytearray"),
    ("builtins", "slice"),
    ("builtins", "complex"),
    ("collections", "OrderedDict"),
    ("collections", "defaultdict"),
    ("_codecs", "encode"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("paddle.base.libpaddle", "GeneratorState"),  # a random generator's numbers, in rng_state.pth
}

# torch's storages; bfloat16 is the upper half of a float32.
STORAGES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": np.uint16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}

# A torch file of before version 1.6 begins with this number, pickled.
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


class UnsafeFileError(UsageError):
    """A pickled file asks for something that is neither a tensor nor a plain container."""


def find_safe_class(module, name):
    """Resolve a global of a pickle file when it is on the list.

    Raises:
        UnsafeFileError: it is not on the list.
    """
    module = "builtins" if module == "__builtin__" else module  # its name in pickles of protocol 2
    if (module, name) not in SAFE_GLOBALS:
        raise UnsafeFileError(
            f"the file calls {module}.{name} when it is loaded, which model weights never need: it may run foreign "
            "code. Nothing of it was run. Use weights from a source you trust"
        )
    return getattr(__import__(module, fromlist=[name]), name)


class SafeUnpickler(pickle.Unpickler):
    def find_class(self, module, name):
        return find_safe_class(module, name)


class _SafePickle:
    """Stands in for the pickle module inside paddle.load."""

    def __getattr__(self, name):
        return getattr(pickle, name)

    @staticmethod
    def load(file, **options):
        try:
            return SafeUnpickler(file, **options).load()
        except UnsafeFileError as error:
            raise UnsafeFileError(f"{getattr(file, 'name', 'weights')}: {error}") from None

    @staticmethod
    def loads(data, **options):
        return SafeUnpickler(io.BytesIO(data), **options).load()


def guard_unpickling():
    """Make paddle.load and PaddleNLP's reader of torch files build nothing but tensors and plain containers.

    A .pdparams file is a pickle, and unpickling a stranger's runs their code (shown on PaddleNLP checkpoints at
    Black Hat Asia 2024). Both libraries call pickle without a limit.
    """
    paddle.framework.io.pickle = paddle.framework.io_utils.pickle = _SafePickle()
    library_find_class = serialization.UnpicklerWrapperStage.find_class

    def find_class(self, module, name):
        # These the library replaces by its own array builders; everything else it would import.
        is_storage = module in ("torch", "torch.storage") and name in serialization._storage_type_to_dtype_to_map()
        if is_storage or module == "torch._utils":
            return library_find_class(self, module, name)
        return find_safe_class(module, name)

    if not getattr(library_find_class, "is_safe", False):
        find_class.is_safe = True
        serialization.UnpicklerWrapperStage.find_class = find_class


guard_unpickling()


# -------------------------------------------------------------------------------------------------------- torch files


class _Storage:
    """A one-dimensional piece of memory that tensors share; its numbers may come after them in the file."""

    def __init__(self, dtype, numel):
        self.dtype, self.numel, self.values = np.dtype(dtype), numel, None

    def fill(self, data):
        if len(data) < self.numel * self.dtype.itemsize:
            raise ValueError("the file is cut short")
        self.values = np.frombuffer(data, self.dtype, self.numel)


class _Tensor:
    """What torch's builder of tensors is asked for."""

    def __init__(self, storage, offset=0, size=(), stride=(), *_):
        self.storage, self.offset, self.size, self.stride = storage, offset, tuple(size), tuple(stride)

    def __setstate__(self, state):  # hooks and flags: not needed
        pass

    def array(self):
        values = self.storage.values
        last = self.offset + sum((length - 1) * step for length, step in zip(self.size, self.stride))
        if values is None or 0 in self.size:
            return np.empty(self.size, self.storage.dtype)
        if min((self.offset, *self.stride, *self.size)) < 0 or last >= len(values):
            raise ValueError("a tensor lies outside of its storage")
        steps = [step * values.itemsize for step in self.stride]
        return np.lib.stride_tricks.as_strided(values[self.offset :], self.size, steps)


class _TorchUnpickler(SafeUnpickler):
    """Builds _Tensor where torch would build its own; PaddleNLP's reader knows no old files and no strides."""

    def __init__(self, file, storages):
        super().__init__(file, encoding="utf-8")
        self.storages = storages

    def find_class(self, module, name):
        if module in ("torch", "torch.storage") and name in STORAGES:
            return name
        if (module, name) in (("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_tensor")):
            return _Tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        if (module, name) == ("torch", "Size"):
            return tuple
        return find_safe_class(module, name)

    def persistent_load(self, saved_id):
        _, storage_type, key, _, numel, *_ = saved_id
        return self.storages.setdefault(key, _Storage(STORAGES[storage_type], numel))


def read_torch(path):
    """Read a file of torch.save, of any version since 2017, that holds a dict of tensors.

    Args:
        path: such as pytorch_model.bin.

    Returns:
        dict[str, np.ndarray]: as stored, bfloat16 as float32.

    Raises:
        UnsafeFileError: loading it would run code.
        ValueError: cut short, or no such file.
    """
    storages = {}
    try:
        content = (_read_zip if zipfile.is_zipfile(path) else _read_legacy)(path, storages)
    except UnsafeFileError as error:
        raise UnsafeFileError(f"{path}: {error}") from None
    except (pickle.UnpicklingError, EOFError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    if not isinstance(content, dict):
        raise ValueError("it holds no dict of tensors")
    content = content.get("state_dict", content)
    tensors = {name: value for name, value in content.items() if isinstance(value, _Tensor)}
    is_bfloat16 = STORAGES["BFloat16Storage"]
    return {
        name: bfloat16_to_float32(tensor.array()) if tensor.storage.dtype == is_bfloat16 else tensor.array()
        for name, tensor in tensors.items()
    }


def _read_zip(path, storages):
    with zipfile.ZipFile(path) as archive:
        pickled = next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)
        if pickled is None:
            raise ValueError("no data.pkl inside")
        folder = pickled[: -len("data.pkl")]
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") == b"big":
            raise ValueError("written on a big-endian machine")
        content = _TorchUnpickler(io.BytesIO(archive.read(pickled)), storages).load()
        for key, storage in storages.items():
            storage.fill(archive.read(f"{folder}data/{key}"))
    return content


def _read_legacy(path, storages):
    with open(path, "rb") as file:  # noqa: PTH123
        if _TorchUnpickler(file, {}).load() != LEGACY_MAGIC:
            raise ValueError("not a file of torch.save")
        for _ in ("protocol version", "what the machine was like"):
            _TorchUnpickler(file, {}).load()
        content = _TorchUnpickler(file, storages).load()
        for key in _TorchUnpickler(file, {}).load():
            numel = int.from_bytes(file.read(8), sys.byteorder)
            if numel < storages[key].numel:
                raise ValueError("the file is cut short")
            storages[key].fill(file.read(numel * storages[key].dtype.itemsize))
    return content


def bfloat16_to_float32(halves):
    """The float32 numbers whose upper halves these are: uint16 [any shape]."""
    return (np.asarray(halves).astype(np.uint32) << 16).view(np.float32)
