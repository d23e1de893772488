"""The READMEs: both languages say the same, what they name is there, and their commands run as they stand.

What the commands need changed is the device and the model, which the tests have no network for.
"""

import ast
import functools
import importlib
import itertools
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import train
from core.arguments import load_argument_classes
from core.named_recipes import typed
from core.recipe_flags import NAMED_RECIPES
from tests.helpers import ROOT, load_script, write_few_shot_data

# Folders with a README.md in Chinese and a README_en.md.
FOLDERS = [
    ".",
    "analysis",
    "data",
    "deploy",
    "deploy/annotation",
    "deploy/batch",
    "deploy/simple_serving",
    "deploy/triton_serving",
    "few-shot",
    "retrieval_based",
    "tests/bench",
]
READMES = [f"{folder}/{name}".removeprefix("./") for folder in FOLDERS for name in ("README.md", "README_en.md")]
TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in READMES}

# Flags of other programs: pip, docker, tritonserver, paddle.distributed.launch, uvicorn, doccano, visualdl, ray.
FOREIGN_FLAGS = set(
    "restart name shm-size gpus nproc_per_node model-repository model-control-mode load-model exit-timeout-secs "
    "read-only tmpfs app-dir host port workers logdir username password email help head".split()
)

# Files that a command writes, or that the reader has; names without a folder.
PRODUCED = set(
    """all.jsonl all.txt again.jsonl answers.jsonl aug.txt bad_case.txt changed.txt class.txt classes.tsv config.json
    confusion_matrix.png corpus.tsv corrected.jsonl coverage.png doccano.jsonl dual_encoder.json evaluate.html
    distinct.txt export.json id2label.json
    labels.jsonl labels.txt levels.json model.py new.txt other.txt pairs.txt parity.json predictions.txt raw.txt
    reliability.png report.html report.json result.jsonl sent_interpret.txt
    special_tokens_map.json sparse.txt support.txt template_config.json test.txt test_results.json to_annotate.jsonl
    tokenizer.json tokenizer_config.json train_dirty.txt train_dirty_rest.txt verbalizer_config.json vocab.txt
    word_interpret.html word_interpret.txt zero_shot.txt
    adjudicated.jsonl agreement.html agreement.json alice.jsonl bob.jsonl conflicts.txt descriptions.txt dev.json
    encoding.json export.zip labelled.txt merges.txt meta.json monitor.html monitor.json notes.json openapi.json
    origins.jsonl predictions.jsonl pseudo_labels.json pseudo_labels.txt reference.json stages.json tasks.json
    teachers.json test.json texts.prom to_adjudicate.jsonl to_annotate.txt to_label.txt train.json
    vocab.json""".split()
)
PRODUCED_FOLDERS = (
    "checkpoint",
    "checkpoints",
    "my_data",
    "my_texts",
    "my_clean",
    "my_folds",
    "recall_result",
    "features",
)


# ------------------------------------------------------------------------------------------------------ reading them


def blocks(name, *languages):
    """The contents of a README's fenced blocks in these languages, in order."""
    return re.findall(rf"```(?:{'|'.join(languages)})\n(.*?)```", TEXTS[name], re.DOTALL)


def python_lines(name):
    """The argument lists behind `python` in a README's shell blocks, in order."""
    text = "\n".join(blocks(name, "shell")).replace("\\\n", " ")
    return [shlex.split(line, comments=True)[1:] for line in re.findall(r"^python .*", text, re.MULTILINE)]


def code_spans(name):
    """All that a README sets as code: spans in a line, and the logical lines of its shell blocks."""
    prose = re.sub(r"```.*?```", "", TEXTS[name], flags=re.DOTALL)
    shell = "\n".join(blocks(name, "shell", "bat")).replace("\\\n", " ")
    return [*re.findall(r"`([^`\n]+)`", prose), *shell.splitlines()]


