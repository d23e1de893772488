"""How the repository is laid out: imports, circles, sizes, what lies at the top."""

import ast
import re
import subprocess

import pytest

from tests.helpers import ROOT

TRACKED = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
FILES = [path for path in TRACKED if path.endswith(".py") and (ROOT / path).is_file()]
FOLDERS = {"analysis", "core", "data", "deploy", "few-shot", "retrieval_based", "tests"}
# The line that puts the repository's root first on sys.path.
ROOT_LINE = re.compile(r"sys\.path\.insert\(0, str\(Path\(__file__\)\.resolve\(\)\.parents\[(\d)\]\)\)")
# They are copied into a model repository of Triton, where nothing else of this one is.
COPIED = {"deploy/triton_serving/tokenizer_model.py", "deploy/triton_serving/postprocess_model.py"}


# Parts of a script that are tested through it.
TESTED_WITH = {
    "deploy/simple_serving/messages.py": "tests/deploy/test_application.py",
    "deploy/triton_serving/connection.py": "tests/deploy/test_triton.py",
    "few-shot/prompt_steps.py": "tests/few-shot/test_train.py",
    "few-shot/utc.py": "tests/few-shot/test_zero_shot.py",
    "retrieval_based/export_model.py": "tests/retrieval_based/test_scripts.py",
    "retrieval_based/utils/feature_extract.py": "tests/retrieval_based/test_scripts.py",
}


def tree_of(path):
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def is_script(path):
    return 'if __name__ == "__main__":' in (ROOT / path).read_text(encoding="utf-8")


def file_of(module):
    """The file of a module of this repository, or None for another's."""
    path = module.replace(".", "/")
    return next((name for name in (f"{path}.py", f"{path}/__init__.py") if name in FILES), None)


def imports_of(path):
    """(line, module of ours) of each import in a file; `from a import b` gives a.b where that is a module."""
    for node in ast.walk(tree_of(path)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import; qualify it from the root"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if file_of(name) else node.module for name in names]
        for name in names:
            if file_of(name):
                yield node.lineno, name


@pytest.mark.parametrize("path", FILES)
def test_the_import_rule(path):
    """Scripts put the root first on sys.path in one line; nothing else touches it, and no import is unqualified."""
    text = (ROOT / path).read_text(encoding="utf-8")
    touched = [line for line in text.splitlines() if "sys.path" in line and not line.strip().startswith(("#", '"'))]
    if path.startswith("tests/") and not path.startswith("tests/bench/"):
        touched = []  # code of subprocesses stands in strings
    assert len(touched) <= 1, touched
    for line in touched:
        match = ROOT_LINE.match(line)
        assert match, line
        assert int(match[1]) == path.count("/"), line
    assert "noqa: E402" not in text or path == "tests/test_house.py"
    siblings = {file.stem for file in (ROOT / path).parent.glob("*.py")} if "/" in path else set()
    for node in ast.walk(tree_of(path)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            top = name.split(".")[0]
            known = top in FOLDERS or file_of(top)
            assert known or top not in siblings or path in COPIED or top in ("data",), f"{path}: {name} is unqualified"


@pytest.mark.parametrize("path", [path for path in FILES if not path.startswith("tests/")])
def test_nobody_imports_a_script(path):
    for line, module in imports_of(path):
        assert not is_script(file_of(module)), f"{path}:{line} imports the script {module}"


def test_core_imports_no_other_folder():
    for path in FILES:
        if path.startswith("core/"):
            for line, module in imports_of(path):
                assert module.split(".")[0] in ("core", "utils"), f"{path}:{line} imports {module}"


def test_no_circles():
    graph = {path: {file_of(module) for _, module in imports_of(path)} - {path} for path in FILES}
    done, path_so_far = set(), []

    def visit(path):
        if path in path_so_far:
            pytest.fail(f"a circle: {' -> '.join([*path_so_far[path_so_far.index(path) :], path])}")
        if path not in done:
            path_so_far.append(path)
            for other in sorted(graph[path]):
                visit(other)
            done.add(path_so_far.pop())

    for path in FILES:
        visit(path)


def test_only_few_shot_loads_files_by_their_path():
    for path in FILES:
        if not path.startswith(("few-shot/", "tests/")) and path != "core/arguments.py":
            assert "load_module" not in (ROOT / path).read_text(encoding="utf-8"), path


def test_sizes():
    """A file that is too long to be read is several."""
    for path in FILES:
        lines = len((ROOT / path).read_text(encoding="utf-8").splitlines())
        assert lines <= (500 if path.startswith("tests/") else 450), f"{path}: {lines} lines"
    assert len({path.split("/")[0] for path in TRACKED}) <= 20
    skips = sum((ROOT / path).read_text(encoding="utf-8").count("# fmt: " + "skip") for path in FILES)
    assert skips <= 30, skips


def test_every_module_has_a_test_file():
    tests, untested = set(FILES), []
    for path in FILES:
        folder, _, name = path.rpartition("/")
        if not path.startswith("tests/") and name != "__init__.py":
            places = [f"tests/{folder.split('/')[0]}/".replace("//", "/"), f"tests/{folder}/"]
            wanted = {TESTED_WITH.get(path), *(f"{place}test_{name}" for place in places)}
            if not wanted & tests:
                untested.append(path)
    assert not untested
