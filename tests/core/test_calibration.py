"""core/calibration.py: temperatures, thresholds and sets keep on other samples what they promise."""

import numpy as np
import pytest
from scipy.special import softmax as scipy_softmax

from core import calibration, confidence
from core.label_paths import LabelPaths
from tests.helpers import overconfident_sample


def softmax(logits):
    return scipy_softmax(np.asarray(logits, dtype=np.float64), axis=1)


@pytest.fixture(scope="module")
def sample():
    return overconfident_sample()


def test_temperature_mends_the_calibration(sample):
    logits, truth = sample
    right = logits.argmax(axis=1) == truth
    before = calibration.confidences(logits)
    assert np.allclose(before, softmax(logits).max(axis=1), rtol=1e-12)
    assert np.allclose(calibration.confidences(logits, 3.0), softmax(logits / 3).max(axis=1), rtol=1e-12)
    after, temperature = calibration.calibrated(logits, truth, seed=0)
    assert temperature == pytest.approx(3, rel=0.1)
    assert calibration.calibration_error(before, right) > 0.15
    assert calibration.calibration_error(after, right) < 0.04
    sure = np.ones(len(truth))
    assert calibration.calibration_error(sure, sure == 1) == 0
    assert calibration.calibration_error(sure, sure == 0) == 1


def test_coverage():
    curve = calibration.coverage_curve([0.9, 0.8, 0.8, 0.6], [True, True, False, True])
    answered, right, threshold = curve
    assert answered.tolist() == [1, 3, 4]  # equal confidences are answered together
    assert right.tolist() == [1, 2, 3] and threshold.tolist() == [0.9, 0.8, 0.6]
    # Confidences are compared as they are told: with 4 decimals, never rounded up, but for what servers round.
    assert calibration.coverage_curve([0.83049, 0.8304, 0.57, 0.9999999], [True] * 4)[2].tolist() == [1, 0.8304, 0.57]
    assert calibration.promise(curve, 0.8) is None  # 4 samples show nothing
    assert [calibration.samples_needed(accuracy) for accuracy in (0.8, 0.85, 0.9, 0.95, 0.99)] == [14, 19, 29, 59, 299]


def test_a_promise_has_a_margin():
    confidence = np.repeat([0.9, 0.8, 0.2], [100, 100, 100])
    right = np.arange(300) % 100 >= np.repeat([2, 6, 50], [100, 100, 100])
    curve = calibration.coverage_curve(confidence, right)
    found = calibration.promise(curve, 0.9)
    assert found == (0.5, 200, 2 / 3, 0.96)  # midway between 0.8 and 0.2
    # 192 of 200 show 0.929 or so (Clopper and Pearson), not 0.95, which 98 of 100 do not show either.
    assert [calibration.promise(curve, accuracy).answered for accuracy in (0.928, 0.932)] == [200, 100]
    assert calibration.promise(curve, 0.95) is None
    assert calibration.promise(curve, 0.75) == (0.0, 300, 1.0, 242 / 300)
    assert calibration.promise(calibration.coverage_curve(confidence, ~np.ones(300, bool)), 0.8) is None


def drawn(random, samples, classes=6, factor=2.0):
    """Logits `factor` times too large for calibration, and the classes drawn by their probabilities."""
    logits = random.randn(samples, classes)
    logits[np.arange(samples), random.randint(0, classes, samples)] += random.gamma(2, 1.8, samples)
    truth = np.array([random.choice(classes, p=row) for row in softmax(logits)])
    return factor * logits, truth


def test_where_all_are_right_the_temperature_stays_finite():
    logits = 4 * np.eye(3)[np.arange(120) % 3]
    temperature = calibration.fit_temperature(logits, np.arange(120) % 3)
    # One sample of 121 is not of the class that comes first, and so says the probability.
    assert softmax(logits[:1] / temperature).max() == pytest.approx(120 / 121, rel=1e-4)


def test_log_probabilities_of_odd_logits():
    logits = np.array([[1000.0, -1000.0, 0.0], [0.0, 1e-9, 0.0]], np.float32)
    found = calibration.true_log_probabilities(logits, [1, 0], [2.0, 1.0])
    assert found == pytest.approx([-1000, -np.log(3)], rel=1e-6)


