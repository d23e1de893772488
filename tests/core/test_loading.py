"""Loading models: all of the encoder or none, new heads, broken files."""

import json
import shutil

import numpy as np
import paddle
import pytest

import train
from core import loading
from core.checkpoints import read_model_config
from core.encoders import make_encoder
from core.families import FAMILIES
from core.predictor import Predictor
from tests.core.foreign_models import tiny_classifier, write_foreign
from tests.helpers import LABELS, PADDLE_3, train_flags
from utils import UsageError


def export_flags(checkpoint):
    folder = str(checkpoint)
    return ["--do_export", "--device", "cpu", "--model_name_or_path", folder, "--output_dir", folder]


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
    static = taskflow(tmp_path / "out" / "export", is_static_model=True, batch_size=2)(texts)
    # One text a batch: PaddleNLP's own ERNIE-M attends to padding (its mask looks for id 0, its padding is id 1).
    dynamic = taskflow(tmp_path / "out", is_static_model=False, max_length=32, batch_size=1)(texts)
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


@pytest.mark.skipif(PADDLE_3, reason="its wheels' cards are not known")
def test_a_card_is_checked_before_the_first_kernel(monkeypatch):
    monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: True)
    monkeypatch.setattr(paddle.device.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(paddle.device.cuda, "get_device_capability", lambda index: [(8, 6), (9, 0)][index])
    monkeypatch.setattr(paddle, "set_device", lambda device: None)
    assert loading.set_device("gpu") == "gpu"
    with pytest.raises(UsageError, match="9.0"):
        loading.set_device("gpu:1")


# ------------------------------------------------------------------------------------ all of the encoder, or none


def save_own(folder, model, change=lambda state: state, **config):
    """A directory of PaddleNLP with a model's weights, after a change."""
    model.save_pretrained(str(folder))
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    paddle.save(change(state), str(folder / "model_state.pdparams"))
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**content, **config}))
    return str(folder)


def load_classifier(folder):
    return loading.load_weights(loading.AutoModelForSequenceClassification, folder, num_labels=3)


def without(part):
    return lambda state: {name: value for name, value in state.items() if part not in name}


@pytest.mark.parametrize(
    "change, config, message",
    [
        (without("norm1.weight"), {}, r"lack 2 of the encoder's 37.*ernie.encoder.layers.0.norm1.weight, "),
        (without("layers.1."), {}, r"lack 16 of .* and 13 more.*\(num_hidden_layers 2, where the file has 1 layers\)"),
        (None, {"num_hidden_layers": 3}, r"lack 16 of .*\(num_hidden_layers 3, where the file has 2 layers\)"),
        (None, {"vocab_size": 61}, r"word_embeddings.weight is \[60, 48\] instead of \[61, 48\]; give weights and"),
        (None, {"max_position_embeddings": 41}, r"position_embeddings.weight is \[40, 48\] instead of \[41, 48\]"),
        (None, {"hidden_size": 96}, r"of the encoder's weights have another shape .* and \d+ more"),
        (lambda state: {name.replace("ernie.", "bert."): state[name] for name in state}, {}, "lack 37 of .*'s 37"),
        (lambda state: {f"model.{name}": state[name] for name in state}, {}, "lack 37 of the encoder's 37"),
        (lambda state: {"ernie.x": state["classifier.bias"], **state_without_prefix(state)}, {}, "lack 37 of .*'s 37"),
        (lambda state: {}, {}, "lack 37 of the encoder's 37"),
    ],
    ids=lambda value: None if callable(value) else str(value)[:40],
)
def test_an_encoder_that_is_not_whole_is_refused(tmp_path, change, config, message):
    model = tiny_classifier("ernie", num_hidden_layers=2)
    folder = save_own(tmp_path / "model", model, change or (lambda state: state), **config)
    with pytest.raises(UsageError, match=message):
        load_classifier(folder)


def state_without_prefix(state):
    return {name.removeprefix("ernie."): state[name] for name in state if name.startswith("ernie.")}


def test_a_bare_encoder_and_an_old_head_are_told_in_a_line(tmp_path, log):
    model = tiny_classifier("ernie")

    def other_task(state):
        return {
            **without("classifier")(without("pooler")(state)),
            "cls.predictions.decoder_bias": np.zeros(60, "float32"),
        }

    load_classifier(save_own(tmp_path / "model", model, other_task))
    line = "model: the encoder is loaded whole; drawn anew: classifier, ernie.pooler; not needed: cls.predictions"
    assert any(text.endswith(line) for text in log)
    assert not any("Some weights" in text for text in log)

    log.clear()
    load_classifier(save_own(tmp_path / "bare", model, state_without_prefix))
    assert any(text.endswith("bare: the encoder is loaded whole; drawn anew: classifier") for text in log)
    log.clear()
    load_classifier(save_own(tmp_path / "same", model))
    assert not any("loaded whole" in text for text in log)


