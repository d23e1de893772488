"""analysis/monitoring.py: what is compared, what is told, which texts are chosen."""

import argparse
import json

import numpy as np
import prometheus_client.parser
import pytest
import yaml

from analysis.monitoring import as_json, find_shifts, metrics_lines, summary_lines, watch, worth_labelling
from analysis.traffic import Traffic, vocabularies
from tests.helpers import ROOT
from utils import UsageError, write_json


def traffic(texts, labels, random, truth=None, name="log.csv"):
    confidence = random.uniform(0.5, 1, len(texts))
    return Traffic(name, labels, confidence, np.array(list(map(len, texts))), texts, truth)


@pytest.fixture
def sets(sample_lines):
    """(reference with true labels, log of the same kind, log of other texts)."""
    rows = [line.split("\t") for line in sample_lines["train"]]
    texts, labels = ([row[place] for row in rows] for place in (0, 1))
    random = np.random.default_rng(0)
    order = random.permutation(len(texts))
    texts, labels = [texts[place] for place in order], [labels[place] for place in order]
    half = len(texts) // 2
    reference = traffic(texts[:half], labels[:half], random, labels[:half], "dev.txt")
    same = traffic(texts[half:], labels[half:], random)
    others = [f"{'股票基金涨跌'[place % 6]}市行情第{place}期分析报告" for place in range(60)]
    return reference, same, traffic(same.texts[:40] + others, (same.labels + ["医疗费用"] * 200)[:100], random)


@pytest.fixture
def flags(tmp_path):
    content = {"calibration": {"temperature": 1.2, "before": {}, "after": {}}}
    write_json(tmp_path / "export.json", content)
    own = {"alpha": 0.05, "least_accuracy": None, "seed": 3, "key_file": None, "model": None}
    return argparse.Namespace(**own, export_dir=tmp_path)


def test_the_same_kind_is_quiet_and_another_is_not(sets, flags):
    reference, same, other = sets
    outcome = watch(reference, same, flags)
    names = [shift.name for shift in outcome.shifts]
    assert outcome.alarms == [] and names == ["labels", "confidence", "length", "vocabulary"]
    assert outcome.not_tested == {"embedding": "no_embedding"}
    other_outcome = watch(reference, other, flags)
    assert {"vocabulary", "length"} <= set(other_outcome.alarms) and other_outcome.doubt == "other_texts"
    assert "probably too high" in "\n".join(summary_lines(other_outcome, reference, other))
    assert outcome.doubt is None
    outcome.alarms = ["labels"]
    assert "may be some points off" in "\n".join(summary_lines(outcome, reference, same))
    outcome.alarms = []
    assert "probably too high" not in "\n".join(summary_lines(outcome, reference, same))
    lines = list(summary_lines(outcome, reference, same))
    assert lines[-1].startswith("No alarm (at most 5% of runs") and any("Estimated accuracy" in line for line in lines)


def test_what_is_missing_is_said(sets, flags):
    reference, same, _ = sets
    same.texts = same.lengths = None
    outcome = watch(reference, same, flags)
    assert outcome.not_tested == dict.fromkeys(("length", "vocabulary"), "no_text") | {"embedding": "no_embedding"}
    assert [shift.name for shift in outcome.shifts] == ["labels", "confidence"]
    reference.embedding, same.embedding = np.ones((len(reference), 3)), np.ones((len(same), 2))
    with pytest.raises(UsageError, match="vectors of 3 and 2 units cannot be compared"):
        find_shifts(reference, same, None, np.random.default_rng(0))


def test_scores_of_four_decimals_are_no_shift(flags):
    """A file of predictions rounds, the reference's own answers are not rounded."""
    random = np.random.default_rng(0)
    sure = 1 - random.uniform(0, 1e-3, 400)
    sets = [Traffic("", ["a"] * 200, values) for values in (sure[:200], np.round(sure[200:], 4))]
    shifts, _ = find_shifts(*sets, None, random)
    assert {shift.name: shift.adjusted for shift in shifts}["confidence"] > 0.2


