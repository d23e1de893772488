"""analysis/evaluation_page.py: lines and page of planted predictions."""

import re

import numpy as np
import pytest

from analysis import evaluation_page
from analysis.flags import make_parser
from analysis.scores import Evaluation

LABELS = ["甲", "乙", "丙"]


@pytest.fixture
def evaluation():
    """300 samples, of which 20 are predicted as the next class, less surely."""
    truth = np.arange(300) % 3
    predicted = np.where(np.arange(300) < 20, (truth + 1) % 3, truth)
    logits = np.eye(3)[predicted] * np.linspace(1, 4, 300)[:, None]
    return Evaluation(LABELS, [f"<b>{row}" for row in range(300)], truth, logits, seed=0)


def test_lines(evaluation):
    lines = list(evaluation_page.score_lines(evaluation))
    assert "Accuracy in dev dataset: 93.33%" in lines and "Top-2 accuracy in dev dataset: 93.33%" not in lines
    assert sum(line.startswith("Class name: ") for line in lines) == 3
    assert re.fullmatch(
        r"Calibration error: \d+\.\d\d points; \d+\.\d\d with temperature \d\.\d{3}",
        next(line for line in lines if "Calibration" in line),
    )
    shares = [line for line in lines if line.startswith("Accuracy of at least")]
    assert len(shares) == 5 and shares[0].startswith("Accuracy of at least 80%: 100.00 % of the samples answered")


def test_page(evaluation, tmp_path):
    flags = make_parser("").parse_args(["--dataset_dir", "data", "--params_path", "model"])
    flags.report_dir, flags.bad_case_file = tmp_path, "bad_case.txt"
    page = evaluation_page.write_report(evaluation, flags, ["<p>and more</p>"]).read_text(encoding="utf-8")
    assert "Wrongly predicted samples (20)" in page and "All of them: " not in page
    assert "&lt;b&gt;19" in page and "<b>19" not in page and page.rindex("and more") > page.rindex("<svg")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "confusion_matrix.png",
        "coverage.png",
        "evaluate.html",
        "reliability.png",
    ]


def test_comparison(evaluation, tmp_path, capsys):
    flags = make_parser("").parse_args(["--dataset_dir", "data", "--params_path", "one"])
    flags.report_dir, flags.compare = tmp_path, "other"
    parts = "".join(evaluation_page.compare_models(evaluation, evaluation.truth, flags))
    assert "Only one is right on 0 samples, only other on 20." in parts
    assert capsys.readouterr().out.startswith("other: +6.67 points")
    changed = (tmp_path / "changed.txt").read_text(encoding="utf-8").splitlines()
    assert changed[:2] == ["Text\tLabel\tone\tother", "<b>0\t甲\t乙\t甲"] and len(changed) == 21
