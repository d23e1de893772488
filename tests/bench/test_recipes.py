"""bench_recipes.py: what it draws, keeps, resumes and works out."""

import os
import re
import shutil

import numpy as np
import pytest
from scipy.stats import binom

import train
from core import pipeline, stages
from core.arguments import load_argument_classes, parse_arguments
from core.named_recipes import parse_with_recipe
from tests.bench import bench_recipes, recipe_scores
from tests.bench.recipe_epochs import keep_epochs
from tests.bench.recipe_ngrams import ngram_answers
from tests.helpers import LABELS, ROOT, train_flags
from tests.test_train import results, same_weights
from utils import UsageError, read_examples, read_json, read_lines

# train.py as it is when it is killed in its second epoch.
KILLED = """
import os
from tests.bench import recipe_epochs
def on_epoch_begin(self, args, state, control, **kwargs):
    self.start = 0.0
    if state.global_step:
        os._exit(9)
recipe_epochs.KeepEpochs.on_epoch_begin = on_epoch_begin
"""


def logits_of(predicted, classes=2):
    return np.eye(classes, dtype="float32")[predicted]


# ------------------------------------------------------------------------------------------------------------- figures


def test_mcnemar_by_hand():
    plain = np.array([[1, 1, 1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0, 0]], bool)
    ours = np.array([[1, 1, 0, 1, 1, 1, 1, 0], [1, 1, 1, 1, 0, 0, 0, 0]], bool)
    # 6 won, 1 lost: 2 * (C(7,0) + C(7,1)) / 2^7
    assert recipe_scores.mcnemar(ours, plain) == pytest.approx(2 * 8 / 128)
    assert recipe_scores.mcnemar(plain, plain) == 1


def test_the_bootstrap_of_one_seed_is_a_binomial():
    """30 of 100 answers are won and none is lost: a draw's difference is Binomial(100, 0.3) / 100."""
    plain, ours = np.zeros((1, 100), bool), np.arange(100)[None] < 30
    low, high = recipe_scores.bootstrap(ours, plain)
    assert low == pytest.approx(binom.ppf(0.025, 100, 0.3), abs=1) and high == pytest.approx(
        binom.ppf(0.975, 100, 0.3), abs=1
    )
    assert recipe_scores.bootstrap(ours, plain) == (low, high)


def test_the_bootstrap_draws_seeds_too():
    """One seed wins all, the other nothing: a draw has 0, 1 or 2 of the first, with 1/4, 1/2 and 1/4."""
    plain, ours = np.zeros((2, 10), bool), np.repeat([[True], [False]], 10, axis=1)
    assert recipe_scores.bootstrap(ours, plain) == (0, 100)
    assert recipe_scores.bootstrap(np.ones((2, 10), bool), plain) == (100, 100)


def planted():
    """Two epochs whose best is the first one on dev and the second on held-out."""
    truth = {"dev": np.array([0, 0, 0, 1]), "held_out": np.array([0, 1])}
    first = {"dev": logits_of([0, 0, 0, 1]), "held_out": logits_of([0, 0])}
    second = {"dev": logits_of([0, 0, 0, 0]), "held_out": logits_of([0, 1])}
    return [first, second], truth


def test_both_columns_and_macro_f1_by_hand():
    found = recipe_scores.columns(*planted(), counts=[3, 1])
    assert found["best on dev"][:2] == (100, 100)
    assert found["chosen"].accuracy == 75 and found["held_out"].accuracy == 100
    assert found["chosen"].macro_f1 == pytest.approx(100 * (2 * 0.75 / 1.75 + 0) / 2)  # F1 of label 0: 6 / 7
    assert found["chosen"].right.tolist() == [True, True, True, False]


def test_adjustment_is_chosen_on_what_is_held_out():
    """The rare class lacks 1 everywhere; log(3/1) = 1.1 a tau, so that tau 0.95 is the first that is enough."""
    logits = np.array([[2, 0], [1, 0]], "float32")
    truth = {"dev": np.array([0, 1]), "held_out": np.array([0, 1])}
    epochs = [{"dev": logits, "held_out": logits}]
    assert recipe_scores.columns(epochs, truth, np.array([3, 1]))["chosen"].accuracy == 50
    found = recipe_scores.columns(epochs, truth, np.array([3, 1]), "macro_f1", adjust=True)
    assert found["chosen"].accuracy == 100
    moved = recipe_scores.adjusted(epochs[0], truth, np.array([3, 1]), "held_out")["dev"]
    assert moved[1, 1] - moved[1, 0] == pytest.approx(0.95 * np.log(3) - 1, abs=1e-6)


