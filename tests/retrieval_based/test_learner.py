"""retrieval_based/learner.py: what a training writes, resuming, two processes."""

import json
import re
import shutil

import numpy as np
import pytest
from paddlenlp.trainer.trainer_utils import set_seed

from retrieval_based import evaluate, train
from retrieval_based.base_model import Embedder
from tests.helpers import launched
from tests.retrieval_based.helpers import FOLDER, call, is_same, train_flags
from utils import UsageError, read_json


def test_training_writes_checkpoints_and_the_best(once, texts):
    assert sorted(path.name for path in once.glob("model_*")) == ["model_12", "model_4", "model_8", "model_best"]
    settings = read_json(once / "model_best" / "dual_encoder.json")
    expected = {"pooling": "mean", "output_emb_size": 16, "max_seq_length": 32, "dim": 16, "margin": 0.2, "scale": 30}
    assert expected.items() <= settings.items()
    states = [read_json(once / f"model_{step}" / "train_state.json") for step in (4, 8, 12)]
    assert [state["step"] for state in states] == [4, 8, 12]
    assert max(state["best"] for state in states) > 0.5  # chance is 0.33
    assert is_same(once / "model_best", once / f"model_{settings['step']}")
    assert not list(once.glob(".writing*"))
    # What the best model found on dev, in the format of evaluate.py.
    call(evaluate, "--recall_result_file", once / "recall" / "recall_result.txt")
    rows = dict(line.split("\t") for line in (once / "recall" / "result.tsv").read_text("utf-8").splitlines())
    assert rows["accuracy"] == f"{states[-1]['best']:.2%}" and rows["queries"] == "25"
    assert rows["recall@5"] == "100.00%"  # there are three label names


def test_log_lines(texts, tiny_model, tmp_path, capsys):
    more = "--epochs 1 --evaluate False --save_steps 3 --save_total_limit 1".split()
    train.main(train_flags(texts, tiny_model, tmp_path, *more))
    out = capsys.readouterr().out
    lines = re.findall(r"^global step (\d+), epoch: 1, loss: \d+\.\d{5}, speed: \d+\.\d\d step/s$", out, re.MULTILINE)
    assert lines == ["2", "4"]
    assert [path.name for path in tmp_path.glob("model_*")] == ["model_4"]


def test_a_resumed_training_ends_with_the_same_bits(once, texts, tiny_model, tmp_path):
    resumed = ["--resume_from_checkpoint", once / "model_8"]
    train.main(train_flags(texts, tiny_model, tmp_path, *resumed))
    assert is_same(tmp_path / "model_12", once / "model_12") and not is_same(once / "model_8", once / "model_12")
    assert is_same(tmp_path / "model_best", tmp_path / "model_12")
    with pytest.raises(UsageError, match="model_8: of a training with another margin, seed"):
        train.main(train_flags(texts, tiny_model, tmp_path, *resumed, "--seed", "1", "--margin", "0.1"))
    with pytest.raises(UsageError, match="model_best: not a model_<step> folder"):
        train.main(train_flags(texts, tiny_model, tmp_path, "--resume_from_checkpoint", once / "model_best"))


def test_two_processes_train_like_one(texts, tiny_model, tmp_path):
    """With half the batch each and no dropout: the same batches, so the same model but for rounding."""
    still = tmp_path / "still"
    shutil.copytree(tiny_model, still)
    config = json.loads((still / "config.json").read_text("utf-8"))
    config.update(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    (still / "config.json").write_text(json.dumps(config), encoding="utf-8")
    more = ["--epochs", "1", "--learning_rate", "1e-3"]
    train.main(train_flags(texts, still, tmp_path / "one", *more))
    flags = train_flags(texts, still, tmp_path / "two", *more, "--batch_size", "8")
    run, logs = launched(tmp_path / "log", FOLDER / "train.py", *flags)
    assert run.returncode == 0, logs[0][-3000:] + run.stderr[-3000:]
    assert "best accuracy on" in logs[0] and "global step" in logs[0] and "global step" not in logs[1]
    queries = [line.split("\t")[0] for line in (texts / "dev.txt").read_text("utf-8").splitlines()]
    set_seed(42)  # the projection that the trainings start from
    folders = still, tmp_path / "one" / "model_4", tmp_path / "two" / "model_4"
    settings = {"output_emb_size": 16, "max_seq_length": 32}
    before, one, two = (Embedder(str(path), **settings).vectors(queries) for path in folders)
    np.testing.assert_allclose(one, two, atol=1e-4)
    assert np.abs(one - before).max() > 0.02
