"""A head for masked words on a tiny random encoder, from texts in which every second character tells the place."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from core import loading, masked_words
from data import build_encoder, ernie_encoder, mlm_head
from data.reading import read_corpus
from tests.helpers import ROOT
from utils import UsageError

SENTENCE = "感冒发烧怎么治疗"


@pytest.fixture(scope="module")
def texts(tmp_path_factory, sample_lines):
    """A file of 200 texts, half of them with a label: the characters of SENTENCE, others between them."""
    others = sorted(set("".join(line.split("\t")[0] for line in sample_lines["train"])) - set(SENTENCE))
    others = [character for character in others if "\u4e00" <= character <= "\u9fff"]
    random = np.random.default_rng(0)
    drawn = random.choice(others, (200, len(SENTENCE)))
    lines = ["".join(map("".join, zip(SENTENCE, row))) for row in drawn]
    path = tmp_path_factory.mktemp("texts") / "texts.txt"
    path.write_bytes("".join(f"{line}\t病情诊断\n" * (1 + index % 2) for index, line in enumerate(lines)).encode())
    return path


def run(encoder, output_dir, texts, *flags):
    argv = ["--mlm_texts", texts, "--encoder", encoder, "--output_dir", output_dir, *flags]
    build_encoder.main(list(map(str, argv)))
    return output_dir


@pytest.fixture(scope="module", params=["head", "all"])
def made(request, tiny_model, texts, tmp_path_factory):
    """What --mlm_train is, the folder, and what was measured."""
    folder, results = tmp_path_factory.mktemp(request.param), {}
    with pytest.MonkeyPatch.context() as patch:
        add_head = mlm_head.add_head
        patch.setattr(mlm_head, "add_head", lambda *args, **options: results.update(add_head(*args, **options)))
        rate = {"head": "1e-2", "all": "1e-3"}[request.param]
        run(tiny_model, folder, texts, "--mlm_train", request.param, "--mlm_epochs", 10, "--mlm_learning_rate", rate)
    return request.param, folder, results


def test_it_learns(made):
    _, _, results = made
    start, end = results["start"], results["end"]
    assert 0.03 < end["floor"] < 0.12 and end["places"] == start["places"] == 4 * 10 * 3
    # Half the characters can be told from their places, the others not at all.
    assert start["top1"] > 3 * start["floor"] and end["top1"] > 3 * end["floor"]
    assert end["top5"] >= end["top1"] and end["perplexity"] < 0.9 * start["perplexity"]


def test_the_folder_is_a_masked_language_model_and_an_encoder(made, tiny_model, texts):
    import paddle
    from paddlenlp.transformers import (
        AutoModel,
        AutoTokenizer,
        ErnieForMaskedLM,
        ErnieForSequenceClassification,
    )

    train, folder, results = made
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["ErnieForMaskedLM"]
    model = ErnieForMaskedLM.from_pretrained(str(folder))
    model.eval()
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    trained, held_out = mlm_head.split_texts(read_corpus([texts]), tokenizer, 128, seed=1)
    # The same to the last bit as before it was saved.
    counts = masked_words.count_tokens(trained, model.config.vocab_size)
    assert masked_words.measure(model, held_out, counts) == results["end"]

    ids = paddle.to_tensor([tokenizer(SENTENCE)["input_ids"]])
    whole = model(ids)[0].numpy()
    states = []
    for directory in (tiny_model, folder):
        encoder = AutoModel.from_pretrained(str(directory))
        encoder.eval()
        states.append(encoder(ids)[0])
    head = model.cls.predictions
    assert (head(states[1])[0].numpy() == whole).all()
    np.testing.assert_array_equal(head.decoder.weight.numpy(), model.get_input_embeddings().weight.numpy())
    assert bool((states[0] == states[1]).all()) == (train == "head")
    classifier = ErnieForSequenceClassification.from_pretrained(str(folder), num_classes=3)
    classifier.eval()
    assert (classifier.ernie(ids)[0].numpy() == states[1].numpy()).all()


def test_prompt_learning_takes_it(made):
    _, folder, _ = made
    assert loading.load_masked_lm(str(folder)).cls.predictions.decoder.weight.shape[1] == 48


@pytest.mark.parametrize("train", ["head", "all"])
def test_the_seed_fixes_the_bytes(tiny_model, texts, tmp_path, train):
    flags = ["--mlm_train", train, "--mlm_epochs", 1]
    first, second = (run(tiny_model, tmp_path / name, texts, *flags) for name in "ab")
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes(), path.name
    other = run(tiny_model, tmp_path / "c", texts, *flags, "--seed", 2)
    assert (first / "model_state.pdparams").read_bytes() != (other / "model_state.pdparams").read_bytes()


def test_masks(tiny_model, texts):
    from paddlenlp.transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(tiny_model))
    trained, held_out = mlm_head.split_texts(read_corpus([texts]), tokenizer, 12, seed=1)
    assert (len(trained.features), len(held_out.features), len(trained)) == (190, 10, 6)
    rows = {tuple(row["input_ids"]) for row in trained.features}
    kinds = {"mask": 0, "same": 0, "other": 0}
    for number in range(10):
        for ids, places, targets in trained.batches(number):
            assert ids.shape[1] == 12 and len(places) == 2 * len(ids)  # 15 % of ten tokens, rounded up
            assert set(np.unravel_index(places, ids.shape)[1]) <= set(range(1, 11))
            now = ids.ravel()[places]
            kinds["mask"] += (now == tokenizer.mask_token_id).sum()
            kinds["same"] += (now == targets).sum()
            kinds["other"] += ((now != targets) & (now != tokenizer.mask_token_id)).sum()
            ids.ravel()[places] = targets
            assert {tuple(row) for row in ids} <= rows
    shares = {kind: count / sum(kinds.values()) for kind, count in kinds.items()}
    assert shares == pytest.approx({"mask": 0.8, "same": 0.1, "other": 0.1}, abs=0.03)
    for ids, places, _ in held_out.batches(0, only_masks=True):
        assert (ids.ravel()[places] == tokenizer.mask_token_id).all()


def test_defaults(small, texts, tmp_path, monkeypatch):
    """The encoder is built where it is not there; the result lies beside it."""
    done = []
    monkeypatch.setattr(build_encoder, "DEFAULT_DIR", tmp_path / "offline_encoder")
    monkeypatch.setattr(build_encoder, "read_weights", lambda wheel: small[0])
    monkeypatch.setattr(ernie_encoder, "build", lambda *args: done.append(args))
    monkeypatch.setattr(mlm_head, "add_head", lambda *args, train, **options: done.append((*args, train)))
    build_encoder.main(["--mlm_texts", str(texts)])
    assert [args[2] for args in done[:1]] == [tmp_path / "offline_encoder"]
    encoder, corpus, output_dir, train = done[1]
    assert (encoder, output_dir) == (tmp_path / "offline_encoder", tmp_path / "offline_encoder_mlm")
    assert len(corpus) == 200 and "\t" not in "".join(corpus) and train == "all"


def test_wrong_flags_and_texts(tiny_model, texts, tmp_path, sample_lines):
    few = tmp_path / "few.txt"
    few.write_bytes(("感冒怎么治疗\n" * 300 + "头疼\n").encode())
    unknown = tmp_path / "unknown.txt"
    unknown.write_bytes("".join(f"{chr(0xAC00 + number)}\n" for number in range(150)).encode())
    out = ["--output_dir", tmp_path / "out"]
    for flags, message in [
        (["--mlm_texts", few, *out], "few.txt: 2 different texts; give 100 or more"),
        (["--mlm_texts", tmp_path / "none.txt", *out], "none.txt: no such file"),
        (["--mlm_texts", unknown, "--encoder", tiny_model, *out], "only 0 texts have characters"),
        (["--mlm_texts", texts, "--encoder", tmp_path / "none", *out], "none: no such folder; build it first"),
        (["--mlm_texts", texts, "--encoder", tmp_path, *out], "no config|config.json"),
        (["--mlm_texts", texts, "--encoder", tiny_model, "--output_dir", tiny_model], "the encoder's own folder"),
        (["--mlm_texts", texts, "--num_hidden_layers", "6"], "exclude each other"),
        (["--mlm_texts", texts, "--mlm_epochs", "0"], "--mlm_epochs 0: must be at least 1"),
        (["--encoder", tiny_model], "only --mlm_texts"),
    ]:
        with pytest.raises(UsageError, match=message) as error:
            build_encoder.main(list(map(str, flags)))
        assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_other_kinds_of_models(texts, tiny_ernie_m, tmp_path):
    with pytest.raises(UsageError, match="ernie_m.*give an ERNIE encoder"):
        run(tiny_ernie_m, tmp_path / "out", texts)


def test_the_exit_code(tmp_path):
    command = [sys.executable, ROOT / "data" / "build_encoder.py", "--mlm_texts", tmp_path / "none.txt"]
    result = subprocess.run(list(map(str, command)), capture_output=True, encoding="utf-8")
    assert result.returncode == 2 and result.stderr.count("\n") == 1 and "no such file" in result.stderr


def test_an_encoder_without_a_mask_is_refused(tiny_model, tmp_path):
    """Trap: PaddleNLP gives a [MASK] that vocab.txt lacks the next number, beyond the embeddings."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    vocab = (folder / "vocab.txt").read_text(encoding="utf-8")
    (folder / "vocab.txt").write_text(vocab.replace("[MASK]", "[unused1]"), encoding="utf-8")
    with pytest.raises(UsageError, match=r"--mlm_texts: the vocabulary of .* has no \[MASK\]"):
        mlm_head.load_encoder(folder)
