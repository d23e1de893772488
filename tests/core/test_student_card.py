"""student_card.py: what the card of a student says, and what a user wrote there stays."""

import re
import shutil

import numpy as np
import pytest

import train
from core import card_text, student_card
from core.model_card import Card, is_unchanged
from core.predictor import Predictor
from tests.core.test_card_text import card
from tests.helpers import LABELS, distill_flags
from utils import read_examples, read_json


def page(folder, name="README_en.md"):
    return (folder / name).read_text(encoding="utf-8")


def test_what_it_says_of_a_student_of_ngrams(distilled):
    data, checkpoint = distilled
    folder = checkpoint / "distill_ngram"
    text, content = page(folder), read_json(folder / "export.json")
    assert all(is_unchanged(folder / name) for name in ("README.md", "README_en.md"))
    assert "a linear classifier on hashed n-grams" in text and "distilled from `checkpoint` (the teacher)" in text
    assert "Taskflow and Triton cannot use it" in text and content["weights"][:12] in text
    learnt = content["learnt"]
    assert f"and {learnt['made']:,} that were made from both" in text
    assert f"from {learnt['texts'] - learnt['made'] - 2:,} different training texts" in text
    assert "and 2 unlabelled" in text or "2 unlabelled ones" in text
    texts, truth = read_examples(data / "dev.txt", LABELS)
    rows = {name: Predictor(checkpoint / "export", name).probabilities(texts) for name in ("ngram", "paddle")}
    right = {name: (found.argmax(axis=1) == truth).mean() for name, found in rows.items()}
    line = next(line for line in text.splitlines() if line.startswith("| accuracy |"))
    assert line.split(" | ")[1] == f"{right['ngram']:.2%}" and line.split(" | ")[3] == f"{right['paddle']:.2%}"
    assert re.fullmatch(r"[\d.]+–[\d.]+", line.split(" | ")[2])
    same = (rows["ngram"].argmax(axis=1) == rows["paddle"].argmax(axis=1)).mean()
    assert f"the teacher's label to {same:.2%} of dev" in text
    size = (folder / "ngram_student.npz").stat().st_size / 1e6
    assert f"| `ngram` | `ngram_student.npz` | {size:.1f} |" in text and "100.00%" in text
    assert f"{4 * 32 - 2} characters of a text are read" in text and "`--made_texts 1.0`" in text
    assert ("fitted on" in text) == (content["calibration"]["temperature"] is not None)
    stages = read_json(checkpoint / "export" / "student" / "stages.json")["formats"]
    for format, facts in stages.items():
        told = f"| `cascade:{format}` | {facts['cascade'].get('accuracy', 0):.2%} |"
        assert told in text or f"There is no `cascade:{format}`" in text
    assert "**(please fill in)**" in text and str(data) not in text
    assert "its student's scores are a little too high too" in text  # the teacher's epoch was chosen by dev
    for name in ("README.md", "README_en.md"):
        assert page(checkpoint / "export" / "student", name) == page(folder, name)
        assert content["files"][name] == (folder / name).stat().st_size
    assert "无标签文本" in page(folder, "README.md") and "不含神经网络" in page(folder, "README.md")


def test_a_changed_card_survives_the_next_student(distilled, tmp_path, log):
    data, checkpoint = distilled
    shutil.copytree(checkpoint, tmp_path / "checkpoint")
    places = [tmp_path / "checkpoint" / "distill_ngram", tmp_path / "checkpoint" / "export" / "student"]
    (places[0] / "README_en.md").write_text("# Ours\n", encoding="utf-8")
    (places[1] / "README.md").write_text("# 我们的\n", encoding="utf-8")
    train.main(distill_flags(data, tmp_path / "checkpoint", "--made_texts", "0", "--cascade_loss", "3"))
    assert [page(place) for place in places] == ["# Ours\n", "# Ours\n"]
    assert page(places[1], "README.md") == "# 我们的\n" and is_unchanged(places[0] / "README.md")
    assert "`--made_texts 0.0`" in page(places[0], "README.md")
    assert any("README_en.md is kept" in line for line in log) and any("README.md kept" in line for line in log)
    assert Predictor(places[1].parent, "ngram").classify(["头疼"])
    assert "README_en.md" not in read_json(places[0] / "export.json")["files"]


@pytest.mark.parametrize("language", ["zh", "en"])
def test_a_student_of_layers(language):
    found = {"accuracy": 0.8, "model_accuracy": 0.81}
    student = {
        **{"kind": "layers", "layers": [6, 12], "texts": {"train": 90, "unlabelled": 10, "made": 0}},
        **{"scores": card().scores, "agreement": 0.75},
        "stages": {
            "onnx": {
                "cascade": {**found, "share": 0.6},
                "blend": {"why": "dev has 99 samples, and a weight takes 100", **found},
            }
        },
    }
    text = "\n".join(card_text.card_lines(card(student=student), language))
    assert "75.00%" in text and "| `cascade:onnx` | 80.00% | 81.00% | 60.00% |" in text and "`blend:onnx`" in text
    if language == "en":
        assert "the teacher's layers 6, 12" in text and "What reads this folder: Taskflow, Triton" in text
        assert "from 90 different training texts" in text and "made from both" not in text
    else:
        assert "教师的第 6、12 层" in text and "开发集有 99 条，至少要 100 条" in text
    plain = "\n".join(card_text.card_lines(card(), language))
    assert "75.00%" not in plain and "cascade" not in plain


def test_both_languages_say_the_same_of_a_student(distilled):
    folder = distilled[1] / "distill_ngram"
    numbers = [re.findall(r"\d+(?:\.\d+)?%?", page(folder, name)[:-100]) for name in ("README.md", "README_en.md")]
    assert sorted(numbers[0]) == sorted(numbers[1])


def test_links_and_whole_cards(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir(), new.mkdir()
    (new / "README.md").write_text("new", encoding="utf-8")
    assert student_card.carry_cards(tmp_path / "gone", new) == []
    (old / "README.md").symlink_to(tmp_path / "nowhere")
    student_card.write_cards(new, Card(["a"], {}, {}), print)
    shutil.copy(new / "README_en.md", old)
    assert student_card.carry_cards(old, new) == ["README.md"]
    assert (new / "README.md").is_symlink() and is_unchanged(new / "README_en.md")


def test_rows_of_the_file_are_its_own(distilled):
    data, checkpoint = distilled
    texts, truth = read_examples(data / "dev.txt", LABELS)
    folder = checkpoint / "distill_ngram"
    found = Predictor(folder, "ngram")
    logits = found.logits(found.encode(texts)) * np.float32(found.content["calibration"].get("temperature") or 1.0)
    (row,) = student_card.ngram_rows(folder, texts, np.array(truth), logits)
    assert row["label_agreement"] == 1 and row["max_difference"] < 1e-5 and row["ms_per_sample"] > 0
    (other,) = student_card.ngram_rows(folder, texts, np.array(truth), logits[:, ::-1])
    assert other["label_agreement"] < 0.9