def test_a_head_for_other_labels_is_no_error(tmp_path, log):
    model = loading.load_weights(
        loading.AutoModelForSequenceClassification,
        save_own(tmp_path / "model", tiny_classifier("ernie")),
        num_labels=5,
    )
    assert model.classifier.weight.shape == [48, 5]
    assert any(text.endswith("loaded whole; drawn anew: classifier") for text in log)


def test_layers_that_config_json_does_not_have_are_named(tmp_path, log):
    model = tiny_classifier("ernie", num_hidden_layers=2)
    load_classifier(save_own(tmp_path / "model", model, num_hidden_layers=1))
    text = "16 weights of the file have no place in this encoder and are left out: ernie.encoder.layers.1."
    assert any(text in line and "num_hidden_layers 1, where the file has 2" in line for line in log)


def test_a_head_for_masked_words_of_another_size_is_refused(tiny_mlm, tmp_path):
    shutil.copytree(tiny_mlm, tmp_path / "model")
    path = tmp_path / "model" / "model_state.pdparams"
    state = paddle.load(str(path), return_numpy=True)
    path.unlink()
    paddle.save({**state, "cls.predictions.transform.weight": np.zeros((48, 4), "float32")}, str(path))
    with pytest.raises(UsageError, match="an encoder without a head for masked words"):
        loading.load_masked_lm(str(tmp_path / "model"))


@pytest.mark.parametrize("family", ["distilbert", "mpnet"])
def test_tokenizers_whose_own_call_takes_no_max_length(family, tmp_path):
    """PaddleNLP's of these two families; the first texts of a training ended with a TypeError."""
    model = tiny_classifier(family)
    vocab = "<s> <pad> </s> [UNK] <mask>" if family == "mpnet" else "[PAD] [UNK] [CLS] [SEP] [MASK]"
    write_foreign(tmp_path / "model", model, vocab=vocab)
    name = f"{FAMILIES[family]}Tokenizer"
    (tmp_path / "model" / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": name}))
    _, tokenizer = loading.load_config_and_tokenizer(str(tmp_path / "model"))
    ids = make_encoder(tokenizer, 6, False)(["头疼应该挂什么科", "头"])
    special = tokenizer.cls_token_id, tokenizer.sep_token_id
    assert [len(row["input_ids"]) for row in ids] == [6, 3]
    assert all((row["input_ids"][0], row["input_ids"][-1]) == special for row in ids)
    tokenizer.save_pretrained(str(tmp_path / "saved"))
    assert json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text())["tokenizer_class"] == name


def test_the_tokenizer_s_padding_is_masked(tiny_model, tmp_path):
    """A vocabulary with [PAD] elsewhere than config.json says."""
    shutil.copytree(tiny_model, tmp_path / "model")
    path = tmp_path / "model" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "pad_token_id": 7}))
    config, tokenizer = loading.load_config_and_tokenizer(str(tmp_path / "model"))
    assert tokenizer.pad_token_id == 0 and config.pad_token_id == 0
    model = loading.load_model(str(tmp_path / "model"), config, LABELS)
    model.eval()
    with paddle.no_grad():
        alone, beside = (model(paddle.to_tensor([ids])).numpy() for ids in ([1, 7, 9, 2], [1, 7, 9, 2, 0, 0]))
    np.testing.assert_allclose(beside, alone, atol=1e-6)


def test_an_export_is_not_a_model(trained_once, tmp_path, monkeypatch):
    """It names its checkpoint, before paddle is imported."""
    _, checkpoint = trained_once
    message = f"{checkpoint / 'export'}: an export, .*give the checkpoint that it was made from: {checkpoint}$"
    for read in (read_model_config, loading.load_config_and_tokenizer):
        with pytest.raises(UsageError, match=message):
            read(str(checkpoint / "export"))
    shutil.copytree(checkpoint / "export", tmp_path / "alone")
    with pytest.raises(UsageError, match="give the checkpoint that it was made from$"):
        read_model_config(tmp_path / "alone")
    monkeypatch.chdir(checkpoint / "export")
    with pytest.raises(UsageError, match=rf"^\.: an export, .*made from: {checkpoint}$"):
        read_model_config(".")
    assert read_model_config(tmp_path) is None
