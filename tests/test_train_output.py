"""train.py and what is in its folders already: finished models, other runs' checkpoints, exports, other processes."""

import errno
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

import train
from core import checkpoints, locks, trainer
from tests.helpers import LABELS, ROOT, train_flags, write_data
from tests.test_train import refusal, results, same_weights, state_dict
from utils import UsageError, read_json


@pytest.fixture
def ctrl_c(monkeypatch):
    """Let a training end by Ctrl-C behind its first checkpoint while the returned list is empty."""
    save, off = trainer.ClassificationTrainer._save_checkpoint, []

    def saved_and_interrupted(self, *args, **kwargs):
        save(self, *args, **kwargs)
        if not off:
            raise KeyboardInterrupt

    monkeypatch.setattr(trainer.ClassificationTrainer, "_save_checkpoint", saved_and_interrupted)
    return off


# --------------------------------------------------------------------------------- finished and interrupted trainings


def test_a_finished_training_is_not_repeated_and_foreign_files_stay(trained, tiny_model, log):
    data, checkpoint = trained
    (checkpoint / "checkpoint-1").mkdir()
    (checkpoint / "checkpoint-1" / "mine.txt").write_text("kept")
    (checkpoint / "notes.txt").write_text("kept")
    first = state_dict(checkpoint)
    flags = train_flags(data, tiny_model, checkpoint, "--save_total_limit", "1")
    train.main(flags)
    assert any("already holds the result of this training" in line for line in log)
    train.main([*flags, "--logging_steps", "3", "--resume_from_checkpoint", "True"])  # no setting that matters
    for more, changed in (
        (["--weight_decay", "0.3"], "weight_decay (0.0, now 0.3); add --overwrite_output_dir"),
        (["--dev_path", data / "train.txt"], "another data; add --overwrite_output_dir"),
        (["--num_train_epochs", "8"], "num_train_epochs (4.0, now 8.0); add --overwrite_output_dir"),
        (["--weight_decay", "0.3", "--resume_from_checkpoint", "False"], "add --overwrite_output_dir"),
    ):
        text = refusal(*flags, *more)
        assert text.startswith(f"{checkpoint}: holds the model of a finished training with another ")
        assert changed in text and ("cannot be made longer" in text) == ("--num_train_epochs" in more)
    assert all(np.array_equal(first[key], value) for key, value in state_dict(checkpoint).items())
    train.main([*flags, "--weight_decay", "0.3", "--overwrite_output_dir"])
    assert not all(np.array_equal(first[key], value) for key, value in state_dict(checkpoint).items())
    assert (checkpoint / "checkpoint-1" / "mine.txt").read_text() == "kept"
    assert (checkpoint / "notes.txt").read_text() == "kept"


@pytest.mark.parametrize("by_an_older_version", [False, True])
def test_an_interrupted_training_passes_the_checkpoints_of_finished_ones(
    data_dir, tiny_model, tmp_path, ctrl_c, log, by_an_older_version
):
    """As after `make train`, then another training of fewer steps there, which is killed."""
    out = tmp_path / "out"
    flags = train_flags(data_dir, tiny_model, out, "--learning_rate", "1e-3", "--num_train_epochs", "2")
    ctrl_c.append("off")
    train.main([*train_flags(data_dir, tiny_model, out), *(["--keep_optimizer", "True"] * by_an_older_version)])
    train.main([*flags, "--output_dir", str(tmp_path / "whole")])
    ctrl_c.clear()
    with pytest.raises(KeyboardInterrupt, match="the same command without --overwrite_output_dir continues from .*-6"):
        train.main([*flags, "--overwrite_output_dir"])
    assert not (out / locks.LOCK_FILE).exists()
    if by_an_older_version:
        (out / "run.json").unlink()
    ctrl_c.append("off")
    text = refusal(*flags, "--seed", "7")
    assert "unfinished training with another seed (42, now 7)" in text
    assert f"--resume_from_checkpoint {out / 'checkpoint-6'} " in text
    log.clear()
    train.main(flags)
    assert any("Continuing the interrupted training from" in line and "checkpoint-6;" in line for line in log)
    assert not any("is skipped" in line for line in log)
    assert same_weights(out, tmp_path / "whole")


