"""retrieval_based/README.md: its commands in order, and every flag of the training."""

import re
import shlex

from retrieval_based import evaluate, export_model, predict, recall, run_system, train
from retrieval_based.deploy.python import predict as deployed
from retrieval_based.utils import feature_extract, vector_insert
from tests.helpers import write_data
from tests.retrieval_based.helpers import FOLDER

SCRIPTS = {
    "train.py": train,
    "recall.py": recall,
    "evaluate.py": evaluate,
    "predict.py": predict,
    "export_model.py": export_model,
    "deploy/python/predict.py": deployed,
    "utils/feature_extract.py": feature_extract,
    "utils/vector_insert.py": vector_insert,
    "run_system.py": run_system,
}
IN_ORDER = """
    train.py recall.py evaluate.py recall.py recall.py evaluate.py predict.py export_model.py
    deploy/python/predict.py deploy/python/predict.py utils/feature_extract.py utils/vector_insert.py
"""
WRITTEN = [
    "checkpoint/retrieval/model_best/dual_encoder.json",
    "checkpoint/retrieval/export/model.onnx",
    "recall_result/result.tsv",
    "vectors.npy",
    "features/vectors.npy",
    "milvus.db",
]


def readme_commands():
    """The argument lists behind python in retrieval_based/README.md, in order."""
    text = (FOLDER / "README.md").read_text("utf-8").replace("\\\n", " ")
    lines = "".join(re.findall(r"```shell\n(.*?)```", text, re.DOTALL)).splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("python ")]


def test_the_readme_s_commands_in_order(tiny_model, sample_lines, trained, tmp_path, monkeypatch, capsys):
    """All but those of another place: several cards, a server (tests of its own), benchmarks."""
    write_data(tmp_path / "data", sample_lines["train"][:40], sample_lines["dev"][:20])
    files = {"data/test.txt": sample_lines["dev"][20:40], "data/data.txt": ["头疼", "多少钱"]}
    files.update({"pairs.txt": ["头疼\t头疼怎么办"], "new.txt": ["怎么挂号"], "other.txt": ["今天下雨"]})
    for name, lines in files.items():
        (tmp_path / name).write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    done = []
    for script, *flags in readme_commands():
        name = script.removeprefix("retrieval_based/")
        if name not in SCRIPTS or any(flag.startswith("http") for flag in flags):
            continue
        if "--device" in flags:
            flags[flags.index("--device") + 1] = "cpu"
        if name == "train.py":
            flags += ["--model_name_or_path", str(tiny_model), "--epochs", "1"]
        SCRIPTS[name].main(flags)
        done.append(name)
    assert done == [*IN_ORDER.split(), *["run_system.py"] * 9]
    for name in WRITTEN:
        assert (tmp_path / name).is_file(), name
    assert not (tmp_path / "checkpoint/retrieval/export/system.json").exists()  # the index has it
    out = capsys.readouterr().out
    for line in (
        "挂号: 1 texts added",
        "挂号: 2 texts added",
        "挂号: 3 texts are 就诊挂号 now",
        "就诊挂号: 3 texts removed",
    ):
        assert line in out
    text = (FOLDER / "README.md").read_text("utf-8")
    code = next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "FeatureExtractor" in block)
    namespace = {}
    exec(compile(code, "retrieval_based/README.md", "exec"), namespace)
    assert namespace["vectors"].shape == (2, 256)


def test_the_readme_has_every_flag_of_the_training():
    text = (FOLDER / "README.md").read_text("utf-8")
    for name in vars(train.parse_flags([])):
        assert f"`--{name}`" in text, name


def test_two_cards_use_flags_of_one():
    launched = next(line for line in readme_commands() if line[1] == "paddle.distributed.launch")
    assert launched[:5] == ["-m", "paddle.distributed.launch", "--gpus", "0,1", "retrieval_based/train.py"]
    assert vars(train.parse_flags(launched[5:])) == vars(train.parse_flags([]))
