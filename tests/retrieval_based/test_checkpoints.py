"""retrieval_based/checkpoints.py: folders that are not what a flag wants."""

import json

import pytest

from retrieval_based import checkpoints
from utils import UsageError

SETTINGS = {"pooling": "mean", "output_emb_size": 16, "max_seq_length": 32, "dim": 16, "model_hash": "a"}


def test_a_folder_that_is_no_checkpoint(tmp_path):
    for flag in ("--model_name_or_path", "--params_path"):
        with pytest.raises(UsageError, match=f"{flag} {tmp_path}: no dual_encoder.json there"):
            checkpoints.check_checkpoint(tmp_path, flag)
    with pytest.raises(UsageError, match="not a model_<step> folder of a training"):
        checkpoints.check_resumable(tmp_path)
    (tmp_path / "dual_encoder.json").write_text("{}")
    checkpoints.check_checkpoint(tmp_path)
    (tmp_path / "train_state.json").write_text('{"step": 3}')
    (tmp_path / "optimizer.pdopt").write_bytes(b"")
    checkpoints.check_resumable(tmp_path)


def test_an_export_folder(tmp_path):
    content = {**SETTINGS, "files": {"model.pdiparams": 3}}
    (tmp_path / "dual_encoder.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match="model.pdiparams: missing or cut short"):
        checkpoints.read_export(tmp_path)
    (tmp_path / "model.pdiparams").write_bytes(b"abc")
    assert checkpoints.read_export(tmp_path) == content
    one, other = (checkpoints.model_hash(tmp_path, {**SETTINGS, "dim": dim}) for dim in (16, 8))
    (tmp_path / "model.pdiparams").write_bytes(b"abd")
    assert len({one, other, checkpoints.model_hash(tmp_path, SETTINGS)}) == 3


def test_settings_that_are_no_export_s(tmp_path):
    for name in ("dim", "model_hash"):
        content = {key: value for key, value in SETTINGS.items() if key != name}
        (tmp_path / "dual_encoder.json").write_text(json.dumps(content))
        with pytest.raises(UsageError, match=f"dual_encoder.json: missing, or without {name}; give the folder"):
            checkpoints.read_export(tmp_path)
