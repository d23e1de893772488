"""few-shot/train.py from the outside: flags, trees, predictions, refusals, resume, Taskflow, several processes."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from core import loading
from tests.helpers import LABEL_WORDS, LABELS, ROOT, few_shot_flags, launched, write_mostly_right
from utils import UsageError

SORTED = sorted(LABELS)
TOKENIZER_FILES = {"tokenizer_config.json", "vocab.txt", "special_tokens_map.json"}
PROMPT_FILES = {"model_state.pdparams", "template_config.json", "verbalizer_config.json"}
STATE_FILES = {"optimizer.pdopt", "scheduler.pdparams", "trainer_state.json", "rng_state.pth", "run.json"}


def results(folder):
    return json.loads((folder / "all_results.json").read_text(encoding="utf-8"))


def state(folder):
    return json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))


def predictions(folder):
    """Rows of text, label, prediction and score."""
    lines = (folder / "predictions.txt").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "Text\tLabel\tPrediction\tScore"
    return [line.split("\t") for line in lines[1:]]


def same_weights(one, other):
    import paddle

    one, other = (paddle.load(str(path / "model_state.pdparams"), return_numpy=True) for path in (one, other))
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


@pytest.fixture
def refusal(few_shot):
    """A function from flags to the message that they are refused with."""

    def refusal(*flags):
        with pytest.raises(UsageError) as error:
            few_shot.main([str(flag) for flag in flags])
        return str(error.value)

    return refusal


# ----------------------------------------------------------------------------------------------------- the prompt


@pytest.mark.parametrize(
    "prompt, parts",
    [
        ("主题是", [{"text": "text_a"}, {"soft": "主题是"}, {"mask": None}]),
        (None, [{"soft": None}, {"text": "text_a"}, {"mask": None}]),
        ("{'text': 'text_a'}的主题是{'mask'}", [{"text": "text_a"}, {"hard": "的主题是"}, {"mask": None}]),
        ("{'mask'}新闻：{'text'}", [{"mask": None}, {"hard": "新闻："}, {"text": "text_a"}]),
        (
            "{'soft': None, 'length': 3} {'text': 'title', 'truncate': True}{'soft': '是', 'soft_id': 1}{'soft_id': 1}"
            "{'mask'}",
            [
                {"soft": None, "length": 3},
                {"text": "title", "truncate": True},
                {"soft": "是", "soft_id": 1},
                {"soft_id": 1},
                {"mask": None},
            ],
        ),
    ],
)
def test_prompts(few_shot, prompt, parts):
    assert few_shot.parse_prompt(prompt) == parts
    encoded = few_shot.parse_prompt(prompt, "mlp", 7)
    for part in encoded:
        assert ("encoder" in part) == ("soft" in part or "soft_id" in part)
    assert all(part["hidden_size"] == 7 for part in encoded if "encoder" in part)


@pytest.mark.parametrize(
    "prompt, problem",
    [
        ("", "write words only"),
        ("主题是[MASK]", "write words only"),
        ("{'text'}的主题是", "0 parts of the kind mask"),
        ("{'text'}{'mask'}{'mask'}", "2 parts of the kind mask"),
        ("{'text'}{'mask', 'mask'}{'mask': None, 'length': 2}", "3 parts of the kind mask"),
        ("主题是{'mask'}", "0 parts of the kind text"),
        ("{'text'}{'text': 'text_b'}{'mask'}", "2 parts of the kind text"),
        ("{'text'}主题[MASK]{'mask'}", "write the mask as {'mask'}"),
        ("{'text'}{'mask'", "cannot read \"{'mask'\""),
        ("{'text'}'mask'}", "cannot read"),
        ("{text}{'mask'}", "cannot read {text}"),
        ("{'text'}{__import__('os').getcwd()}{'mask'}", "cannot read {__import__"),
        ("{'prefix'}{'text'}{'mask'}", "should be one of text, soft"),
        ("{'text': 'a', 'mask': None}", "should be one of text, soft"),
        ("{'text': 'a', 'length': 'long'}{'mask'}", "has 'length': 'long'"),
        ("{'text': 'a', 'colour': 1}{'mask'}", "has 'colour': 1"),
    ],
)
def test_wrong_prompts(refusal, few_shot_data, prompt, problem):
    assert problem in refusal("--do_train", "--data_dir", few_shot_data, "--prompt", prompt)


# -------------------------------------------------------------------------------- training, evaluation, prediction


def test_result_tree(prompted_once):
    _, out = prompted_once
    names = {path.name for path in out.iterdir()}
    assert PROMPT_FILES | {"plm", "run.json", "vocab.txt", "all_results.json", "predictions.txt", "export"} <= names
    files = {path.relative_to(out / "export").as_posix() for path in (out / "export").rglob("*") if path.is_file()}
    graphs = {"model.pdmodel", "model.pdiparams", "model.pdiparams.info", "model.onnx"}
    more = {"README.md", "README_en.md", "export.json", "id2label.json", "plm/config.json", "plm/model_state.pdparams"}
    assert files == graphs | more | TOKENIZER_FILES | PROMPT_FILES
    content = json.loads((out / "export" / "export.json").read_text(encoding="ascii"))
    assert content["max_length"] == 32 and content["types"] == ["paddle", "onnx"]
    soft = {"soft": "这条文本的主题是", "encoder": "lstm", "hidden_size": 16}
    assert content["template"] == [{"text": "text_a"}, soft, {"mask": None}]
    assert [row["format"] for row in content["metrics"]["dev"]] == ["dynamic", "paddle", "onnx"]
    for row in content["metrics"]["dev"]:
        assert row["label_agreement"] == 1 and row["max_difference"] < 1e-4


def test_the_labels_of_the_export_are_in_the_verbalizer_s_order(prompted_once):
    _, out = prompted_once
    assert SORTED != LABELS
    id2label = json.loads((out / "export" / "id2label.json").read_text(encoding="ascii"))
    assert id2label == {str(index): label for index, label in enumerate(SORTED)}
    words = json.loads((out / "export" / "verbalizer_config.json").read_text(encoding="utf-8"))
    assert words == {label: [LABEL_WORDS[label]] for label in SORTED}


def test_the_best_model_is_the_result_and_old_checkpoints_go(prompted_once):
    _, out = prompted_once
    scores = [entry["eval_accuracy"] for entry in state(out)["log_history"] if "eval_accuracy" in entry]
    assert results(out)["eval_accuracy"] == max(scores) == state(out)["best_metric"]
    best = os.path.basename(state(out)["best_model_checkpoint"])
    kept = {path.name for path in out.glob("checkpoint-*")}
    assert kept == {best, f"checkpoint-{state(out)['global_step']}"}
    assert same_weights(out, out / best)
    for name in kept:
        assert {path.name for path in (out / name).iterdir()} >= TOKENIZER_FILES | PROMPT_FILES | STATE_FILES


def test_predictions_of_labelled_texts(prompted_once):
    data, out = prompted_once
    rows = predictions(out)
    given = [line.split("\t") for line in (data / "test.txt").read_text(encoding="utf-8").splitlines()]
    assert [row[:2] for row in rows] == given
    assert all(row[2] in LABELS and 1 / 3 <= float(row[3]) <= 1 for row in rows)
    accuracy = np.mean([label == predicted for _, label, predicted, _ in rows])
    assert 0 < accuracy < 1 and results(out)["test_accuracy"] == pytest.approx(accuracy)


def test_later_evaluation_and_prediction_are_those_of_the_training(prompted, few_shot, log):
    """Without --do_train, from --output_dir: prompt, words and length are the training's, no flag says them."""
    data, out = prompted
    before, rows = results(out), predictions(out)
    flags = ["--data_dir", data, "--output_dir", out, "--device", "cpu", "--do_eval", "--do_predict"]
    few_shot.main([str(flag) for flag in flags])
    assert results(out)["eval_accuracy"] == before["eval_accuracy"] and predictions(out) == rows
    start = log.index("-----Evaluate model-------")
    assert log[start + 1] == "Dev dataset size: 21"
    assert log[start + 2] == f"Accuracy in dev dataset: {before['eval_accuracy']:.2%}"
    assert [line for line in log if line.startswith("Class name: ")] == [
        f"Class name: {label}" for label in SORTED
    ] * 2
    assert any(line.startswith("Accuracy in test dataset: ") for line in log)


