"""train.py --long_text from the outside: what it reads, resume, evaluation, export, stages, refusals."""

import json
import random
import shutil

import numpy as np
import pytest

import train
from core.predictor import Predictor
from tests.helpers import LABELS, launched, train_flags, write_data
from tests.test_train import refusal, results, same_weights

# Characters of the tiny models' vocabulary: one tells of each label, the others of nothing.
TELLING = dict(zip(LABELS, "癌钱医"))
NOISE = "怎么的是有吃痛大人小不能要会可好多少天"
WINDOWS = ("--long_text", "windows")


def document(label, size=40, seed=0):
    """A text of which the last characters alone tell the label: the others are the same for all labels."""
    own = random.Random(seed)
    return "".join(own.choices(NOISE, k=size)) + TELLING[label] * 6


def documents(count, first, size=40):
    """Lines of text and label."""
    labels = {seed: LABELS[seed % 3] for seed in range(first, first + count)}
    return [f"{document(label, size, seed)}\t{label}" for seed, label in labels.items()]


def flags_of(data, model, output, *more):
    return train_flags(data, model, output, *WINDOWS, "--num_train_epochs", "8", *more)


@pytest.fixture(scope="module")
def long_data(tmp_path_factory):
    """A data folder of texts that are longer than --max_length."""
    folder = tmp_path_factory.mktemp("long")
    write_data(folder, documents(72, 0), documents(24, 1000))
    return folder


@pytest.fixture(scope="module")
def start(tiny_model, tmp_path_factory):
    """A model that was trained on short texts: it knows what tells of a label, and has to learn what does not."""
    folder = tmp_path_factory.mktemp("short")
    write_data(folder, documents(72, 0, size=6), documents(24, 1000, size=6))
    train.main(train_flags(folder, tiny_model, folder / "out", "--num_train_epochs", "6"))
    return folder / "out"


@pytest.fixture(scope="module")
def windows(long_data, start, tmp_path_factory):
    """Output folder of a training with windows, with its export."""
    out = tmp_path_factory.mktemp("windows") / "out"
    train.main(flags_of(long_data, start, out, "--do_eval", "--do_export", "--export_type", "onnx"))
    return out


def test_the_only_telling_tokens_are_at_the_end(windows, long_data, start, tmp_path):
    asked = [document(label, seed=2000) for label in LABELS]
    found = {}
    for way in ("truncate", "head_tail"):
        out = tmp_path / way
        train.main(train_flags(long_data, start, out, "--do_export", "--long_text", way))
        found[way] = [label for label, _ in Predictor(out / "export").classify(asked)]
    answers = Predictor(windows / "export").classify(asked)
    assert found["head_tail"] == LABELS == [label for label, _ in answers]
    assert len(set(found["truncate"])) == 1  # it sees noise alone
    for answer in answers:
        assert answer.window == {"number": 2, "of": 2, "start": len(asked[0]) - 30, "end": len(asked[0])}
    (tmp_path / "asked.txt").write_text("".join(f"{text}\n" for text in asked), encoding="utf-8")
    given = ["--test_path", str(tmp_path / "asked.txt"), "--predict_path", str(tmp_path / "answers.csv")]
    train.main(["--do_predict", "--model_name_or_path", str(windows), "--device", "cpu", *given])
    header, *rows = (tmp_path / "answers.csv").read_text(encoding="utf-8-sig").splitlines()
    assert header == "text,label,score,window,window_of,window_start,window_end"
    assert all(row.endswith(f",2,2,{len(asked[0]) - 30},{len(asked[0])}") for row in rows) and len(rows) == len(asked)
    export = json.loads((tmp_path / "head_tail" / "export" / "export.json").read_text())
    assert export["long_text"] == {"way": "head_tail", "head": 8, "taskflow": "reads the first 32 tokens alone"}
    plain = tmp_path / "truncate"
    assert "long_text" not in json.loads((plain / "config.json").read_text())
    assert "long_text" not in json.loads((plain / "export" / "export.json").read_text())
    assert "long_text" not in json.loads((plain / "run.json").read_text())["fingerprint"]


