"""Pseudo-labels: which texts a round takes, and what comes of the rounds, on the sample data without its labels."""

import json
import shutil

import numpy as np
import pytest
from scipy.special import softmax

import train
from core import pseudo_labels
from core.pseudo_labels import Taken, calibration, choose, class_limits, round_entry
from tests.helpers import LABELS, train_flags, write_data
from tests.test_train import refusal, results, same_weights

# Two of dev's four are right: the temperature that fits these is far above 1.
DEV = np.array([[4.0, 0, 0], [4.0, 0, 0], [0, 4.0, 0], [0, 4.0, 0]])


def test_what_is_taken():
    truth = [0, 1, 1, 1]
    temperature = calibration(DEV, truth)
    assert temperature > 1.5
    texts = np.array([[9.0, 0, 0], [8, 0, 0], [7, 0, 0], [0, 9, 0], [1, 0, 0], [0, 0, 1]])
    confidence = softmax(texts / temperature, axis=1).max(axis=1)
    threshold = float(confidence[2]) - 1e-9
    taken = choose({"dev": DEV, "texts": texts}, truth, threshold, [2, 5, 5])
    assert taken.rows.tolist() == [0, 1, 3] and taken.label_ids.tolist() == [0, 0, 1] and taken.sure == 4
    np.testing.assert_allclose(taken.confidence, confidence[[0, 1, 3]])
    assert not len(choose({"dev": DEV, "texts": texts}, truth, 0.9999, [2, 5, 5]).rows)
    assert taken.is_same(choose({"dev": DEV, "texts": texts}, truth, threshold, [2, 1, 0])) and not taken.is_same(None)
    assert not taken.is_same(choose({"dev": DEV, "texts": texts}, truth, threshold, [3, 1, 0]))


def test_a_dev_that_is_all_right_does_not_sharpen():
    assert calibration(DEV, [0, 0, 1, 1]) == 1.0
    assert class_limits([0, 0, 0, 2], 3, 0.5) == [2, 0, 1]


def test_the_metric_that_is_asked_for_decides():
    """A second model that finds more of the frequent class and nothing of the rare one."""
    truth = [0] * 8 + [1] * 2
    first, second = np.eye(2)[[0] * 5 + [1] * 5], np.eye(2)[[0] * 10]
    given = [{"dev": first}, {"dev": second}]
    assert pseudo_labels.is_no_worse(given, truth, "accuracy") and pseudo_labels.is_no_worse(given, truth, None)
    assert pseudo_labels.is_no_worse(given, truth, "loss") and pseudo_labels.is_no_worse(given, truth, "eval_accuracy")
    assert not pseudo_labels.is_no_worse(given, truth, "macro_f1")
    assert not pseudo_labels.is_no_worse(given, truth, "eval_macro_recall")


def test_the_agreement():
    old = {"dev": DEV, "texts": np.eye(3)[[0, 1, 2, 0]]}
    new = {"dev": DEV, "texts": np.eye(3)[[0, 1, 1, 0]]}
    taken = Taken(np.array([1, 2]), np.array([1, 2]), np.array([0.9, 0.9]), 3, 1.2)
    entry = round_entry(1, taken, LABELS, [old, new], [0, 1, 1, 1])
    assert (entry["agreement"], entry["agreement_taken"], entry["taken"], entry["sure"]) == (0.75, 0.5, 2, 3)
    assert entry["taken_per_label"] == dict(zip(LABELS, [0, 1, 1])) and entry["dev_accuracy"] == 0.75


@pytest.fixture(scope="module")
def data(tmp_path_factory, sample_lines):
    """Half of train labelled, all of dev; in data.txt all of both without their labels."""
    folder = tmp_path_factory.mktemp("data")
    write_data(folder, sample_lines["train"][::2], sample_lines["dev"])
    texts = [line.split("\t")[0] for line in [*sample_lines["train"], *sample_lines["dev"]]]
    (folder / "data.txt").write_bytes("".join(f"{text}\n" for text in texts).encode())
    return folder


def flags_of(data, model, out, *more):
    own = "--pseudo_labels True --pseudo_confidence 0.5 --num_train_epochs 8"
    return train_flags(data, model, out, *own.split(), *more)


