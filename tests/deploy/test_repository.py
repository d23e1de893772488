"""repository.py: the generated repository is right by itself."""

import json
import shutil

from core.tokenizer_json import RUNTIME_KEY
from deploy.triton_serving import build_models
from tests.deploy.exporting import read_config
from tests.helpers import LABELS, ROOT
from utils import write_json


def test_the_repository(models, export_dir):
    made_from = json.loads((models / "repository.json").read_text("utf-8"))
    assert made_from["labels"] == LABELS and made_from["max_length"] == 32
    on_disk = {str(path.relative_to(models)) for path in models.rglob("*") if path.is_file()}
    assert on_disk == set(made_from["files"])
    assert (models / "seqcls_model" / "1" / "model.onnx").read_bytes() == (export_dir / "model.onnx").read_bytes()
    configs = {
        name: read_config(models / name) for name in ("tokenizer", "seqcls_model", "seqcls_postprocess", "seqcls")
    }
    assert {config["max_batch_size"] for config in configs.values()} == {16}
    assert {tensor["name"] for tensor in configs["seqcls_model"]["input"]} == {"input_ids", "token_type_ids"}
    assert all("dynamic_batching" in configs[name] for name in list(configs)[:3])
    outputs = [(tensor["name"], *tensor["dims"]) for tensor in configs["seqcls"]["output"]]
    assert outputs == [("label", "1"), ("confidence", "1"), ("probabilities", "3")]
    assert str(ROOT) not in "".join(path.read_text("utf-8") for path in models.rglob("*.p[by]*"))


def test_flags_reach_the_configs(export_dir, tmp_path):
    flags = (
        "--device gpu --instances 2 --tokenizer_instances 3 --threads 4 --max_queue_delay 500 --pad_to_multiple_of 8"
    )
    build_models.main(["--export_dir", str(export_dir), "--output_dir", str(tmp_path / "m"), *flags.split()])
    tokenizer, model = (read_config(tmp_path / "m" / name) for name in ("tokenizer", "seqcls_model"))
    assert model["instance_group"] == [{"count": 2, "kind": "KIND_GPU"}]
    assert model["parameters"] == {"intra_op_thread_count": {"string_value": "4"}}
    assert model["dynamic_batching"] == {"max_queue_delay_microseconds": "500"}
    assert tokenizer["instance_group"] == [{"count": 3, "kind": "KIND_CPU"}]
    assert tokenizer["parameters"] == {"pad_to_multiple_of": {"string_value": "8"}}


def test_the_export_s_own_tokenizer_is_taken_and_an_older_export_gets_one(models, export_dir, tmp_path):
    file = models / "tokenizer" / "1" / "tokenizer.json"
    assert file.read_bytes() == (export_dir / "tokenizer.json").read_bytes()
    shutil.copytree(export_dir, tmp_path / "old")
    (tmp_path / "old" / "tokenizer.json").unlink()
    content = json.loads((export_dir / "export.json").read_text("utf-8"))
    content["files"] = {name: size for name, size in content["files"].items() if name != "tokenizer.json"}
    write_json(
        tmp_path / "old" / "export.json", {name: value for name, value in content.items() if name != RUNTIME_KEY}
    )
    build_models.main(["--export_dir", str(tmp_path / "old"), "--output_dir", str(tmp_path / "models")])
    assert (tmp_path / "models" / "tokenizer" / "1" / "tokenizer.json").read_bytes() == file.read_bytes()
