"""The benchmarks start, and what they measure with can be imported; their figures are not the tests' matter."""

import importlib
import subprocess
import sys

import pytest

from tests.helpers import ROOT

SCRIPTS = sorted(path.name for path in (ROOT / "tests" / "bench").glob("bench_*.py"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_help(name):
    command = [sys.executable, f"tests/bench/{name}", "--help"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=60)
    assert run.returncode == 0 and name in run.stdout, run.stderr


def test_the_makefile_runs_them_all():
    recipes = (ROOT / "tests" / "bench" / "bench.mk").read_text(encoding="utf-8")
    assert all(f"tests/bench/{name}" in recipes for name in SCRIPTS)


@pytest.mark.parametrize(
    "name", ["epoch_batches", "index_cells", "made_models", "measured_models", "retrieval_steps", "step_parts"]
)
def test_what_they_measure_with(name):
    importlib.import_module(f"tests.bench.{name}")


def test_the_evidence_of_long_documents_lies_anywhere():
    """All but the neighbours with the document's label say nothing, and these are early as often as late."""
    from tests.bench.bench_long import QUESTIONS, documents

    texts, label_ids = (
        [f"{label}{number:02}" for label in "abc" for number in range(40)],
        [*[0] * 40, *[1] * 40, *[2] * 40],
    )
    made = documents(texts, label_ids, 2, 4, 900, 0)
    assert made == documents(texts, label_ids, 2, 4, 900, 0) != documents(texts, label_ids, 2, 4, 900, 1)
    thirds = [0, 0, 0]
    for text, label, place in made:
        letters = [question[0] for question in text.split("。")]
        assert QUESTIONS[0] <= len(letters) <= QUESTIONS[1]
        if label != 2:
            start = round(place * len(letters))
            assert letters == [*"c" * start, *"ab"[label] * 4, *"c" * (len(letters) - start - 4)]
            thirds[min(2, int(3 * start / (len(letters) - 3)))] += 1
    assert [sum(label == own for _, label, _ in made) for own in range(3)] == [300] * 3
    assert min(thirds) > 600 / 3 * 0.8
