"""models.py: a served export folder."""

import shutil

import pytest

from deploy.simple_serving.models import Model
from deploy.simple_serving.settings import Settings
from tests.deploy.exporting import export_ernie_m
from utils import UsageError


def test_the_default_format_and_an_export_without_parity(exports, tmp_path):
    shutil.copytree(exports["onnx"][0], tmp_path / "export")
    (tmp_path / "export" / "parity.json").unlink()
    model = Model("one", tmp_path / "export", "auto", Settings())
    assert model.format == "onnx" and model.self_check.startswith("not compared: no parity.json")


def test_an_export_that_does_not_mask_padding_is_refused(exports, tiny_ernie_m, tmp_path):
    assert Model("masked", exports["ernie_m"][0], "auto", Settings()).labels
    export_ernie_m(tiny_ernie_m, tmp_path / "export", max_length=24, masked=False)
    with pytest.raises(UsageError, match="does not mask padding.*export the model again"):
        Model("unmasked", tmp_path / "export", "auto", Settings())
