"""models.py: a served export folder."""

import shutil

from deploy.simple_serving.models import Model
from deploy.simple_serving.settings import Settings


def test_the_default_format_and_an_export_without_parity(exports, tmp_path):
    shutil.copytree(exports["onnx"][0], tmp_path / "export")
    (tmp_path / "export" / "parity.json").unlink()
    model = Model("one", tmp_path / "export", "auto", Settings())
    assert model.format == "onnx" and model.self_check.startswith("not compared: no parity.json")
    assert model.may_pad
    assert not Model("two", exports["ernie_m"][0], "auto", Settings()).may_pad