def test_no_estimate_without_calibration_or_true_labels(sets, flags):
    reference, same, _ = sets
    assert watch(reference, same, flags).estimate.reference == 1
    reference.truth = ["others" if place % 2 else label for place, label in enumerate(reference.truth)]
    flags.least_accuracy = 0.2
    assert watch(reference, same, flags).alarms == []
    flags.least_accuracy = 0.9
    assert watch(reference, same, flags).alarms == ["accuracy"]
    write_json(flags.export_dir / "export.json", {"weights": "x"})
    with pytest.raises(UsageError, match="--least_accuracy 0.9: the accuracy is not known: export.json says noth"):
        watch(reference, same, flags)
    flags.least_accuracy = None
    outcome = watch(reference, same, flags)
    assert outcome.estimate is None and "export the model again" in outcome.why_none
    assert "is not estimated: export.json says nothing" in "\n".join(summary_lines(outcome, reference, same))
    reference.truth = None
    assert "give dev.txt as --reference" in watch(reference, same, flags).why_none


def test_gauges_can_be_read_and_rules_speak_of_them(sets, flags):
    reference, same, _ = sets
    reference.labels[0] = 'a "quoted" \\ label'
    outcome = watch(reference, same, flags)
    lines = "\n".join(metrics_lines(outcome, reference, same, flags)) + "\n"
    families = {family.name: family for family in prometheus_client.parser.text_string_to_metric_families(lines)}
    assert families["text_monitor_alarm"].samples[0].value == 0
    assert {sample.labels["test"] for sample in families["text_monitor_p_value"].samples} == {
        shift.name for shift in outcome.shifts
    }
    assert any(s.labels["label"] == 'a "quoted" \\ label' for s in families["text_monitor_label_share"].samples)
    assert len(families["text_monitor_estimated_accuracy"].samples) == 3
    rules = yaml.safe_load((ROOT / "analysis" / "monitor_alerts.yml").read_text(encoding="utf-8"))
    text = " ".join(rule["expr"] for group in rules["groups"] for rule in group["rules"])
    named = {word.strip("(){}") for word in text.replace("{", " ").replace("(", " ").split() if "text_monitor" in word}
    assert len(named) == 4 and named <= families.keys()
    assert json.loads(json.dumps(as_json(outcome, reference, same)))["texts"]["log"] == len(same)


def test_texts_to_label_are_unsure_or_unusual_and_differ(sets):
    reference, _, other = sets
    other.texts[0] = reference.texts[0]
    other.texts[2] = other.texts[1]
    chosen = worth_labelling(reference, other, 30, 0)
    assert len(chosen) == 30 == len(set(chosen)) and reference.texts[0] not in chosen
    assert chosen == worth_labelling(reference, other, 30, 0)
    assert sum(text.endswith("报告") for text in chosen) > 18  # 60 % of all are such
    assert len(worth_labelling(reference, other, 1000, 0)) == len({*other.texts} - {*reference.texts})
    other.texts = list(reference.texts[:100])
    assert worth_labelling(reference, other, 5, 0) == []
    other.texts = None
    assert worth_labelling(reference, other, 5, 0) == []


def test_a_text_to_label_is_one_line(sets):
    reference, _, other = sets
    other.texts[:4] = ["第一行\n第二行\t完", "第一行\u2028第二行 完", reference.texts[0] + "\n", " \n"]
    chosen = worth_labelling(reference, other, 1000, 0)
    assert chosen.count("第一行 第二行 完") == 1 and reference.texts[0] not in chosen
    assert all(text.strip() and text.splitlines() == [text] and "\t" not in text for text in chosen)


def test_seeds(sets, flags):
    reference, same, _ = sets
    first, again = (as_json(watch(reference, same, flags), reference, same) for _ in range(2))
    flags.seed = 4
    assert first == again != as_json(watch(reference, same, flags), reference, same)
    assert vocabularies(reference, same)[0]
