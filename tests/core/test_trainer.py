"""Batches, tokenizers, safe loading, foreign models, export and Taskflow."""

import json
import pickle
import zipfile

import numpy as np
import paddle
import pytest

import train
from core import batches, encoders, loading, trainer
from core.predictor import Predictor
from tests.helpers import LABELS, ROOT, train_flags
from utils import UsageError

# -------------------------------------------------------------------------------------------------- batches


@pytest.mark.parametrize("samples, size, ranks", [(61, 8, 1), (61, 8, 2), (64, 8, 2), (5, 8, 2), (61, 4, 3)])
def test_training_batches_cover_every_sample_and_ranks_agree(samples, size, ranks):
    lengths = np.random.default_rng(0).integers(3, 40, samples)
    make = lambda rank: batches.LengthGroupedBatchSampler(lengths, size, seed=7, num_replicas=ranks, rank=rank)  # noqa: E731
    batches = [list(make(rank)) for rank in range(ranks)]
    assert len({len(rank_batches) for rank_batches in batches}) == 1 and len(batches[0]) == len(make(0))
    seen = [index for rank_batches in batches for batch in rank_batches for index in batch]
    assert set(seen) == set(range(samples)) and len(seen) - samples < ranks
    assert all(len(batch) == len(other) for step in zip(*batches) for batch, other in [(step[0], step[-1])])


def test_training_order_depends_on_seed_and_epoch_alone():
    lengths = np.arange(100) % 17
    sampler = batches.LengthGroupedBatchSampler(lengths, 8, seed=1)
    first = list(sampler)
    assert first == list(batches.LengthGroupedBatchSampler(lengths, 8, seed=1))
    assert first != list(batches.LengthGroupedBatchSampler(lengths, 8, seed=2))
    sampler.set_epoch(1)
    assert first != list(sampler)


def test_grouping_cuts_the_padding():
    rng = np.random.default_rng(0)
    lengths = np.minimum(128, 5 + rng.exponential(12, 5000)).astype(int)

    def padded(group):
        return sum(
            lengths[batch].max() * len(batch)
            for batch in batches.LengthGroupedBatchSampler(lengths, 32, seed=0, group=group)
        )

    assert padded(True) < 1.1 * lengths.sum() and padded(False) > 2 * lengths.sum()


def test_drop_last():
    sampler = batches.LengthGroupedBatchSampler(np.arange(61), 8, seed=0, drop_last=True)
    assert [len(batch) for batch in sampler] == [8] * 7 and len(sampler) == 7


@pytest.mark.parametrize("samples, size, ranks", [(61, 8, 1), (61, 8, 2), (37, 8, 2), (5, 4, 3), (1, 8, 2)])
def test_evaluation_order_joined_over_ranks_is_the_sorted_order(samples, size, ranks):
    lengths = np.random.default_rng(0).integers(3, 40, samples)
    samplers = [batches.LengthSortedBatchSampler(lengths, size, ranks, rank) for rank in range(ranks)]
    joined = [index for step in zip(*samplers) for batch in step for index in batch]
    assert joined[:samples] == samplers[0].order.tolist()
    assert sorted(joined[:samples]) == list(range(samples))
    assert len({len(list(sampler)) for sampler in samplers}) == 1


def test_predictions_come_in_file_order(trained_once):
    """Of texts sorted by length inside; also, predict must not return None (a fault without compute_metrics)."""
    data, checkpoint = trained_once
    flags = ["--do_eval", "--debug", "True", "--device", "cpu", "--model_name_or_path", str(checkpoint), "--data_dir",
             str(data), "--output_dir", str(checkpoint), "--disable_tqdm", "True"]  # fmt: skip
    arguments = train.parse_all(flags)
    config, tokenizer = loading.load_config_and_tokenizer(str(checkpoint))
    model = loading.load_model(str(checkpoint), config, run.data.labels)
    runner = pipeline.make_trainer(trainer, model, tokenizer, arguments)
    output = runner.predict(runner.test_dataset)
    assert np.asarray(output.label_ids).reshape(-1).tolist() == arguments.texts.test[1]
    model.eval()
    for index in (0, 7, 20):
        feature = runner.test_dataset[index]
        with paddle.no_grad():
            logits = model(paddle.to_tensor([feature["input_ids"]]), paddle.to_tensor([feature["token_type_ids"]]))
        np.testing.assert_allclose(output.predictions[index], logits.numpy()[0], atol=1e-5)


