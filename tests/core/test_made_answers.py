"""made_answers.py: who answers, what is kept, and that a killed run goes on."""

import numpy as np
import pytest

from core import made_answers
from core.distill import ANSWERS_FILE, own_export
from core.made_answers import fast_answers
from core.predictor import Predictor

TEXTS = [f"text {number}" for number in range(7)]


def rows_of(texts):
    return np.array([[len(text), int(text[-1])] for text in texts], "float32")


class Teacher:
    """Answers, remembers what it was asked, and is killed after so many calls."""

    def __init__(self, calls=99):
        self.asked, self.calls = [], calls

    def __call__(self, texts):
        if len(self.asked) == self.calls:
            raise KeyboardInterrupt
        self.asked.append(list(texts))
        return rows_of(texts)


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A file with the answers to real texts, in parts of three made texts; nothing is answered for the time alone."""
    monkeypatch.setattr(made_answers, "PART", 3)
    monkeypatch.setattr(made_answers, "minutes", lambda *_: "a minute")
    real = {"texts": np.ones((2, 2), "float32"), "dev": np.zeros((1, 2), "float32")}
    np.savez(tmp_path / ANSWERS_FILE, key="of the real ones", **real)
    return tmp_path / ANSWERS_FILE


def test_a_killed_run_goes_on(path, log):
    with pytest.raises(KeyboardInterrupt):
        made_answers.made_answers(path, TEXTS, "onnx", Teacher(calls=2))
    teacher = Teacher()
    found = made_answers.made_answers(path, TEXTS, "onnx", teacher)
    assert teacher.asked == [TEXTS[6:]] and (found == rows_of(TEXTS)).all() and found.dtype == np.float32
    assert any("6 of which it has answered already: about a minute; --made_texts 0" in line for line in log)
    with np.load(path) as stored:
        assert str(stored["key"]) == "of the real ones" and (stored["texts"] == 1).all()
    # All of them are there: nobody is asked, whoever would answer.
    before = path.stat().st_mtime_ns
    assert (made_answers.made_answers(path, TEXTS, "the checkpoint", Teacher(calls=0)) == found).all()
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize("texts, name", [(TEXTS[::-1], "onnx"), (TEXTS, "the checkpoint")])
def test_a_part_is_only_for_the_same_texts_and_teacher(path, texts, name):
    with pytest.raises(KeyboardInterrupt):
        made_answers.made_answers(path, TEXTS, "onnx", Teacher(calls=2))
    teacher = Teacher()
    assert (made_answers.made_answers(path, texts, name, teacher) == rows_of(texts)).all()
    assert sum(teacher.asked, []) == texts


def test_the_time_is_told(monkeypatch):
    clock = iter([0.0, 6.4])
    monkeypatch.setattr(made_answers.time, "perf_counter", lambda: next(clock))
    teacher = Teacher()
    assert made_answers.minutes(teacher, [f"{number}" for number in range(1000)], 3000) == "5 minutes"
    assert [len(some) for some in teacher.asked] == [8, 64]


def test_the_fastest_export_answers_without_its_temperature(distilled, monkeypatch):
    from types import SimpleNamespace

    from core.confidence import temperature_of
    from utils import read_json

    export = distilled[1] / "export"
    facts = read_json(export / "export.json")
    run = SimpleNamespace(
        model_flags=SimpleNamespace(export_model_dir=None), args=SimpleNamespace(output_dir=str(distilled[1]))
    )
    assert own_export(run, facts["weights"]) == export and temperature_of(facts) != 1
    name, answer = fast_answers(None, export)
    texts = ["头疼应该挂什么科", "感冒"]
    predictor = Predictor(export, "onnx_int8")
    expected = predictor.logits(predictor.encode(texts)) * temperature_of(facts)
    assert name.startswith("onnx_int8, ") and np.abs(answer(texts) - expected).max() < 1e-5
    assert fast_answers(None, None)[0] == "the checkpoint"