def find_file(readme, path):
    """Where a path in a README leads: from its folder, from where a `cd` goes, or from the root; None if nowhere."""
    folders = [Path(readme).parent, *re.findall(r"^cd (\S+)$", TEXTS[readme], re.MULTILINE), *FOLDERS]
    return next((ROOT / folder / path for folder in folders if (ROOT / folder / path).exists()), None)


def documented_flags():
    """Script -> words before its flags, such as a subcommand -> names of the flags that READMEs give it."""
    found = {}
    for readme in READMES:
        for span in code_spans(readme):
            match = re.search(r"(?<![\w.-])((?:[\w.-]+/)*\w+\.py) (.*)", span.split(" #")[0])
            script = find_file(readme, match[1]) if match else None
            words = shlex.split(match[2]) if script else []
            names = {word[2:] for word in words if re.fullmatch(r"--\w+", word)}
            if names:
                first = tuple(itertools.takewhile(lambda word: not word.startswith("-"), words))
                found.setdefault((str(script.resolve().relative_to(ROOT)), first), set()).update(names)
    return found


DOCUMENTED = documented_flags()


@functools.cache
def known_flags(script, words):
    """The flags of a script's --help, run as a user runs it."""
    command = [sys.executable, script, *words, "--help"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=60)
    assert result.returncode == 0, result.stderr
    return set(re.findall(r"(?<![\w-])--(\w+)", result.stdout))


def replaced(flags, **values):
    for name, value in values.items():
        flags[flags.index(f"--{name}") + 1] = str(value)
    return flags


# --------------------------------------------------------------------------------------------- what they say and name


def test_every_readme_is_in_both_languages():
    """And none is forgotten above."""
    paths = [path for pattern in ("*", "*/*", "*/*/*") for path in ROOT.glob(f"{pattern}.md")]
    found = {str(path.relative_to(ROOT)) for path in paths if path.stem.startswith("README")}
    assert {name for name in found if not name.startswith((".", "checkpoint"))} == set(READMES)


@pytest.mark.parametrize("folder", FOLDERS)
def test_both_languages_show_the_same_commands(folder):
    names = f"{folder}/README.md".removeprefix("./"), f"{folder}/README_en.md".removeprefix("./")
    for languages in (("shell", "bat"), ("python",), ("json", "ini")):
        chinese, english = (
            [re.sub(r"(^|\s)(#|::).*", "", block).split() for block in blocks(name, *languages)] for name in names
        )
        assert chinese == english
    chinese, english = ([len(level) for level in re.findall(r"^(#+) ", prose(name), re.MULTILINE)] for name in names)
    assert chinese == english, "other sections"
    chinese, english = (re.findall(r"^#+ (\d[\d.]*)", prose(name), re.MULTILINE) for name in names)
    assert chinese == english, "other section numbers"
    chinese, english = (sorted(set(re.findall(r"`(--\w+)", TEXTS[name]))) for name in names)
    assert chinese == english, "other flags"


def prose(name):
    return re.sub(r"```.*?```", "", TEXTS[name], flags=re.DOTALL)


@pytest.mark.parametrize("script, words", DOCUMENTED)
def test_every_flag_of_a_documented_command_exists(script, words):
    assert DOCUMENTED[script, words] <= known_flags(script, words)


@pytest.mark.parametrize("name", READMES)
def test_every_flag_named_is_some_script_s(name):
    known = set().union(FOREIGN_FLAGS, *(known_flags(*key) for key in DOCUMENTED))
    assert set(re.findall(r"(?<![\w-])--([a-z][\w-]*)", TEXTS[name])) <= known


@pytest.mark.parametrize("name", READMES)
def test_every_link_leads_somewhere(name):
    for path, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)", TEXTS[name]):
        if path.startswith("http"):
            continue
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.exists(), path
        if anchor:
            text = target.read_text(encoding="utf-8")
            titles = re.findall(r"^#+ (.*)", text, re.MULTILINE)
            slugs = [re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles]
            assert f'<a name="{anchor}">' in text or anchor in slugs, f"{path}#{anchor}"