def test_the_tables_by_hand():
    epochs, truth = planted()
    plain = recipe_scores.columns(epochs, truth, [3, 1])
    other = recipe_scores.columns(epochs[:1], truth, [3, 1])
    found = {"plain": {1: plain, 2: plain}, "other": {1: other, 2: other}}
    costs = {
        "plain": {1: {"cpu_seconds": 10, "memory_mb": 5}, 2: {"cpu_seconds": 20, "memory_mb": 7}},
        "other": {1: {"cpu_seconds": 30, "memory_mb": 5}, 2: {"cpu_seconds": 30, "memory_mb": 4}},
    }
    _, _, first, second = recipe_scores.report(found, costs)
    f1 = f"{300 / 7:.2f} ± 0.00"
    assert first == f"| plain | 2 | 75.00 ± 0.00 | {f1} | 100.00 ± 0.00 | 100.00 ± 0.00 | – | – | 15 | 1.00 | 7 |"
    start = (
        "| other | 2 | 100.00 ± 0.00 | 100.00 ± 0.00 | 100.00 ± 0.00 | 100.00 ± 0.00 | +25.00 [+0.00, +75.00] | 0.5 |"
    )
    assert second == f"{start} 30 | 2.00 | 5 |"
    rows = recipe_scores.ranking(found)[2:]
    assert [row.split(" | ")[:3] for row in rows] == [
        ["| plain", "2", "100.00 ± 0.00"],
        ["| other", "2", "50.00 ± 0.00"],
    ]


# --------------------------------------------------------------------------------------------------- draws and recipes


def test_stratified_draws():
    ids = np.repeat([0, 1, 2, 4], [70, 24, 5, 1])
    rows = bench_recipes.stratified(ids, 10)
    # Shares 7, 2.4, 0.5 and 0.1: the third has one at least, the last only what stays in train.
    assert np.bincount(ids[rows], minlength=5).tolist() == [7, 2, 1, 0, 0]
    assert rows.tolist() == bench_recipes.stratified(ids, 10).tolist() == sorted(set(rows.tolist()))
    assert rows.tolist() != bench_recipes.stratified(ids, 10, seed=1).tolist()


@pytest.mark.parametrize(
    "text, training, metric",
    [
        ("plain", "plain", "accuracy"),
        ("fgm_1+rdrop_1", "rdrop_1+fgm_1", "accuracy"),
        ("logit_adjustment+mean", "mean", "macro_f1"),
        ("by_macro_f1", "plain", "macro_f1"),
        ("ngrams", "plain", "accuracy"),
        ("ngrams+teachers_3", "ngrams+teachers_3", "accuracy"),
    ],
)
def test_names_of_recipes(text, training, metric):
    recipe = bench_recipes.Recipe.parse(text)
    assert (recipe.training, recipe.metric, recipe.adjust) == (training, metric, "logit" in text)
    assert recipe.adds_ngrams == (text == "ngrams")


def test_the_strong_recipe_is_among_those_that_are_measured():
    """Its row is what README says of --recipe strong: another set of flags needs a row of its own."""

    def groups(flags):
        parser_class, light = load_argument_classes()
        found, _ = parse_with_recipe(
            lambda defaults: parse_arguments(parser_class, (*train.FLAGS, light), flags, "", defaults)
        )
        found[3].recipe = None
        return found[3:]

    plain = bench_recipes.Cell("kuake", ROOT, "plain", 1).flags("1e-4")
    names = [*bench_recipes.RECIPES, *bench_recipes.COMBINATIONS]
    names = [name for name in names if not set(name.split("+")) & set(bench_recipes.AFTERWARDS)]
    rows = [groups(bench_recipes.Cell("kuake", ROOT, name, 1).flags("1e-4")) for name in names]
    assert groups([*plain, "--recipe", "strong"]) in rows