def test_optimizer_states_of_a_finished_training_go(trained, tiny_model, tmp_path, log):
    data, checkpoint = trained
    folders = checkpoints.find_checkpoints(checkpoint)
    assert folders and not list(checkpoint.rglob("optimizer*"))
    assert all((folder / "model_state.pdparams").is_file() for folder in folders)
    flags = train_flags(data, tiny_model, tmp_path / "out", "--num_train_epochs", "1")
    text = refusal(*flags, "--resume_from_checkpoint", folders[0])
    assert "optimizer.pdopt was removed when its training had finished (--keep_optimizer True keeps it)" in text
    assert f"--model_name_or_path {folders[0]}" in text
    train.main([*flags, "--keep_optimizer", "True"])
    assert list((tmp_path / "out").rglob("optimizer.pdopt")) and not any("were removed" in line for line in log)
    train.main([*flags, "--output_dir", str(tmp_path / "other")])
    assert any(
        "The training is finished: the optimizer states of checkpoint-" in line and "were removed" in line
        for line in log
    )


def test_a_new_start_keeps_its_own_checkpoints(trained, tiny_model, ctrl_c):
    """The same training once more: the finished one's later checkpoints are not taken for its last ones."""
    data, checkpoint = trained
    flags = train_flags(data, tiny_model, checkpoint, "--save_total_limit", "1")
    with pytest.raises(KeyboardInterrupt, match="continues from"):
        train.main([*flags, "--overwrite_output_dir"])
    chosen = min(checkpoints.find_checkpoints(checkpoint), key=checkpoints.checkpoint_step)
    assert (chosen / "optimizer.pdopt").is_file()
    run = train.parse_all(flags)
    assert trainer.choose_checkpoint(run.args, run.fingerprint) == str(chosen)


def test_the_pretrained_model_is_no_output_dir(data_dir, tiny_model, tmp_path):
    shutil.copytree(tiny_model, tmp_path / "model")
    flags = train_flags(data_dir, tmp_path / "model", tmp_path / "model")
    assert "holds a model that this training did not make" in refusal(*flags)


def test_a_full_disk_ends_with_the_way_on(data_dir, tiny_model, tmp_path, monkeypatch):
    import paddle

    save, out = paddle.save, tmp_path / "out"

    def full(value, path, *args, **kwargs):
        if "checkpoint-12" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        save(value, path, *args, **kwargs)

    monkeypatch.setattr(paddle, "save", full)
    text = refusal(*train_flags(data_dir, tiny_model, out))
    assert text.startswith(f"{out}: cannot write there (No space left on device); free some room, then the same")
    assert text.endswith(f"continues from {out / 'checkpoint-6'}")


# ----------------------------------------------------------------------------------------------------- whose export


def test_an_export_goes_beside_its_own_model(trained, tmp_path, monkeypatch):
    _, checkpoint = trained
    other = tmp_path / "other"
    shutil.copytree(checkpoint, other)
    shutil.rmtree(other / "export")
    state = state_dict(other)
    state["classifier.bias"] = state["classifier.bias"] + 1
    import paddle

    paddle.save({name: paddle.to_tensor(value) for name, value in state.items()}, str(other / "model_state.pdparams"))
    monkeypatch.chdir(tmp_path)  # where ./checkpoint, the default of a training, is the first model
    before = (checkpoint / "export" / "model.pdiparams").read_bytes()
    train.main(["--do_export", "--device", "cpu", "--model_name_or_path", "other"])
    assert (checkpoint / "export" / "model.pdiparams").read_bytes() == before
    assert read_json(other / "export" / "export.json")["weights"] == checkpoints.weights_digest(other)

    flags = ["--do_export", "--device", "cpu", "--model_name_or_path", "other"]
    text = refusal(*flags, "--output_dir", "checkpoint")
    assert text.startswith("checkpoint/export: holds the export of another model; add --overwrite_output_dir")
    shutil.copytree(checkpoint / "export", "served")
    text = refusal(*flags, "--export_model_dir", "served")
    assert text.startswith("served: holds the export of another model; ") and "another --export_model_dir" in text
    train.main([*flags[:-1], "checkpoint", "--export_model_dir", "served"])  # its own model's
    train.main([*flags, "--export_model_dir", "served", "--overwrite_output_dir"])
    assert read_json("served/export.json")["weights"] == checkpoints.weights_digest(other)


