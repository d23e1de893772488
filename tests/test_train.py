"""train.py from the outside: flags, trees, log lines, refusals, resume, several processes."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import train
from core import checkpoints, trainer
from tests.helpers import LABELS, PADDLE_3, ROOT, launched, train_flags, write_data
from utils import UsageError

CHECKPOINT_FILES = set(
    (
        "config.json model_state.pdparams optimizer.pdopt scheduler.pdparams trainer_state.json "
        "rng_state.pth tokenizer_config.json vocab.txt special_tokens_map.json run.json"
    ).split()
)


def refusal(*flags):
    with pytest.raises(UsageError) as error:
        train.main([str(flag) for flag in flags])
    return str(error.value)


def results(folder):
    return json.loads((folder / "all_results.json").read_text(encoding="utf-8"))


def state_dict(folder):
    import paddle

    return paddle.load(str(folder / "model_state.pdparams"), return_numpy=True)


def same_weights(one, other):
    one, other = state_dict(one), state_dict(other)
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


# ------------------------------------------------------------------------------------- train, evaluate, export


def test_result_tree_and_metrics(trained_once):
    _, checkpoint = trained_once
    names = {path.name for path in checkpoint.iterdir()}
    assert (
        set(
            (
                "config.json model_state.pdparams tokenizer_config.json vocab.txt special_tokens_map.json "
                "all_results.json trainer_state.json export"
            ).split()
        )
        <= names
    )
    assert {path.name for path in (checkpoint / "export").iterdir()} == set(
        (
            "model.pdmodel model.pdiparams model.pdiparams.info id2label.json tokenizer_config.json "
            "vocab.txt special_tokens_map.json export.json parity.json tokenizer.json README.md README_en.md"
        ).split()
    )
    id2label = json.loads((checkpoint / "export" / "id2label.json").read_text(encoding="ascii"))
    assert id2label == {str(index): label for index, label in enumerate(LABELS)}
    assert json.loads((checkpoint / "export" / "tokenizer_config.json").read_text())["model_max_length"] == 32
    metrics = results(checkpoint)
    assert metrics["eval_accuracy"] > 0.6
    assert {"eval_macro_precision", "eval_macro_recall", "eval_macro_f1", "eval_loss", "train_loss"} <= metrics.keys()


def test_the_best_model_is_the_result(trained_once):
    _, checkpoint = trained_once
    state = json.loads((checkpoint / "trainer_state.json").read_text())
    scores = [entry["eval_accuracy"] for entry in state["log_history"] if "eval_accuracy" in entry]
    assert results(checkpoint)["eval_accuracy"] == max(scores) == state["best_metric"]


def test_save_total_limit_holds_in_one_process(trained_once):
    """Trap: PaddleNLP deletes nothing in one process. Kept are the last checkpoint and the best one."""
    _, checkpoint = trained_once
    state = json.loads((checkpoint / "trainer_state.json").read_text())
    best = os.path.basename(state["best_model_checkpoint"])
    kept = {path.name for path in checkpoint.glob("checkpoint-*")}
    assert kept == {best, f"checkpoint-{state['global_step']}"}
    for name in kept:
        assert {path.name for path in (checkpoint / name).iterdir()} >= CHECKPOINT_FILES - {"optimizer.pdopt"}


def test_the_seed_fixes_everything(data_dir, tiny_model, tmp_path):
    """Trap: the head is drawn before PaddleNLP seeds."""
    for name, seed in {"a": 5, "b": 5, "c": 6}.items():
        flags = ["--num_train_epochs", "1", "--seed", seed]
        train.main(train_flags(data_dir, tiny_model, tmp_path / name, *flags))
    assert same_weights(tmp_path / "a", tmp_path / "b")
    assert not same_weights(tmp_path / "a", tmp_path / "c")


def test_worker_processes_do_not_crash(data_dir, tiny_model, tmp_path):
    """Trap: a collator that makes paddle tensors in a worker ends in a segmentation fault."""
    flags = ["--num_train_epochs", "1", "--dataloader_num_workers", "2"]
    train.main(train_flags(data_dir, tiny_model, tmp_path / "out", *flags))
    assert (tmp_path / "out" / "model_state.pdparams").exists()


@pytest.mark.parametrize(
    "flags",
    [
        ["--gradient_accumulation_steps", "2", "--lr_scheduler_type", "cosine"],
        ["--max_steps", "3", "--dataloader_drop_last", "--report_to", "none"],
        ["--bf16"],
        ["--eval_accumulation_steps", "1", "--skip_memory_metrics", "False", "--warmup_steps", "2"],
        ["--save_strategy", "steps", "--evaluation_strategy", "steps", "--save_steps", "2", "--eval_steps", "2",
         "--save_total_limit", "2"],
        ["--group_by_length", "False", "--weight_decay", "0.01", "--max_grad_norm", "0"],
        ["--overwrite_output_dir", "--logging_first_step", "--seed", "7", "--adam_beta1", "0.8"],
        pytest.param(["--to_static", "True"], marks=pytest.mark.skipif(PADDLE_3, reason="refused with Paddle 3")),
        ["--unified_checkpoint", "True"],
        ["--recompute", "True", "--do_export"],
    ],
    ids=lambda flags: flags[0],
)  # fmt: skip
def test_the_library_s_flags_work(data_dir, tiny_model, tmp_path, flags):
    train.main(train_flags(data_dir, tiny_model, tmp_path / "out", "--num_train_epochs", "1", "--do_eval", *flags))
    assert 0 <= results(tmp_path / "out")["eval_accuracy"] <= 1


def test_early_stopping_stops(data_dir, tiny_model, tmp_path):
    flags = ("--early_stopping True --early_stopping_patience 2 --num_train_epochs 30 --learning_rate 1e-9").split()
    train.main(train_flags(data_dir, tiny_model, tmp_path / "out", *flags))
    state = json.loads((tmp_path / "out" / "trainer_state.json").read_text())
    assert state["epoch"] == 3  # one evaluation sets the mark, two do not pass it


def test_eval_loss_can_choose_the_best_model(data_dir, tiny_model, tmp_path):
    train.main(train_flags(data_dir, tiny_model, tmp_path / "out", "--metric_for_best_model", "eval_loss"))
    state = json.loads((tmp_path / "out" / "trainer_state.json").read_text())
    assert state["best_metric"] == min(entry["eval_loss"] for entry in state["log_history"] if "eval_loss" in entry)


def test_a_missing_gpu_is_a_warning(trained, log):
    _, checkpoint = trained
    train.main(["--do_export", "--model_name_or_path", str(checkpoint), "--output_dir", str(checkpoint)])
    import paddle

    if not paddle.is_compiled_with_cuda():
        assert any("CPU build; using the CPU" in line for line in log)


def test_export_alone_reads_no_data(trained, tmp_path):
    data, checkpoint = trained
    shutil.rmtree(data)
    flags = [
        "--do_export",
        "--device",
        "cpu",
        "--model_name_or_path",
        checkpoint,
        "--export_model_dir",
        tmp_path / "e",
    ]
    train.main([*map(str, flags), "--output_dir", str(checkpoint)])
    assert json.loads((tmp_path / "e" / "id2label.json").read_text()) == dict(zip("012", LABELS))
    # --max_length was not given: the one of the training holds.
    assert json.loads((tmp_path / "e" / "tokenizer_config.json").read_text())["model_max_length"] == 32


# ------------------------------------------------------------------------------------------------ evaluation


def test_debug_report_and_bad_cases(trained, log, tmp_path):
    data, checkpoint = trained
    flags = (
        f"--do_eval --debug True --device cpu --model_name_or_path {checkpoint} --output_dir "
        f"{checkpoint} --data_dir {data} --per_device_eval_batch_size 32 --max_length 32"
    ).split()
    train.main([str(flag) for flag in flags])
    rows = [line.split("\t") for line in (data / "dev.txt").read_text(encoding="utf-8").splitlines()]
    bad = [line.split("\t") for line in (data / "bad_case.txt").read_text(encoding="utf-8").splitlines()]
    assert bad[0] == ["Text", "Label", "Prediction", "Score"]
    assert all([text, label] in rows and label != prediction for text, label, prediction, _ in bad[1:])
    accuracy = 1 - (len(bad) - 1) / len(rows)
    assert f"{accuracy:.4f}" == f"{results(checkpoint)['eval_accuracy']:.4f}"

    start = log.index("-----Evaluate model-------")
    assert log[start + 1 : start + 3] == [f"Dev dataset size: {len(rows)}", f"Accuracy in dev dataset: {accuracy:.2%}"]
    number = r"\d+\.\d\d"
    scores = rf"precision: {number} \| recall: {number} \| F1 score {number}"
    assert re.fullmatch(rf"Macro average \| {scores}", log[start + 3])
    for index, label in enumerate(LABELS):
        block = log[start + 4 + 3 * index :][:3]
        count = sum(row[1] == label for row in rows)
        share = f"{count}({count / len(rows):.1%})"
        assert block[0] == f"Class name: {label}"
        assert re.fullmatch(rf"Evaluation examples in dev dataset: {re.escape(share)} \| {scores}", block[1])
        assert block[2] == "----------------------------"


def test_another_test_file_is_not_called_dev(trained, log):
    data, checkpoint = trained
    shutil.copy(data / "dev.txt", data / "test.txt")
    flags = (
        f"--do_eval --debug True --device cpu --model_name_or_path {checkpoint} --output_dir "
        f"{checkpoint} --data_dir {data} --test_path {data / 'test.txt'} --max_length 32"
    ).split()
    train.main([str(flag) for flag in flags])
    assert any(line.startswith("Accuracy in test dataset: ") for line in log)


def test_class_order_is_the_model_s_own(trained, log):
    """The same labels in another order in label.txt must not mix classes up."""
    data, checkpoint = trained
    (data / "label.txt").write_text("\n".join(reversed(LABELS)) + "\n", encoding="utf-8")
    before = results(checkpoint)["eval_accuracy"]
    flags = (
        f"--do_eval --device cpu --model_name_or_path {checkpoint} --output_dir {checkpoint} --data_dir "
        f"{data} --max_length 32"
    ).split()
    train.main([str(flag) for flag in flags])
    assert results(checkpoint)["eval_accuracy"] == before


# ------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "flags, problem",
    [
        ([], "nothing to do"),
        (["--do_train", "--early_stopping", "True"], "needs --load_best_model_at_end"),
        (["--do_train", "--metric_for_best_model", "acc"], "use one of accuracy"),
        (["--do_train", "--load_best_model_at_end", "--evaluation_strategy", "epoch"], "to be the same"),
        (["--do_train", "--debug", "True"], "add --do_eval"),
        (["--do_train", "--optim", "adafactor"], "only has adamw"),
        (["--do_train", "--max_length", "2"], "must be at least 3"),
        (["--do_train", "--learning_rate", "0"], "must be above 0"),
        (["--do_train", "--per_device_train_batch_size", "0"], "must be at least 1"),
        (["--do_train", "--learning_rate", "abc"], "invalid float value"),
        (["--do_train", "--debug", "vielleicht"], "Truthy value expected"),
        (["--do_train", "--evaluation_strategy", "epochs"], "invalid choice"),
        (["--do_compress", "--strategy", "magic"], "use one of dynabert"),
        (["--do_eval"], "not a fine-tuned classifier"),
        (["--do_train", "True", "extra"], "unknown argument extra"),
    ],
)
def test_wrong_flags(flags, problem, data_dir):
    assert problem in refusal(*flags, "--data_dir", data_dir)


@pytest.mark.parametrize("flag", ["--do_compress", "--do_parity"])
def test_what_works_in_one_process_only(data_dir, monkeypatch, flag):
    monkeypatch.setenv("PADDLE_TRAINERS_NUM", "2")
    assert f"{flag} works in one process only" in refusal(flag, "--data_dir", data_dir)


def test_fp16_on_a_cpu(data_dir, tiny_model, tmp_path):
    assert "--fp16 works on a GPU only" in refusal(*train_flags(data_dir, tiny_model, tmp_path / "o", "--fp16"))


def test_errors_of_the_library_s_own_checks(data_dir, tiny_model, tmp_path):
    flags = train_flags(data_dir, tiny_model, tmp_path / "o", "--fp16", "--bf16")
    assert "At most one of fp16 and bf16" in refusal(*flags)


def test_unseen_label_in_dev(data_dir, tiny_model, tmp_path):
    with (data_dir / "dev.txt").open("a", encoding="utf-8") as file:
        file.write("多少钱\t费用\n")
    text = refusal(*train_flags(data_dir, tiny_model, tmp_path / "out"))
    assert text.startswith(f"{data_dir / 'dev.txt'}:22: unknown label '费用'")
    assert not (tmp_path / "out").exists()


def test_max_length_above_the_positions(data_dir, tiny_model, tmp_path):
    text = refusal(*train_flags(data_dir, tiny_model, tmp_path / "out", "--max_length", "129"))
    assert "--max_length 129" in text and "positions for 128" in text


def test_another_number_of_labels(trained, tmp_path, log):
    """Refused for evaluation, a fresh head for training."""
    data, checkpoint = trained
    lines = [line for line in (data / "train.txt").read_text(encoding="utf-8").splitlines() if LABELS[2] not in line]
    two = tmp_path / "two"
    two.mkdir()
    write_data(two, lines[:32], lines[32:48], LABELS[:2])
    flags = ["--do_eval", "--device", "cpu", "--model_name_or_path", checkpoint, "--data_dir", two]
    assert "2 labels, but" in refusal(*flags)
    train.main(train_flags(two, checkpoint, tmp_path / "out", "--num_train_epochs", "1", "--do_export"))
    assert any("classifier head is initialised anew for 2 labels" in line for line in log)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["id2label"] == dict(zip("01", LABELS))


def test_renamed_labels_get_a_fresh_head(trained, tmp_path, log):
    data, checkpoint = trained
    for name in ("train", "dev", "label"):
        path = data / f"{name}.txt"
        path.write_text(path.read_text(encoding="utf-8").replace(LABELS[1], "价格"), encoding="utf-8")
    text = refusal("--do_eval", "--device", "cpu", "--model_name_or_path", checkpoint, "--data_dir", data)
    assert "was not trained on: 价格" in text
    train.main(train_flags(data, checkpoint, tmp_path / "out", "--max_steps", "1", "--save_strategy", "no",
                           "--evaluation_strategy", "no", "--load_best_model_at_end", "False"))  # fmt: skip
    assert any("classifier head is initialised anew for 3 labels" in line for line in log)


@pytest.mark.parametrize("name", ["ernie-3.0-tiny-medium-v2-zh", "ernie-3.0-of-nobody"])
def test_a_model_name_that_cannot_be_downloaded(data_dir, tmp_path, monkeypatch, name):
    """A proxy that accepts and never answers: one message within 30 s, naming both ways out."""
    import socket

    server = socket.create_server(("127.0.0.1", 0))
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, f"http://127.0.0.1:{server.getsockname()[1]}")
    monkeypatch.setenv("PPNLP_HOME", str(tmp_path))
    start = time.monotonic()
    text = refusal(*train_flags(data_dir, name, tmp_path / "out"))
    server.close()
    assert time.monotonic() - start < 30
    assert "local directory" in text and "data/build_encoder.py" in text and "\n" not in text


def test_a_directory_without_a_model(data_dir, tmp_path):
    assert "no config.json" in refusal(*train_flags(data_dir, data_dir, tmp_path / "out"))
    assert "no such directory" in refusal(*train_flags(data_dir, "./checkpont", tmp_path / "out"))


# --------------------------------------------------------------------------------------------------- resume


@pytest.fixture
def interrupted(data_dir, tiny_model, tmp_path):
    """An output folder as after a kill in the third epoch of four, and the flags of the run."""
    flags = train_flags(data_dir, tiny_model, tmp_path / "out")
    train.main([*flags, "--keep_optimizer", "True"])
    out = tmp_path / "out"
    shutil.copytree(out, tmp_path / "whole")
    for path in out.iterdir():
        if path.is_file():
            path.unlink()
    for step in (18, 24):
        shutil.rmtree(out / f"checkpoint-{step}")
    return out, flags


def test_a_rerun_continues_and_ends_where_the_whole_run_ended(interrupted, log):
    """Order, dropout, optimizer, learning rate and the reported loss are those of the run without a break."""
    out, flags = interrupted
    train.main(flags)
    assert any("Continuing the interrupted training from" in line and "checkpoint-12" in line for line in log)
    whole = out.parent / "whole"
    assert same_weights(out / "checkpoint-24", whole / "checkpoint-24") and same_weights(out, whole)
    assert results(out)["train_loss"] == pytest.approx(results(whole)["train_loss"], rel=1e-5)


def test_a_rerun_continues_in_the_middle_of_an_epoch(data_dir, tiny_model, tmp_path):
    flags = train_flags(data_dir, tiny_model, tmp_path / "out", "--save_strategy", "steps", "--save_steps", "4",
                        "--evaluation_strategy", "steps", "--eval_steps", "4", "--num_train_epochs", "2")  # fmt: skip
    train.main([*flags, "--keep_optimizer", "True"])
    out, whole = tmp_path / "out", tmp_path / "whole"
    shutil.copytree(out, whole)
    (out / "run.json").unlink()
    shutil.rmtree(out / "checkpoint-12")
    shutil.rmtree(out / "checkpoint-8")
    train.main(flags)
    assert same_weights(out / "checkpoint-12", whole / "checkpoint-12")


@pytest.mark.parametrize(
    "file", ["model_state.pdparams", "optimizer.pdopt", "scheduler.pdparams", "trainer_state.json", "run.json"]
)
@pytest.mark.parametrize("damage", ["missing", "cut short"])
def test_a_half_written_checkpoint_is_skipped(interrupted, log, file, damage):
    out, flags = interrupted
    path = out / "checkpoint-12" / file
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert checkpoints.what_is_incomplete(out / "checkpoint-12")
    run = train.parse_all(flags)
    assert trainer.choose_checkpoint(run.args, run.fingerprint).endswith("checkpoint-6")
    assert any("checkpoint-12 is skipped" in line for line in log)
    refused = refusal(*flags, "--resume_from_checkpoint", out / "checkpoint-12")
    assert "not complete" in refused


def test_resume_from_checkpoint_as_asked(interrupted, log):
    out, flags = interrupted
    train.main([*flags, "--resume_from_checkpoint", str(out / "checkpoint-6")])
    assert any("Continuing training from global step 6" in line for line in log)
    assert same_weights(out, out.parent / "whole")


def test_resume_refusals(interrupted, tmp_path, tiny_model):
    out, flags = interrupted
    assert "no such directory" in refusal(*flags, "--resume_from_checkpoint", out / "checkpoint-7")
    other = refusal(*flags, "--learning_rate", "1e-3")
    assert "unfinished training with another learning_rate" in other and "--overwrite_output_dir" in other
    train.main([*flags, "--learning_rate", "1e-3", "--overwrite_output_dir", "--num_train_epochs", "1"])
    empty = [*flags, "--output_dir", str(tmp_path / "empty"), "--resume_from_checkpoint", "True"]
    assert "no complete checkpoint" in refusal(*empty)


def test_a_moved_output_dir_still_finds_its_best_checkpoint(interrupted, log):
    out, flags = interrupted
    moved = out.parent / "moved"
    out.rename(moved)
    train.main([*flags, "--output_dir", str(moved)])
    assert same_weights(moved, out.parent / "whole")


def test_kill_9_and_rerun_through_the_command_line(data_dir, tiny_model, tmp_path):
    out = tmp_path / "out"
    flags = train_flags(data_dir, tiny_model, out, "--num_train_epochs", "400")
    process = subprocess.Popen(
        [sys.executable, "train.py", *flags], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    )
    try:
        deadline = time.monotonic() + 120
        while len(list(out.glob("checkpoint-*/run.json"))) < 3:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = max(int(path.parent.name.split("-")[1]) for path in out.glob("checkpoint-*/run.json"))
    run = train.parse_all(flags)
    chosen = trainer.choose_checkpoint(run.args, run.fingerprint)
    assert chosen.endswith(f"checkpoint-{before}")
    # The rest of 400 epochs would take minutes: from the checkpoint found, ten more steps.
    train.main([*flags, "--resume_from_checkpoint", chosen, "--max_steps", str(before + 10), "--save_strategy", "no",
                "--evaluation_strategy", "no", "--load_best_model_at_end", "False"])  # fmt: skip
    assert json.loads((out / "trainer_state.json").read_text())["global_step"] == before + 10


# ---------------------------------------------------------------------------------------- several processes


def test_two_processes(data_dir, tiny_model, tmp_path, sample_lines):
    """Every sample is evaluated once, only rank 0 writes, accuracy equals that of one process."""
    write_data(data_dir, sample_lines["train"][:50], sample_lines["dev"][:37])
    out = tmp_path / "out"
    flags = train_flags(data_dir, tiny_model, out, "--do_eval", "--do_export", "--num_train_epochs", "2")
    run, logs = launched(tmp_path / "log", "train.py", *flags, "--save_total_limit", "1")
    assert run.returncode == 0, logs[0][-3000:] + run.stderr[-3000:]
    assert "Total train batch size (w. parallel, distributed & accumulation) = 16" in logs[0]
    assert "Num examples = 37" in logs[0]
    assert "***** eval metrics *****" in logs[0] and "***** eval metrics *****" not in logs[1]
    two = results(out)
    assert (out / "export" / "model.pdmodel").exists()
    assert len(list(out.glob("checkpoint-*"))) <= 2

    train.main(
        (
            f"--do_eval --device cpu --data_dir {data_dir} --model_name_or_path {out} --output_dir {out} "
            "--max_length 32 --per_device_eval_batch_size 8"
        ).split()
    )
    assert results(out)["eval_accuracy"] == pytest.approx(two["eval_accuracy"], abs=1e-9)
    assert results(out)["eval_macro_f1"] == pytest.approx(two["eval_macro_f1"], abs=1e-9)
