"""core/checkpoints.py: what the files of trainings and exports say, on files alone."""

import dataclasses
from types import SimpleNamespace

import pytest

from core import checkpoints
from utils import UsageError, read_json, write_json

FIRST, SECOND = {"data": "a" * 64, "num_train_epochs": 2.0, "seed": 1}, {"data": "b" * 64, "num_train_epochs": 2.0}


def write_checkpoint(folder, fingerprint, *names):
    folder.mkdir(parents=True)
    for name in names:
        (folder / name).write_bytes(b"12345")
    write_json(folder / "run.json", {"fingerprint": fingerprint, "files": dict.fromkeys(names, 5)})
    return folder


def training(folder, **more):
    return SimpleNamespace(**{"output_dir": str(folder), "overwrite_output_dir": False, **more})


def refusal(function, *args):
    with pytest.raises(UsageError) as error:
        function(*args)
    return str(error.value)


def test_differences_name_values_where_they_are_short():
    assert checkpoints.differences(FIRST, SECOND) == "data, seed (1, now null)"
    assert checkpoints.differences(FIRST, {**FIRST, "num_train_epochs": 4.0}) == "num_train_epochs (2.0, now 4.0)"
    assert checkpoints.differences(FIRST, FIRST) == ""


def test_other_weights_are_another_training(tmp_path):
    """An encoder that changed under the same path; trainings of before, which do not say theirs, go on."""
    encoder = tmp_path / "encoder"
    encoder.mkdir()
    assert checkpoints.starting_weights(encoder, "out") == checkpoints.starting_weights("ernie-3.0", "out") == {}
    found = []
    for content in (b"one", b"two"):
        (encoder / "model_state.pdparams").write_bytes(content)
        found.append({**FIRST, **checkpoints.starting_weights(encoder, "out")})
    assert checkpoints.starting_weights(encoder, f"{encoder}/.") == {}  # the result takes their place
    one, two = found
    assert checkpoints.is_same_training(one, dict(one)) and not checkpoints.is_same_training(one, two)
    assert checkpoints.is_same_training(one, FIRST) and checkpoints.is_same_training(FIRST, two)
    assert not checkpoints.is_same_training(one, SECOND) and not checkpoints.is_same_training(one, None)
    assert checkpoints.differences(one, two) == "model_weights" and checkpoints.differences(FIRST, two) == ""
    run = training(tmp_path / "out", resume_from_checkpoint=None)
    write_checkpoint(tmp_path / "out", one)
    assert checkpoints.is_finished(run, one) and not checkpoints.is_finished(run, two)
    text = refusal(checkpoints.check_finished_training, run, two)
    assert "finished training with another model_weights; add --overwrite_output_dir" in text
    longer = refusal(checkpoints.check_finished_training, run, {**FIRST, "num_train_epochs": 4.0})
    assert "num_train_epochs (2.0, now 4.0);" in longer and "cannot be made longer" in longer


def test_a_fingerprint_holds_no_secret():
    @dataclasses.dataclass
    class Arguments:
        wandb_api_key: str = "hush"
        seed: int = 3
        world_size: int = 1

    fingerprint = checkpoints.run_fingerprint(Arguments(), Arguments, [])
    assert fingerprint["seed"] == 3 and fingerprint["wandb_api_key"] is None


def test_optimizer_states_go_and_the_rest_is_known_to_be_whole(tmp_path):
    names = ("model_state.pdparams", "optimizer.pdopt", "scheduler.pdparams", "optimizer.safetensors.index.json")
    own = write_checkpoint(tmp_path / "checkpoint-6", FIRST, *names, "master_weights.safetensors")
    other = write_checkpoint(tmp_path / "checkpoint-12", SECOND, *names)
    (own / "optimizer_notes.txt").write_text("mine")
    assert checkpoints.remove_optimizer_states(tmp_path, FIRST) == (["checkpoint-6"], 15)
    left = {path.name for path in own.iterdir()}
    assert left == {"model_state.pdparams", "scheduler.pdparams", "run.json", "optimizer_notes.txt"}
    assert checkpoints.what_is_incomplete(own).endswith("was removed when its training had finished")
    assert read_json(own / "run.json")["files"].keys() == {"model_state.pdparams", "scheduler.pdparams"}
    assert checkpoints.what_is_incomplete(other) is None and (other / "optimizer.pdopt").is_file()
    assert checkpoints.remove_optimizer_states(tmp_path, FIRST) == ([], 0)


def test_a_finished_model_is_not_replaced_unasked(tmp_path):
    check = checkpoints.check_finished_training
    check(training(tmp_path / "new"), FIRST)
    write_json(tmp_path / "run.json", {"fingerprint": FIRST})
    check(training(tmp_path), FIRST)
    check(training(tmp_path, overwrite_output_dir=True), SECOND)
    text = refusal(check, training(tmp_path), {**SECOND, "seed": 1})
    assert text.startswith(f"{tmp_path}: holds the model of a finished training with another data; ")
    assert "--overwrite_output_dir" in text and "longer" not in text
    text = refusal(check, training(tmp_path), {**FIRST, "num_train_epochs": 4.0})
    assert "another num_train_epochs (2.0, now 4.0); add --overwrite_output_dir" in text
    assert "cannot be made longer" in text and f"--model_name_or_path {tmp_path}" in text


def test_a_model_of_unknown_origin_is_not_replaced_unasked(tmp_path):
    """Such as the pretrained model itself, given as --output_dir."""
    check = checkpoints.check_unknown_model
    check(training(tmp_path), FIRST)
    (tmp_path / "model_state.pdparams").write_bytes(b"")
    text = refusal(check, training(tmp_path), FIRST)
    assert "holds a model that this training did not make; add --overwrite_output_dir" in text
    check(training(tmp_path, overwrite_output_dir=True), FIRST)
    write_json(tmp_path / "run.json", {"unfinished": FIRST})  # killed between the model and the last run.json
    check(training(tmp_path), FIRST)
    assert "did not make" in refusal(check, training(tmp_path), SECOND)


def test_an_export_of_another_model_is_not_replaced_unasked(tmp_path):
    one, two, folder = tmp_path / "one", tmp_path / "two", tmp_path / "export"
    for model in (one, two):
        model.mkdir()
        (model / "model_state.pdparams").write_bytes(model.name.encode())
    check = checkpoints.check_export_target
    check(folder, one, False)
    folder.mkdir()
    check(folder, one, False)
    assert f"{two}: holds another model; add" in refusal(check, two, one, False)
    write_json(folder / "export.json", {"weights": checkpoints.weights_digest(one)})
    check(folder, one, False)
    check(folder, two, True)
    for model in (two, None):
        text = refusal(check, folder, model, False, "--export_model_dir")
        assert text.startswith(f"{folder}: holds the export of another model; add --overwrite_output_dir")
        assert text.endswith("choose another --export_model_dir")
    (folder / "export.json").unlink()
    (folder / "model.pdmodel").write_bytes(b"")
    assert "another model" in refusal(check, folder, one, False)


def test_a_digest_is_of_the_weights_alone(tmp_path):
    assert checkpoints.weights_digest(tmp_path) is None
    for name in ("scheduler.pdparams", "config.json", "optimizer.pdopt", "model.safetensors.index.json"):
        (tmp_path / name).write_bytes(b"x")
    assert checkpoints.weights_digest(tmp_path) is None
    (tmp_path / "model.safetensors").write_bytes(b"abc")
    assert checkpoints.weights_digest(tmp_path).startswith("ba7816bf8f01cfea")  # SHA-256's own example
