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


@pytest.mark.parametrize("name", ["epoch_batches", "index_cells", "measured_models", "retrieval_steps"])
def test_what_they_measure_with(name):
    importlib.import_module(f"tests.bench.{name}")