@pytest.mark.parametrize(
    "text, message",
    [
        ("rdrop_1+rdrop_4", "two parts set --rdrop_alpha"),
        ("balanced+logit_adjustment", "mend the same twice"),
        ("mean+best", "no recipe 'best'"),
    ],
)
def test_recipes_that_are_refused(text, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        bench_recipes.Recipe.parse(text)


# ----------------------------------------------------------------------------------------------------------- trainings


def test_keeping_epochs_changes_nothing(data_dir, tiny_model, tmp_path, monkeypatch):
    (data_dir / "held_out.txt").write_bytes((data_dir / "dev.txt").read_bytes().splitlines(keepends=True)[0])
    more = "--evaluation_strategy no --save_strategy no --load_best_model_at_end False --num_train_epochs 2 "
    more += "--rdrop_alpha 1"
    alone, watched = tmp_path / "alone", tmp_path / "output"
    train.main([*train_flags(data_dir, tiny_model, alone, *more.split()), "--do_eval"])
    monkeypatch.setattr(pipeline, "make_trainer", pipeline.make_trainer)  # put back after the test
    monkeypatch.setattr(stages, "pretrain", stages.pretrain)
    keep_epochs(data_dir, tmp_path / "epochs")
    train.main(train_flags(data_dir, tiny_model, watched, *more.split()))
    assert same_weights(alone, watched)
    last = np.load(tmp_path / "epochs" / "epoch-2.npz")
    _, truth = read_examples(data_dir / "dev.txt", LABELS)
    scores = recipe_scores.score(last["dev"], truth)
    assert scores.accuracy == pytest.approx(100 * results(alone)["eval_accuracy"])
    assert scores.macro_f1 == pytest.approx(100 * results(alone)["eval_macro_f1"])
    assert last["held_out"] == pytest.approx(last["dev"][:1], abs=1e-5)
    assert last["step"] == 12 and last["cpu_seconds"] > 0 and last["memory_mb"] > 0


def test_ngrams_added_afterwards_are_those_of_train(data_dir, tiny_model, tmp_path, monkeypatch):
    more = "--evaluation_strategy no --save_strategy no --load_best_model_at_end False --num_train_epochs 1"
    more += " --seed 1 --max_length 128"
    monkeypatch.setattr(pipeline, "make_trainer", pipeline.make_trainer)  # put back after the test
    monkeypatch.setattr(stages, "pretrain", stages.pretrain)
    keep_epochs(data_dir, tmp_path / "epochs")
    kept = []
    for ngrams in ("False", "True"):
        train.main(train_flags(data_dir, tiny_model, tmp_path / "output", *more.split(), "--ngram_features", ngrams))
        kept.append(np.load(tmp_path / "epochs" / "epoch-1.npz")["dev"])
        shutil.rmtree(tmp_path / "output")
    found = [ngram_answers(data_dir, tiny_model, tmp_path / "ngrams.npz") for _ in range(2)]
    assert np.abs(kept[1] - kept[0]).max() > 0.1 and found[0].keys() == {"dev", "cpu_seconds"}
    np.testing.assert_allclose(kept[0] + found[0]["dev"], kept[1], atol=1e-4)
    np.testing.assert_array_equal(found[1]["dev"], found[0]["dev"])


@pytest.mark.slow
def test_a_killed_run_goes_on_and_a_finished_one_is_not_repeated(data_dir, tiny_model, tmp_path, monkeypatch, capsys):
    os.rename(data_dir, data_dir.with_name("kuake_qic"))
    data_set = bench_recipes.DATA_SETS["kuake"]._replace(epochs=2, batch_size=8)
    monkeypatch.setitem(bench_recipes.DATA_SETS, "kuake", data_set)
    flags = f"--data_dir {tmp_path} --work_dir {tmp_path / 'work'} --data_sets kuake --encoders {tiny_model} --seeds 1"
    first = [*flags.split(), "--recipes", "plain", "logit_adjustment"]
    code = bench_recipes.TRAINING
    monkeypatch.setattr(bench_recipes, "TRAINING", KILLED + code)
    with pytest.raises(UsageError, match="1 trainings are not finished"):
        bench_recipes.main(first)
    folder = tmp_path / "work" / "kuake, held out 0.1"
    cell = folder / tiny_model.name / "plain, 1"
    (epoch,) = (cell / "epochs").iterdir()
    before = epoch.stat().st_mtime_ns
    monkeypatch.setattr(bench_recipes, "TRAINING", code)
    kept = []
    plain_keep = bench_recipes.Bench._keep
    monkeypatch.setattr(
        bench_recipes.Bench,
        "_keep",
        lambda *args: kept.append((epoch.stat().st_mtime_ns, (cell / "train.log").read_text())) or plain_keep(*args),
    )
    bench_recipes.main(first)
    ((after, log),) = kept
    assert after == before and "Continuing the interrupted training from" in log
    assert sorted(path.name for path in cell.parent.iterdir()) == ["plain, 1.json", "plain, 1.npz"]
    train_lines, held_out = (read_lines(folder / "data" / f"{name}.txt") for name in ("train", "held_out"))
    assert sorted(train_lines + held_out) == sorted(read_lines(tmp_path / "kuake_qic" / "train.txt"))
    assert {line.split("\t")[1] for line in held_out} == set(LABELS) and len(held_out) == 5
    figures = read_json(f"{cell}.json")
    assert figures["epochs"] == 2 and figures["steps"] == 12 and len(figures["dev"]["accuracy"]) == 2
    capsys.readouterr()

    def refuse(*args):
        raise AssertionError("trained again")

    monkeypatch.setattr(bench_recipes.Bench, "_train", refuse)
    bench_recipes.main(first)
    table = capsys.readouterr().out
    rows = [line for line in table.splitlines() if line.startswith(("| plain", "| logit_adjustment"))]
    best = figures["held_out"]["accuracy"].index(max(figures["held_out"]["accuracy"]))
    expected = [f"{figures['dev']['accuracy'][best]:.2f}", f"{figures['dev']['macro_f1'][best]:.2f}"]
    assert len(rows) == 2 and rows[0].split(" | ")[2:4] == expected
    bench_recipes.main([*first, "--select"])
    assert "accuracy on held-out train" in capsys.readouterr().out
    with pytest.raises(UsageError, match="other flags, data or another encoder; choose another --work_dir"):
        bench_recipes.main([*first, "--learning_rate", "1"])