def test_a_checkpoint_predicts_too(prompted, few_shot):
    data, out = prompted
    best = out / os.path.basename(state(out)["best_model_checkpoint"])
    flags = ["--data_dir", data, "--output_dir", out.parent / "o", "--device", "cpu", "--do_predict"]
    few_shot.main([str(flag) for flag in [*flags, "--resume_from_checkpoint", best]])
    assert predictions(out.parent / "o") == predictions(out)


def test_the_length_is_the_training_s_where_no_flag_says_another(prompted, few_shot):
    data, out = prompted
    flags = ["--data_dir", str(data), "--output_dir", str(out), "--device", "cpu", "--do_export"]
    assert few_shot.parse_all(flags).args.max_seq_length == 32
    assert few_shot.parse_all([*flags, "--max_seq_length=20"]).args.max_seq_length == 20
    assert few_shot.parse_all([*flags, "--max_seq_length", "512"]).args.max_seq_length == 512


def test_the_end_says_what_came_out_and_what_is_next(prompted, few_shot, capsys):
    data, out = prompted
    flags = ["--data_dir", str(data), "--output_dir", str(out), "--device", "cpu"]
    few_shot.main([*flags, "--do_eval", "--do_predict"])
    lines = capsys.readouterr().out.splitlines()[-3:]
    assert lines[0].startswith(f"Accuracy on dev.txt: {results(out)['eval_accuracy']:.2%}")
    assert lines[1] == f"Predictions: {out / 'predictions.txt'}, accuracy {results(out)['test_accuracy']:.2%}"
    assert lines[2].startswith("Next: python ") and f"--output_dir {out} --do_export" in lines[2]
    few_shot.main([*flags, "--do_export"])
    lines = capsys.readouterr().out.splitlines()[-2:]
    assert lines[0] == f"Export: {out / 'export'}"
    assert f"infer.py --model_path_prefix {out / 'export' / 'model'} --data_dir {data}" in lines[1]


