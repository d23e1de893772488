"""build_models.py: what it replaces, and what it refuses."""

import json
import shutil

import pytest

from deploy.triton_serving import build_models
from tests.deploy.exporting import read_config
from tests.deploy.running import TRITON_SERVING, run_light
from utils import UsageError


def test_only_a_generated_folder_is_replaced(export_dir, tmp_path):
    flags = ["--export_dir", str(export_dir), "--output_dir", str(tmp_path / "models")]
    (tmp_path / "models").mkdir()
    build_models.main(flags)
    config = tmp_path / "models" / "seqcls" / "config.pbtxt"
    config.write_text("broken")
    build_models.main(flags)
    assert read_config(config.parent)["platform"] == "ensemble"
    mine = tmp_path / "models" / "other_model" / "config.pbtxt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(UsageError, match="other_model.config.pbtxt: not made by build_models.py"):
        build_models.main(flags)
    assert mine.read_text() == "mine"
    with pytest.raises(UsageError, match="models.seqcls.config.pbtxt: is a file"):
        build_models.main([*flags[:3], str(config)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["models"]


def test_what_cannot_be_served_is_refused(trained_once, export_dir, tmp_path, monkeypatch):
    output = ["--output_dir", str(tmp_path / "models")]
    with pytest.raises(UsageError, match="no export folder"):
        build_models.main(["--export_dir", str(tmp_path), *output])
    with pytest.raises(UsageError, match=r"model.onnx: no such file; .*--export_type paddle onnx$"):
        build_models.main(["--export_dir", str(trained_once[1] / "export"), *output])
    with pytest.raises(UsageError, match=r"model_int8.onnx: no such file"):
        build_models.main(["--export_dir", str(export_dir), "--format", "onnx_int8", *output])
    with pytest.raises(SystemExit):
        build_models.main(["--max_batch_size", "0"])
    other = tmp_path / "other"
    shutil.copytree(export_dir, other)
    parity = json.loads((other / "parity.json").read_text())
    parity["probabilities"][0] = [1.0, 0.0, 0.0]
    (other / "parity.json").write_text(json.dumps(parity))
    with pytest.raises(UsageError, match="not the model that was exported: a probability is"):
        build_models.main(["--export_dir", str(other), *output])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other"]


def test_flags_and_folders_are_answered_at_once(tmp_path):
    script = TRITON_SERVING / "build_models.py"
    code, shown, _ = run_light(script, "--help")
    assert code == 0 and "--pad_to_multiple_of" in shown
    code, _, error = run_light(script, "--threads", "-1")
    assert code == 2 and error.endswith("--threads -1: must be at least 0\n")
    code, _, error = run_light(script, "--export_dir", str(tmp_path))
    assert code == 2 and error.startswith(f"{tmp_path}: no export folder")
