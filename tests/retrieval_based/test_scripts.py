"""The scripts of retrieval_based/ as a user runs them: found from any folder, help and refusals without paddle."""

import pytest

from tests.helpers import run_python
from tests.retrieval_based.helpers import FOLDER

# What is refused before anything heavy is imported; none of the files named is there.
REFUSED = {
    "train.py": "--train_set_file nowhere.txt --corpus_file nowhere.txt",
    "recall.py": "--corpus_file nowhere.txt",
    "evaluate.py": "--recall_result_file nowhere.txt",
    "predict.py": "--text_pair_file nowhere.txt",
    "export_model.py": "--params_path nowhere",
    "run_system.py": "--model_dir nowhere --texts a",
    "deploy/python/predict.py": "--text_pair_file nowhere.txt",
    "utils/feature_extract.py": "--corpus_file nowhere.txt",
    "utils/vector_insert.py": "--corpus_file nowhere.txt",
}
# Runs a script with a trap: paddle cannot be imported.
WITHOUT_PADDLE = """
import runpy, sys
sys.modules["paddle"] = sys.modules["paddlenlp"] = None
sys.argv = sys.argv[1:]
sys.path[0] = sys.argv[0].rpartition("/")[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("name", REFUSED)
def test_refused_at_once(name, tmp_path):
    run = run_python("-c", WITHOUT_PADDLE, FOLDER / name, *REFUSED[name].split(), cwd=tmp_path, timeout=60)
    assert run.returncode == 2 and "nowhere" in run.stderr and "Traceback" not in run.stderr, run.stderr


@pytest.mark.parametrize("name", REFUSED)
def test_help(name, tmp_path):
    run = run_python(FOLDER / name, "--help", cwd=tmp_path, timeout=60)
    assert run.returncode == 0 and run.stdout.startswith("usage:"), run.stderr