# ------------------------------------------------------------------------------------------------ tokenizer

HARD_TEXTS = [
    "HPV18阳性，25岁ABC", "ＡＢＣ１２３", "β-受体阻滞剂", "①③Ⅲ度", "37.5℃", "é è ü ñ", "a\u3000b\xa0c", "O(∩_∩)O",
    "²º\u00ad〇µØŋ", "👍🏻很好", "\u200b零宽",
    "~!@#$%^&*()_+`-={}|[]\\:\";'<>?,./", "…—·「」『』《》", "", " ", "中" * 300,
]  # fmt: skip


@pytest.mark.parametrize("max_length", [16, 128])
def test_the_rust_tokenizer_gives_paddlenlp_s_ids(tiny_model, max_length, sample_lines):
    _, tokenizer = loading.load_config_and_tokenizer(str(tiny_model))
    texts = HARD_TEXTS + [line.split("\t")[0] for lines in sample_lines.values() for line in lines]
    encode = encoders.make_encoder(tokenizer, max_length, True, texts)
    assert encode.__name__ == "encode_fast"
    slow = tokenizer(texts, max_length=max_length, truncation=True)
    fast = encode(texts)
    assert [feature["input_ids"] for feature in fast] == slow["input_ids"]
    assert [feature["token_type_ids"] for feature in fast] == slow["token_type_ids"]


def test_the_rust_tokenizer_on_random_unicode(tiny_model):
    """Unassigned code points, combining marks, newer punctuation: without the fallback 15 % of these texts differ."""
    _, tokenizer = loading.load_config_and_tokenizer(str(tiny_model))
    rng = np.random.default_rng(0)
    ranges = [(32, 0x250), (0x250, 0xD7FF), (0x2000, 0x2700), (0x3000, 0x3100), (0x4E00, 0x9FFF), (0xFF00, 0xFFEF)]
    texts = ["[SEP]在文中[MASK]", "[sep]", "a\0b", "\u2028x", "İßǅﬁ", "e\u0301", "ไทย 한국어"]
    for length in rng.integers(1, 30, 2000):
        picks = [ranges[index] for index in rng.integers(0, len(ranges), length)]
        texts.append("".join(chr(rng.integers(*pick)) for pick in picks))
    encode = encoders.make_encoder(tokenizer, 128, False, ["头疼"])
    assert encode.__name__ == "encode_fast"
    slow = tokenizer(texts, max_length=128, truncation=True)["input_ids"]
    assert [feature["input_ids"] for feature in encode(texts)] == slow


def test_another_tokenizer_is_not_replaced(tiny_model, monkeypatch):
    _, tokenizer = loading.load_config_and_tokenizer(str(tiny_model))
    monkeypatch.setattr(type(tokenizer), "tokenize", lambda self, text, **kwargs: ["[MASK]"])
    assert encoders.make_encoder(tokenizer, 16, True, ["头疼"]).is_fast is False


@pytest.mark.slow
@pytest.mark.parametrize("max_length", [16, 128])
def test_the_rust_tokenizer_on_all_real_texts(shared, max_length):
    encoder = ROOT / "data" / "offline_encoder"
    if not encoder.is_dir():
        pytest.skip("data/offline_encoder is not built")
    _, tokenizer = loading.load_config_and_tokenizer(str(encoder))
    texts = [
        line.split("\t")[0]
        for name in ("train", "dev", "data")
        for line in (shared / "kuake_qic" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    ]
    encode = encoders.make_encoder(tokenizer, max_length, True, texts)
    assert encode.__name__ == "encode_fast" and len(texts) == 10880
    slow = tokenizer(texts, max_length=max_length, truncation=True)["input_ids"]
    assert [feature["input_ids"] for feature in encode(texts)] == slow


# --------------------------------------------------------------------------------------------- safe loading


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


# -------------------------------------------------------------------------------------------- other models


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


def test_metrics_against_a_count_by_hand():
    from types import SimpleNamespace

    logits = np.eye(3)[[0, 0, 1, 1, 1, 0]]
    metrics = trainer.compute_metrics(
        SimpleNamespace(predictions=logits, label_ids=np.array([[0], [0], [1], [0], [1], [2]]))
    )
    assert metrics["accuracy"] == pytest.approx(4 / 6)
    assert metrics["macro_precision"] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert metrics["macro_recall"] == pytest.approx((2 / 3 + 1 + 0) / 3)


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
