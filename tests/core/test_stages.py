"""A training without a stage is the plain one."""

import json

import train
from tests.helpers import train_flags


def test_old_fingerprints_are_the_same(data_dir, tiny_model, tmp_path):
    """The names that a plain training's fingerprint had before there were stages."""
    run = train.parse_all(train_flags(data_dir, tiny_model, tmp_path / "out"))
    own = "group_by_length early_stopping early_stopping_patience max_length model_name_or_path data processes"
    from paddlenlp.trainer import TrainingArguments

    library = {*TrainingArguments.__dataclass_fields__}
    assert run.fingerprint.keys() - library - {"wandb_api_key"} == set(own.split()) and run.unlabelled is None
    json.dumps(run.fingerprint)