def test_unlabelled_texts(prompted, few_shot, refusal):
    data, out = prompted
    rows = predictions(out)
    texts = [row[0] for row in rows]
    (data / "test.txt").rename(data / "data.txt")
    (data / "data.txt").write_text("\n".join(texts) + "\n", encoding="utf-8")
    (data / "dev.txt").unlink()
    flags = ["--data_dir", data, "--output_dir", out, "--device", "cpu", "--do_predict"]
    few_shot.main([str(flag) for flag in flags])
    assert predictions(out) == [[text, "", *rest] for text, _, *rest in rows]
    (data / "data.txt").rename(data / "test.txt")  # without labels here too
    few_shot.main([str(flag) for flag in flags])
    assert predictions(out) == [[text, "", *rest] for text, _, *rest in rows]
    (data / "test.txt").unlink()
    assert "neither test.txt nor data.txt" in refusal(*flags)


@pytest.mark.parametrize("is_static", [True, False])
def test_taskflow_says_what_the_model_said(prompted, taskflow, is_static):
    data, out = prompted
    rows = predictions(out)
    task = taskflow(out / "export", mode="prompt", is_static_model=is_static, batch_size=4, max_length=32)
    answers = task([text for text, *_ in rows])
    assert [answer["predictions"][0]["label"] for answer in answers] == [row[2] for row in rows]
    for answer, row in zip(answers, rows):
        assert answer["predictions"][0]["score"] == pytest.approx(float(row[3]), abs=1e-4)
    # The labels' names come from id2label.json; without it Taskflow makes the same of verbalizer_config.json.
    (out / "export" / "id2label.json").unlink()
    again = taskflow(out / "export", mode="prompt", is_static_model=True, max_length=32)
    assert [answer["predictions"][0]["label"] for answer in again([row[0] for row in rows])] == [
        row[2] for row in rows
    ]