def test_pruned_models_of_another_model_are_not_replaced(trained, tmp_path):
    data, checkpoint = trained
    prune = tmp_path / "prune" / "width_mult_0.5"
    prune.mkdir(parents=True)
    (prune / "export.json").write_text(json.dumps({"weights": "0" * 64}))
    flags = f"--do_compress --device cpu --data_dir {data} --model_name_or_path {checkpoint}".split()
    text = refusal(*flags, "--output_dir", tmp_path / "prune")
    assert text.startswith(f"{prune}: holds the export of another model; add --overwrite_output_dir")


# -------------------------------------------------------------------------------------- another process, odd folders


def test_two_trainings_at_once(data_dir, tiny_model, tmp_path):
    code = (
        "import sys; from core.locks import locked_folder as lock\nwith lock(sys.argv[1]): print(); sys.stdin.read()"
    )
    out = tmp_path / "out"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, out], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        holder.stdout.readline()
        flags = train_flags(data_dir, tiny_model, out, "--max_steps", "1")
        assert f"process {holder.pid} on " in refusal(*flags)
    finally:
        holder.kill()
        holder.wait()
    train.main(flags)
    assert not (out / locks.LOCK_FILE).exists()


def test_an_output_dir_that_is_a_file(trained, tiny_model, tmp_path):
    data, checkpoint = trained
    file = tmp_path / "file"
    file.write_text("mine")
    assert "is not a folder; choose another --output_dir" in refusal(*train_flags(data, tiny_model, file))
    flags = ["--do_export", "--model_name_or_path", checkpoint, "--export_model_dir", file]
    assert "is not a folder; choose another --export_model_dir" in refusal(*flags)


def test_dropping_the_only_batch_is_refused(data_dir, tiny_model, tmp_path):
    flags = train_flags(data_dir, tiny_model, tmp_path / "o", "--dataloader_drop_last", "True")
    assert "48 samples, fewer than the 64 of a batch" in refusal(*flags, "--per_device_train_batch_size", "64")


def test_no_sample_of_dev_is_dropped(data_dir, tiny_model, tmp_path):
    """What predicts after the training ended with an error of the library."""
    drop = ("--dataloader_drop_last", "True")
    flags = train_flags(data_dir, tiny_model, tmp_path / "o", *drop, "--num_train_epochs", "1", "--do_eval")
    train.main([*flags, "--metric_for_best_model", "macro_f1", "--logit_adjustment", "True"])
    assert results(tmp_path / "o").keys() >= {"logit_adjustment_tau", "eval_macro_f1"}
    flags = f"--do_eval --debug True --device cpu --data_dir {data_dir} --model_name_or_path {tmp_path / 'o'}".split()
    train.main([*flags, *drop])
    found = json.loads((tmp_path / "o" / "test_results.json").read_text())
    assert found["test_macro_f1"] == results(tmp_path / "o")["eval_macro_f1"]


def test_odd_data_is_warned_of(data_dir, tiny_model, tmp_path, sample_lines, log):
    only = [line for line in sample_lines["train"] if line.endswith(LABELS[0])]
    write_data(data_dir, only[:1], only[1:3])
    train.parse_all(train_flags(data_dir, tiny_model, tmp_path / "o"))
    assert any(f"train.txt: no text of {LABELS[1]} {LABELS[2]}, so" in line for line in log)
    assert any("train.txt: 1 sample for 3 labels" in line for line in log)
    assert any(f"dev.txt: no text of {LABELS[1]} {LABELS[2]}, so" in line for line in log)
    (data_dir / "dev.txt").unlink()
    assert "python data/split.py --input_file" in refusal(*train_flags(data_dir, tiny_model, tmp_path / "o"))


def test_main_without_a_list_in_a_notebook(monkeypatch):
    kernel = ["/venv/lib/ipykernel_launcher.py", "-f", "/root/.local/share/jupyter/runtime/kernel-1f2e.json"]
    monkeypatch.setattr(sys, "argv", kernel)
    with pytest.raises(UsageError, match=r'main\(\["--do_train"'):
        train.main()
    monkeypatch.setattr(sys, "argv", ["/venv/bin/other_front_end", "--f=/tmp/kernel-1f2e.json"])
    with pytest.raises(UsageError, match="pass the flags as a list"):
        train.main()
