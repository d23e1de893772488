"""analysis/evaluation_page.py: lines and page of planted predictions."""

import argparse
import json
import re

import numpy as np
import pytest

from analysis import evaluation_page
from analysis.flags import make_parser
from analysis.scores import Evaluation, class_scores

LABELS = ["甲", "乙", "丙"]


def flags_of(tmp_path, **own):
    flags = make_parser("").parse_args(["--dataset_dir", "data", "--params_path", "one"])
    own = {"report_dir": tmp_path, "bad_case_file": "bad_case.txt", "lang": "en", "compare": "other", **own}
    return argparse.Namespace(**{**vars(flags), **own})


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
    flags = flags_of(tmp_path)
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
    flags = flags_of(tmp_path)
    parts = "".join(evaluation_page.compare_models(evaluation, evaluation.truth, flags))
    assert "Only one is right on 0 samples, only other on 20." in parts
    assert capsys.readouterr().out.startswith("other: +6.67 points")
    changed = (tmp_path / "changed.txt").read_text(encoding="utf-8").splitlines()
    assert changed[:2] == ["Text\tLabel\tone\tother", "<b>0\t甲\t乙\t甲"] and len(changed) == 21


def test_charts_come_before_the_errors_which_fold(evaluation, tmp_path):
    flags = flags_of(tmp_path)
    more = evaluation_page.compare_models(evaluation, evaluation.truth, flags)
    page = evaluation_page.write_report(evaluation, flags, more).read_text(encoding="utf-8")
    assert page.count("<details>") == page.count("</details>") == 2
    assert page.rindex("</svg>") < page.index("<details>")
    outside = re.sub("<details>.*?</details>", "", page, flags=re.DOTALL)
    assert "&lt;b&gt;19" in page and "&lt;b&gt;19" not in outside and "Classes</h2>" in outside


def test_one_unit_and_one_rounding(evaluation, tmp_path):
    """Numbers of tables are whole ones or percent with two decimals; what else is said is set off by words."""
    page = evaluation_page.write_report(evaluation, flags_of(tmp_path), []).read_text(encoding="utf-8")
    cells = re.findall('<td class="number">(.*?)</td>', re.sub("<svg.*?</svg>", "", page, flags=re.DOTALL))
    number = r"(\d{1,3}(,\d{3})*|\d+\.\d\d)"
    assert len(cells) > 40
    for cell in cells:
        assert re.fullmatch(rf"{number}?(<br><small>{number} – {number}</small>)?|–<br><small>.*</small>", cell), cell


def test_thresholds_are_told_where_they_are_shown(evaluation, tmp_path):
    page = evaluation_page.write_report(evaluation, flags_of(tmp_path), []).read_text(encoding="utf-8")
    assert [wanted for wanted, found in evaluation.promises.items() if not found] == [0.99]  # 280 of 280, not 299
    for wanted, found in list(evaluation.promises.items())[:-1]:
        row = page.split(f'<td class="number">{100 * wanted:.2f}</td><td class="number">')[1].split("</tr>")[0]
        assert row.startswith(f"{100 * found.threshold:.2f}<")
        assert f">{found.answered}<" in row
    few = Evaluation(LABELS, ["x"] * 30, np.arange(30) % 3, 5 * np.eye(3)[np.arange(30) % 3], seed=0)
    lines = list(evaluation_page.score_lines(few))
    assert "Accuracy of at least 90%: 100.00 % of the samples answered, confidence >= 0.0000" in lines
    assert "Accuracy of at least 99%: cannot be shown with 30 samples; it takes 299" in lines
    page = evaluation_page.write_report(few, flags_of(tmp_path), []).read_text(encoding="utf-8")
    assert "–<br><small>299 samples are needed, there are 30</small>" in page
    wrong = Evaluation(LABELS, ["x"] * 30, (np.arange(30) + 1) % 3, 5 * np.eye(3)[np.arange(30) % 3], seed=0)
    assert "Accuracy of at least 80%: no threshold reaches it" in list(evaluation_page.score_lines(wrong))


def test_thousands_of_classes(tmp_path):
    """The page has those with the most mistakes, a file has all."""
    random, classes = np.random.RandomState(0), 3000
    truth = random.randint(0, classes - 1, 2000)
    logits = random.randn(2000, classes).astype(np.float32)
    logits[np.arange(2000), truth] += 5
    evaluation = Evaluation([f"类{index}" for index in range(classes)], ["文本"] * 2000, truth, logits, seed=0)
    path = evaluation_page.write_report(evaluation, flags_of(tmp_path), [])
    page, lines = path.read_text(encoding="utf-8"), (tmp_path / "classes.tsv").read_text(encoding="utf-8").splitlines()
    assert path.stat().st_size < 300_000 and (tmp_path / "confusion_matrix.png").stat().st_size < 500_000
    assert "The 100 of 3,000 classes with the most mistakes; all of them: " in page
    assert "The 30 of 3,000 classes with the most mistakes." in page and "The most frequent confusions" in page
    without = int((np.bincount(truth, minlength=classes) == 0).sum())
    assert f"{without:,} classes have no sample here" in page
    assert (
        len(lines) == 1 + classes
        and lines[0].split("\t")[:6] == "class samples precision precision_from precision_to recall".split()
    )
    assert {len(line.split("\t")) for line in lines} == {11}