@pytest.mark.parametrize(
    "flags",
    [
        ["--soft_encoder", "mlp"],
        ["--soft_encoder", "None", "--use_rdrop", "--alpha_rdrop", "2", "--use_rgl", "--alpha_rgl", "0.3"],
        ["--prompt", "{'text': 'text_a'}的主题是{'mask'}", "--bf16"],
        ["--freeze_plm", "--save_plm"],
        ["--freeze_dropout", "--dataloader_num_workers", "2"],
        ["--recompute", "True", "--gradient_accumulation_steps", "2"],
        ["--prompt", "{'soft': None, 'length': 2}{'text'}{'soft': '主题', 'soft_id': 1}{'soft_id': 1}{'mask'}"],
    ],
    ids=lambda flags: flags[0] + flags[1],
)
def test_flags_work_and_the_export_agrees(few_shot_data, tiny_mlm, tmp_path, few_shot, flags):
    more = ["--num_train_epochs", "1", "--do_eval", "--do_export", *flags]
    few_shot.main(few_shot_flags(few_shot_data, tiny_mlm, tmp_path / "out", *more))
    assert 0 <= results(tmp_path / "out")["eval_accuracy"] <= 1
    content = json.loads((tmp_path / "out" / "export" / "export.json").read_text(encoding="ascii"))
    assert content["metrics"]["dev"][1]["max_difference"] < 1e-4
    assert (tmp_path / "out" / "plm" / "model_state.pdparams").exists() == ("--save_plm" in flags)


def test_early_stopping_stops(few_shot_data, tiny_mlm, tmp_path, few_shot):
    flags = "--early_stopping True --early_stopping_patience 2 --num_train_epochs 30".split()
    flags += "--learning_rate 1e-9 --ppt_learning_rate 1e-9".split()
    few_shot.main(few_shot_flags(few_shot_data, tiny_mlm, tmp_path / "out", *flags))
    assert state(tmp_path / "out")["epoch"] == 3  # one evaluation sets the mark, two do not pass it


def test_it_learns(few_shot_data, tiny_mlm, tmp_path, few_shot):
    """On the texts that it was trained on, in 12 epochs: far above the share of the largest label."""
    shutil.copy(few_shot_data / "train.txt", few_shot_data / "dev.txt")
    flags = "--num_train_epochs 12 --do_eval --evaluation_strategy no --save_strategy no".split()
    flags += ["--load_best_model_at_end", "False"]
    few_shot.main(few_shot_flags(few_shot_data, tiny_mlm, tmp_path / "out", *flags))
    assert results(tmp_path / "out")["eval_accuracy"] > 0.8


def test_the_seed_fixes_everything(few_shot_data, tiny_mlm, tmp_path, few_shot):
    for name, seed in {"a": 5, "b": 5, "c": 6}.items():
        flags = ["--max_steps", "2", "--seed", seed]
        few_shot.main(few_shot_flags(few_shot_data, tiny_mlm, tmp_path / name, *flags))
    assert same_weights(tmp_path / "a", tmp_path / "b") and not same_weights(tmp_path / "a", tmp_path / "c")


