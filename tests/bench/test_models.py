"""bench_models.py: what it makes and measures, with a fine-tuned tiny model, and its tables."""

import re
from types import SimpleNamespace

import pytest

import train
from tests.bench import bench_models, made_models, measured_models
from tests.helpers import save_tiny_ernie, write_data
from utils import read_json, write_json

SHORT = "--max_length 32 --disable_tqdm True --num_train_epochs"


def row(format, seed, accuracy, ms=2.0, model="m", **more):
    own = {"model": model, "width": "1/1", "pruner": "-", "minutes": None, "seed": seed, "format": format}
    return {**own, "accuracy": accuracy, "ms": ms, "ms_with_tokenisation": ms + 0.5, "file_mb": 4.0, **more}


def test_seeds_are_averaged(capsys):
    rows = [row("onnx_int8", seed, accuracy, ms) for seed, accuracy, ms in ((1, 0.79, 1), (2, 0.80, 3), (3, 0.81, 2))]
    cascade = row("cascade:onnx_int8", 2, 0.8, share=0.25, accuracy_out_of_fold=0.79)
    bench_models.print_table(rows)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].split(" | ")[5] == "80.00% ± 1.00%" and lines[-1].split(" | ")[10] == "2.00 ± 1.00"
    bench_models.print_students([*rows, cascade], [{**row("cascade:onnx_int8", 1, 0), "why": "no threshold"}])
    lines = capsys.readouterr().out.splitlines()
    assert lines[3] == "| m | onnx_int8 | 80.00% ± 1.00% | - | - | 2.000 ± 1.000 | 2.500 ± 1.000 |"
    assert lines[4] == "| m | cascade:onnx_int8 (1 of 3 seeds) | 80.00% | 79.00% | 25.00% | 2.000 | 2.500 |"
    assert lines[-1] == "m, seed 1, cascade:onnx_int8: no threshold"
    assert bench_models.averaged(rows)["ms"] == 2 and bench_models.averaged(rows)["accuracy"] == pytest.approx(0.8)


def test_each_seed_and_recipe_has_a_folder(tmp_path):
    name = "offline encoder 12L-384"
    found = [
        made_models.model_folder(tmp_path, name, recipe, seed).name
        for recipe, seed in (("plain", 42), ("plain", 1), ("strong", 42), ("strong", 3))
    ]
    own = "offline_encoder_12L-384"
    assert found == [own, f"{own}_seed_1", f"{own}_strong", f"{own}_strong_seed_3"]


def test_what_is_there_is_not_made_again(tmp_path, monkeypatch):
    """The commands of an encoder with a strong teacher and one seed, and none of them a second time."""
    commands = []

    def run(*command):
        command = [str(part) for part in command]
        commands.append(" ".join(command))
        output = tmp_path.__class__(command[command.index("--output_dir") + 1])
        made = output if "--do_train" in command else output / "distill_layers_4"
        folders = [output / "export"] if "--do_export" in command else [made]
        if "ngram" in command:
            folders = [output / "export" / "student"]
        for folder in [made, *folders] if "--do_train" in command or "layers:4" in command else folders:
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / "export.json", {})
            write_json(made / "config.json", {"num_hidden_layers": 6}) if made.is_dir() else None

    monkeypatch.setattr(made_models, "run", run)
    monkeypatch.setattr(measured_models, "export_plain", lambda folder, target: target.mkdir())
    args = SimpleNamespace(work_dir=tmp_path, data_dir="d", recipe="strong", pruners=[], layer_students=[4, 6])
    args.layer_flags = "--learning_rate 9e-5"
    for _ in range(2):
        found = made_models.make_models("six", "model", "1e-3", 3, args)
    folder = tmp_path / "six_strong_seed_3"
    small = folder / "small" / "distill_layers_4"
    assert found["small"] == {4: small / "export"} and len(commands) == 5
    said = [re.search(r"(--do_\w+).*?--output_dir (\S+)", command).groups() for command in commands]
    assert said[0] == ("--do_train", str(folder)) and "--recipe strong" in commands[0]
    assert said[1] == ("--do_compress", str(folder)) and "--student ngram" in commands[1]
    assert said[2] == ("--do_compress", str(folder / "small")) and "--student layers:4" in commands[2]
    assert commands[2].index("--learning_rate 9e-5") > commands[2].index("--num_train_epochs 4")
    assert said[3] == ("--do_export", str(small)) and said[4] == ("--do_compress", str(small))
    assert "--student ngram" in commands[4] and all("--seed 3 " in command for command in commands)


@pytest.mark.slow
def test_a_tiny_model(tmp_path, sample_lines, monkeypatch, capsys):
    """All rows of two seeds of a model with 2 layers, those of the student of one layer among them; then again."""
    from paddlenlp.transformers import ErnieModel

    (tmp_path / "data").mkdir()
    lines = sample_lines["train"]
    write_data(tmp_path / "data", lines, [*sample_lines["dev"], *lines[::2]])  # 100 samples are needed for a threshold
    (tmp_path / "tiny").mkdir()
    model = save_tiny_ernie(tmp_path / "tiny", ErnieModel, sample_lines)
    commands = []

    def run(*command):
        commands.append([str(part) for part in command])
        train.main([*commands[-1][1:], "--disable_tqdm", "True", "--learning_rate", "5e-3"])

    monkeypatch.setattr(made_models, "run", run)
    args = SimpleNamespace(
        **{"data_dir": tmp_path / "data", "work_dir": tmp_path / "work", "repeats": 1, "seeds": [1, 42]},
        **{"recipe": "plain", "pruners": [], "layer_students": [1], "layer_flags": "--num_train_epochs 1"},
        **{"model_name_or_path": str(model), "learning_rate": "5e-3", "output": tmp_path / "found.json"},
        **{"compress_flags": "", "ernie": False},
    )
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    bench_models.main(args)
    printed, made = capsys.readouterr().out, len(commands)
    assert made == 2 * 5
    found = read_json(tmp_path / "found.json")
    told = {(one["model"], one["format"], one["seed"]) for one in [*found["rows"], *found["refused"]]}
    names, formats = ("tiny", "tiny, layers:1"), ("onnx", "onnx_int8", *bench_models.STUDENTS)
    assert {(name, format, seed) for name in names for format in formats for seed in (1, 42)} <= told
    assert all(0 <= one["accuracy"] <= 1 and one["ms"] > 0 for one in found["rows"])
    measured = {(one["model"], one["format"]) for one in found["rows"]}
    assert {(name, format) for name in names for format in ("onnx", "onnx_int8", "ngram")} <= measured
    assert re.search(r"\| tiny, layers:1 \| onnx_int8 \| [\d.]+% ± [\d.]+% \|", printed)
    assert (tmp_path / "found.png").stat().st_size
    assert (tmp_path / "work" / "tiny" / "export" / "student" / "ngram_student.npz").is_file()
    bench_models.main(args)
    assert len(commands) == made
