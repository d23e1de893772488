"""train.py's recipes from the outside: resume, averages, pooling, rare classes, several processes, compression."""

import json
import os
import shutil

import numpy as np
import pytest
from scipy.special import softmax

import train
from core import recipes, trainer
from core.named_recipes import typed
from core.recipe_flags import NAMED_RECIPES, RecipeArguments
from tests.helpers import LABELS, launched, of_any_cpu, train_flags, write_data
from tests.test_train import refusal, results, same_weights, state_dict
from utils import UsageError, read_lines, write_lines

ALL = (
    "--rdrop_alpha 1 --adversarial fgm --multi_sample_dropout 2 --label_smoothing 0.1 --layerwise_lr_decay 0.9 "
    "--head_learning_rate 1e-2 --ema_decay 0.9 --pooling mean --logit_adjustment True "
    "--metric_for_best_model macro_f1 --ngram_features True"
)


def short(data, model, output, flags=""):
    """Two epochs of 6 steps, saved and evaluated every 4."""
    more = "--save_strategy steps --save_steps 4 --evaluation_strategy steps --eval_steps 4 --num_train_epochs 2 "
    return train_flags(data, model, output, *(more + flags).split())


@pytest.fixture(scope="module")
def plain(tmp_path_factory, sample_lines, tiny_model):
    """(data folder, output folder) of a short plain training."""
    folder = tmp_path_factory.mktemp("plain")
    (folder / "data").mkdir()
    write_data(folder / "data", sample_lines["train"][:48], sample_lines["dev"][:21])
    train.main(short(folder / "data", tiny_model, folder / "out"))
    return folder / "data", folder / "out"


# ------------------------------------------------------------------------------------------------- resume, fingerprint