# ------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "flags, problem",
    [
        ([], "nothing to do"),
        (["--do_train", "--export_type", "tflite"], "use one of paddle, onnx"),
        (["--do_train", "--soft_encoder", "gru"], "use one of lstm, mlp, None"),
        (["--do_train", "--encoder_hidden_size", "0"], "must be at least 1"),
        (["--do_train", "--ppt_learning_rate", "0"], "must be above 0"),
        (["--do_train", "--early_stopping", "True"], "needs --load_best_model_at_end"),
        (["--do_train", "--metric_for_best_model", "acc"], "use one of accuracy"),
        (["--do_train", "--unified_checkpoint", "True"], "cannot write such checkpoints"),
        (["--do_train", "--ppt_learn_rate", "1"], "did you mean --ppt_learning_rate?"),
        (["--do_eval"], "no model trained by few-shot/train.py"),
        (["--do_export", "--resume_from_checkpoint", "nowhere"], "nowhere: no model trained"),
    ],
)
def test_wrong_flags(refusal, flags, problem, few_shot_data, tmp_path):
    assert problem in refusal("--data_dir", few_shot_data, "--output_dir", tmp_path / "out", *flags)


def test_wrong_data(refusal, few_shot_data, tiny_mlm, tmp_path):
    flags = few_shot_flags(few_shot_data, tiny_mlm, tmp_path / "out", "--do_predict")
    for name, line, problem in [
        ("test.txt", "多少钱\t费用", "20: unknown label '费用'"),
        ("dev.txt", "没有标签", "22: no tab"),
        ("train.txt", "头疼\t价格\t多", "49: 2 tabs"),
        ("label.txt", "检查==", "4: nothing on one side of =="),
    ]:
        path = few_shot_data / name
        content = path.read_bytes()
        path.write_bytes(content + f"{line}\n".encode())
        assert refusal(*flags).startswith(f"{path}:{problem}")
        path.write_bytes(content)
    (few_shot_data / "train.txt").unlink()
    assert refusal(*flags).startswith(f"{few_shot_data / 'train.txt'}: no such file")
    assert not (tmp_path / "out").exists()


def test_other_labels_than_trained(refusal, prompted):
    data, out = prompted
    (data / "label.txt").write_text("病情诊断\n医疗费用\n", encoding="utf-8")
    text = refusal("--data_dir", data, "--output_dir", out, "--device", "cpu", "--do_eval")
    assert "not the labels that the model was trained on, which are 医疗费用 就医建议 病情诊断" in text


def test_wrong_models(refusal, few_shot_data, tiny_model, tiny_mlm, tmp_path, monkeypatch):
    flags = few_shot_flags(few_shot_data, tiny_model, tmp_path / "out")
    assert "an encoder without a head for masked words" in refusal(*flags)
    assert "no such directory" in refusal(*flags, "--model_name_or_path", "./nothing")
    assert "positions for 128" in refusal(*flags, "--model_name_or_path", tiny_mlm, "--max_seq_length", 129)
    assert "--fp16 works on a GPU only" in refusal(*flags, "--fp16")
    server = socket.create_server(("127.0.0.1", 0))  # it accepts and never answers
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, f"http://127.0.0.1:{server.getsockname()[1]}")
    monkeypatch.setenv("PPNLP_HOME", str(tmp_path))
    monkeypatch.setattr(loading, "DOWNLOAD_TIMEOUT", 1)
    text = refusal(*flags, "--model_name_or_path", "ernie-3.0-base-zh")
    server.close()
    assert "could not be downloaded" in text and "data/build_encoder.py" in text


# --------------------------------------------------------------------------------------------------------- resume


@pytest.fixture
def interrupted(few_shot_data, tiny_mlm, tmp_path, few_shot):
    """An output folder as after a kill in the third epoch of three, and the flags of the run."""
    # Without an export, which changes how the process rounds from then on (by 1e-6).
    flags = few_shot_flags(few_shot_data, tiny_mlm, tmp_path / "out", "--num_train_epochs", "3")
    few_shot.main([*flags, "--keep_optimizer", "True"])
    out = tmp_path / "out"
    shutil.copytree(out, tmp_path / "whole")
    for path in out.iterdir():
        if path.is_file():
            path.unlink()
    shutil.rmtree(out / "checkpoint-18")
    return out, flags