def test_what_dev_chose_is_kept_and_used_again(windows, long_data, tmp_path, log):
    chosen = results(windows)["window_pooling"]
    stored = {"way": "windows", "stride": 22, "pooling": chosen}
    assert json.loads((windows / "config.json").read_text())["long_text"] == stored
    content = json.loads((windows / "export" / "export.json").read_text())
    assert content["long_text"] == {**stored, "taskflow": "reads the first 32 tokens alone"}
    rows = {row["format"]: row for row in content["metrics"]["dev"]}
    assert rows["paddle"]["max_difference"] < 1e-4 and rows["onnx"]["max_difference"] < 1e-4
    assert rows["dynamic"]["accuracy"] == results(windows)["eval_accuracy"] == 1
    model = f"--do_eval --data_dir {long_data} --model_name_or_path {windows} --device cpu --disable_tqdm True".split()
    train.main([*model, "--output_dir", str(tmp_path)])
    again = results(tmp_path)
    assert again["eval_loss"] == pytest.approx(results(windows)["eval_loss"], abs=1e-6)
    train.main([*model, "--output_dir", str(tmp_path / "cut"), "--long_text", "truncate"])
    assert results(tmp_path / "cut")["eval_accuracy"] < 1
    debug = ["--debug", "True", "--bad_case_path", str(tmp_path / "bad.txt"), "--output_dir", str(tmp_path / "debug")]
    train.main([*model, *debug])
    assert (tmp_path / "bad.txt").read_text(encoding="utf-8").count("\n") == 1  # the document's logits are all right
    assert any("Taskflow does not know of it" in line for line in log) is False  # that is said at an export
    train.main(
        [flag.replace("--do_eval", "--do_export") for flag in model] + ["--output_dir", str(tmp_path / "again")]
    )
    assert any("Taskflow does not know of it: it reads the first 32 tokens" in line for line in log)


