"""core/model_card.py: what a card is told, whose licence it states, and that nobody's own README is replaced."""

import json
import re
import shutil

import numpy as np
import pytest
from sklearn.metrics import f1_score

import train
from core import model_card
from core.checkpoints import CARD_FILES, MODEL_WEIGHTS, weights_digest
from core.predictor import Predictor
from tests.helpers import LABELS, train_flags
from utils import read_examples, read_json, write_json


def export_flags(data, checkpoint, folder, *more):
    base = f"--do_export --device cpu --data_dir {data} --model_name_or_path {checkpoint} --output_dir {checkpoint}"
    return [*base.split(), "--export_model_dir", str(folder), *more]


def page(folder, name="README_en.md"):
    return (folder / name).read_text(encoding="utf-8")


# ------------------------------------------------------------------------------------------------------ what is known


def test_the_card_of_an_export(calibrated):
    """Its numbers are those of the files beside it, and of the answers that it gives."""
    data, _, folder = calibrated
    card, content = page(folder), read_json(folder / "export.json")
    texts, truth = read_examples(data / "dev.txt", LABELS)
    predicted = Predictor(folder).probabilities(texts).argmax(axis=1)
    accuracy, macro = (predicted == np.array(truth)).mean(), f1_score(truth, predicted, average="macro")
    assert f"| accuracy | {accuracy:.2%} |" in card and f"| macro F1 | {macro:.2%} |" in card
    assert f"temperature {content['calibration']['temperature']:.4g}, fitted on {len(texts)} texts" in card
    assert f"| dev | {len(texts)} | 3/3 |" in card and "| training | 240 | 3/3 |" in card  # as run.json has it
    assert content["weights"][:12] in card
    for row in content["metrics"]["dev"][1:]:
        assert f"| `{row['format']}` | `{row['file']}` |" in card
    for flag in ("num_train_epochs 4.0", "learning_rate 0.005", "max_length 32", "load_best_model_at_end True"):
        assert f"`--{flag}`" in card
    assert "weight_decay" not in card and "adam" not in card
    assert "dev chose the epoch" in card and "Ask whoever made it" in card
    assert {name: len((folder / name).read_bytes()) for name in CARD_FILES}.items() <= content["files"].items()


def test_no_text_and_no_path_of_the_machine_is_in_it(calibrated, tiny_model):
    data, _, folder = calibrated
    for name in CARD_FILES:
        card = page(folder, name)
        assert str(data) not in card and str(tiny_model.parent) not in card and f"`{tiny_model.name}`" in card
        assert not any(text in card for text in read_examples(data / "dev.txt", LABELS)[0])


def test_without_dev_and_without_run_json_it_says_so(trained_once, tmp_path):
    _, trained = trained_once
    checkpoint = tmp_path / "checkpoint"
    shutil.copytree(trained, checkpoint, ignore=shutil.ignore_patterns("checkpoint-*", "export", "run.json"))
    train.main(export_flags(tmp_path, checkpoint, tmp_path / "export"))
    card = page(tmp_path / "export")
    assert "| training | unknown | unknown |" in card and "| dev | unknown | unknown |" in card
    assert str(tmp_path) not in card
    assert (
        "Unknown: dev was not evaluated at the export (there is no dev.txt to fit a temperature on; give --data_dir"
        in card
    )
    assert "has no `run.json`" in card and "The base model and its licence are unknown" in card
    assert "nothing was compared" in card and "## 5." not in card


def test_the_flags_at_their_default_are_not_told(tmp_path, data_dir, tiny_model):
    flags = f"--do_train --device cpu --data_dir {data_dir} --model_name_or_path {tiny_model} --output_dir {tmp_path}"
    run = train.parse_all(flags.split())
    names = [name for name, _ in model_card.training_flags(run.fingerprint)]
    assert set(names) <= set(model_card.ALWAYS)
    more = train_flags(data_dir, tiny_model, tmp_path, "--rdrop_alpha", "1", "--pooling", "mean")
    told = dict(model_card.training_flags(train.parse_all(more).fingerprint))
    assert told["rdrop_alpha"] == "1.0" and told["pooling"] == "mean" and told["metric_for_best_model"] == "accuracy"
    assert model_card.shown(["/home/me/encoder", 3]) == "encoder 3"


def test_what_dev_decided():
    found = model_card.decided_by_dev(
        {"load_best_model_at_end": True, "early_stopping": False, "logit_adjustment": True}
    )
    assert found == ["best", "adjust"]
    assert model_card.decided_by_dev({}, [("strategy", "dynabert+ptq")]) == ["widths"]
    assert model_card.decided_by_dev({}, [("strategy", "ptq")]) == []


def test_all_right_is_not_certain():
    """48 right answers of 48: the bootstrap would say from 100 to 100 %."""
    truth = np.repeat([0, 1], 48)
    found = model_card.dev_scores(["a", "b"], truth, np.eye(2)[truth], seed=0)
    assert found["accuracy"][1] < 0.97 and found["classes"][0]["recall"][1] < 0.95
    assert found["classes"][1]["precision"][2] == 1 and found["confused"] == [] and found["most_common"] == 0.5