@pytest.mark.parametrize("name", READMES)
def test_links_stay_in_the_language(name):
    other = "README.md" if name.endswith("_en.md") else "README_en.md"
    assert len(re.findall(rf"\]\([^)]*\b{other}", TEXTS[name])) == 1, "only the one to the other language"


@pytest.mark.parametrize("name", READMES)
def test_every_file_named_is_there(name):
    """But those that a command writes."""
    spans = [*code_spans(name), *re.findall(r"\[([\w./-]+)\]\(", TEXTS[name])]
    paths = {path for span in spans for path in re.findall(r"(?<![\w/.<*@-])((?:[\w.-]+/)*[\w-]+\.[a-z]\w+)", span)}
    endings = (".py", ".ipynb", ".mk", ".md", ".txt", ".json", ".png", ".html", ".jsonl")
    for path in sorted(path for path in paths if path.endswith(endings)):
        written = Path(path).name in PRODUCED or path.lstrip("./").startswith(PRODUCED_FOLDERS)
        assert written or find_file(name, path), path


@pytest.mark.parametrize("name", ["README.md", "README_en.md"])
def test_the_tree_is_the_tree(name):
    tree = next(block for block in blocks(name, "text") if block.startswith(".\n"))
    entries = " ".join(re.findall(r"^[├└]── ([^#\n]*)", tree, re.MULTILINE)).split()
    assert {"core/", "tests/", "train.py"} <= set(entries)
    for entry in entries:
        assert (ROOT / entry).exists(), entry
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, encoding="utf-8", check=True).stdout
    folders = {line.split("/")[0] + "/" for line in files.splitlines() if "/" in line and not line.startswith(".")}
    assert folders <= set(entries)


@pytest.mark.parametrize("name", READMES)
def test_make_targets_exist(name):
    rules = "".join(path.read_text("utf-8") for path in (ROOT / "Makefile", *(ROOT / "tests").glob("bench/*.mk")))
    for target in re.findall(r"(?:^|`)make ([a-z][a-z-]*)(?=[\s`]|$)", TEXTS[name], re.MULTILINE):
        assert re.search(rf"^{target}:", rules, re.MULTILINE), target


@pytest.mark.parametrize("name", READMES)
def test_versions_named_are_the_pinned_ones(name):
    pins = "".join((ROOT / file).read_text("utf-8") for file in ("constraints.txt", "constraints-paddle3.txt"))
    pinned = {"paddlepaddle==3.1.1", *re.findall(r"^[\w-]+==[\w.]+", pins, re.MULTILINE)}
    table = re.findall(r"^\| (paddle\w+|scikit-learn)\b.*\| ([^|]+) \|$", TEXTS[name], re.MULTILINE)
    named = {f"{package}=={version}" for package, cell in table for version in re.findall(r"\d+\.\d+\.\d+", cell)}
    named |= set(re.findall(r"\b[a-z][\w-]+==\d[\d.]*\d", TEXTS[name]))
    assert named <= pinned


# ------------------------------------------------------------------------------------------------------ the top README


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with the shipped data, where the README's relative paths work."""
    folder = tmp_path_factory.mktemp("readme")
    copy_data(folder)
    return folder


def copy_data(folder):
    (folder / "data").mkdir()
    for path in (ROOT / "data").glob("*.txt"):
        shutil.copy(path, folder / "data")


def train_commands():
    """The argument lists of the one-process train.py commands, in order."""
    return [flags for script, *flags in python_lines("README.md") if script == "train.py"]


