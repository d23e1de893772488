"""analysis/evaluate.py: the report, the files and the page, the comparison of two models."""

import importlib.metadata

import pytest

import train
from analysis import evaluate
from tests.helpers import not_installed, train_flags
from utils import UsageError


@pytest.fixture
def evaluated(trained, tmp_path, capsys):
    data, checkpoint = trained
    flags = ["--device", "cpu", "--dataset_dir", str(data), "--params_path", str(checkpoint)]
    evaluate.main([*flags, "--report_dir", str(tmp_path / "report")])
    return capsys.readouterr().out, data, tmp_path / "report", flags


def test_the_report_is_train_pys(evaluated, trained, log):
    out, data, _, _ = evaluated
    bad_cases = (data / "bad_case.txt").read_text(encoding="utf-8").splitlines()
    given = f"--data_dir {data} --model_name_or_path {trained[1]} --output_dir {trained[1]} --device cpu"
    train.main(["--do_eval", "--debug", "True", *given.split()])
    wanted = [line for line in log if line.startswith(("Accuracy in", "Class name", "Evaluation ex", "Macro av"))]
    assert len(wanted) == 2 + 2 * 3 and all(line in out.splitlines() for line in wanted)
    theirs = (data / "bad_case.txt").read_text(encoding="utf-8").splitlines()
    assert bad_cases[0] == theirs[0] and len(bad_cases) > 1
    assert {line.rsplit("\t", 1)[0] for line in bad_cases} == {line.rsplit("\t", 1)[0] for line in theirs}
    scores = [float(line.rsplit("\t", 1)[1]) for line in bad_cases[1:]]
    assert scores == sorted(scores, reverse=True)
    assert "Top-2 accuracy in dev dataset: " in out and "Calibration error: " in out
    *_, figures, page, command = out.splitlines()
    accuracy = next(line for line in wanted if line.startswith("Accuracy in")).split()[-1]
    assert figures.startswith(f"Accuracy {accuracy[:-1]} %, macro F1 ") and page.endswith("evaluate.html")
    assert command.endswith("--interpret_input_file bad_case.txt")


def test_files_and_page(evaluated, rendered):
    _, data, folder, _ = evaluated
    for name in ("confusion_matrix", "reliability", "coverage"):
        assert (folder / f"{name}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    page = (folder / "evaluate.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 3 and "src=" not in page and "<script" not in page
    dom = rendered(folder / "evaluate.html")
    for wanted in ("macro F1", "病情诊断", "Confusion matrix", "with temperature", "accuracy on them"):
        assert wanted in dom


def test_compare(evaluated, trained, tmp_path, tiny_model, capsys):
    out, data, folder, flags = evaluated
    worse = tmp_path / "worse"
    train.main(train_flags(data, tiny_model, worse, "--max_steps", "1"))
    capsys.readouterr()
    evaluate.main([*flags, "--report_dir", str(folder), "--compare", str(worse)])
    line = next(line for line in capsys.readouterr().out.splitlines() if "McNemar" in line)
    assert line.startswith(f"{worse}: -")
    changed = (folder / "changed.txt").read_text(encoding="utf-8").splitlines()
    assert changed[0] == f"Text\tLabel\t{trained[1]}\t{worse}"
    assert f"{len(changed) - 1} samples changed sides" in line
    for row in changed[1:]:
        _, label, first, second = row.split("\t")
        assert (first == label) != (second == label)
    assert "McNemar" in (folder / "evaluate.html").read_text(encoding="utf-8")


def test_refusals_before_the_model_is_loaded(trained, tmp_path, monkeypatch):
    data, checkpoint = trained
    monkeypatch.setattr("analysis.classifier.Classifier", None)
    flags = ["--dataset_dir", str(data), "--params_path", str(checkpoint), "--report_dir", str(tmp_path / "report")]
    for more, message in (
        (["--batch_size", "0"], "--batch_size 0: must be at least 1"),
        (["--compare", str(tmp_path / "none")], "none: no such directory"),
        (["--dev_file", "none.txt"], "none.txt: no such file"),
    ):
        with pytest.raises(UsageError, match=message):
            evaluate.main([*flags, *more])
    monkeypatch.setattr(importlib.metadata, "version", not_installed)
    with pytest.raises(UsageError, match=r"needs matplotlib, .* pip install -r analysis/requirements\.txt"):
        evaluate.main(flags)
    assert not (tmp_path / "report").exists()
