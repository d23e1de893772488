"""Safe loading, foreign models."""

import json
import pickle
import zipfile

import numpy as np
import paddle
import pytest

import train
from core import checkpoints, loading
from core.predictor import Predictor
from tests.helpers import LABELS, train_flags
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
    with pytest.raises(UsageError, match="the file calls"):
        loading.serialization.load_torch(str(path))
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
    with pytest.raises(UsageError, match=f"the file calls {module}.{name}"):
        loading.serialization.load_torch(str(path))


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
    loaded = loading.serialization.load_torch(str(path))
    np.testing.assert_array_equal(loaded["w"], weights.reshape(2, 3))


def test_what_paddle_saves_still_loads(tmp_path):
    layer = paddle.nn.Linear(3, 2)
    state = {"layer": layer.state_dict(), "nested": [1, (2.0, "x"), {"y"}], "random": np.random.get_state()}
    paddle.save(state, str(tmp_path / "state"))
    loaded = paddle.load(str(tmp_path / "state"))
    np.testing.assert_array_equal(loaded["layer"]["weight"].numpy(), layer.weight.numpy())
    assert loaded["nested"] == [1, (2.0, "x"), {"y"}] and loaded["random"][0] == "MT19937"


def test_broken_weights_get_a_message(trained):
    _, checkpoint = trained
    weights = checkpoint / "model_state.pdparams"
    weights.write_bytes(weights.read_bytes()[:1000])
    flags = export_flags(checkpoint)
    with pytest.raises(UsageError, match="weights cannot be loaded"):
        train.main(flags)
    (checkpoint / "config.json").write_text("{")
    with pytest.raises(UsageError, match="config.json: not readable as JSON"):
        train.main(flags)


def test_a_huggingface_bert_directory_trains_and_stays_untouched(data_dir, tiny_model, tmp_path):
    from safetensors.numpy import save_file

    bert = tmp_path / "bert"
    bert.mkdir()
    vocab = (tiny_model / "vocab.txt").read_text(encoding="utf-8")
    (bert / "vocab.txt").write_text(vocab, encoding="utf-8")
    size, rng = len(vocab.splitlines()), np.random.default_rng(0)
    config = {
        "architectures": ["BertModel"], "model_type": "bert", "vocab_size": size, "hidden_size": 32,
        "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64, "max_position_embeddings": 64,
        "type_vocab_size": 2, "hidden_act": "gelu", "pad_token_id": 0,
    }  # fmt: skip
    (bert / "config.json").write_text(json.dumps(config))
    (bert / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 64})
    )
    shapes = {
        "embeddings.word_embeddings.weight": (size, 32), "embeddings.position_embeddings.weight": (64, 32),
        "embeddings.token_type_embeddings.weight": (2, 32), "embeddings.LayerNorm.weight": (32,),
        "embeddings.LayerNorm.bias": (32,), "pooler.dense.weight": (32, 32), "pooler.dense.bias": (32,),
    }  # fmt: skip
    for layer in range(2):
        prefix = f"encoder.layer.{layer}."
        for name, (rows, columns) in {
            "attention.self.query": (32, 32), "attention.self.key": (32, 32), "attention.self.value": (32, 32),
            "attention.output.dense": (32, 32), "intermediate.dense": (64, 32), "output.dense": (32, 64),
        }.items():  # fmt: skip
            shapes[f"{prefix}{name}.weight"], shapes[f"{prefix}{name}.bias"] = (rows, columns), (rows,)
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes[f"{prefix}{name}.weight"] = shapes[f"{prefix}{name}.bias"] = (32,)
    weights = {name: (rng.standard_normal(shape) * 0.1).astype(np.float32) for name, shape in shapes.items()}
    save_file(weights, str(bert / "model.safetensors"), metadata={"format": "pt"})
    before = {path.name: path.read_bytes() for path in bert.iterdir()}

    train.main(train_flags(data_dir, bert, tmp_path / "out", "--num_train_epochs", "1", "--learning_rate", "1e-9",
                           "--do_export"))  # fmt: skip
    assert {path.name: path.read_bytes() for path in bert.iterdir()} == before
    state = paddle.load(str(tmp_path / "out" / "model_state.pdparams"), return_numpy=True)
    query = weights["encoder.layer.1.attention.self.query.weight"].T
    np.testing.assert_allclose(state["bert.encoder.layers.1.self_attn.q_proj.weight"], query, atol=1e-5)
    assert (tmp_path / "out" / "export" / "model.pdmodel").exists()


def test_ernie_m_from_training_to_taskflow(data_dir, tmp_path, taskflow, tiny_ernie_m):
    """No token_type_ids, SentencePiece tokens, positions that start behind the padding."""
    flags = train_flags(
        data_dir, tiny_ernie_m, tmp_path / "out", "--do_eval", "--do_export", "--num_train_epochs", "1"
    )
    train.main(flags)
    assert Predictor(tmp_path / "out" / "export").input_names == ["input_ids"]
    texts = ["孩子发烧咳嗽是怎么回事", "挂什么科" * 40]
    # One text a batch: PaddleNLP's ERNIE-M attends to padding (its mask looks for id 0, its padding is id 1).
    static = taskflow(tmp_path / "out" / "export", is_static_model=True, batch_size=1)(texts)
    dynamic = taskflow(tmp_path / "out", is_static_model=False, max_length=32)(texts)
    for one, other in zip(static, dynamic):
        assert one["predictions"][0]["label"] in LABELS
        assert one["predictions"][0]["score"] == pytest.approx(other["predictions"][0]["score"], abs=1e-4)


@pytest.mark.parametrize(
    "capability, runs",
    [((6, 0), False), ((6, 1), True), ((7, 0), True), ((7, 5), True), ((8, 0), True), ((8, 6), True), ((8, 9), True)]
    + [((3, 7), False), ((5, 2), False), ((9, 0), False), ((10, 0), False), ((12, 0), False)],
)
def test_cards_without_machine_code_are_refused(capability, runs):
    if runs:
        loading.check_card(capability, "2.6.2")
    else:
        with pytest.raises(UsageError, match=f"{capability[0]}.{capability[1]}.*Paddle 3"):
            loading.check_card(capability, "2.6.2")
    loading.check_card(capability, "3.1.1")


def test_a_card_is_checked_before_the_first_kernel(monkeypatch):
    monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: True)
    monkeypatch.setattr(paddle.device.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(paddle.device.cuda, "get_device_capability", lambda index: [(8, 6), (9, 0)][index])
    monkeypatch.setattr(paddle, "set_device", lambda device: None)
    assert loading.set_device("gpu") == "gpu"
    with pytest.raises(UsageError, match="9.0"):
        loading.set_device("gpu:1")
