"""parity.py: an export that is not what it was is not served."""

import json
import shutil

import pytest

from deploy.simple_serving.application import create_app
from deploy.simple_serving.settings import Settings
from tests.deploy.exporting import OTHER_LABELS
from utils import UsageError, write_json


@pytest.mark.parametrize(
    "file, change, message",
    [
        ("parity.json", {"labels": OTHER_LABELS}, "its labels are not those of id2label.json"),
        ("parity.json", {"probabilities": [[1, 0, 0]] * 7}, "not the model that was exported: a probability is"),
    ],
)
def test_an_export_that_is_not_what_it_was(exports, tmp_path, file, change, message):
    shutil.copytree(exports["paddle"][0], tmp_path / "export")
    content = json.loads((tmp_path / "export" / file).read_text(encoding="utf-8"))
    write_json(tmp_path / "export" / file, {**content, **change})
    with pytest.raises(UsageError, match=message):
        create_app(Settings(models=str(tmp_path / "export")))
