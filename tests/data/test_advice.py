"""data/advice.py: which way is recommended at the borders, commands that run as they stand, figures that are there."""

import re
import shlex

import numpy as np
import pytest

import train
from core.arguments import load_argument_classes, parse_arguments
from data import advice, check
from tests.helpers import ROOT, load_script
from utils import read_label_words, read_texts


@pytest.fixture
def folder(tmp_path):
    """A function that writes a data folder, with texts that all differ, and gives its path."""
    characters = np.array(list("头疼发烧咳嗽应该挂什么科吃药多久能好孩子晚上睡不着检查费用贵吗医生建议手术恢复时间"))

    def write(labels, per_label, unlabelled=None, long=0):
        random = np.random.RandomState(0)
        names = [f"标签{index}" for index in range(labels)]

        def texts(number, length=12):
            return ["".join(random.choice(characters, length)) for _ in range(number)]

        counts = [per_label] * labels if isinstance(per_label, int) else per_label
        train_lines = [f"{text}\t{name}" for name, count in zip(names, counts) for text in texts(count)]
        train_lines[:long] = [f"{texts(1, 300)[0]}\t{names[0]}" for _ in range(long)]
        contents = {"train": train_lines, "dev": [f"{texts(1)[0]}\t{name}" for name in names], "label": names}
        if unlabelled is not None:
            contents["data"] = texts(unlabelled)
        for name, lines in contents.items():
            (tmp_path / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return tmp_path

    return write


def advised(path, lang="en", **options):
    return advice.advise(check.check_folder(path, threshold=0, trust_columns=True, **options).summary(), lang)


def run_up_to_the_model(command):
    """Read a command's flags and the data that it names, as its script does before it loads a model; the flags."""
    python, script, *flags = shlex.split(command)
    assert python == "python" and (ROOT / script).is_file()
    if script == "train.py":
        parser_class, light = load_argument_classes()
        classes = (train.ModelArguments, train.DataArguments, train.RecipeArguments, train.StageArguments, light)
        *parsed, args = parse_arguments(parser_class, classes, flags, "")
        train.check_flags(*parsed, args)
        model_flags, data_flags = parsed[:2]
        train.read_data(model_flags, data_flags, args)
        return data_flags
    module = load_script(script)
    parsed = module.parse_flags(flags)
    if script == "retrieval_based/train.py":
        assert module.read_data(parsed)[2]
        return parsed
    labels = list(read_label_words(parsed.data_dir / "label.txt"))
    module.read_training(parsed, labels)
    if parsed.do_predict:
        read_texts(parsed.data_dir, labels)
    return parsed


@pytest.mark.parametrize(
    "labels, per_label, unlabelled, way",
    [
        (11, 8, None, "setfit without data.txt"),
        (11, 8, 30, "setfit"),
        (11, 16, 1994, "setfit"),
        (11, 64, 30, "setfit"),
        (11, 65, 30, "both"),
        (11, 99, None, "both"),
        (11, 100, 30, "train"),
        (10, 200, None, "train"),  # 2,000 lines
        (1000, 3, None, "retrieval"),
        (999, 3, None, "setfit without data.txt"),
    ],
)
def test_the_way_at_the_borders(folder, labels, per_label, unlabelled, way):
    found = advised(folder(labels, per_label, unlabelled))
    assert found["way"] == way and len(found["commands"]) == (2 if way == "both" else 1)
    for command in found["commands"]:
        run_up_to_the_model(command)
    script = {"train": "train.py", "retrieval": "retrieval_based/train.py"}.get(way, "few-shot/setfit.py")
    assert shlex.split(found["commands"][0])[1] == script


def test_enough_texts_are_for_the_strong_recipe_too(folder):
    """As it is named, behind the command that is recommended."""
    path = folder(11, 120)
    for lang in ("en", "zh"):
        found = advised(path, lang)
        assert "--recipe strong" in found["said"] and "--output_dir" in found["said"]
    (command,) = found["commands"]
    run_up_to_the_model(f"{command} --recipe strong --output_dir other")


def test_the_label_in_the_middle_counts(folder):
    found = advised(folder(5, [400, 300, 20, 10, 1]))
    assert (
        found["way"] == "setfit without data.txt"
        and "20 training texts of the label in the middle (1 to 400)" in (found["here"])
    )


def test_an_empty_data_txt_is_told_and_in_no_way(folder):
    found = advised(folder(11, 16, 0))
    assert found["way"] == "setfit without data.txt" and "data.txt is empty" in found["notes"][0]
    flags = run_up_to_the_model(found["commands"][0])
    assert flags.unlabelled_weight == 0 and not flags.do_predict
    # Without that flag the script would refuse the folder.
    with pytest.raises(Exception, match="data.txt: the file is empty"):
        run_up_to_the_model(found["commands"][0].replace("--unlabelled_weight 0", ""))


def test_blank_lines_of_data_txt_are_told(folder):
    path = folder(11, 16, 30)
    (path / "data.txt").write_text("头疼\n\n发烧\n", encoding="utf-8")
    assert "blank lines" in advised(path)["notes"][0]


def test_labels_of_dev_alone_can_be_found(folder):
    path = folder(1000, [3] * 999 + [0])
    found = advised(path)
    assert found["way"] == "retrieval" and run_up_to_the_model(found["commands"][0]).corpus_file.name == "label.txt"


def test_what_was_not_measured_is_said(folder):
    assert advised(folder(11, 16, 1994))["outside"] == []
    assert advised(folder(11, 630))["outside"] == []
    assert advised(folder(2, 4, 100))["outside"] == [
        "2 labels; it was 11 to 15",
        "4 texts a label; it was 16 to 64",
        "100 unlabelled texts; it was 1,994 to 2,010",
    ]
    assert advised(folder(11, 181))["outside"] == ["181 texts a label; it was 630"]


def test_long_texts_are_told_and_read(folder):
    found = advised(folder(11, 16, long=3))
    assert "2 of KUAKE" not in found["outside"][-1] and "8 of KUAKE-QIC" in found["outside"][-1]
    assert run_up_to_the_model(found["commands"][0]).max_seq_length == 320
    found = advised(folder(11, 200, long=100))
    assert run_up_to_the_model(found["commands"][0]).max_length == 320 and not found["notes"]
    assert run_up_to_the_model(advised(folder(11, 200, long=1))["commands"][0]).max_length == 128
    assert run_up_to_the_model(advised(folder(11, 16), max_length=64)["commands"][0]).max_seq_length == 64


def test_a_relative_folder_is_named_as_the_root_has_it(folder, monkeypatch):
    path = folder(11, 16)
    monkeypatch.chdir(path.parent)
    assert advice.from_root(path.name) == str(path) and advice.from_root(path) == str(path)
    monkeypatch.chdir(ROOT)
    assert advice.from_root("data") == "data"


def test_what_is_missing_comes_first(monkeypatch, tmp_path):
    monkeypatch.setattr(advice, "ROOT", tmp_path)
    monkeypatch.setattr(advice, "find_spec", lambda name: None)
    by_name = {way.name: way for way in advice.WAYS}
    assert advice.before(by_name["train"]) == ["python data/build_encoder.py"]
    assert advice.before(by_name["retrieval"])[0] == "pip install -r retrieval_based/requirements.txt"
    (tmp_path / advice.ENCODER).mkdir(parents=True)
    (tmp_path / advice.ENCODER / "config.json").write_text("{}", encoding="utf-8")
    assert advice.before(by_name["train"]) == []


def test_an_encoder_of_the_texts_where_the_usual_one_cannot_read_them(folder):
    path = folder(11, 16, unlabelled=4)
    lines = (path / "train.txt").read_text(encoding="utf-8").splitlines()
    lines = [f"머리가 아파요 {number}번 {line}" for number, line in enumerate(lines)]
    (path / "train.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = advised(path)
    files = " ".join(shlex.quote(str(path / f"{name}.txt")) for name in ("train", "dev", "data"))
    assert found["first"] == [f"python data/build_encoder.py --texts {files}"]
    assert all("--model_name_or_path data/offline_encoder_own " in command for command in found["commands"])


def test_data_with_errors_get_no_advice(folder):
    path = folder(11, 16)
    (path / "dev.txt").unlink()
    assert advised(path) is None


# -------------------------------------------------------------------------------------------------------- the figures


def section(readme, name):
    """The text of a README's section, from its anchor to the next one."""
    text = (ROOT / readme).read_text(encoding="utf-8")
    return re.search(rf'<a name="{name}"></a>(.*?)(?:<a name=|\Z)', text, re.DOTALL)[1]


@pytest.mark.parametrize("name", advice.FIGURES)
def test_the_figures_stand_where_they_are_cited_from(name):
    figure = advice.FIGURES[name]
    assert figure.quote in section(figure.readme, figure.section)
    number = re.compile(rf"(?<![\d.]){re.escape(figure.value)}(?![\d.]*\d)")
    assert number.search(figure.quote)
    assert number.search(section(figure.readme.replace("README.md", "README_en.md"), figure.section))


@pytest.mark.parametrize("way", advice.WAYS, ids=lambda way: way.name)
def test_both_languages_cite_the_same_figures_and_name_their_sources(way):
    figures = {}
    for lang in ("en", "zh"):
        said = advice.cited(way.measured[lang], lang)
        figures[lang] = sorted(re.findall(r"\d+\.\d+", said))
        assert "tests/bench/README" + (".md" if lang == "zh" else "_en.md") in said and "{" not in said
    assert figures["en"] == figures["zh"]
    assert set(figures["en"]) <= {figure.value for figure in advice.FIGURES.values()}
    assert way.said.keys() == way.measured.keys() == advice.WORDS.keys()


def test_the_lines_end_with_the_command(folder):
    found = advised(folder(11, 80, 10))
    for lang in ("en", "zh"):
        lines = list(advice.advice_lines(found, lang))
        assert lines[-1] == f"next: {found['commands'][0]}" and lines[-2].endswith(found["commands"][1])
    assert advice.WORDS["en"].keys() == advice.WORDS["zh"].keys()