@pytest.mark.parametrize(
    "flags",
    [
        "--rdrop_alpha 1 --multi_sample_dropout 2",
        "--adversarial fgm --adversarial_epsilon 0.5",
        "--label_smoothing 0.1 --class_weight balanced",
        "--layerwise_lr_decay 0.8 --head_learning_rate 1e-2",
        "--ema_decay 0.5",
        "--pooling mean",
        ALL + " --gradient_accumulation_steps 2 --save_steps 2 --eval_steps 2",
    ],
    ids=["rdrop", "fgm", "loss", "rates", "averages", "pooling", "all"],
)
def test_a_rerun_continues_bit_for_bit(plain, tiny_model, tmp_path, flags):
    """As after a kill between the first checkpoint and the second, in the middle of an epoch."""
    data, plain_out = plain
    out, whole = tmp_path / "out", tmp_path / "whole"
    command = short(data, tiny_model, out, flags)
    train.main([*command, "--keep_optimizer", "True"])
    assert not same_weights(out, plain_out)
    shutil.copytree(out, whole)
    first, *later = sorted(out.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    assert later
    for path in out.iterdir():
        if path != first:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    train.main(command)
    assert same_weights(out / later[-1].name, whole / later[-1].name) and same_weights(out, whole)
    assert results(out)["train_loss"] == pytest.approx(results(whole)["train_loss"], rel=1e-5)
    assert not list(out.rglob("optimizer*"))  # the raw weights of averages went with the optimizer's states


def test_the_flags_make_another_training_and_their_defaults_do_not(plain, tiny_model):
    data, out = plain
    flags = short(data, tiny_model, out)
    fingerprint = json.loads((out / "run.json").read_text())["fingerprint"]
    assert not fingerprint.keys() & RecipeArguments.__dataclass_fields__.keys()
    same = "--rdrop_alpha 0 --pooling cls --adversarial none --class_weight none --ema_decay 0".split()
    assert train.parse_all([*flags, *same]).fingerprint == fingerprint
    text = refusal(*flags, "--rdrop_alpha", "2")
    assert "a finished training with another rdrop_alpha (null, now 2.0); add --overwrite_output_dir" in text
    assert 'another pooling (null, now "mean")' in refusal(*flags, "--pooling", "mean")


def test_a_named_recipe_is_its_flags_typed_in_full(plain, tiny_model, tmp_path, capsys, log):
    """It goes on with their training, finds it finished, and is printed."""
    data, _ = plain
    out, whole = tmp_path / "out", tmp_path / "whole"
    texts = [f"{line.split()[0]}，{number}" for line in read_lines(data / "train.txt") for number in range(5)]
    write_lines(tmp_path, {"texts.txt": texts}, "texts")
    command = short(data, tiny_model, out, f"--unlabelled_path {tmp_path / 'texts.txt'}")
    in_full = " ".join(typed(*flag) for flag in NAMED_RECIPES["strong"].items())
    by_name, by_hand = [*command, "--recipe", "strong"], [*command, *in_full.split()]
    assert train.parse_all(by_name).fingerprint == train.parse_all(by_hand).fingerprint
    train.main([*by_hand, "--keep_optimizer", "True"])
    shutil.copytree(out, whole)
    train.main(by_name)
    assert any("already holds the result of this training" in line for line in log)
    assert "--recipe" not in capsys.readouterr().out
    for path in out.iterdir():
        if path.name != "checkpoint-4":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    train.main(by_name)
    assert any("Continuing the interrupted training from" in line for line in log) and same_weights(out, whole)
    assert f"--recipe strong sets {in_full}\n  it takes 2.7 times as long" in capsys.readouterr().out
    assert "another ngram_features (true, now null)" in refusal(*by_name, "--ngram_features", "False")


# ---------------------------------------------------------------------------------------------------------- averages


def test_the_averages_are_evaluated_saved_and_exported(plain, tiny_model, tmp_path, monkeypatch):
    data, _ = plain
    seen, update = [], recipes.WeightAverages.update

    def watched(self, kept):
        names = [name for name, _ in runners[0].model.named_parameters()]
        seen.append({name: parameter.numpy() for name, parameter in zip(names, self.parameters)})
        if len(seen) == 1:
            start.update({name: value.numpy() for name, value in zip(names, self.average)})
        update(self, kept)

    runners, start, create = [], {}, trainer.ClassificationTrainer.__init__

    def noted(self, *args, **kwargs):
        runners.append(self)
        create(self, *args, **kwargs)

    monkeypatch.setattr(recipes.WeightAverages, "update", watched)
    monkeypatch.setattr(trainer.ClassificationTrainer, "__init__", noted)
    out = tmp_path / "out"
    train.main(short(data, tiny_model, out, "--ema_decay 0.4 --load_best_model_at_end False --do_eval --do_export"))
    expected = {name: value.astype("float64") for name, value in start.items()}
    for step, raw in enumerate(seen, 1):
        kept = min(0.4, (1 + step) / (10 + step))
        expected = {name: kept * expected[name] + (1 - kept) * raw[name] for name in expected}
        if step == 8:
            state = state_dict(out / "checkpoint-8")
            assert all(np.abs(state[name] - expected[name]).max() < 1e-5 for name in expected)
    assert len(seen) == 12
    state = state_dict(out)
    assert all(np.abs(state[name] - expected[name]).max() < 1e-5 for name in expected)
    assert max(np.abs(state[name] - seen[-1][name]).max() for name in expected) > 1e-4
    # The last evaluation of the training, which that of its folder must equal.
    history = json.loads((out / "trainer_state.json").read_text())["log_history"]
    logged = [entry["eval_loss"] for entry in history if "eval_loss" in entry]
    train.main(["--do_eval", "--device", "cpu", "--data_dir", str(data), "--model_name_or_path", str(out)])
    assert results(out)["eval_loss"] == pytest.approx(logged[-1], rel=1e-6)
    dev = json.loads((out / "export" / "export.json").read_text())["metrics"]["dev"]
    assert [row["format"] for row in dev] and all(row["max_difference"] < 1e-4 for row in of_any_cpu(dev))


# ----------------------------------------------------------------------------------------------------------- pooling


def test_mean_pooling_everywhere(plain, tiny_model, tmp_path, taskflow):
    """What is trained with the mean is evaluated, exported, compared, analysed and served with it."""
    data, _ = plain
    out = tmp_path / "out"
    train.main(short(data, tiny_model, out, "--pooling mean --do_eval --do_export --export_type onnx"))
    trained = results(out)
    loss = trained["eval_loss"]
    given = ["--device", "cpu", "--data_dir", str(data), "--model_name_or_path", str(out)]
    train.main(["--do_eval", "--do_parity", *given])
    assert results(out)["eval_loss"] == pytest.approx(loss, rel=1e-6)

    from analysis.classifier import Classifier
    from analysis.flags import make_parser
    from core.predictor import Predictor

    texts = ["头疼应该挂什么科", "CT检查多少钱", "发烧了"]
    flags = make_parser("").parse_args(["--dataset_dir", str(data), "--params_path", str(out), "--device", "cpu"])
    expected = softmax(Classifier(flags, LABELS).compute(texts)[0], axis=1)
    for format in ("paddle", "onnx"):
        np.testing.assert_allclose(Predictor(out / "export", format).probabilities(texts), expected, atol=1e-5)
    answers = taskflow(out / "export", is_static_model=True)(texts)
    for answer, row in zip(answers, expected):
        best = answer["predictions"][0]
        assert best["label"] == LABELS[row.argmax()] and best["score"] == pytest.approx(row.max(), abs=1e-5)
    with pytest.raises(AttributeError, match="Unable to parse 'architectures'"):  # a dynamic one cannot know
        taskflow(out, is_static_model=False)(texts)

    flags = "--do_compress --strategy dynabert --width_mult_list 1/2 --max_steps 2 --max_length 32".split()
    train.main([*flags, *given, "--output_dir", str(tmp_path / "prune")])
    pruned = tmp_path / "prune" / "width_mult_0.5"
    rows = json.loads((pruned / "export.json").read_text())["metrics"]["dev"]
    assert all(row["max_difference"] < 1e-4 for row in of_any_cpu(rows))
    assert json.loads((pruned / "config.json").read_text())["classifier_pooling"] == "mean"


# ------------------------------------------------------------------------------------------------------ rare classes


@pytest.fixture(scope="module")
def skewed(tmp_path_factory, sample_lines):
    """A data folder of 72 texts of one label and 8 of each other; dev has as many of each."""
    folder, by_label = tmp_path_factory.mktemp("skewed"), {}
    for line in sample_lines["train"]:
        by_label.setdefault(line.split("\t")[1], []).append(line)
    lines = [*by_label[LABELS[0]][:72], *by_label[LABELS[1]][:8], *by_label[LABELS[2]][:8]]
    write_data(folder, lines, sample_lines["dev"])
    return folder


def test_a_planted_imbalance_is_mended(skewed, tiny_model, tmp_path):
    scores = {}
    flags = "--metric_for_best_model macro_f1 --num_train_epochs 6 --learning_rate 2e-3 --do_eval --class_weight "
    for name in ("none", "balanced"):
        train.main(train_flags(skewed, tiny_model, tmp_path / name, *(flags + name).split()))
        scores[name] = results(tmp_path / name)["eval_macro_f1"]
    assert scores["balanced"] > scores["none"] + 0.05


# ----------------------------------------------------------------------------------- pruning, processes, refusals


def test_a_pruning_in_the_same_run_is_not_disturbed(plain, tiny_model, tmp_path):
    """It is what a pruning of the finished model is: the recipe's losses and rates ended with the training."""
    data, _ = plain
    flags = (
        "--rdrop_alpha 1 --multi_sample_dropout 2 --layerwise_lr_decay 0.5 --head_learning_rate 1e-2 --ema_decay 0.5 "
        "--class_weight balanced --ngram_features True"
    ).split()
    prune = "--do_compress --strategy dynabert --width_mult_list 1/2 --max_steps 4 --save_steps 4".split()
    command = train_flags(
        data,
        tiny_model,
        tmp_path / "both",
        "--save_strategy",
        "no",
        "--evaluation_strategy",
        "no",
        "--load_best_model_at_end",
        "False",
    )
    train.main([*command, *flags, *prune])
    train.main([*command, *flags, "--max_steps", "4", "--output_dir", str(tmp_path / "alone")])
    assert same_weights(tmp_path / "both", tmp_path / "alone")
    alone = [flag for flag in command if flag != "--do_train"]
    model = ["--model_name_or_path", str(tmp_path / "alone"), "--output_dir", str(tmp_path / "prune")]
    train.main([*alone, *prune, *model])
    assert same_weights(tmp_path / "both" / "width_mult_0.5", tmp_path / "prune" / "width_mult_0.5")


def with_dropout(tiny_model, folder, share):
    """A copy of a model with another share of dropout."""
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text())
    config.update(hidden_dropout_prob=share, attention_probs_dropout_prob=share)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def check_adjusted(out, data):
    """The result is the best checkpoint with another bias, by the classes' shares in train, and better by macro-F1."""
    state = json.loads((out / "trainer_state.json").read_text())
    metrics, old = results(out), state_dict(out / os.path.basename(state["best_model_checkpoint"]))
    assert metrics["logit_adjustment_tau"] > 0 and metrics["eval_macro_f1"] > state["best_metric"]
    new = state_dict(out)
    assert [name for name in new if not np.array_equal(new[name], old[name])] == ["classifier.bias"]
    truth = [line.split("\t")[1] for line in (data / "train.txt").read_text(encoding="utf-8").splitlines()]
    log_prior = np.log(np.array([truth.count(label) for label in LABELS]) / len(truth))
    expected = old["classifier.bias"] - metrics["logit_adjustment_tau"] * log_prior
    np.testing.assert_allclose(new["classifier.bias"], expected, atol=1e-6)


