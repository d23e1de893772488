"""Masked-language training of models of every family, whose head for masked words is one of ours."""

import shutil

import numpy as np
import paddle
import pytest

import train
from core import pretraining, stages
from core.families import FAMILIES
from core.masked_heads import MASKED_MODELS, MaskedWordsModel, load_masked, token_states, word_embeddings
from core.masked_words import start_head
from tests.core.foreign_models import save_tiny_encoder
from tests.helpers import train_flags, write_data
from tests.test_train import refusal, same_weights, state_dict
from utils import UsageError

OTHERS = [family for family in FAMILIES if family not in MASKED_MODELS]
# What masked words do not train: the decoder, which is the embeddings; what no state is computed with; numbers.
NOT_TRAINED = ("word_embeddings.weight", "position_ids")
NOT_REACHED = ("pooler", "fit_dense")


@pytest.fixture(scope="module")
def texts(sample_lines):
    return list(dict.fromkeys(line.split("\t")[0] for line in sample_lines["train"]))[:150]


@pytest.fixture(scope="module")
def data(tmp_path_factory, sample_lines, texts):
    folder = tmp_path_factory.mktemp("data")
    write_data(folder, sample_lines["train"][:24], sample_lines["dev"][:21])
    (folder / "data.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def made(tmp_path, texts, request):
    """A function from a family, and more of its config, to a directory of its encoder."""

    def make(family, **config):
        if family == "ernie_m":
            return request.getfixturevalue("tiny_ernie_m")
        return save_tiny_encoder(tmp_path / family, family, texts, **config)

    return make


def flags_of(data, model, out, *more):
    own = "--do_pretrain --pretrain_epochs 1 --pretrain_learning_rate 2e-3 --num_train_epochs 1"
    return train_flags(data, model, out, *own.split(), *more)


@pytest.mark.parametrize("family", OTHERS)
def test_fine_tuning_starts_from_every_weight_that_was_trained(family, made, data, tmp_path, monkeypatch, log):
    start = {}

    def not_trained(trainer, *_):
        start.update({name: value.numpy() for name, value in trainer.model.base_model.state_dict().items()})

    monkeypatch.setattr(stages, "train_and_save", not_trained)
    folder, out = made(family), tmp_path / "out"
    train.main(flags_of(data, folder, out))
    old, new = state_dict(folder), state_dict(out / "pretrained")
    assert old.keys() == new.keys()  # an encoder alone, as it came
    same = [name for name in old if np.array_equal(old[name], new[name])]
    assert all(name.endswith(NOT_TRAINED) or name.startswith(NOT_REACHED) for name in same)
    assert any("word_embeddings" in name for name in same) and len(same) < len(old) / 2
    assert start.keys() <= new.keys() and all(name.startswith("pooler") for name in new.keys() - start.keys())
    assert all(np.array_equal(start[name], new[name]) for name in start)
    line = next(line for line in log if f"{out / 'pretrained'}: the encoder is loaded whole" in line)
    assert "not needed" not in line or line.endswith(("not needed: pooler.dense", "not needed: pooler"))

    model, tokenizer, has_head = load_masked(str(out / "pretrained"), 32)
    assert type(model) is MaskedWordsModel and not has_head and type(model.base_model).__name__.endswith("Model")
    assert model.config.pad_token_id == tokenizer.pad_token_id == 1
    model.eval()
    text = tokenizer("头疼发烧")["input_ids"][:5]
    beside = [text + [tokenizer.pad_token_id] * 20, (text * 5)[:25]]
    with paddle.no_grad():
        alone = token_states(model.base_model, paddle.to_tensor([text])).numpy()[0]
        padded = token_states(model.base_model, paddle.to_tensor(beside)).numpy()[0, :5]
    np.testing.assert_allclose(padded, alone, atol=2e-5)


def test_a_rerun_continues_bit_for_bit(made, data, tmp_path, monkeypatch):
    """ELECTRA: its embeddings are narrower than its states."""
    folder, out = made("electra"), tmp_path / "out"
    train.main(flags_of(data, folder, tmp_path / "whole"))
    write = pretraining.StateSaver.after_step

    def kill(self, step, optimizer):
        write(self, step, optimizer)
        if step == 2:
            raise RuntimeError("killed")

    monkeypatch.setattr(pretraining, "SAVE_SECONDS", 0)
    monkeypatch.setattr(pretraining.StateSaver, "after_step", kill)
    with pytest.raises(RuntimeError, match="killed"):
        train.main(flags_of(data, folder, out))
    assert (out / "pretraining.pdstate").is_file() and not (out / "pretrained").exists()
    monkeypatch.setattr(pretraining.StateSaver, "after_step", write)
    train.main(flags_of(data, folder, out))
    assert same_weights(out / "pretrained", tmp_path / "whole" / "pretrained")
    assert same_weights(out, tmp_path / "whole")


def test_the_head_starts_as_the_regression_to_smaller_embeddings(made):
    """States that are the embeddings, turned and widened: the head finds the tokens back."""
    model, tokenizer, _ = load_masked(str(made("electra")), 32)
    head, random = model.cls.predictions, np.random.default_rng(0)
    words = model.get_input_embeddings().weight
    assert head.decoder.weight is words and words.shape[1] == 24
    assert not any("decoder.weight" in name for name in model.state_dict())  # it is kept once
    targets = random.integers(5, len(tokenizer), 4000)
    embeddings = words.numpy() - words.numpy().mean(axis=0)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    states = (10 * embeddings[targets] @ random.normal(size=(24, 48))).astype("float32")
    start_head(model, states, targets, np.bincount(targets, minlength=words.shape[0]))
    with paddle.no_grad():
        scores = head(paddle.to_tensor(states[:500])).numpy()
    assert (scores.argmax(axis=1) == targets[:500]).mean() > 0.95
    assert 2 < scores.max(axis=1).mean() - scores.mean() < 30  # START_SCALE, and not another size's


def test_an_ernie_with_another_activation_has_our_head(made):
    assert type(load_masked(str(made("ernie", hidden_act="tanh")), 32)[0]) is MaskedWordsModel


def test_a_vocabulary_without_a_mask_is_refused(made, data, tmp_path):
    folder = made("roberta")
    vocab = (folder / "vocab.txt").read_text(encoding="utf-8")
    (folder / "vocab.txt").write_text(vocab.replace("[MASK]", "[unused1]"), encoding="utf-8")
    text = refusal(*flags_of(data, folder, tmp_path / "out"))
    assert text == f"--do_pretrain: the vocabulary of {folder} has no [MASK]; leave it out, or give another model"
    assert not (tmp_path / "out" / "pretrained").exists()


def test_more_tokens_than_embeddings_are_refused(made, data, tmp_path):
    folder = made("roberta")
    with (folder / "vocab.txt").open("a", encoding="utf-8") as file:
        file.write("☃\n")
    size = len((folder / "vocab.txt").read_text(encoding="utf-8").splitlines())
    text = refusal(*flags_of(data, folder, tmp_path / "out"))
    assert f"has tokens up to number {size - 1}, its config.json embeddings for {size - 1} only; give" in text


def test_an_encoder_without_word_embeddings_is_refused():
    with pytest.raises(UsageError, match="Linear has no word embeddings .*; leave it out, or give another model"):
        word_embeddings(paddle.nn.Linear(2, 2))


def test_the_other_recipes_and_a_second_training_go_with_it(made, data, tmp_path):
    """--recipe strong on a RoBERTa, mean pooling; then from its classifier, whose head and n-grams are not trained."""
    first, second = tmp_path / "first", tmp_path / "second"
    flags = ["--recipe", "strong", "--pretrain_epochs", "2"]
    train.main(flags_of(data, made("roberta"), first, *flags, "--pooling", "mean"))
    shutil.rmtree(first / "pretrained")
    train.main(flags_of(data, first, second, *flags))
    names = state_dict(second / "pretrained").keys()
    assert "embeddings.position_embeddings.weight" in names and not any("classifier" in name for name in names)
    assert any(name.startswith("classifier") for name in state_dict(second))
