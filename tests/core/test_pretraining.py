"""Masked-language training before the fine-tuning, on texts in which every second character tells the place."""

import json
import shutil

import numpy as np
import pytest

import train
from core import pretraining
from core.masked_words import MaskedTexts
from tests.helpers import train_flags, write_data
from tests.test_train import refusal, same_weights, state_dict
from utils import UsageError

SENTENCE = "感冒发烧怎么治疗"


@pytest.fixture(scope="module")
def data(tmp_path_factory, sample_lines):
    """48 labelled texts, and 200 in data.txt: the characters of SENTENCE, others between them; and dev's texts."""
    folder = tmp_path_factory.mktemp("data")
    write_data(folder, sample_lines["train"][:48], sample_lines["dev"][:21])
    others = sorted(set("".join(line.split("\t")[0] for line in sample_lines["train"])) - set(SENTENCE))
    others = [character for character in others if "\u4e00" <= character <= "\u9fff"]
    drawn = np.random.default_rng(0).choice(others, (200, len(SENTENCE)))
    lines = ["".join(map("".join, zip(SENTENCE, row))) for row in drawn]
    lines += [line.split("\t")[0] for line in sample_lines["dev"]]
    (folder / "data.txt").write_bytes("".join(f"{line}\n" for line in lines).encode())
    return folder


def flags_of(data, model, out, *more):
    own = "--do_pretrain --pretrain_epochs 3 --pretrain_learning_rate 2e-3 --num_train_epochs 1"
    return train_flags(data, model, out, *own.split(), *more)


