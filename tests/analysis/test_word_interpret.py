"""analysis/word_interpret.py and the notebook: files, page, refusals."""

import importlib.metadata
import re
from pathlib import Path

import nbformat
import pytest
from nbconvert.preprocessors import ExecutePreprocessor

from analysis import word_interpret
from analysis.word_flags import METHODS
from tests.analysis.planted import MARKER, word_flags
from tests.helpers import ROOT, not_installed
from utils import UsageError


def read_results(path):
    """Block -> line name -> its columns."""
    blocks = path.read_text(encoding="utf-8").strip().split("\n\n")
    lines = [[line.partition(":") for line in block.splitlines()] for block in blocks]
    return [{name: rest.strip().split("\t") for name, _, rest in block} for block in lines]


def test_files_and_page(trained, tmp_path, rendered, capsys):
    data, _ = trained
    (data / "x.txt").write_bytes(
        f"<script>alert(1)</script>{MARKER} 怎么办\t就医建议\n感冒是什么病\n住院多少钱\n".encode()
    )
    report = tmp_path / "page" / "w.html"
    run = [*word_flags(*trained), *"--interpret_input_file x.txt --interpret_num 2 --method all --report".split()]
    run.append(str(report))
    word_interpret.main(run)
    out = capsys.readouterr().out
    assert "The first 2 of 3 texts are explained" in out
    told = out.splitlines()
    assert told[-3] == f"2 texts explained in {data / 'word_interpret.txt'} and {report}"
    assert "Trust " in told[-2] or "No method" in told[-2]
    assert told[-1].startswith("Next, the training samples behind these predictions: python ")
    assert {line.split()[0] for line in out.splitlines() if " ± " in line} == {*METHODS, "random"}
    first, second = read_results(data / "word_interpret.txt")
    assert first["text"] == [f"<script>alert(1)</script>{MARKER} 怎么办"] and first["label"] == ["就医建议"]
    assert first["predict label"][0] in ("病情诊断", "医疗费用", "就医建议") and "label" not in second
    for method in METHODS:
        words, scores = zip(*(pair.rsplit(" ", 1) for pair in second[method]))
        assert "".join(words) == "感冒是什么病" and any(map(float, scores))

    dom = rendered(report)
    assert "<script>" not in dom and "&lt;" in dom and "Faithfulness" in dom
    text = re.sub("<[^>]*>", "", dom.replace("&lt;", "<").replace("&gt;", ">"))
    assert dom.count('class="words') == 1 + 2 * len(METHODS) and text.count("怎么办") == len(METHODS)
    assert dom.count(' title="') > 4 * len(METHODS)

    same, other = data / "same.txt", data / "other.txt"
    word_interpret.main([*run, "--result_file", same.name])
    word_interpret.main([*run, "--result_file", other.name, "--seed", "4"])
    assert same.read_bytes() == (data / "word_interpret.txt").read_bytes()
    again = read_results(other)[0]
    assert again["lime"] != first["lime"] and again["gradient_shap"] != first["gradient_shap"]
    assert again["integrated_gradients"] == first["integrated_gradients"]


def test_refusals(trained, monkeypatch):
    for more, message in (
        (["--interpret_num", "0"], "--interpret_num 0: must be at least 1"),
        (["--steps", "0"], "--steps 0"),
        (["--samples", "0"], "--samples 0"),
        (["--interpret_input_file", "z.txt"], "z.txt: no such file"),
    ):
        with pytest.raises(UsageError, match=message):
            word_interpret.main([*word_flags(*trained), *more])
    with pytest.raises(SystemExit):
        word_interpret.main([*word_flags(*trained), "--method", "shap"])
    monkeypatch.setattr(importlib.metadata, "version", not_installed)
    with pytest.raises(UsageError, match=r"needs jieba, .* pip install -r analysis/requirements\.txt"):
        word_interpret.main(word_flags(*trained))
    assert not (trained[0] / "word_interpret.txt").exists()


def test_the_notebook_runs_from_top_to_bottom(trained_once):
    path = ROOT / "analysis" / "word_interpret.ipynb"
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    data, checkpoint = map(Path, trained_once)
    values = {"DATASET_DIR": data, "PARAMS_PATH": checkpoint, "DEVICE": "cpu", "INPUT_FILE": "dev.txt", "NUM": 2}
    for name, value in values.items():
        given = re.search(rf"^{name} = (.*)$", code[0].source, re.MULTILINE)[1]
        if name.endswith(("DIR", "PATH")):
            assert given == {"DATASET_DIR": '"../data"', "PARAMS_PATH": '"../checkpoint/"'}[name]
        code[0].source = code[0].source.replace(
            f"{name} = {given}", f"{name} = {value if name == 'NUM' else repr(str(value))}"
        )
    ExecutePreprocessor(timeout=120, kernel_name="python3").preprocess(
        notebook, {"metadata": {"path": str(path.parent)}}
    )
    shown = "".join(output.get("data", {}).get("text/html", "") for cell in code for output in cell.outputs)
    assert shown.count('class="case"') == 2 and "comprehensiveness" in shown
    assert {name for name in METHODS if f'<span class="method">{name}</span>' in shown} == set(METHODS)
