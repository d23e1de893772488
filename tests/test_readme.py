"""The READMEs' commands run as they stand, but for the device and the model path."""

import ast
import importlib
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

import train
from core.arguments import load_argument_classes
from tests.helpers import ROOT, load_script, write_few_shot_data

READMES = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README_en.md")}
DATA_README = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
FEW_SHOT_README = (ROOT / "few-shot" / "README.md").read_text(encoding="utf-8")


def blocks(language, name="README.md"):
    return re.findall(rf"```{language}\n(.*?)```", READMES[name], re.DOTALL)


def train_commands():
    """The argument lists of the one-process train.py commands, in order."""
    texts = [block.replace("\\\n", " ").strip() for block in blocks("shell")]
    return [shlex.split(text)[2:] for text in texts if text.startswith("python train.py")]


def replaced(flags, **values):
    for name, value in values.items():
        flags[flags.index(f"--{name}") + 1] = str(value)
    return flags


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, tiny_model):
    """A folder with the shipped data, where the README's relative paths work."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "data").mkdir()
    for path in (ROOT / "data").glob("*.txt"):
        shutil.copy(path, folder / "data")
    return folder


def test_both_languages_show_the_same_commands():
    for language in ("shell", "bat", "python"):
        chinese, english = ([re.sub(r"(#|::).*", "", block) for block in blocks(language, name)] for name in READMES)
        assert [block.split() for block in chinese] == [block.split() for block in english]


def test_the_commands_in_order(workplace, tiny_model, monkeypatch):
    monkeypatch.chdir(workplace)
    training, debug, compress, export, parity = train_commands()
    train.main(replaced(training, device="cpu", model_name_or_path=tiny_model))
    for path in ("export/model.pdmodel", "export/id2label.json", "config.json", "model_state.pdparams", "vocab.txt"):
        assert (workplace / "checkpoint" / path).is_file()
    train.main(replaced(debug, device="cpu"))
    header = (workplace / "data" / "bad_case.txt").read_text(encoding="utf-8").splitlines()[0]
    assert header == "Text\tLabel\tPrediction\tScore"
    train.main(replaced(compress, device="cpu"))
    for width in ("0.75", "0.67", "0.5"):
        assert (workplace / "checkpoint" / "prune" / f"width_mult_{width}" / "pruned_model.pdmodel").is_file()
    train.main(export)
    assert (workplace / "checkpoint" / "export" / "model_int8.onnx").is_file()
    train.main(parity)
    train.main(replaced(parity, model_name_or_path="checkpoint/prune/width_mult_0.67"))

    namespace = {}
    for block in blocks("python"):
        code = re.sub(r"\n# \[.*", "", block, flags=re.DOTALL)
        exec(compile(ast.parse(code), "README.md", "exec"), namespace)
        result = namespace["cls"](["黑苦荞茶的功效与作用及食用方法", "幼儿挑食的生理原因是"])
        labels = (workplace / "data" / "label.txt").read_text(encoding="utf-8").split()
        if "Predictor" in block:
            assert all(label in labels and 0 < score < 1 for label, score in result) and len(result) == 2
            continue
        assert [set(row) for row in result] == [{"predictions", "text"}] * 2
        assert all(row["predictions"][0]["label"] in labels for row in result)


def annotate(texts_file, export_file, label_of):
    """What a person does in doccano: give each text its label, export."""
    records = [json.loads(line) for line in Path(texts_file).read_text(encoding="utf-8").splitlines()]
    lines = [json.dumps({**row, "label": [label_of(row)]}, ensure_ascii=False) + "\n" for row in records]
    Path(export_file).write_bytes("".join(lines).encode("utf-8"))


def test_the_data_example(tmp_path, tiny_model, monkeypatch, capsys):
    """The worked example of data/README.md, in order, with the annotator's part played."""
    import check
    import doccano

    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for path in (ROOT / "data").glob("*.txt"):
        shutil.copy(path, tmp_path / "data")
    example = DATA_README[DATA_README.index('<a name="6">') :]
    commands = [shlex.split(line) for block in re.findall(r"```shell\n(.*?)```", example, re.DOTALL)
                for line in block.strip().splitlines()]  # fmt: skip
    truth = dict(line.split("\t") for line in (tmp_path / "data/train.txt").read_text(encoding="utf-8").splitlines())
    done = []
    for command in commands:
        name, flags = command[1].removesuffix(".py"), command[2:]
        if command[0] == "cut":
            Path(command[-1]).write_bytes("".join(f"{text}\n" for text in truth).encode("utf-8"))
        elif name == "train":
            if "--do_train" in flags:
                flags = [*replaced(flags, model_name_or_path=tiny_model, num_train_epochs=1), "--disable_tqdm", "True"]
            train.main(flags)
        elif name == "data/check":
            assert check.main(flags) == 0
        elif name == "data/doccano":
            if "corrected.jsonl" in flags:
                annotate("again.jsonl", "corrected.jsonl", lambda row: truth.get(row["text"], "其他"))
            if "doccano.jsonl" in flags:
                annotate("to_annotate.jsonl", "doccano.jsonl", lambda row: truth[row["text"]])
            assert not doccano.main(flags)
        done.append(name)
    assert done.count("data/doccano") == 4 and done.count("data/check") == 3 and done.count("train") == 2
    # The 80 unlabelled texts were labelled by the annotator and joined train.txt.
    assert capsys.readouterr().out.count(": added '其他' | ") == 80
    assert len((tmp_path / "my_clean" / "train.txt").read_text(encoding="utf-8").splitlines()) == 704 + 80

    # The READMEs show the same commands, in shorter words.
    pattern = re.compile(r"^python data/(?:check|doccano|split)\.py .*", re.MULTILINE)
    for text in READMES.values():
        assert len(pattern.findall(text)) == 6 and set(pattern.findall(text)) <= set(pattern.findall(DATA_README))