def test_a_rerun_continues_and_ends_where_the_whole_run_ended(interrupted, few_shot, refusal, log):
    """Trap: with the library's own resume the optimizer's state does not fit the second template's parameters."""
    out, flags = interrupted
    few_shot.main(flags)
    assert any("Continuing the interrupted training from" in line and "checkpoint-12" in line for line in log)
    assert any("Continuing training from global step 12" in line for line in log)
    whole = out.parent / "whole"
    assert state(out)["global_step"] == state(whole)["global_step"] == 18
    assert same_weights(out / "checkpoint-18", whole / "checkpoint-18") and same_weights(out, whole)
    assert results(out)["train_loss"] == pytest.approx(results(whole)["train_loss"], rel=1e-5)
    # Finished: the optimizer states go, and nothing else.
    names = ("checkpoint-18", "checkpoint-12", "checkpoint-6")
    assert any(f"the optimizer states of {', '.join(names)} were removed" in line for line in log)
    for name in names:
        kept, held = ({path.name for path in (folder / name).iterdir()} for folder in (out, whole))
        assert held - kept == {"optimizer.pdopt"}
    few_shot.main([*flags, "--do_eval"])
    assert any("already holds the result of this training" in line for line in log)
    text = refusal(*flags, "--resume_from_checkpoint", out / "checkpoint-12")
    assert "optimizer.pdopt was removed when its training had finished (--keep_optimizer True keeps it)" in text
    assert "without --do_train it is evaluated, predicted with and exported" in text


def test_resume_as_asked_and_refusals(interrupted, few_shot, refusal, log):
    out, flags = interrupted
    text = refusal(*flags, "--prompt", "主题是")
    assert "unfinished training with another template" in text and "--overwrite_output_dir" in text
    assert "another use_rdrop" in refusal(*flags, "--use_rdrop")
    assert "no such directory" in refusal(*flags, "--resume_from_checkpoint", out / "checkpoint-7")
    asked = [*flags, "--resume_from_checkpoint", str(out / "checkpoint-6")]
    assert "trained with another template, whose weights do not fit" in refusal(*asked, "--soft_encoder", "mlp")
    few_shot.main(asked)
    assert any("Continuing training from global step 6" in line for line in log)
    assert same_weights(out, out.parent / "whole")
    # Finished: nothing is trained again, and what is asked for besides is done with the result.
    few_shot.main([*flags, "--do_eval", "--do_export"])
    assert any("already holds the result of this training" in line for line in log)
    assert (out / "export" / "id2label.json").is_file() and same_weights(out, out.parent / "whole")


# --------------------------------------------------------------------------------------------- the command line


@pytest.mark.parametrize("folder, script", [(".", "few-shot/train.py"), ("few-shot", "train.py")])
def test_from_both_folders(folder, script, tmp_path):
    """Each finds its own utils.py and the parent's; a wrong path is answered before paddle is imported."""
    start = time.monotonic()
    command = [sys.executable, script, "--do_train", "--data_dir", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT / folder, capture_output=True, encoding="utf-8", timeout=60)
    assert (
        run.returncode == 2
        and run.stderr == f"{tmp_path / 'label.txt'}: no such file; create it or give another path\n"
    )
    assert time.monotonic() - start < 10