def test_the_commands_in_order(workplace, tiny_model, monkeypatch):
    monkeypatch.chdir(workplace)
    training, *stages, debug, compress, distill, layers, export, parity, windows = train_commands()
    train.main(replaced(training, device="cpu", model_name_or_path=tiny_model))
    for path in ("export/model.pdmodel", "export/id2label.json", "config.json", "model_state.pdparams", "vocab.txt"):
        assert (workplace / "checkpoint" / path).is_file()
    produced = ("pretrained/pretraining.json", "pseudo_labels.json", "teachers.json")
    for flags, path in zip(stages, produced, strict=True):
        short = "--max_steps 4 --per_device_train_batch_size 64 --device cpu".split()
        train.main([*replaced(flags, model_name_or_path=tiny_model), *short])
        assert (workplace / flags[flags.index("--output_dir") + 1] / path).is_file()
    train.main(replaced(debug, device="cpu"))
    header = (workplace / "data" / "bad_case.txt").read_text(encoding="utf-8").splitlines()[0]
    assert header == "Text\tLabel\tPrediction\tScore"
    train.main(replaced(compress, device="cpu"))
    for width in ("0.75", "0.67", "0.5"):
        assert (workplace / "checkpoint" / "prune" / f"width_mult_{width}" / "pruned_model.pdmodel").is_file()
    train.main([*distill, "--made_texts", "0.1"])
    train.main(replaced(layers, device="cpu", student="layers:1", num_train_epochs="1"))
    for path in ("distill_ngram/ngram_student.npz", "distill_layers_1/model_int8.onnx", "export/student/stages.json"):
        assert (workplace / "checkpoint" / path).is_file()
    train.main(export)
    assert (workplace / "checkpoint" / "export" / "model_int8.onnx").is_file()
    train.main(parity)
    train.main(replaced(parity, model_name_or_path="checkpoint/prune/width_mult_0.67"))
    train.main([*replaced(windows, model_name_or_path=tiny_model), *short])
    assert (workplace / "checkpoint_windows" / "export" / "model.pdmodel").is_file()

    namespace = {}
    labels = (workplace / "data" / "label.txt").read_text(encoding="utf-8").split()
    for block in blocks("README.md", "python"):
        code = re.sub(r"\n# \[.*", "", block, flags=re.DOTALL)
        exec(compile(ast.parse(code), "README.md", "exec"), namespace)
        result = namespace["cls"](["黑苦荞茶的功效与作用及食用方法", "幼儿挑食的生理原因是"])
        if "Predictor" in block:
            assert all(label in labels and 0 < score < 1 for label, score in result) and len(result) == 2
            continue
        assert [set(row) for row in result] == [{"predictions", "text"}] * 2
        assert all(row["predictions"][0]["label"] in labels for row in result)


def test_several_cards_use_the_flags_of_one():
    launch = next(flags for flags in python_lines("README.md") if flags[0] == "-m")
    assert launch[:5] == ["-m", "paddle.distributed.launch", "--gpus", "0,1", "train.py"]
    assert launch[5:] == train_commands()[0]


# ---------------------------------------------------------------------------------------------------------------- data


def annotate(texts_file, export_file, label_of):
    """What a person does in doccano: give each text its label, export."""
    records = [json.loads(line) for line in Path(texts_file).read_text(encoding="utf-8").splitlines()]
    lines = [json.dumps({**row, "label": [label_of(row)]}, ensure_ascii=False) + "\n" for row in records]
    Path(export_file).write_bytes("".join(lines).encode("utf-8"))


def test_the_data_example(tmp_path, tiny_model, monkeypatch, capsys):
    """The worked example of data/README.md, in order, with the annotator's part played."""
    from data import check, doccano

    monkeypatch.chdir(tmp_path)
    copy_data(tmp_path)
    text = TEXTS["data/README.md"]
    example = re.findall(
        r"```shell\n(.*?)```", text[text.index('<a name="6">') : text.index('<a name="6.1">')], re.DOTALL
    )
    commands = [shlex.split(line) for block in example for line in block.strip().splitlines()]
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


def test_the_top_readme_shows_commands_of_the_data_s():
    pattern = re.compile(r"^python data/(?:check|doccano|split)\.py .*", re.MULTILINE)
    for name in ("README.md", "README_en.md"):
        shown = pattern.findall(TEXTS[name])
        assert len(shown) == 6 and set(shown) <= set(pattern.findall(TEXTS["data/README.md"]))


