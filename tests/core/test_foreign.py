"""Directories that HuggingFace wrote: each kind gives the answers of the model that it was made of, or is refused."""

import json
import os

import numpy as np
import paddle
import pytest

from core import families, foreign, loading
from tests.core.foreign_models import (
    foreign_state,
    old_names,
    tiny_classifier,
    write_foreign,
    write_safetensors,
    write_shards,
    write_torch,
)
from tests.helpers import LABELS
from utils import UsageError

IDS = [[2, 7, 8, 9, 10, 3], [2, 11, 12, 3, 0, 0]]


def logits(model, ids=IDS):
    model.eval()
    with paddle.no_grad():
        return model(paddle.to_tensor(ids)).numpy()


def loaded(folder):
    config, tokenizer = loading.load_config_and_tokenizer(str(folder))
    return loading.load_model(str(folder), config, LABELS), tokenizer


FILES = {
    "safetensors": None,
    "gamma and beta": lambda folder, state: write_safetensors(folder / "model.safetensors", old_names(state)),
    "torch": lambda folder, state: write_torch(folder / "pytorch_model.bin", state),
    "torch of 2018": lambda folder, state: write_torch(folder / "pytorch_model.bin", old_names(state), legacy=True),
    "parts": write_shards,
    "torch parts": lambda folder, state: write_shards(folder, state, "pytorch_model.bin.index.json", write_torch),
    "the encoder alone": lambda folder, state: write_safetensors(
        folder / "model.safetensors", {name.removeprefix("bert."): state[name] for name in state if "bert." in name}
    ),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_bert_in_each_kind_of_file(tmp_path, kind, log):
    model = tiny_classifier("bert")
    folder = write_foreign(tmp_path / "model", model, FILES[kind])
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    copy, _ = loaded(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    if kind == "the encoder alone":
        assert any("loaded whole; drawn anew: classifier" in line for line in log)
        copy.classifier.set_state_dict(model.classifier.state_dict())
    assert not any("Some weights" in line for line in log)
    np.testing.assert_allclose(logits(copy), logits(model), atol=1e-5)


@pytest.mark.parametrize("family", foreign.PREFIXES)
def test_each_family(tmp_path, family):
    """albert and electra with embeddings of another size than the rest; ERNIE with a task type."""
    sizes = {"ernie_m": ("intermediate_size", 192), "ernie": ("use_task_id", True)}
    name, value = sizes.get(family, ("embedding_size", 32 if family in ("albert", "electra") else 48))
    model = families.mask_padding(tiny_classifier(family, **{name: value}))
    folder = write_foreign(tmp_path / "model", model)
    copy = loading.load_weights(loading.AutoModelForSequenceClassification, str(folder), num_labels=3)
    ids = [[token or model.config.pad_token_id for token in row] for row in IDS]
    np.testing.assert_allclose(logits(copy, ids), logits(model, ids), atol=1e-5)
    # In PaddleNLP's own format, too, as it is saved after a training.
    model.save_pretrained(str(tmp_path / "own"))
    copy = loading.load_weights(loading.AutoModelForSequenceClassification, str(tmp_path / "own"))
    np.testing.assert_array_equal(logits(copy, ids), logits(model, ids))


@pytest.mark.parametrize("dtype", ["F16", "BF16", "BF16 torch"])
def test_half_precision_is_cast(tmp_path, dtype):
    """The answers of the rounded weights, in float32; config.json says float16."""
    model = tiny_classifier("bert")
    for _, parameter in model.named_parameters():
        half = parameter.numpy().astype("float16").astype("float32")
        if "BF16" in dtype:
            half = (parameter.numpy().view(np.uint32) >> 16 << 16).view(np.float32)
        parameter.set_value(half)

    def write(folder, state):
        if "torch" in dtype:
            write_torch(folder / "pytorch_model.bin", state, bfloat16=True)
        else:
            write_safetensors(folder / "model.safetensors", state, dtype)

    copy, _ = loaded(write_foreign(tmp_path / "model", model, write, torch_dtype="float16"))
    assert all(parameter.dtype == paddle.float32 for parameter in copy.parameters())
    np.testing.assert_allclose(logits(copy), logits(model), atol=1e-6)


def test_a_head_for_masked_words_is_read(tmp_path):
    from paddlenlp.transformers import BertConfig, BertForMaskedLM

    model = BertForMaskedLM(BertConfig(vocab_size=60, hidden_size=48, num_hidden_layers=1, num_attention_heads=4))
    head = model.cls.predictions
    head.decoder_bias.set_value(paddle.randn([60]))

    def write(folder, state):
        state = {name: value for name, value in state.items() if name.startswith("bert.")}
        state["cls.predictions.bias"] = head.decoder_bias.numpy()
        state["cls.predictions.transform.dense.weight"] = np.ascontiguousarray(head.transform.weight.numpy().T)
        state["cls.predictions.transform.dense.bias"] = head.transform.bias.numpy()
        state["cls.predictions.transform.LayerNorm.weight"] = head.layer_norm.weight.numpy()
        state["cls.predictions.transform.LayerNorm.bias"] = head.layer_norm.bias.numpy()
        write_safetensors(folder / "model.safetensors", state)

    folder = write_foreign(tmp_path / "model", model, write)
    np.testing.assert_allclose(logits(loading.load_masked_lm(str(folder))), logits(model), atol=1e-5)


# ------------------------------------------------------------------------------------- what the directory is called


@pytest.mark.parametrize("name", ["bert-x", "ernie-m", "roberta", "模型", "bert-base-chinese"])
@pytest.mark.parametrize("family", ["ernie", "bert"])
def test_a_directory_s_name_decides_nothing(tmp_path, monkeypatch, name, family):
    """bert-base-chinese is the name of a model that PaddleNLP would download, with that folder beside the script."""
    monkeypatch.chdir(tmp_path)
    model = tiny_classifier(family)
    write_foreign(tmp_path / name, model, architectures=None)
    copy, tokenizer = loaded(name)
    assert type(tokenizer).__name__ == f"{family.title()}Tokenizer" and copy.config.model_type == family
    np.testing.assert_allclose(logits(copy), logits(model), atol=1e-5)
    assert tokenizer("头疼")["input_ids"] == [2, 5, 6, 3]


def test_the_class_decides_where_there_is_no_model_type(tmp_path):
    model = tiny_classifier("ernie")
    folder = write_foreign(tmp_path / "roberta", model, model_type=None)
    copy, tokenizer = loaded(folder)
    assert type(tokenizer).__name__ == "ErnieTokenizer"
    np.testing.assert_allclose(logits(copy), logits(model), atol=1e-5)
    for class_name, family in {
        "ErnieMModel": "ernie_m",
        "AlbertForMaskedLM": "albert",
        "XLMRobertaModel": None,
    }.items():
        assert foreign.family_of_class(class_name) == family


@pytest.mark.parametrize(
    "given, name",
    [
        ({"tokenizer_class": "BertTokenizerFast"}, "BertTokenizer"),
        ({"init_class": "BertTokenizer", "tokenizer_class": "Other"}, "BertTokenizer"),
        ({"do_lower_case": False}, "ErnieTokenizer"),
        (None, "ErnieTokenizer"),
    ],
)
def test_the_tokenizer_s_class(tmp_path, given, name):
    (tmp_path / "vocab.txt").write_text("a\n")
    if given is not None:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(given))
    assert foreign.tokenizer_class_name(tmp_path, "ernie") == name


def test_chinese_and_english_tokenizers_of_one_family(tmp_path):
    for file, names in {
        "spiece.model": ("AlbertEnglishTokenizer", "RobertaBPETokenizer"),
        "vocab.txt": ("AlbertChineseTokenizer", "RobertaChineseTokenizer"),
    }.items():
        (tmp_path / file).write_text("a\n")
        assert [foreign.tokenizer_class_name(tmp_path, family) for family in ("albert", "roberta")] == list(names)


def test_paddle_weights_win_beside_others(tmp_path):
    """The library's own conversion leaves model_state.pdparams beside model.safetensors, and then reads the latter."""
    model, other = tiny_classifier("bert"), tiny_classifier("bert", seed=1)
    folder = write_foreign(tmp_path / "model", other)
    paddle.save(model.state_dict(), str(folder / "model_state.pdparams"))
    copy, _ = loaded(folder)
    np.testing.assert_allclose(logits(copy), logits(model), atol=1e-6)


def test_paddle_s_names_in_safetensors(tmp_path):
    """As PaddleNLP's save_pretrained(safe_serialization=True) writes them: nothing is renamed or transposed."""
    model = tiny_classifier("bert")

    def write(folder, state):
        own = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
        write_safetensors(folder / "model.safetensors", own)

    copy, _ = loaded(write_foreign(tmp_path / "model", model, write))
    np.testing.assert_allclose(logits(copy), logits(model), atol=1e-6)


# ------------------------------------------------------------------------------------------------ what is refused


def refuse(folder, message):
    with pytest.raises(UsageError, match=message):
        loaded(folder)


@pytest.mark.parametrize(
    "config, message",
    [
        ({"model_type": "xlm-roberta"}, "an XLM-RoBERTa .* which PaddleNLP has no model for; .* use ernie-m-base"),
        ({"model_type": "xlnet"}, r"config.json: models of type xlnet are not supported.*use one of ernie, bert"),
        ({"model_type": None, "architectures": ["XLNetModel"]}, "models of type XLNetModel are not supported"),
        ({"model_type": None, "architectures": None}, 'neither model_type nor architectures.*"model_type": "bert"'),
        ({"position_embedding_type": "relative_key"}, "relative_key positions, which PaddleNLP has no model for"),
    ],
)
def test_a_model_of_another_kind(tmp_path, config, message):
    refuse(write_foreign(tmp_path / "bert", tiny_classifier("bert"), **config), message)


def test_a_family_whose_names_are_not_known(tmp_path):
    folder = write_foreign(tmp_path / "model", tiny_classifier("bert"), model_type="mpnet", architectures=None)
    with pytest.raises(UsageError, match="can be converted for bert, ernie, .* not for mpnet"):
        loading.load_weights(loading.AutoModelForSequenceClassification, str(folder))


def test_files_that_are_missing_or_cut(tmp_path):
    model = tiny_classifier("bert")
    folder = write_foreign(tmp_path / "parts", model, write_shards)
    (folder / "model-00002-of-00002.safetensors").unlink()
    refuse(folder, "model-00002-of-00002.safetensors is not beside it; download all 2 parts")

    folder = write_foreign(tmp_path / "cut", model)
    whole = (folder / "model.safetensors").read_bytes()
    for length in (4, 100, len(whole) - 5):
        (folder / "model.safetensors").write_bytes(whole[:length])
        refuse(folder, "the weights cannot be loaded")
    (folder / "model.safetensors").unlink()
    (folder / "tf_model.h5").write_bytes(b"")
    refuse(folder, "only tf_model.h5, which cannot be read here.*pytorch_model.bin")
    (folder / "vocab.txt").rename(folder / "tokenizer.json")
    refuse(folder, "no usable tokenizer .only tokenizer.json, which PaddleNLP does not read")


def test_no_room_for_the_conversion(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(foreign, "convert_weights", fail)
    refuse(write_foreign(tmp_path / "model", tiny_classifier("bert")), "no room in .* set TMPDIR")


def test_names_leave_other_gammas_alone():
    state = {"bert.gamma.weight": np.zeros(2), "bert.embeddings.LayerNorm.gamma": np.zeros(2)}
    assert list(foreign.renamed(state, "bert")) == ["bert.gamma.weight", "bert.embeddings.layer_norm.weight"]
    model = tiny_classifier("bert")
    assert set(foreign.renamed(foreign_state(model), "bert")) == set(model.state_dict())
