"""Weights that are pickles: tensors are read, code is not run."""

import json
import pickle
import zipfile

import numpy as np
import paddle
import pytest

import train
from core import checkpoints, safe_pickle
from tests.core.foreign_models import write_torch
from tests.helpers import train_flags
from utils import UsageError


class Hostile:
    """Unpickling it creates a marker file."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


class HostileEval:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return (eval, (f"open({str(self.marker)!r}, 'w')",))


def export_flags(checkpoint):
    folder = str(checkpoint)
    return ["--do_export", "--device", "cpu", "--model_name_or_path", folder, "--output_dir", folder]


# PaddleNLP's own, which its Taskflow and Auto classes may use, and ours.
READERS = (safe_pickle.serialization.load_torch, safe_pickle.read_torch)


@pytest.mark.parametrize("kind", [Hostile, HostileEval])
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_hostile_checkpoint_is_refused(trained, tmp_path, kind, protocol):
    _, checkpoint = trained
    marker = tmp_path / "marker"
    weights = checkpoint / "model_state.pdparams"
    state = paddle.load(str(weights), return_numpy=True)
    weights.write_bytes(pickle.dumps({**state, "extra": kind(marker)}, protocol))
    flags = export_flags(checkpoint)
    with pytest.raises(UsageError, match=r"model_state.pdparams: the file calls (io\.open|builtins\.\w+)"):
        train.main(flags)
    assert not marker.exists()
    pickle.loads(pickle.dumps(kind(marker)))
    assert marker.exists()  # the attack itself works


def test_a_hostile_optimizer_file_is_refused_on_resume(trained, tmp_path, tiny_model):
    data, checkpoint = trained
    folder = max(checkpoint.glob("checkpoint-*"), key=checkpoints.checkpoint_step)
    marker = tmp_path / "marker"
    (folder / "optimizer.pdopt").write_bytes(pickle.dumps({"a": Hostile(marker)}))
    run = json.loads((folder / "run.json").read_text())
    run.pop("removed", None)  # as in a checkpoint of a training that was cut off
    run["files"]["optimizer.pdopt"] = (folder / "optimizer.pdopt").stat().st_size
    (folder / "run.json").write_text(json.dumps(run))
    flags = train_flags(data, tiny_model, tmp_path / "out", "--resume_from_checkpoint", folder)
    with pytest.raises(UsageError, match="optimizer.pdopt: the file calls"):
        train.main(flags)
    assert not marker.exists()


def test_a_hostile_torch_file_is_refused(tmp_path):
    marker = tmp_path / "marker"
    path = tmp_path / "pytorch_model.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"w": Hostile(marker)}, 2))
        archive.writestr("archive/version", "3")
    for read in READERS:
        with pytest.raises(UsageError, match="the file calls"):
            read(str(path))
    path.write_bytes(pickle.dumps({"w": Hostile(marker)}, 2))  # in the place of a file of before torch 1.6
    with pytest.raises(UsageError, match="pytorch_model.bin: the file calls"):
        safe_pickle.read_torch(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "module, name", [("torch.storage", "_load_from_bytes"), ("torch", "load"), ("torch.hub", "load")]
)
def test_torch_s_own_loaders_are_refused(tmp_path, module, name):
    """They unpickle without a limit in turn."""
    path = tmp_path / "pytorch_model.bin"
    with zipfile.ZipFile(path, "w") as archive:
        call = b"\x80\x02c" + f"{module}\n{name}\n".encode() + b"U\x01xq\x00\x85q\x01R."
        archive.writestr("archive/data.pkl", call)
        archive.writestr("archive/version", "3")
    for read in READERS:
        with pytest.raises(UsageError, match=f"the file calls {module}.{name}"):
            read(str(path))


def test_a_real_torch_file_loads(tmp_path):
    """Written as torch.save does: a dict of tensors over one storage a tensor."""
    weights = np.arange(6, dtype=np.float32)
    tensor = (
        b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000"
        b"X\x03\x00\x00\x00cpuK\x06tQK\x00K\x02K\x03\x86K\x03K\x01\x86\x89ccollections\nOrderedDict\n)RtR"
    )
    path = tmp_path / "pytorch_model.bin"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}X\x01\x00\x00\x00w" + tensor + b"s.")
        archive.writestr("archive/data/0", weights.tobytes())
        archive.writestr("archive/version", "3")
    for read in READERS:
        np.testing.assert_array_equal(read(str(path))["w"], weights.reshape(2, 3))


@pytest.mark.parametrize("legacy", [False, True])
def test_torch_files_of_both_kinds(tmp_path, legacy):
    rng = np.random.default_rng(0)
    state = {"a": rng.normal(size=(3, 4)), "b": rng.normal(size=5), "c": np.zeros((0, 2)), "d": np.array(2.0)}
    path = tmp_path / "pytorch_model.bin"
    write_torch(path, state, legacy)
    loaded = safe_pickle.read_torch(path)
    assert loaded.keys() == state.keys()
    for name, value in state.items():
        np.testing.assert_array_equal(loaded[name], value.astype("float32"))
    whole = path.read_bytes()
    for length in (3, 100, len(whole) // 2, len(whole) - 4):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError):
            safe_pickle.read_torch(path)


def test_a_part_of_a_storage_and_other_strides():
    """Slices and transposed tensors share one piece of memory."""
    storage = safe_pickle._Storage(np.float32, 12)
    storage.fill(np.arange(12, dtype="float32").tobytes())
    whole = np.arange(12.0).reshape(3, 4)
    np.testing.assert_array_equal(safe_pickle._Tensor(storage, 0, (4, 3), (1, 4)).array(), whole.T)
    np.testing.assert_array_equal(safe_pickle._Tensor(storage, 5, (2, 2), (4, 1)).array(), whole[1:, 1:3])
    for offset, size, stride in ((5, (2, 2), (6, 1)), (-1, (2,), (1,)), (3, (2,), (-1,))):
        with pytest.raises(ValueError, match="outside of its storage"):
            safe_pickle._Tensor(storage, offset, size, stride).array()


def test_what_paddle_saves_still_loads(tmp_path):
    layer = paddle.nn.Linear(3, 2)
    state = {"layer": layer.state_dict(), "nested": [1, (2.0, "x"), {"y"}], "random": np.random.get_state()}
    paddle.save(state, str(tmp_path / "state"))
    loaded = paddle.load(str(tmp_path / "state"))
    np.testing.assert_array_equal(loaded["layer"]["weight"].numpy(), layer.weight.numpy())
    assert loaded["nested"] == [1, (2.0, "x"), {"y"}] and loaded["random"][0] == "MT19937"