def test_a_rerun_continues_bit_for_bit(long_data, tiny_model, tmp_path):
    """As after a kill between the first checkpoint and the second; windows are drawn in each epoch."""
    out, whole = tmp_path / "out", tmp_path / "whole"
    more = "--save_strategy steps --save_steps 13 --evaluation_strategy steps --eval_steps 13 --num_train_epochs 3"
    command = flags_of(long_data, tiny_model, out, "--train_windows", "2", *more.split())
    train.main([*command, "--keep_optimizer", "True"])
    shutil.copytree(out, whole)
    first, *later = sorted(out.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    for path in out.iterdir():
        if path != first:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    train.main(command)
    assert later and same_weights(out / later[-1].name, whole / later[-1].name) and same_weights(out, whole)
    assert (out / "config.json").read_bytes() == (whole / "config.json").read_bytes()
    text = refusal(*command, "--train_windows", "1")
    assert "a finished training with another long_text; add --overwrite_output_dir" in text


def test_windows_of_short_texts_are_truncation_bit_for_bit(data_dir, tiny_model, tmp_path):
    """No text of these has more tokens than --max_length."""
    more = ("--max_length", "128", "--num_train_epochs", "1")
    train.main(train_flags(data_dir, tiny_model, tmp_path / "cut", *more))
    train.main(train_flags(data_dir, tiny_model, tmp_path / "windows", *more, *WINDOWS))
    assert same_weights(tmp_path / "cut", tmp_path / "windows")
    assert results(tmp_path / "windows")["window_pooling"] == "mean"  # of equals


def test_recipes_go_with_windows(long_data, tiny_model, tmp_path):
    recipe = (
        "--rdrop_alpha 1 --adversarial fgm --multi_sample_dropout 2 --layerwise_lr_decay 0.9 --ema_decay 0.5 "
        "--pooling mean --logit_adjustment True --metric_for_best_model macro_f1 --max_steps 3 --save_strategy no "
        "--evaluation_strategy no --load_best_model_at_end False --window_pooling max"
    )
    train.main(flags_of(long_data, tiny_model, tmp_path, *recipe.split()))
    found = results(tmp_path)
    assert np.isfinite(found["train_loss"]) and "window_pooling" not in found and "logit_adjustment_tau" in found
    assert json.loads((tmp_path / "config.json").read_text())["long_text"]["pooling"] == "max"


@pytest.mark.slow
def test_a_pruned_model_reads_windows_too(windows, long_data, tmp_path):
    flags = "--do_compress --strategy dynabert+ptq --width_mult_list 1/2 --max_steps 4 --save_steps 4 --device cpu"
    model = f"--data_dir {long_data} --model_name_or_path {windows} --output_dir {tmp_path} --disable_tqdm True"
    train.main([*flags.replace("+ptq", "").split(), *model.split(), "--export_type", "onnx_int8"])
    content = json.loads((tmp_path / "width_mult_0.5" / "export.json").read_text())
    assert content["long_text"]["way"] == "windows"
    rows = {row["format"]: row for row in content["metrics"]["dev"]}
    assert rows["paddle"]["max_difference"] < 1e-4 and rows["onnx_int8"]["label_agreement"] > 0.5
    assert json.loads((tmp_path / "width_mult_0.5" / "config.json").read_text())["long_text"]["way"] == "windows"


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["--num_teachers 2", "--pseudo_labels True --pseudo_rounds 1"])
def test_stages_use_the_documents_logits(long_data, start, tmp_path, stage):
    texts = "".join(f"{document(LABELS[seed % 3], seed=seed)}\n" for seed in range(3000, 3012))
    (tmp_path / "data.txt").write_text(texts, encoding="utf-8")
    more = ["--unlabelled_path", str(tmp_path / "data.txt"), *stage.split()]
    train.main(flags_of(long_data, start, tmp_path / "out", *more))
    train.main(
        f"--do_eval --data_dir {long_data} --model_name_or_path {tmp_path / 'out'} --device cpu "
        f"--output_dir {tmp_path / 'out'} --disable_tqdm True".split()
    )
    assert results(tmp_path / "out")["eval_accuracy"] == 1


@pytest.mark.slow
def test_two_processes_draw_and_pool_as_one_does(long_data, start, tmp_path):
    flags = flags_of(long_data, start, tmp_path / "out", "--do_eval", "--num_train_epochs", "16")
    run, logs = launched(tmp_path / "log", "train.py", *flags)
    assert run.returncode == 0, logs[0][-3000:] + run.stderr[-3000:]
    found = results(tmp_path / "out")
    assert found["eval_accuracy"] > 0.9
    alone = f"--do_eval --data_dir {long_data} --model_name_or_path {tmp_path / 'out'} --output_dir {tmp_path / 'one'}"
    train.main([*alone.split(), "--device", "cpu", "--disable_tqdm", "True"])
    assert results(tmp_path / "one")["eval_loss"] == pytest.approx(found["eval_loss"], abs=1e-5)


def test_refusals(long_data, tiny_model, windows, tmp_path):
    flags = train_flags(long_data, tiny_model, tmp_path / "out")
    assert "use one of truncate, head_tail, windows" in refusal(*flags, "--long_text", "middle")
    assert "--stride 31: with --max_length 32 a window has 30 tokens" in refusal(*flags, *WINDOWS, "--stride", "31")
    assert "--max_length 200: " in refusal(*flags, *WINDOWS, "--max_length", "200")  # the model has positions for 128
    assert "n-gram features, which are counted in whole texts" in refusal(*flags, *WINDOWS, "--ngram_features", "True")
    model = f"--do_eval --data_dir {long_data} --model_name_or_path {windows} --output_dir {tmp_path / 'out'}".split()
    assert "--stride 22: with --max_length 16" in refusal(*model, "--max_length", "16")
    assert not list((tmp_path / "out").glob("*.pdparams"))
