"""What two processes do together: every stage of a training, and the export, as one process does them."""

import json

import numpy as np
import pytest

import train
from core import processes
from core.masked_words import MaskedTexts
from tests.helpers import ROOT, launched, train_flags, write_data
from tests.test_train import state_dict
from tests.test_train_recipes import with_dropout

TWO = """
import json, sys
sys.path.insert(0, {root!r})
import train
for flags in json.loads({flags!r}):
    train.main(flags)  # the last one exports, for which the other process does not wait
train.end_one_of_several()
"""

KILLED = """
import json, os, signal, sys
sys.path.insert(0, {root!r})
import train
from core import pretraining
from core.processes import own_number
pretraining.SAVE_SECONDS = 0
write = pretraining.StateSaver.after_step
def kill(self, step, optimizer):
    if step <= 7:
        write(self, step, optimizer)
    if step == 9 and own_number() == 1:
        os.kill(os.getpid(), signal.SIGKILL)
pretraining.StateSaver.after_step = kill
train.main(json.loads({flags!r}))
"""


@pytest.fixture(scope="module")
def made(tiny_model, tmp_path_factory, sample_lines):
    """The folders of trainings in one process and in two: each {stage: output_dir}."""
    folder = tmp_path_factory.mktemp("processes")
    data, model = folder / "data", folder / "model"
    data.mkdir()
    write_data(data, sample_lines["train"][:48], sample_lines["train"][48:149])
    # As many as fill the batches: in several processes the last one would be filled up.
    texts = [line.split("\t")[0] for line in sample_lines["train"][152:240]]
    (data / "data.txt").write_bytes("".join(f"{text}\n" for text in texts).encode())
    with_dropout(tiny_model, model, 0.0)
    stages = {
        "pseudo": "--pseudo_labels True --pseudo_rounds 1 --pseudo_confidence 0",
        "teachers": "--do_pretrain --pretrain_epochs 2 --num_teachers 2 --ngram_features True --do_export",
    }
    common = "--num_train_epochs 1 --do_eval --adam_epsilon 1e-4"

    def flags_of(count):
        batch = f"--per_device_train_batch_size {8 // count}"
        return [
            train_flags(data, model, folder / str(count) / stage, *f"{common} {batch} {flags}".split())
            for stage, flags in stages.items()
        ]

    script = folder / "two.py"
    script.write_text(TWO.format(root=str(ROOT), flags=json.dumps(flags_of(2))), encoding="utf-8")
    run, logs = launched(folder / "log", script)
    assert run.returncode == 0, "".join(log[-3000:] for log in logs) + run.stderr[-2000:]
    for flags in flags_of(1):
        train.main(flags)
    return {count: {stage: folder / str(count) / stage for stage in stages} for count in (1, 2)}


@pytest.mark.parametrize("part", ["teachers/pretrained", "teachers/teachers/seed-43", "teachers", "pseudo"])
def test_two_processes_learn_what_one_does(made, part):
    one, two = (state_dict(made[count]["teachers"].parent / part) for count in (1, 2))
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_allclose(two[name], one[name], atol=5e-4, err_msg=name)


def test_masked_language_training_goes_on_after_kill_9(made, tmp_path):
    """Bit for bit; the process is killed that saves nothing."""
    folder = made[2]["teachers"].parents[1]
    common = "--do_pretrain --pretrain_epochs 2 --num_train_epochs 1 --per_device_train_batch_size 4"
    flags = train_flags(folder / "data", folder / "model", tmp_path / "out", *common.split())
    script = tmp_path / "killed.py"
    script.write_text(KILLED.format(root=str(ROOT), flags=json.dumps(flags)), encoding="utf-8")
    run, logs = launched(tmp_path / "first", script)
    assert run.returncode and (tmp_path / "out" / "pretraining.pdstate").is_file(), logs[0][-3000:]
    assert not (tmp_path / "out" / "pretrained").exists()
    run, logs = launched(tmp_path / "second", "train.py", *flags)
    assert run.returncode == 0, logs[0][-3000:]
    assert all("Continuing the masked-language training from step 7" in log for log in logs)
    whole, mended = state_dict(made[2]["teachers"] / "pretrained"), state_dict(tmp_path / "out" / "pretrained")
    assert whole.keys() == mended.keys() and all(np.array_equal(whole[name], mended[name]) for name in whole)


def test_what_is_written_is_that_of_one(made):
    rows, rounds, exports = ({}, {}, {})
    for count in (1, 2):
        rows[count] = json.loads((made[count]["teachers"] / "teachers.json").read_text())["dev"]
        rounds[count] = json.loads((made[count]["pseudo"] / "pseudo_labels.json").read_text())
        exports[count] = json.loads((made[count]["teachers"] / "export" / "export.json").read_text())
        assert not list(made[count]["teachers"].glob("pretraining.*"))
    assert [row["model"] for row in rows[2]] == [row["model"] for row in rows[1]]
    assert rounds[2]["kept"] == rounds[1]["kept"] and rounds[2]["unlabelled"] == rounds[1]["unlabelled"]
    assert exports[2]["calibration"]["samples"] == exports[1]["calibration"]["samples"] == 101
    assert exports[2].get("parity", {}).keys() == exports[1].get("parity", {}).keys()


def test_every_place_is_learnt_once(tiny_model, monkeypatch):
    """Of each batch of masked texts the processes have, together, what one process has."""
    from core.loading import load_config_and_tokenizer

    tokenizer = load_config_and_tokenizer(str(tiny_model))[1]
    features = [{"input_ids": [1, *range(5, 5 + length), 2]} for length in [4] * 33 + [9, 7]]
    texts = MaskedTexts(features, tokenizer, seed=3)
    whole = list(texts.own_batches(1))
    assert len(whole) == len(texts) and len(whole[-1][0]) == 3
    parts = []
    monkeypatch.setattr(processes, "count_processes", lambda: 2)
    for number in range(2):
        monkeypatch.setattr(processes, "own_number", lambda number=number: number)
        parts.append(list(texts.own_batches(1)))
    for (ids, places, tokens), *shares in zip(whole, *parts):
        assert sorted(map(tuple, ids)) == sorted(tuple(row) for share in shares for row in share[0])
        assert sorted(tokens) == sorted(np.concatenate([share[2] for share in shares]))
        mask = tokenizer.mask_token_id
        masked = sum((share[0].ravel()[share[1]] == mask).sum() for share in shares)
        assert masked == (ids.ravel()[places] == mask).sum() > 0


def test_a_batch_that_is_too_small_is_everybodys(monkeypatch):
    monkeypatch.setattr(processes, "count_processes", lambda: 4)
    monkeypatch.setattr(processes, "own_number", lambda: 3)
    assert processes.own_rows([5, 6, 7]) == [5, 6, 7] and processes.own_rows([5, 6, 7, 8, 9]) == [8]


def test_one_process_alone():
    assert processes.is_first() and processes.share_of_mean(7) == 1.0
    processes.wait_for_all()