@pytest.mark.parametrize("name", ["README.md", "README_en.md"])
def test_the_strong_recipe_is_told_as_it_is(name):
    (row,) = re.findall(r"^\| `--recipe strong` \|.*", TEXTS[name], re.MULTILINE)
    flags = " ".join(typed(*flag) for flag in NAMED_RECIPES["strong"].items())
    assert re.findall(r"`([^`]+)`", row)[1] == flags


# ------------------------------------------------------------------------------------------------------------ analysis


def test_the_analysis_commands(trained, tiny_mlm, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    data, checkpoint = trained
    shutil.copy(ROOT / "data" / "data.txt", data)
    commands = python_lines("analysis/README.md")
    assert " ".join(command[0] for command in commands) == (
        "evaluate.py evaluate.py sent_interpret.py word_interpret.py dirty.py sparse.py sparse.py aug.py aug.py "
        "monitor.py"
    )
    values = {
        "dataset_dir": data,
        "params_path": checkpoint,
        "compare": checkpoint,
        "train_path": data / "train.txt",
        "aug_path": data / "aug.txt",
        "model_name_or_path": tiny_mlm,
        "reference": data / "dev.txt",
        "export_dir": checkpoint / "export",
    }
    rows = [line.split("\t") for line in (data / "train.txt").read_text(encoding="utf-8").splitlines()]
    answers = [json.dumps({"text": text, "label": label, "score": 0.9}, ensure_ascii=False) for text, label in rows]
    (tmp_path / "predictions.jsonl").write_text("\n".join(answers), encoding="utf-8")
    for script, *flags in commands:
        given = {name: value for name, value in values.items() if f"--{name}" in flags}
        importlib.import_module(f"analysis.{script.removesuffix('.py')}").main(replaced(flags, **given))
    for name in "bad_case sent_interpret word_interpret train_dirty train_dirty_rest sparse support aug".split():
        assert (data / f"{name}.txt").is_file()
    for name in ("evaluate_report/evaluate.html", "word_interpret.html", "monitor_report/monitor.html"):
        assert (tmp_path / name).is_file()
    assert "+0.00 points" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------------------ few-shot


def test_the_few_shot_commands(tmp_path, tiny_mlm, tiny_utc, sample_lines, monkeypatch, capsys):
    folder = tmp_path / "few-shot"
    for path in (folder / "data", tmp_path / "data"):
        path.mkdir(parents=True)
        write_few_shot_data(path, sample_lines)
    (tmp_path / "data" / "test.txt").rename(tmp_path / "data" / "data.txt")
    monkeypatch.chdir(folder)
    done = []
    for script, *flags in python_lines("few-shot/README.md"):
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

    code = blocks("few-shot/README.md", "python")[0]
    namespace = {}
    exec(compile(ast.parse(code), "few-shot/README.md", "exec"), namespace)
    assert len(namespace["cls"](["多少钱"])) == 1


def test_few_shot_s_several_cards_use_the_flags_of_one():
    one, launch, *_ = python_lines("few-shot/README.md")
    assert launch[:6] == ["-u", "-m", "paddle.distributed.launch", "--gpus", "0,1", "train.py"]
    assert launch[6:] == one[1:]


@pytest.mark.parametrize("name", ["few-shot/README.md", "few-shot/README_en.md"])
def test_the_few_shot_readme_lists_every_flag_of_its_own(name):
    _, prompt_arguments = load_argument_classes("PromptTuningArguments")
    _, general = load_argument_classes()
    script = load_script("few-shot/train.py")
    own = {*script.DataArguments.__dataclass_fields__, *script.ModelArguments.__dataclass_fields__}
    prompt = prompt_arguments.__dataclass_fields__.keys() - general.__dataclass_fields__.keys()
    assert len(prompt) > 8
    for flag in own | prompt:
        assert f"`--{flag}`" in TEXTS[name], flag
