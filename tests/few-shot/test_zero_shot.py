"""few-shot/zero_shot.py: a random tiny UTC through Taskflow, and what is said where there are no weights."""

import socket
import time

import numpy as np
import pytest

from core import loading
from tests.helpers import LABEL_WORDS
from utils import UsageError

TEXTS = ["头疼怎么办", "做一次检查多少钱要不要去大医院看病", "感冒"]

WORDS = list(LABEL_WORDS.values())


@pytest.fixture
def label_path(tmp_path):
    path = tmp_path / "label.txt"
    path.write_text("".join(f"{label}=={word}\n" for label, word in LABEL_WORDS.items()), encoding="utf-8")
    return path


@pytest.fixture
def run(zero_shot, label_path, capsys):
    """A function from flags to the rows that are printed: text, label, score."""

    def run(*flags):
        zero_shot.main([str(flag) for flag in ("--label_path", label_path, "--device", "cpu", *flags)])
        lines = capsys.readouterr().out.splitlines()
        return [line.split("\t") for line in lines if line.count("\t") == 2]

    return run


def probabilities(folder, words, text):
    """What UTC itself says of one text, its input laid out by hand.

    [CLS], then every word behind an [O-MASK], at positions that begin anew and blind to the other words, then
    [SEP], the text, [SEP], an empty second text and [SEP].
    """
    import paddle
    from paddlenlp.transformers import UTC, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(str(folder)), UTC.from_pretrained(str(folder))
    model.eval()
    tokens, positions, owners = ["[CLS]"], [0], [-1]
    for number, word in enumerate(words):
        tokens += ["[O-MASK]", *word]
        positions += range(len(word) + 1)
        owners += [number] * (len(word) + 1)
    types = [0] + [1] * (len(tokens) - 1)
    separator = len(tokens)
    tokens += ["[SEP]", *text, "[SEP]", "[SEP]"]
    positions += [*range(len(text) + 2), 0]
    types += [0] * (len(text) + 1) + [1, 0]
    owners = np.array(owners + [-1] * (len(text) + 3))
    is_blind = (owners[:, None] != owners[None, :]) & (owners[:, None] >= 0) & (owners[None, :] >= 0)
    marks = [index for index, token in enumerate(tokens) if token == "[O-MASK]"]
    values = (tokenizer.convert_tokens_to_ids(tokens), types, positions)
    with paddle.no_grad():
        logits = model(
            *(paddle.to_tensor([value]) for value in values),
            paddle.to_tensor(np.where(is_blind, -1e4, 0)[None, None].astype("float32")),
            paddle.to_tensor([marks]),
            paddle.to_tensor([separator]),
        )
        return paddle.nn.functional.softmax(logits, axis=-1).numpy()[0]


def test_labels_and_scores_are_utc_s(run, tiny_utc):
    expected = [probabilities(tiny_utc, WORDS, text) for text in TEXTS]
    assert np.ptp([row.max() for row in expected]) > 0.01  # the texts matter
    for batch_size in (1, 3):  # padded or not
        rows = run("--task_path", tiny_utc, "--texts", *TEXTS, "--batch_size", batch_size)
        assert [row[0] for row in rows] == TEXTS
        for (_, label, score), row in zip(rows, expected):
            assert LABEL_WORDS[label] == WORDS[row.argmax()]
            assert float(score) == pytest.approx(row.max(), abs=1e-4)


def test_a_file_of_texts(run, tiny_utc, tmp_path):
    from_flags = run("--task_path", tiny_utc, "--texts", *TEXTS)
    lines = [f"{text}\t病情诊断" for text in TEXTS]  # what stands behind a tab is not read
    (tmp_path / "texts.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    flags = ["--task_path", tiny_utc, "--file", tmp_path / "texts.txt", "--result_file", tmp_path / "r.txt"]
    assert run(*flags) == []
    rows = [line.split("\t") for line in (tmp_path / "r.txt").read_text(encoding="utf-8").splitlines()]
    assert rows == [["Text", "Label", "Prediction", "Score"], *[[text, "", *rest] for text, *rest in from_flags]]


def test_marks_in_a_text_and_long_texts(run, tiny_utc):
    rows = run("--task_path", tiny_utc, "--texts", "头疼[O-MASK]怎么[SEP]办", "头疼" * 300)
    assert len(rows) == 2 and all(row[1] in LABEL_WORDS for row in rows)


def test_refusals(run, tiny_utc, tiny_model, label_path, tmp_path):
    def refusal(*flags):
        with pytest.raises(UsageError) as error:
            run(*flags)
        return str(error.value)

    assert "one is empty" in refusal("--texts", " ", "--task_path", tiny_utc)
    assert "nothing.txt: no such file" in refusal("--file", tmp_path / "nothing.txt", "--task_path", tiny_utc)
    assert "lacks model_state.pdparams, config.json" in refusal("--texts", "头疼", "--task_path", tmp_path)
    assert "not the weights of a UTC model" in refusal("--texts", "头疼", "--task_path", tiny_model)
    short = refusal("--texts", "头疼", "--task_path", tiny_utc, "--max_seq_length", 20)
    assert "the 3 labels take 13 tokens" in short
    label_path.write_text("甲==费用\n乙==费用\n", encoding="utf-8")
    assert "甲 and 乙 have the same word '费用'" in refusal("--texts", "头疼", "--task_path", tiny_utc)


def test_weights_that_cannot_be_downloaded(run, tmp_path, monkeypatch):
    """A proxy that accepts and never answers: one message within 30 s, naming three ways out."""
    import paddlenlp.utils.env
    from paddlenlp.utils.log import logger

    server = socket.create_server(("127.0.0.1", 0))
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, f"http://127.0.0.1:{server.getsockname()[1]}")
    monkeypatch.setattr(paddlenlp.utils.env, "PPNLP_HOME", str(tmp_path))
    assert loading.DOWNLOAD_TIMEOUT <= 25  # imports take the rest of the 30 s
    monkeypatch.setattr(loading, "DOWNLOAD_TIMEOUT", 2)
    start = time.monotonic()
    with pytest.raises(UsageError) as error:
        run("--texts", "头疼", "--model", "utc-mini")
    server.close()
    assert time.monotonic() - start < 8
    text = str(error.value)
    assert "--model utc-mini: cannot be downloaded (no answer within 2 s)" in text
    assert "--task_path" in text and "setfit.py" in text and "train.py" in text and "\n" not in text
    assert logger.is_enable  # for what the same process does next


def test_help(help_of):
    assert help_of("zero_shot.py").startswith("usage: zero_shot.py")