@pytest.fixture(scope="module")
def made(data, tiny_model, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "out"
    train.main(flags_of(data, tiny_model, out))
    return out


def test_it_learns(made, tiny_model):
    content = json.loads((made / "pretrained" / "pretraining.json").read_text())
    before, after = content["before"], content["after"]
    assert after["perplexity"] < 0.8 * before["perplexity"] and after["places"] == before["places"] > 100
    assert content["facts"]["pretrain_epochs"] == 3
    assert not (made / "pretraining.json").exists() and not (made / "pretraining.pdstate").exists()
    # The fine-tuning started from it: its frozen word embeddings aside, the encoder is another one.
    old, new = (state_dict(folder) for folder in (tiny_model, made / "pretrained"))
    moved = [name for name in old if not np.array_equal(old[name], new[f"ernie.{name.removeprefix('ernie.')}"])]
    assert len(moved) > 20 and not any("word_embeddings" in name for name in moved)


def test_the_folder_is_an_encoder_and_a_masked_language_model(made):
    from core.loading import load_masked_lm

    model = load_masked_lm(str(made / "pretrained"))
    weight = model.get_input_embeddings().weight.numpy()
    np.testing.assert_array_equal(model.cls.predictions.decoder.weight.numpy(), weight)


def test_no_text_of_dev_is_seen(made, data, tiny_model, monkeypatch, tmp_path, sample_lines):
    seen = set()

    def watched(self, features, tokenizer, *more):
        seen.update(tuple(row["input_ids"]) for row in features)
        raise UsageError("enough")

    monkeypatch.setattr(MaskedTexts, "__init__", watched)
    assert refusal(*flags_of(data, tiny_model, tmp_path / "out")) == "enough"
    from core.loading import load_config_and_tokenizer

    tokenizer = load_config_and_tokenizer(str(tiny_model))[1]
    dev = {tuple(tokenizer(line.split("\t")[0], max_length=32)["input_ids"]) for line in sample_lines["dev"][:21]}
    train_ids = {tuple(tokenizer(line.split("\t")[0])["input_ids"]) for line in sample_lines["train"][:48]}
    assert len(seen) > 200 and not seen & dev and train_ids & seen


def test_a_rerun_continues_bit_for_bit(made, data, tiny_model, tmp_path, monkeypatch, capsys):
    """Killed in the middle of the second pass, then in the middle of the fine-tuning."""
    out, command = tmp_path / "out", flags_of(data, tiny_model, tmp_path / "out", "--save_strategy", "steps")
    command += ["--save_steps", "2", "--evaluation_strategy", "steps", "--eval_steps", "2"]
    write, killed = pretraining.StateSaver.after_step, []

    def kill(self, step, optimizer):
        write(self, step, optimizer)
        if step == 12:
            killed.append(step)
            raise RuntimeError("killed")

    monkeypatch.setattr(pretraining, "SAVE_SECONDS", 0)
    monkeypatch.setattr(pretraining.StateSaver, "after_step", kill)
    with pytest.raises(RuntimeError, match="killed"):
        train.main(command)
    assert killed and (out / "pretraining.pdstate").is_file() and not (out / "pretrained").exists()
    other = refusal(*command, "--pretrain_epochs", "4")
    assert "unfinished" in other and "pretrain_epochs (3, now 4)" in other and "--overwrite_output_dir" in other
    monkeypatch.setattr(pretraining.StateSaver, "after_step", write)
    train.main([*command, "--keep_optimizer", "True"])
    assert same_weights(out / "pretrained", made / "pretrained")
    # The first checkpoint alone is left of the fine-tuning.
    shutil.copytree(out, tmp_path / "whole")
    for path in out.iterdir():
        if path.name not in ("checkpoint-2", "pretrained"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    capsys.readouterr()
    train.main(command)
    assert same_weights(out, tmp_path / "whole")
    assert f"fine-tuned from is in {out}/pretrained" in capsys.readouterr().out


def test_a_training_that_diverges_leaves_no_encoder(data, tiny_model, tmp_path, capsys):
    """It said that all masked words were found, since nothing is above what is no number."""
    with pytest.raises(UsageError, match="has diverged.*--pretrain_learning_rate"):
        train.main(flags_of(data, tiny_model, tmp_path / "out", "--pretrain_learning_rate", "1e30"))
    assert "after: " not in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert not names & {"pretraining.json", "pretraining.pdstate", "model_state.pdparams"}


def test_what_is_finished_is_used(made, data, tiny_model, tmp_path, monkeypatch, log):
    """With another learning rate of the fine-tuning too; a changed corpus is refused."""
    monkeypatch.setattr(pretraining, "_train", None)
    out = tmp_path / "out"
    shutil.copytree(made / "pretrained", out / "pretrained")
    train.main(flags_of(data, tiny_model, out, "--learning_rate", "1e-3"))
    assert any("holds the result of this masked-language training already" in line for line in log)
    text = refusal(*flags_of(data, tiny_model, out, "--mlm_probability", "0.2"))
    assert "pretrained: holds an encoder's" in text and "mlm_probability (0.15, now 0.2)" in text
    more = tmp_path / "more.txt"
    more.write_bytes((data / "data.txt").read_bytes() + "又一条文本\n".encode())
    assert "another texts" in refusal(*flags_of(data, tiny_model, out, "--unlabelled_path", more))


def test_a_head_that_is_there_is_kept(tiny_mlm, tiny_model):
    model, _, has_head = pretraining.load_masked(str(tiny_mlm), 32)
    stored = state_dict(tiny_mlm)["cls.predictions.transform.weight"]
    assert has_head and np.array_equal(model.cls.predictions.transform.weight.numpy(), stored)
    assert not pretraining.load_masked(str(tiny_model), 32)[2]


def test_bert(data, tiny_model, tmp_path):
    import paddle
    from paddlenlp.transformers import BertConfig, BertModel, BertTokenizer

    folder, vocab = tmp_path / "bert", str(tiny_model / "vocab.txt")
    size = len((tiny_model / "vocab.txt").read_text(encoding="utf-8").splitlines())
    paddle.seed(0)
    config = BertConfig(
        vocab_size=size, hidden_size=48, num_hidden_layers=1, num_attention_heads=12, intermediate_size=64
    )
    BertModel(config).save_pretrained(str(folder))
    BertTokenizer(vocab).save_pretrained(str(folder))
    train.main(flags_of(data, folder, tmp_path / "out"))
    content = json.loads((tmp_path / "out" / "pretrained" / "pretraining.json").read_text())
    assert content["after"]["perplexity"] < 0.8 * content["before"]["perplexity"]


def test_what_fine_tuning_refuses_is_refused_first(data, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setattr(pretraining, "_train", None)
    text = refusal(*flags_of(data, tiny_model, tmp_path / "out", "--max_length", "500"))
    assert "--max_length 500" in text