def test_two_processes(plain, tiny_model, tmp_path):
    """With dropout that drops nothing, two halves of a batch teach what the whole does, adversarial steps and all."""
    data, _ = plain
    model = with_dropout(tiny_model, tmp_path / "model", 1e-9)
    more = ALL + " --adam_epsilon 1e-4 --do_eval --learning_rate 2e-3"
    flags = short(data, model, tmp_path / "two", more + " --per_device_train_batch_size 4")
    run, logs = launched(tmp_path / "log", "train.py", *flags)
    assert run.returncode == 0, logs[0][-3000:] + run.stderr[-3000:]
    train.main(short(data, model, tmp_path / "one", more))
    # With n-grams the data are so easy that no adjustment is better.
    train.main(short(data, model, tmp_path / "adjusted", more + " --ngram_features False"))
    check_adjusted(tmp_path / "adjusted", data)
    one, two = state_dict(tmp_path / "one"), state_dict(tmp_path / "two")
    for name in one:
        np.testing.assert_allclose(two[name], one[name], atol=2e-4, err_msg=name)
    for name in ("eval_accuracy", "logit_adjustment_tau"):
        assert results(tmp_path / "two")[name] == pytest.approx(results(tmp_path / "one")[name])


@pytest.mark.parametrize(
    "flags, problem",
    [
        (["--do_train", "--ema_decay", "1"], "--ema_decay 1.0: must be at least 0 and below 1"),
        (["--do_train", "--logit_adjustment", "True"], "give --metric_for_best_model macro_f1 or macro_recall"),
        (["--do_compress", "--rdrop_alpha", "1"], "--rdrop_alpha: for a training; add --do_train"),
    ],
)
def test_refusals(flags, problem):
    assert problem in refusal(*flags)