def test_the_analysis_commands(trained, tiny_model, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    data, checkpoint = trained
    shutil.copy(ROOT / "data" / "data.txt", data)
    text = (ROOT / "analysis" / "README.md").read_text(encoding="utf-8")
    commands = [shlex.split(line)[1:] for line in re.findall(r"^python .*", text, re.MULTILINE)]
    assert " ".join(command[0] for command in commands) == (
        "evaluate.py evaluate.py sent_interpret.py word_interpret.py dirty.py sparse.py sparse.py aug.py aug.py"
    )
    values = {"dataset_dir": data, "params_path": checkpoint, "compare": checkpoint, "train_path": data / "train.txt",
              "aug_path": data / "aug.txt", "model_name_or_path": tiny_model}  # fmt: skip
    for script, *flags in commands:
        given = {name: value for name, value in values.items() if f"--{name}" in flags}
        importlib.import_module(script.removesuffix(".py")).main(replaced(flags, **given))
    for name in ("bad_case", "sent_interpret", "word_interpret", "train_dirty", "train_dirty_rest", "sparse",
                 "support", "aug"):  # fmt: skip
        assert (data / f"{name}.txt").is_file()
    for name in ("evaluate_report/evaluate.html", "word_interpret.html"):
        assert (tmp_path / name).is_file()
    assert "+0.00 points" in capsys.readouterr().out


def few_shot_commands():
    """The argument lists behind python in few-shot/README.md, in order, several cards' without -m and its own."""
    text = FEW_SHOT_README.replace("\\\n", " ")
    return [shlex.split(line)[1:] for line in re.findall(r"^python .*", text, re.MULTILINE)]


def test_the_few_shot_commands(tmp_path, tiny_mlm, tiny_utc, sample_lines, monkeypatch, capsys):
    folder = tmp_path / "few-shot"
    for path in (folder / "data", tmp_path / "data"):
        path.mkdir(parents=True)
        write_few_shot_data(path, sample_lines)
    (tmp_path / "data" / "test.txt").rename(tmp_path / "data" / "data.txt")
    monkeypatch.chdir(folder)
    done = []
    for script, *flags in few_shot_commands():
        if script == "-u":
            continue
        if "--device" in flags:
            flags = replaced(flags, device="cpu")
        if "--do_train" in flags:
            shorter = ["--max_steps", "2"] if script == "setfit.py" else ["--num_train_epochs", "2"]
            flags += [*shorter, "--model_name_or_path", str(tiny_mlm)]
        if script == "zero_shot.py":
            flags += ["--task_path", str(tiny_utc)]
        load_script(f"few-shot/{script}").main(flags)
        done.append(script)
    assert done == ["train.py", "train.py", "infer.py", "setfit.py", "zero_shot.py", "zero_shot.py"]
    for name in (
        "checkpoints_setfit/predictions.txt",
        "checkpoints_setfit/export/model.onnx",
        "checkpoints/predictions.txt",
        "checkpoints/export/model.onnx",
        "zero_shot.txt",
    ):
        assert (folder / name).is_file()
    assert " of 19 texts)" in capsys.readouterr().err

    code = next(block for block in re.findall(r"```python\n(.*?)```", FEW_SHOT_README, re.DOTALL))
    namespace = {}
    exec(compile(ast.parse(code), "few-shot/README.md", "exec"), namespace)
    assert len(namespace["cls"](["多少钱"])) == 1


def test_few_shot_s_several_cards_use_the_flags_of_one():
    one, launch, *_ = few_shot_commands()
    assert launch[:6] == ["-u", "-m", "paddle.distributed.launch", "--gpus", "0,1", "train.py"]
    assert launch[6:] == one[1:]


def test_the_few_shot_readme_lists_every_flag_of_its_own():
    _, prompt_arguments = load_argument_classes("PromptTuningArguments")
    _, general = load_argument_classes()
    script = load_script("few-shot/train.py")
    own = {*script.DataArguments.__dataclass_fields__, *script.ModelArguments.__dataclass_fields__}
    prompt = prompt_arguments.__dataclass_fields__.keys() - general.__dataclass_fields__.keys()
    assert len(prompt) > 8
    for name in own | prompt:
        assert f"`--{name}`" in FEW_SHOT_README, name


def test_several_cards_use_the_flags_of_one():
    text = next(block for block in blocks("shell") if "paddle.distributed.launch" in block).replace("\\\n", " ")
    launch = shlex.split(text.splitlines()[1])
    assert launch[:6] == ["python", "-m", "paddle.distributed.launch", "--gpus", "0,1", "train.py"]
    assert launch[6:] == train_commands()[0]


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for text in READMES.values():
        for target in re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_file_named_exists():
    for text in (*READMES.values(), DATA_README):
        folders = [".", *re.findall(r"^cd (\S+)$", text, re.MULTILINE)]
        for name in re.findall(r"python ((?:data/|tests/)?\w+\.py)", text):
            assert any((ROOT / folder / name).is_file() for folder in folders), name
    for name in re.findall(r"python (?:data/|tests/)?\w+\.py", FEW_SHOT_README):
        name = name.split()[1]
        assert (ROOT / name if "/" in name else ROOT / "few-shot" / name).is_file(), name