def test_two_processes(few_shot_data, tiny_mlm, tmp_path, few_shot):
    """They learn what one process learns with twice the batch. Trap: a soft template ended in a TypeError."""
    import paddle

    out, model = tmp_path / "out", tmp_path / "model"
    shutil.copytree(tiny_mlm, model)
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    config.update(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)  # each process draws its own
    (model / "config.json").write_text(json.dumps(config), encoding="utf-8")
    more = "--do_eval --do_predict --do_export --num_train_epochs 1".split()
    flags = few_shot_flags(few_shot_data, model, out, *more)
    run, logs = launched(tmp_path / "log", "train.py", *flags, cwd=ROOT / "few-shot")
    assert run.returncode == 0, logs[0][-3000:] + run.stderr[-3000:]
    assert state(out)["global_step"] == 3  # 48 samples, 8 on each of two processes
    rows = predictions(out)
    assert len(rows) == 19 and results(out)["test_accuracy"] == pytest.approx(
        np.mean([row[1] == row[2] for row in rows])
    )
    assert (out / "export" / "model.pdmodel").is_file()

    few_shot.main([*flags, "--output_dir", str(tmp_path / "one"), "--per_device_train_batch_size", "16"])
    one, two = (paddle.load(str(folder / "model_state.pdparams")) for folder in (tmp_path / "one", out))
    assert all(np.allclose(one[name].numpy(), two[name].numpy(), atol=1e-4) for name in one)


# ------------------------------------------------------------------------------------------------------- calibration


def test_an_export_is_calibrated_where_dev_is_large_enough(prompted, few_shot, few_shot_utils, sample_lines):
    """Without training again: the graphs' probabilities are the model's with the temperature, in both formats."""
    data, out = prompted
    flags = ["--device", "cpu", "--data_dir", str(data), "--output_dir", str(out), "--do_export"]
    texts = [line.split("\t")[0] for line in sample_lines["train"][:200]]
    write_mostly_right(data / "dev.txt", few_shot_utils.PromptPredictor(out / "export"), texts)
    few_shot.main([*flags, "--export_type", "onnx", "--disable_tqdm", "True"])
    content = json.loads((out / "export" / "export.json").read_text(encoding="ascii"))
    facts = content["calibration"]
    assert facts["samples"] == 200 and facts["temperature"] and abs(np.log(facts["temperature"])) > 0.01, facts
    assert "conformal" in content and [row["format"] for row in content["metrics"]["dev"]][1:] == ["paddle", "onnx"]
    assert all(row["max_difference"] < 1e-4 for row in content["metrics"]["dev"])
    found = [
        few_shot_utils.PromptPredictor(out / "export", format).probabilities(texts) for format in ("paddle", "onnx")
    ]
    np.testing.assert_allclose(*found, atol=1e-5)
    card = (out / "export" / "README_en.md").read_text(encoding="utf-8")
    assert "| dev | 200 | 3/3 |" in card and "| training | 48 | 3/3 |" in card and "dev chose the epoch" in card
    assert "`--ppt_learning_rate 0.003`" in card and str(out.parent) not in card

    few_shot.main([*flags, "--calibrate", "False", "--disable_tqdm", "True"])
    content = json.loads((out / "export" / "export.json").read_text(encoding="ascii"))
    assert content["calibration"]["why"] == "--calibrate False" and "thresholds" not in content
    plain = few_shot_utils.PromptPredictor(out / "export").probabilities(texts)
    own = np.log(plain) / facts["temperature"]
    own = np.exp(own) / np.exp(own).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found[0], own, atol=1e-5)


def test_why_an_export_is_not_calibrated(prompted, few_shot, refusal):
    data, out = prompted
    flags = ["--device", "cpu", "--data_dir", str(data), "--output_dir", str(out)]
    assert json.loads((out / "export" / "export.json").read_text(encoding="ascii"))["calibration"]["why"].startswith(
        "dev has 21 samples of 3 labels; it takes 100"
    )
    (data / "dev.txt").unlink()
    data = few_shot.parse_all([*flags, "--do_export"]).data
    assert data.export_dev is None and data.why_no_dev.startswith("there is no ")
    assert "--calibrate False: has a part in an export only" in refusal(*flags, "--do_predict", "--calibrate", "False")