def test_flags_that_would_do_nothing_on_a_model(plain, tiny_model, tmp_path, monkeypatch):
    data, _ = plain
    flags = short(data, with_dropout(tiny_model, tmp_path / "model", 0.0), tmp_path / "out")
    assert "this model has no dropout" in refusal(*flags, "--rdrop_alpha", "1")
    monkeypatch.setitem(NAMED_RECIPES, "strong", {"rdrop_alpha": 1.0})
    text = refusal(*flags, "--recipe", "strong")
    assert "(--recipe strong sets --rdrop_alpha 1.0; --rdrop_alpha 0.0 switches that part off)" in text
    assert not list((tmp_path / "out").glob("*"))


def test_an_encoder_that_changed_is_not_continued_from(plain, tiny_model, tmp_path):
    """In its place under the same path: the checkpoint's weights began elsewhere."""
    shutil.copytree(tiny_model, tmp_path / "encoder")
    data, trained = plain
    shutil.copytree(trained / "checkpoint-8", tmp_path / "out" / "checkpoint-8")
    run = train.parse_all(short(data, tmp_path / "encoder", tmp_path / "out"))
    path, before = tmp_path / "out" / "checkpoint-8" / "run.json", dict(run.fingerprint)
    content = json.loads(path.read_text(encoding="utf-8"))
    del before["model_weights"]  # as an older version wrote it
    del content["removed"]  # as before the training was finished
    content["files"]["optimizer.pdopt"] = 0
    path.with_name("optimizer.pdopt").touch()
    for fingerprint in (run.fingerprint, before):
        path.write_text(json.dumps({**content, "fingerprint": fingerprint}), encoding="utf-8")
        assert trainer.choose_checkpoint(run.args, run.fingerprint).endswith("checkpoint-8")
    path.write_text(json.dumps({**content, "fingerprint": run.fingerprint}), encoding="utf-8")
    weights = tmp_path / "encoder" / "model_state.pdparams"
    weights.write_bytes(weights.read_bytes() + b" ")
    run = train.parse_all(short(data, tmp_path / "encoder", tmp_path / "out"))
    with pytest.raises(UsageError, match="holds an unfinished training with another model_weights; add --overwrite"):
        trainer.choose_checkpoint(run.args, run.fingerprint)