# ------------------------------------------------------------------------------------------------------------ licences


STATED = {
    "config.json": (json.dumps({"license": "apache-2.0"}), "apache-2.0"),
    "README.md": ("---\r\nlanguage: zh\r\nlicense: mit\r\n---\r\n# A model\r\n", "mit"),
    "LICENSE": ("\n  Apache License\n  Version 2.0\n", "Apache License"),
}


@pytest.mark.parametrize("name", STATED)
def test_a_licence_that_the_base_model_s_folder_states(tmp_path, name):
    base, text = tmp_path / "base", STATED[name]
    base.mkdir()
    (base / "model_state.pdparams").write_bytes(b"weights")
    fingerprint = {"model_name_or_path": str(base), MODEL_WEIGHTS: weights_digest(base)}
    model = tmp_path / "model"
    assert model_card.base_model(model, fingerprint) == {"name": "base", "why": "silent", "names": ["base"]}
    (base / name).write_bytes(text[0].encode())
    found = model_card.base_model(model, fingerprint)
    assert (found["licence"], found["file"], found["name"]) == (text[1], name, "base")
    (base / "model_state.pdparams").write_bytes(b"other")
    assert model_card.base_model(model, fingerprint)["why"] == "changed"


def test_a_readme_without_front_matter_states_nothing(tmp_path):
    (tmp_path / "README.md").write_text("# A model\nlicense: all rights reserved\n", encoding="utf-8")
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    assert model_card.stated_licence(tmp_path) is None


def test_a_model_s_name_and_a_chain_of_trainings(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, base in {first: "ernie-3.0-tiny-medium-v2-zh", second: str(first)}.items():
        folder.mkdir()
        write_json(folder / "run.json", {"fingerprint": {"model_name_or_path": base}})
    found = model_card.base_model(tmp_path / "third", {"model_name_or_path": str(second)})
    assert found["names"] == ["second", "first", "ernie-3.0-tiny-medium-v2-zh"] and found["why"] == "name"
    own = model_card.base_model(first, {"model_name_or_path": str(first)})
    assert own["why"] == "gone"
    assert model_card.base_model(tmp_path / "third", {}) == {"name": None, "why": "unknown", "names": []}
    gone = model_card.base_model(tmp_path / "third", {"model_name_or_path": str(tmp_path / "gone")})
    assert gone["why"] == "gone"


# ------------------------------------------------------------------------------------------------- whose README it is


@pytest.fixture
def folder(tmp_path):
    write_json(tmp_path / "export.json", {"max_length": 32, "files": {"model.pdmodel": 5}})
    return tmp_path


def write(folder, labels=("a", "b")):
    said = []
    kept = model_card.write_cards(
        folder, model_card.Card(list(labels), read_json(folder / "export.json"), {}), said.append
    )
    return kept, said


def test_a_card_of_ours_is_replaced(folder):
    assert write(folder) == ([], [])
    first = page(folder)
    (folder / "README.md").write_bytes((folder / "README.md").read_bytes().replace(b"\n", b"\r\n"))  # git's doing
    assert write(folder, ("a", "b", "c")) == ([], [])
    assert page(folder) != first and "3 个标签" in page(folder, "README.md")
    assert set(read_json(folder / "export.json")["files"]) == {"model.pdmodel", *CARD_FILES}


@pytest.mark.parametrize("theirs", ["# Mine\n", "", "\ufeffx\n", None])
def test_another_s_readme_is_kept(folder, theirs):
    path = folder / "README.md"
    if theirs is None:
        path.symlink_to(folder / "nowhere")
    else:
        path.write_text(theirs, encoding="utf-8")
    kept, said = write(folder)
    assert kept == ["README.md"] and "README.md is kept" in said[0] and "move it away" in said[0]
    assert path.is_symlink() if theirs is None else path.read_text(encoding="utf-8") == theirs
    assert set(read_json(folder / "export.json")["files"]) == {"model.pdmodel", "README_en.md"}


def test_one_letter_makes_it_the_user_s(folder):
    write(folder)
    for name in CARD_FILES:
        text = (folder / name).read_bytes()
        (folder / name).write_bytes(re.sub(b"please fill in", b"a customer ok.", text, count=1))  # of the same size
    changed = page(folder)
    kept, said = write(folder)
    assert kept == ["README_en.md"] and page(folder) == changed != ""


def test_a_second_export_keeps_what_was_filled_in(calibrated, tmp_path, log):
    """Of the same size, too: earlier files of that size are deleted."""
    data, checkpoint, folder = calibrated
    target = tmp_path / "export"
    shutil.copytree(folder, target)
    filled = page(target).replace("(please fill in)", "(nurses at work)", 1)
    (target / "README_en.md").write_text(filled, encoding="utf-8")
    chinese = page(target, "README.md")
    train.main(export_flags(data, checkpoint, target, "--calibrate", "False"))
    assert page(target) == filled and page(target, "README.md") != chinese
    assert "没有用温度校准" in page(target, "README.md")
    assert any("README_en.md is kept, being no model card" in line for line in log)
    assert len(Predictor(target).classify(["头疼"])) == 1
