"""analysis/evaluate.py: statistics against independent ones, the files and the page, the comparison of two models."""

import evaluate
import numpy as np
import pytest
from tests.helpers import train_flags
from sklearn.metrics import precision_recall_fscore_support, top_k_accuracy_score

import train

LABELS = ["甲", "乙", "丙", "丁"]


@pytest.fixture(scope="module")
def sample():
    """Logits and classes of 2,000 samples, of which the logits are three times too large for calibration."""
    random = np.random.RandomState(0)
    logits = random.randn(2000, 4)
    truth = np.array([random.choice(4, p=row) for row in evaluate.softmax(logits)])
    return 3 * logits, truth


def test_scores_are_scikit_learns(sample):
    logits, truth = sample
    predicted = logits.argmax(axis=1)
    scores = evaluate.class_scores(evaluate.confusion_matrix(truth, predicted, 4))
    expected = precision_recall_fscore_support(truth, predicted)
    assert np.allclose(scores, np.stack(expected[:3], axis=1))
    for k in (2, 3):
        assert evaluate.top_k_accuracy(logits, truth, k) == pytest.approx(top_k_accuracy_score(truth, logits, k=k))


def test_bootstrap_is_that_of_samples(sample):
    logits, truth = sample
    predicted = logits.argmax(axis=1)
    per_class, _, accuracy = evaluate.bootstrap(evaluate.confusion_matrix(truth, predicted, 4), seed=1)
    random = np.random.RandomState(2)
    draws = []
    for _ in range(1000):
        rows = random.randint(0, len(truth), len(truth))
        draws.append(evaluate.class_scores(evaluate.confusion_matrix(truth[rows], predicted[rows], 4)))
    assert np.abs(np.percentile(draws, (2.5, 97.5), axis=0) - per_class).max() < 0.01
    share = (predicted == truth).mean()
    error = 1.96 * np.sqrt(share * (1 - share) / len(truth))
    assert np.abs(accuracy - [share - error, share + error]).max() < 0.004


def test_temperature_mends_the_calibration(sample):
    logits, truth = sample
    before = evaluate.softmax(logits)
    after, temperature = evaluate.calibrated(logits, truth, seed=0)
    assert temperature == pytest.approx(3, rel=0.1)
    assert evaluate.calibration_error(before, truth) > 0.15
    assert evaluate.calibration_error(after, truth) < 0.04
    assert (after.argmax(axis=1) == before.argmax(axis=1)).all()
    sure = np.eye(4)[truth]
    assert evaluate.calibration_error(sure, truth) == 0
    assert evaluate.calibration_error(sure, (truth + 1) % 4) == 1


def test_coverage(sample):
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.8, 0.2], [0.6, 0.4]])
    coverage, accuracy, threshold = evaluate.coverage_curve(probabilities, np.array([0, 0, 1, 0]))
    assert coverage.tolist() == [0.25, 0.75, 1.0]  # equal confidences are answered together
    assert accuracy.tolist() == [1.0, pytest.approx(2 / 3), 0.75] and threshold.tolist() == [0.9, 0.8, 0.6]
    curve = (coverage, accuracy, threshold)
    assert evaluate.coverage_at(curve, 0.7) == (1.0, 0.6) and evaluate.coverage_at(curve, 0.8) == (0.25, 0.9)
    assert evaluate.coverage_at((coverage, accuracy * 0.5, threshold), 0.9) is None


def test_mcnemar():
    truth = np.zeros(100, dtype=int)
    first, second = truth.copy(), truth.copy()
    first[:12], second[10:13] = 1, 1  # only the second is right on 10, only the first on 1
    result = evaluate.compare(first, second, truth)
    assert (result["only_first"], result["only_second"]) == (1, 10)
    assert result["difference"] == pytest.approx(0.09)
    assert result["p_value"] == pytest.approx(24 / 2**11)  # 2 (1 + 11) / 2^11
    assert result["interval"][0] > 0
    assert evaluate.compare(first, first, truth)["p_value"] == 1


@pytest.fixture
def evaluated(trained, tmp_path, capsys):
    data, checkpoint = trained
    flags = ["--device", "cpu", "--dataset_dir", str(data), "--params_path", str(checkpoint), "--max_seq_length", "32"]
    evaluate.main([*flags, "--report_dir", str(tmp_path / "report")])
    return capsys.readouterr().out, data, tmp_path / "report", flags


def test_the_report_is_train_pys(evaluated, trained, log):
    out, data, _, _ = evaluated
    bad_cases = (data / "bad_case.txt").read_text(encoding="utf-8").splitlines()
    train.main(["--do_eval", "--debug", "True", "--data_dir", str(data), "--model_name_or_path", str(trained[1]),
                "--output_dir", str(trained[1]), "--device", "cpu", "--max_length", "32"])  # fmt: skip
    wanted = [line for line in log if line.startswith(("Accuracy in", "Class name", "Evaluation ex", "Macro av"))]
    assert len(wanted) == 2 + 2 * 3 and all(line in out.splitlines() for line in wanted)
    theirs = (data / "bad_case.txt").read_text(encoding="utf-8").splitlines()
    assert bad_cases[0] == theirs[0] and len(bad_cases) > 1
    assert {line.rsplit("\t", 1)[0] for line in bad_cases} == {line.rsplit("\t", 1)[0] for line in theirs}
    scores = [float(line.rsplit("\t", 1)[1]) for line in bad_cases[1:]]
    assert scores == sorted(scores, reverse=True)
    assert "Top-2 accuracy in dev dataset: " in out and "Calibration error: " in out


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