def test_levels_of_labels_that_are_paths(evaluation, tmp_path):
    """甲 for 乙 is right at the first level; the numbers are those of the report."""
    labels = ["病##感冒", "病##肺炎", "药"]
    own = Evaluation(labels, ["文本"] * 300, evaluation.truth, evaluation_logits(), seed=0)
    lines = list(evaluation_page.score_lines(own))
    assert lines[2] == "Accuracy in dev dataset: 93.33%"
    # Of 20 mistakes, 7 take 感冒 for 肺炎.
    assert lines[4].startswith(f"Level 1 in dev dataset: 2 labels | accuracy: {100 * 287 / 300:.2f} | ")
    path = evaluation_page.write_report(own, flags_of(tmp_path, lang="zh"), [])
    page = path.read_text(encoding="utf-8")
    assert "各级标签" in page and "前 2 级，即完整标签" in page and "以 ## 分隔" in page
    found = json.loads((tmp_path / "levels.json").read_text(encoding="utf-8"))
    assert found["separator"] == "##" and [row["labels"] for row in found["levels"]] == [2, 3]
    assert found["levels"][0]["accuracy"] == 287 / 300 and found["levels"][1]["accuracy"] == 280 / 300
    for row in found["levels"]:
        assert re.search(rf'<td class="number">{100 * row["accuracy"]:.2f}<br><small>\d+\.\d\d – ', page)
    assert own.levels[1]["macro_f1"] == pytest.approx(class_scores_of(own))


def class_scores_of(evaluation):
    """The macro F1 of the whole labels, as the report has it."""
    confusions = evaluation.confusions
    return class_scores(confusions.right, confusions.predicted, confusions.true)[:, 2].mean()


def test_a_separator_in_no_label_changes_nothing(evaluation, tmp_path):
    pages = []
    for separator in ("##", "/", "甲"):  # 甲 is a label, but no part of one
        other = Evaluation(LABELS, evaluation.texts, evaluation.truth, evaluation_logits(), 0, separator)
        path = evaluation_page.write_report(other, flags_of(tmp_path), [])
        pages.append(([*evaluation_page.score_lines(other)], path.read_bytes()))
    assert pages[0] == pages[1] == pages[2] and not (tmp_path / "levels.json").exists()


def test_the_temperature_of_the_export_is_in_the_scores(evaluation, tmp_path):
    own = Evaluation(LABELS, evaluation.texts, evaluation.truth, 2 * evaluation_logits(), 0, served_temperature=2.0)
    assert own.confidence == pytest.approx(evaluation.confidence, rel=1e-6) and own.errors == evaluation.errors
    said = "Logits are divided by 2, as in the export that is served, above and below: these thresholds are for the"
    assert any(line.startswith(said) for line in evaluation_page.score_lines(own))
    for lang, wanted in {"en": "divides the logits by 2, which was", "zh": "把 logit 除以 2，这个温度"}.items():
        page = evaluation_page.write_report(own, flags_of(tmp_path, lang=lang), []).read_text(encoding="utf-8")
        assert wanted in page and "no temperature is applied" not in page and "没有经过温度缩放" not in page


def evaluation_logits():
    predicted = np.where(np.arange(300) < 20, (np.arange(300) + 1) % 3, np.arange(300) % 3)
    return np.eye(3)[predicted] * np.linspace(1, 4, 300)[:, None]


def test_in_chinese(evaluation, tmp_path, capsys):
    flags = flags_of(tmp_path, lang="zh", max_seq_length=None)
    more = evaluation_page.compare_models(evaluation, evaluation.truth, flags)
    page = evaluation_page.write_report(evaluation, flags, more).read_text(encoding="utf-8")
    assert "<h1>one 的评估</h1>" in page and "预测错误的样本（20）" in page and "混淆矩阵" in page
    said = re.sub("<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL)
    assert not re.search("accuracy|samples|predicted|confidence", said)


def test_another_length_is_told(evaluation, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation_page, "trained_max_length", lambda folder: 256)
    flags = flags_of(tmp_path, max_seq_length=128)
    assert evaluation_page.length_warning(flags) == (128, 256)
    page = evaluation_page.write_report(evaluation, flags, []).read_text(encoding="utf-8")
    assert "Read with --max_seq_length 128; the model was trained with 256" in page
    for given in (None, 256):
        assert evaluation_page.length_warning(flags_of(tmp_path, max_seq_length=given)) is None