@pytest.fixture(scope="module")
def made(data, tiny_model, tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "out"
    train.main(flags_of(data, tiny_model, out, "--do_eval", "--do_export"))
    return out


def test_the_rounds(made, data, sample_lines):
    content = json.loads((made / "pseudo_labels.json").read_text(encoding="utf-8"))
    first, *rounds = content["rounds"]
    assert content["unlabelled"] == len({line.split("\t")[0] for line in sample_lines["train"][1::2]})
    assert len(rounds) >= 1 and all(entry["taken"] == sum(entry["taken_per_label"].values()) for entry in rounds)
    assert all(0 < entry["taken"] <= entry["sure"] and 0.3 < entry["agreement"] <= 1 for entry in rounds)
    counts = np.bincount([LABELS.index(line.split("\t")[1]) for line in sample_lines["train"][::2]])
    assert all(entry["taken_per_label"][label] <= counts[row] for entry in rounds for row, label in enumerate(LABELS))
    lines = (made / "pseudo_labels.txt").read_text(encoding="utf-8").splitlines()
    taken = [line.split("\t") for line in lines[1:]]
    assert lines[0] == "Text\tLabel\tPrediction\tScore" and len(taken) == rounds[-1]["taken"]
    known = {line.split("\t")[0] for line in [*sample_lines["train"][::2], *sample_lines["dev"]]}
    truth = dict(line.split("\t") for line in sample_lines["train"])
    assert not known & {row[0] for row in taken}
    assert np.mean([truth[row[0]] == row[2] for row in taken]) > 0.6 and min(float(row[3]) for row in taken) >= 0.5


def test_the_result_is_the_kept_round_s(made):
    content = json.loads((made / "pseudo_labels.json").read_text(encoding="utf-8"))
    kept = content["kept"]
    assert same_weights(made, made / "pseudo" / f"round-{kept}")
    assert results(made)["eval_accuracy"] == pytest.approx(content["rounds"][kept]["dev_accuracy"])
    assert content["rounds"][kept]["dev_accuracy"] >= content["rounds"][0]["dev_accuracy"]
    assert (made / "export" / "model.pdmodel").is_file()


def test_a_rerun_uses_what_is_finished(made, data, tiny_model, tmp_path, monkeypatch, capsys, log):
    out = tmp_path / "out"
    shutil.copytree(made / "pseudo", out / "pseudo")
    shutil.rmtree(out / "pseudo" / "round-1")
    train.main(flags_of(data, tiny_model, out))
    assert same_weights(out, made) and "round 1: of" in capsys.readouterr().out
    assert any("round-0 already holds the result" in line for line in log)
    monkeypatch.setattr(pseudo_labels, "train_rounds", None)
    train.main(flags_of(data, tiny_model, out))  # finished: the rounds are not looked at
    assert "pseudo_rounds (2, now 3)" in refusal(*flags_of(data, tiny_model, out, "--pseudo_rounds", "3"))
    text = refusal(*train_flags(data, tiny_model, out))
    assert "pseudo_labels (true, now null)" in text and "--overwrite_output_dir" in text


def test_worse_rounds_are_not_kept(made, data, tiny_model, tmp_path, monkeypatch, capsys):
    """Labels that are all of the next class: what is learnt from them is worse on dev."""

    def wrong(given, truth, confidence, limits):
        rows = np.arange(len(given["texts"]))
        return Taken(rows, (given["texts"].argmax(axis=1) + 1) % 3, np.full(len(rows), 0.9), len(rows), 1.0)

    monkeypatch.setattr(pseudo_labels, "choose", wrong)
    out = tmp_path / "out"
    shutil.copytree(made / "pseudo" / "round-0", out / "pseudo" / "round-0")
    train.main(flags_of(data, tiny_model, out, "--pseudo_rounds", "1"))
    said = capsys.readouterr().out
    assert "The model of train alone is kept: that of round 1 is worse on dev" in said
    assert same_weights(out, out / "pseudo" / "round-0") and not same_weights(out, out / "pseudo" / "round-1")


def test_nothing_is_sure(made, data, tiny_model, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(made / "pseudo" / "round-0", out / "pseudo" / "round-0")
    train.main(flags_of(data, tiny_model, out, "--pseudo_confidence", "0.9999999"))
    said = capsys.readouterr().out
    assert "a lower --pseudo_confidence takes more" in said and "No round took a text" in said
    assert same_weights(out, made / "pseudo" / "round-0")


def test_no_unlabelled_texts(data_dir, tiny_model, tmp_path):
    text = refusal(*train_flags(data_dir, tiny_model, tmp_path / "out", "--pseudo_labels", "True"))
    assert "give a file of texts without labels, one a line, as --unlabelled_path" in text
    assert not (tmp_path / "out").exists()
