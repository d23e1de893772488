"""analysis/evaluate.py: the report, the files and the page, the comparison of two models."""

import importlib.metadata
import re

import numpy as np
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
    assert "not applied" in dom and 'lang="en"' in dom


def test_the_scores_are_those_of_the_export(calibrated, tmp_path, capsys):
    """Its temperature is in them, and in the thresholds; where the export is another model's, it is not."""
    import json
    import shutil

    from core.predictor import Predictor

    data, checkpoint, _ = calibrated
    shutil.copytree(checkpoint, tmp_path / "checkpoint")
    for name in ("dev.txt", "label.txt"):
        shutil.copy(data / name, tmp_path)
    flags = f"--device cpu --dataset_dir {tmp_path} --params_path {tmp_path / 'checkpoint'} --report_dir {tmp_path}"

    def bad_cases():
        evaluate.main(flags.split())
        lines = (tmp_path / "bad_case.txt").read_text(encoding="utf-8").splitlines()[1:]
        return {line.split("\t")[0]: float(line.split("\t")[3]) for line in lines}

    scores, out = bad_cases(), capsys.readouterr().out
    answers = Predictor(tmp_path / "checkpoint" / "export").classify(scores)
    assert len(scores) > 3
    assert list(scores.values()) == pytest.approx([score for _, score in answers], abs=1e-4)
    assert "Logits are divided by " in out and f"that of {tmp_path / 'checkpoint' / 'export'}, fitted" in out
    path = tmp_path / "checkpoint" / "export" / "export.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "weights": "another's"}), encoding="utf-8")
    plain = bad_cases()
    assert plain.keys() == scores.keys() and all(plain[text] > scores[text] for text in scores)
    assert "No temperature is applied to what is served" in capsys.readouterr().out


def test_the_promises_hold_for_what_is_served(trained, tmp_path, capsys):
    """Thresholds of one half of the texts, on the scores that the export gives to it and to the other half."""
    from core.predictor import Predictor

    data, checkpoint = trained
    random, texts, labels = np.random.RandomState(0), [], []
    lines = (data / "dev.txt").read_text(encoding="utf-8").splitlines()
    lines += (data / "train.txt").read_text(encoding="utf-8").splitlines()[:120]
    # With characters missing, and with another text behind every third one, the model errs in all degrees.
    for line in lines * 8:
        text, label = line.split("\t")
        text += lines[random.randint(len(lines))].split("\t")[0] if random.rand() < 0.33 else ""
        texts.append("".join(character for character in text if random.rand() > 0.5).strip() or text[0])
        labels.append(label)
    order = random.permutation(len(texts))
    first, second = order[: len(texts) // 2], order[len(texts) // 2 :]
    (data / "half.txt").write_text("".join(f"{texts[row]}\t{labels[row]}\n" for row in first), encoding="utf-8")
    flags = ["--device", "cpu", "--dataset_dir", str(data), "--params_path", str(checkpoint), "--dev_file", "half.txt"]
    evaluate.main([*flags, "--report_dir", str(tmp_path / "report")])
    told = re.findall(
        r"least (\d+)%: ([\d.]+) % of the samples answered, confidence >= (0\.\d{4})\n", capsys.readouterr().out
    )
    assert any(float(threshold) > 0 for *_, threshold in told), told
    served = Predictor(checkpoint / "export", batch_size=64).classify(texts)
    score = np.array([confidence for _, confidence in served])
    right = np.array([answer == label for (answer, _), label in zip(served, labels)])
    assert 0.5 < right.mean() < 0.97
    for wanted, share, threshold in told:
        answered = score >= float(threshold)
        assert abs(100 * answered[first].mean() - float(share)) <= 100 / len(first)  # one sample, at most
        wanted, number = int(wanted) / 100, answered[second].sum()
        assert right[second][answered[second]].mean() >= wanted - 2 * np.sqrt(wanted * (1 - wanted) / number)


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
