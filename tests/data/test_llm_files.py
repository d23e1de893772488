"""data/llm_files.py: corrected files are not written over, and examples stay while train.txt grows."""

import json
import os
from pathlib import Path

import pytest

from core.origins import ORIGINS_FILE
from data.llm_files import EXAMPLES_FILE, choose_examples, draw_examples, refuse_corrected
from tests.data.test_llm_label import LABELS, folder, model, run
from utils import UsageError, read_json, read_lines, write_json

__all__ = ["folder", "model"]  # fixtures


@pytest.mark.parametrize("name", ["labelled.txt", "train.txt"])
def test_what_somebody_corrected_is_not_written_over(folder, model, name):
    more = ("--min_accuracy", "0.85")
    assert run(folder, model, *more) == 0
    path, requests = folder / "llm" / name, len(model.bodies)
    before = path.read_text(encoding="utf-8")
    path.write_text(before + "一条自己加的钱\t费用\n", encoding="utf-8")
    with pytest.raises(UsageError, match=f"{name}: was changed since it was written here, and would be lost; move it"):
        run(folder, model, *more)
    assert path.read_text(encoding="utf-8").endswith("自己加的钱\t费用\n") and len(model.bodies) == requests
    path.unlink()
    assert run(folder, model, *more) == 0 and path.read_text(encoding="utf-8") == before


def test_a_kill_between_two_files_is_no_correction(folder, model, monkeypatch):
    assert run(folder, model, "--min_accuracy", "0.85") == 0
    with (folder / "data.txt").open("a", encoding="utf-8") as file:
        file.write("data99钱\n")
    replace, moved = os.replace, []

    def once(source, target):
        moved.append(Path(target).name)
        if moved[-1] == "train.txt":
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", once)
    with pytest.raises(KeyboardInterrupt):
        run(folder, model, "--min_accuracy", "0.85")
    assert {"agreement.json", "labelled.txt"} <= set(moved)
    monkeypatch.setattr(os, "replace", replace)
    assert run(folder, model, "--min_accuracy", "0.85") == 0
    assert "data99钱\t费用" in read_lines(folder / "llm" / "train.txt")


def test_files_of_an_earlier_version(folder, model):
    """Without digests, labelled.txt is held against origins.jsonl."""
    assert run(folder, model, "--min_accuracy", "0.85") == 0
    out = folder / "llm"
    agreement = read_json(out / "agreement.json")
    del agreement["written"]
    write_json(out / "agreement.json", agreement)
    refuse_corrected(out)
    lines = read_lines(out / "labelled.txt")
    (out / "labelled.txt").write_text("\n".join(lines[1:]) + "\n", encoding="utf-8")
    with pytest.raises(UsageError, match="labelled.txt: was changed"):
        refuse_corrected(out)
    (out / ORIGINS_FILE).unlink()
    with pytest.raises(UsageError, match="labelled.txt: was changed"):
        refuse_corrected(out)
    refuse_corrected(folder / "none")


def test_answers_stay_good_while_train_txt_grows(folder, model):
    more = ("--min_accuracy", "0.85", "--concurrency", "1")
    assert run(folder, model, *more) == 0
    examples, requests = read_json(folder / "llm" / EXAMPLES_FILE), len(model.bodies)
    assert len(examples["examples"]) == 6
    lines = [f"新的{number}{word}\t{label}" for number in range(9) for word, label in zip("疼钱", LABELS)]
    old = read_lines(folder / "train.txt")
    (folder / "train.txt").write_text("".join(f"{line}\n" for line in [*lines, *old]), encoding="utf-8")
    assert run(folder, model, *more) == 0 and len(model.bodies) == requests
    assert read_lines(folder / "llm" / "train.txt")[:18] == lines
    gone = "\t".join(examples["examples"][0])
    left = [line for line in [*lines, *old] if line != gone]
    (folder / "train.txt").write_text("".join(f"{line}\n" for line in left), encoding="utf-8")
    assert run(folder, model, *more) == 0 and len(model.bodies) > requests


def test_other_examples_where_they_are_asked_for(tmp_path):
    texts, ids = [f"t{number}" for number in range(40)], [number % 2 for number in range(40)]
    found, content = choose_examples(tmp_path, texts, ids, ["a", "b"], 2, 1)
    assert found == draw_examples(texts, ids, ["a", "b"], 2, 1) and [label for _, label in found] == list("aabb")
    (tmp_path / EXAMPLES_FILE).write_text(json.dumps(content), encoding="utf-8")
    assert choose_examples(tmp_path, ["x", *texts], [0, *ids], ["a", "b"], 2, 1)[0] == found
    for labels, number, seed in ((["a", "c"], 2, 1), (["a", "b"], 3, 1), (["a", "b"], 2, 2)):
        drawn = draw_examples(texts, ids, labels, number, seed)
        assert choose_examples(tmp_path, texts, ids, labels, number, seed)[0] == drawn != found