def test_facts_are_out_of_fold_and_keep_their_promises():
    """Found on one half, tried on 20,000 other samples; the temperature is the one the logits were made with."""
    random, paths = np.random.RandomState(1), LabelPaths(list("abcdef"))
    logits, truth = drawn(random, 2000)
    facts = calibration.export_facts(logits, truth, paths, seed=42)
    own = facts["calibration"]
    assert own["temperature"] == pytest.approx(2, rel=0.1) and own["samples"] == 2000 and own["seed"] == 42
    assert own["after"]["calibration_error"] < own["before"]["calibration_error"] / 3
    assert own["after"]["log_loss"] < own["before"]["log_loss"]
    assert "why" not in own and "2000 samples" in calibration.calibration_line(facts)
    other, other_truth = drawn(random, 20_000)
    probabilities = softmax(other / own["temperature"])
    right = probabilities.argmax(axis=1) == other_truth
    assert {"0.95", "0.98"} <= facts["thresholds"].keys()
    for name, row in facts["thresholds"].items():
        [level] = row["levels"]
        answered = probabilities.max(axis=1) >= level["threshold"]
        assert right[answered].mean() >= float(name) - 0.004 and level["accuracy"] >= float(name)
        assert answered.mean() == pytest.approx(level["share"], abs=0.04)
        assert level["answered"] == round(level["share"] * 2000)
        for label, entry in row["labels"].items():
            mine = (probabilities.argmax(axis=1) == paths.labels.index(label)) & (
                probabilities.max(axis=1) >= entry["threshold"]
            )
            assert right[mine].mean() >= float(name) - 0.01 and entry["answered"] <= entry["samples"]
    assert facts["thresholds"]["0.95"]["labels"]
    for name, row in facts["conformal"].items():
        chosen = np.rint(probabilities * 1e6) >= row["least_probability"] * 1e6 - 1e-3
        chosen[np.arange(len(other)), probabilities.argmax(axis=1)] = True
        held = chosen[np.arange(len(other)), other_truth].mean()
        assert held == pytest.approx(float(name), abs=0.015)
        assert chosen.sum(axis=1).mean() == pytest.approx(row["mean_size"], abs=0.1)
        assert (chosen.sum(axis=1) == 1).mean() == pytest.approx(row["single"], abs=0.05)
        assert chosen.sum(axis=1).max() <= confidence.most_labels(row["least_probability"], 6)
    assert facts["conformal"]["0.95"]["mean_size"] > facts["conformal"]["0.9"]["mean_size"]


def test_levels_are_promised_one_after_the_other():
    """A part of the label answers what the whole label leaves open; all answers together keep the accuracy."""
    random, paths = np.random.RandomState(2), LabelPaths(["病##a", "病##b", "药##c", "药##d", "其他"])
    logits, truth = drawn(random, 3000, classes=5, factor=1)
    logits[:, 0] = (logits[:, 0] + logits[:, 1]) / 2 + 3 * (truth < 2)
    logits[:, 1] = logits[:, 0] + random.randn(3000)
    found = calibration.promises(logits[:1500], truth[:1500], paths, 1.0)["thresholds"]["0.95"]
    first, last = found["levels"]
    assert first and last and first["answered"] > 100 and last["answered"] > 100
    probabilities = softmax(logits[1500:])
    chosen, _ = paths.choose(probabilities, (first["threshold"], last["threshold"]))
    names = [[name] for name in paths.names]
    right = [names[place][0] == paths.labels[own] or paths.labels[own].startswith(names[place][0] + "##")
             for place, own in zip(chosen, truth[1500:]) if place >= 0]  # fmt: skip
    assert len(right) > 0.1 * 1500 and np.mean(right) > 0.93
    assert (chosen >= 0).mean() == pytest.approx(first["share"] + last["share"], abs=0.05)
    # A level of None answers nothing.
    assert set(paths.choose(probabilities, (None, last["threshold"]))[0]) <= {-1, *range(3, 8)}


def test_what_cannot_be_promised_is_not_there():
    random, paths = np.random.RandomState(3), LabelPaths(list("abcdef"))
    logits, truth = drawn(random, 300)
    facts = calibration.export_facts(logits[:99], truth[:99], paths, seed=0)
    assert facts == {"calibration": {"temperature": None, "why": facts["calibration"]["why"]}}
    assert facts["calibration"]["why"] == "dev has 99 samples of 6 labels; it takes 100 of at least 2 labels"
    assert "are not calibrated: dev has 99" in calibration.calibration_line(facts)
    one = calibration.export_facts(logits, np.zeros(300, int), paths, seed=0)
    assert one["calibration"]["why"].startswith("dev has 300 samples of 1 label;")
    wrong = calibration.export_facts(logits, random.randint(0, 6, 300), paths, seed=0)
    assert wrong["thresholds"] == {} and wrong["conformal"]["0.9"]["mean_size"] > 4
    plain = calibration.export_facts(logits, truth, paths, seed=0, wanted=False)
    assert plain["calibration"] == {"temperature": None, "samples": 300, "seed": 0, "why": "--calibrate False"}
    least = plain["conformal"]["0.9"]["least_probability"]
    assert least < calibration.export_facts(logits, truth, paths, seed=0)["conformal"]["0.9"]["least_probability"]
    fitting, fitted = drawn(random, 400, factor=1)
    kept = calibration.export_facts(fitting, fitted, paths, seed=1)["calibration"]
    assert kept["temperature"] is None or kept["after"]["log_loss"] < kept["before"]["log_loss"]


def test_thousands_of_classes_need_little_memory(monkeypatch):
    import tracemalloc

    random, classes = np.random.RandomState(0), 5000
    logits, truth = random.randn(1000, classes).astype(np.float32), random.randint(0, classes, 1000)
    logits[np.arange(1000), truth] += 9
    monkeypatch.setattr(calibration, "MAX_FITTED", 1_000_000)
    monkeypatch.setattr(calibration, "BLOCK", 500_000)
    paths = LabelPaths([f"{index % 50}##{index}" for index in range(classes)])
    tracemalloc.start()
    facts = calibration.export_facts(logits, truth, paths, seed=0)
    assert tracemalloc.get_traced_memory()[1] < 60e6  # as float64, the logits alone are 40 MB
    tracemalloc.stop()
    assert facts["thresholds"]["0.95"]["levels"][1]["answered"] > 500
