"""few-shot/setfit.py: flags and data, and a training whose export answers like the model."""

import json

import numpy as np
import pytest

from core.predictor import Predictor
from tests.helpers import LABELS, UNREADABLE, unknown_lines, write_data
from utils import UsageError, read_lines


@pytest.fixture
def run(setfit):
    """A function from data, model, output folder and more flags to the folder of the export."""

    def run(data, model, output, *more):
        flags = ["--data_dir", data, "--model_name_or_path", model, "--output_dir", output, "--device", "cpu"]
        flags += "--max_seq_length 32 --max_steps 6 --learning_rate 1e-3".split()
        setfit.main(list(map(str, [*flags, *more])))
        return output / "export"

    return run


def probabilities(folder, data, format="paddle"):
    return Predictor(folder, format).probabilities(read_lines(data / "test.txt"))


def test_train_evaluate_predict_and_export(few, run, tiny_model, tmp_path, taskflow, capsys):
    folder = run(few, tiny_model, tmp_path / "out", "--do_train", "--do_eval", "--do_predict", "--export_type", "onnx")
    out = capsys.readouterr().out
    texts, lines = read_lines(few / "test.txt"), read_lines(tmp_path / "out" / "predictions.txt")
    assert f"Dev dataset size: {len(texts)}" in out and f"{len(texts)} predictions are in" in out
    end = out.splitlines()[-4:]
    assert end[0] == f"Export: {folder} (paddle, onnx)" and end[1].startswith("Accuracy on dev.txt: ")
    assert end[2].startswith(f"{len(texts)} predictions are in") and end[3].startswith("Next: ")
    scores = probabilities(folder, few)
    np.testing.assert_allclose(probabilities(folder, few, "onnx"), scores, atol=1e-5)
    best = scores.argmax(axis=1)
    rows = [line.split("\t") for line in lines]
    assert rows[0] == ["Text", "Label", "Prediction", "Score"]
    assert [row[:3] for row in rows[1:]] == [[text, "", LABELS[index]] for text, index in zip(texts, best)]
    np.testing.assert_allclose([float(row[3]) for row in rows[1:]], scores.max(axis=1), atol=1e-4)
    answers = [result["predictions"][0] for result in taskflow(folder, is_static_model=True)(texts)]
    assert [answer["label"] for answer in answers] == [LABELS[index] for index in best]
    truth = [LABELS.index(line.split("\t")[1]) for line in read_lines(few / "dev.txt")]
    assert (best == truth).mean() > 0.5  # chance is 0.33
    parity = json.loads((folder / "parity.json").read_text("utf-8"))
    np.testing.assert_allclose(Predictor(folder).probabilities(parity["texts"]), parity["probabilities"], atol=1e-5)


def test_texts_that_the_encoder_cannot_read(few, run, tiny_model, tmp_path, log):
    """Said once a run: of what it learns from, else of what it predicts."""
    (few / "test.txt").write_text("\n".join(UNREADABLE), encoding="utf-8")
    flags = ["--max_steps", "0", "--ngram_weight", "0", "--do_train", "--do_predict"]
    run(few, tiny_model, tmp_path / "out", *flags)
    [line] = unknown_lines(log)
    assert line.startswith("the texts: 100.0%") and str(tmp_path / "out" / "export") in line
    (few / "data.txt").write_text("\n".join(UNREADABLE), encoding="utf-8")
    run(few, tiny_model, tmp_path / "out", *flags)
    [_, line] = unknown_lines(log)
    assert line.startswith("data.txt: 100.0%") and f"that {tiny_model} cannot read" in line


def test_seed_and_tuned_share(few, run, tiny_model, tmp_path):
    def scores(name, *more):
        flags = ["--do_train", "--ngram_weight", "0", *more]
        return probabilities(run(few, tiny_model, tmp_path / name, *flags), few)

    first = scores("a", "--seed", "1")
    assert (scores("b", "--seed", "1") == first).all()
    assert np.abs(scores("c", "--seed", "2") - first).max() > 1e-3
    untuned = scores("d", "--max_steps", "0")
    np.testing.assert_allclose(scores("e", "--tuned_share", "0"), untuned, atol=1e-5)
    assert np.abs(untuned - first).max() > 1e-3


def test_dev_makes_the_scores_as_sure_as_they_are_right(few, run, tiny_model, tmp_path, capsys):
    """The same answers with and without dev; with it the mean score is near the accuracy, without it not above."""
    truth = [LABELS.index(line.split("\t")[1]) for line in read_lines(few / "dev.txt")]
    flags = ["--do_train", "--ngram_weight", "0.5"]
    fitted = probabilities(run(few, tiny_model, tmp_path / "a", *flags), few)
    (few / "dev.txt").unlink()
    as_it_is = probabilities(run(few, tiny_model, tmp_path / "b", *flags), few)
    assert (fitted.argmax(axis=1) == as_it_is.argmax(axis=1)).all()
    accuracy = (fitted.argmax(axis=1) == truth).mean()
    assert abs(fitted.max(axis=1).mean() - accuracy) < 0.1
    assert as_it_is.max(axis=1).mean() < accuracy + 0.1 and as_it_is.max() < 0.9999
    out = capsys.readouterr().out
    assert out.count("Scores: ") == 1 and "Scores: calibrated on train.txt, where each text was left out" in out


def test_a_label_without_samples_has_its_word(few, run, tiny_model, tmp_path):
    lines = [line for line in read_lines(few / "train.txt") if not line.endswith(LABELS[1])]
    write_data(few, lines, read_lines(few / "dev.txt"), [LABELS[0], f"{LABELS[1]}==要多少钱", LABELS[2]])
    folder = run(few, tiny_model, tmp_path / "out", "--do_train", "--max_steps", "0")
    assert Predictor(folder).classify(["要多少钱"])[0][0] == LABELS[1]


def test_texts_that_share_no_token(tmp_path, run, tiny_model):
    """Then [CLS] and [SEP] are all the n-grams, and the vectors alone answer."""
    write_data(tmp_path, ["头痛\tA", "挂号\tB"], ["头痛\tA"], ["A==肝", "B==科"])
    folder = run(tmp_path, tiny_model, tmp_path / "out", "--do_train", "--max_steps", "0")
    assert [label for label, _ in Predictor(folder).classify(["头痛", "挂号"])] == ["A", "B"]


def test_an_encoder_without_token_types(few, run, tiny_ernie_m, tmp_path):
    folder = run(few, tiny_ernie_m, tmp_path / "out", "--do_train", "--export_type", "onnx", "--max_steps", "2")
    np.testing.assert_allclose(probabilities(folder, few, "onnx"), probabilities(folder, few), atol=1e-4)


def test_refusals(few, run, setfit, tiny_model, tmp_path):
    with pytest.raises(UsageError, match="export: no such directory; train first"):
        run(few, tiny_model, tmp_path / "out", "--do_eval")
    with pytest.raises(UsageError, match="--max_seq_length 200: .* has positions for 128"):
        run(few, tiny_model, tmp_path / "out", "--do_train", "--max_seq_length", "200")
    with pytest.raises(UsageError, match="no such directory"):
        run(few, tmp_path / "nowhere", tmp_path / "out", "--do_train")
    for flags, problem in {
        "": "nothing to do",
        "--do_train --max_steps -1": "--max_steps -1: must be at least 0",
        "--do_train --ngram_weight -0.5": "--ngram_weight -0.5: must be at least 0",
        "--do_train --shrinkage 2": "--shrinkage 2.0: give a number from 0 to 1",
        "--do_train --temperature 0": "--temperature 0.0: must be above 0",
    }.items():
        with pytest.raises(UsageError, match=problem):
            setfit.main(flags.split())
    assert not (tmp_path / "out").exists()
    run(few, tiny_model, tmp_path / "out", "--do_train", "--max_steps", "0")
    write_data(few, read_lines(few / "train.txt"), read_lines(few / "dev.txt"), LABELS[::-1])
    with pytest.raises(UsageError, match="label.txt: not the labels of"):
        run(few, tiny_model, tmp_path / "out", "--do_eval")
    (few / "dev.txt").unlink()
    with pytest.raises(UsageError, match="needs .*dev.txt for its ranges"):
        run(few, tiny_model, tmp_path / "out", "--do_train", "--export_type", "onnx_int8")


def test_label_words_and_unlabelled_texts_alone(few, run, tiny_model, tmp_path, sample_lines, capsys):
    """Without train.txt."""
    (few / "train.txt").unlink()
    with pytest.raises(UsageError, match="train.txt: no such file"):
        run(few, tiny_model, tmp_path / "out", "--do_train")
    (few / "data.txt").write_text("\n".join(line.split("\t")[0] for line in sample_lines["train"]), "utf-8")
    folder = run(few, tiny_model, tmp_path / "out", "--do_train", "--do_eval")
    assert "unlabelled texts and the label words alone make the head" in capsys.readouterr().out
    assert Predictor(folder).labels == LABELS


def test_scores_without_any_label_are_not_near_certain(few, run, tiny_model, tmp_path, sample_lines, capsys):
    """Neither train.txt nor dev.txt: tempered to what the fit suggests, and said so, in a later run too."""
    truth = [LABELS.index(line.split("\t")[1]) for line in read_lines(few / "dev.txt")]
    (few / "train.txt").unlink()
    (few / "dev.txt").unlink()
    (few / "data.txt").write_text("\n".join(line.split("\t")[0] for line in sample_lines["train"]), "utf-8")
    folder = run(few, tiny_model, tmp_path / "out", "--do_train")
    assert (
        "Scores: not calibrated, since no text has a label: lowered to what the fit itself suggests, about "
        in capsys.readouterr().out
    )
    scores = probabilities(folder, few)
    accuracy = (scores.argmax(axis=1) == truth).mean()
    assert scores.max() < 0.995 and 0.33 < scores.max(axis=1).mean() < accuracy + 0.15
    expected = json.loads((folder / "export.json").read_text("utf-8"))["calibration"]["expected_accuracy"]
    assert abs(scores.max(axis=1).mean() - max(expected, 0.37)) < 0.1
    run(few, tiny_model, tmp_path / "out", "--do_predict")
    out = capsys.readouterr().out
    assert "predictions.txt; their scores are not calibrated\n" in out and "Scores: not calibrated" in out
    (few / "data.txt").write_text("头疼\n" * 5 + "挂号\n", "utf-8")
    with pytest.raises(UsageError, match="data.txt: 2 different texts; .* that takes 6"):
        run(few, tiny_model, tmp_path / "out", "--do_train")


def test_data_txt_has_a_part(few, run, tiny_model, tmp_path, sample_lines):
    """With data.txt other answers, in all formats alike; --unlabelled_weight 0 is as if it were not there."""

    def scores(name, *more, format="paddle"):
        flags = ["--do_train", "--max_steps", "0", *more]
        return probabilities(run(few, tiny_model, tmp_path / name, *flags), few, format)

    without = scores("a")
    (few / "data.txt").write_text("\n".join(line.split("\t")[0] for line in sample_lines["train"]), "utf-8")
    with_data = scores("b", "--export_type", "paddle", "onnx", "onnx_int8")
    assert np.abs(with_data - without).max() > 0.01
    np.testing.assert_allclose(probabilities(tmp_path / "b" / "export", few, "onnx"), with_data, atol=1e-5)
    # 8 bits are for the encoder; the n-grams' table stays as it is.
    np.testing.assert_allclose(probabilities(tmp_path / "b" / "export", few, "onnx_int8"), with_data, atol=0.1)
    assert (scores("c", "--unlabelled_weight", "0") == without).all()
    only_vectors = scores("d", "--ngram_weight", "0")
    assert np.abs(only_vectors - with_data).max() > 0.01


@pytest.fixture
def large(few, sample_lines):
    """`few` with 200 dev texts, which is enough for a temperature."""
    train = read_lines(few / "train.txt")
    rest = [line for line in sample_lines["train"] if line not in train][:140]
    (few / "dev.txt").write_text("\n".join([*rest, *sample_lines["dev"]]), "utf-8")
    return few


def test_the_export_says_what_can_be_promised(large, run, tiny_model, tmp_path, log):
    """As train.py's: the same entries of export.json, the same use of them, and a model card."""
    folder = run(large, tiny_model, tmp_path / "out", "--do_train", "--export_type", "onnx", "onnx_int8")
    content = json.loads((folder / "export.json").read_text("utf-8"))
    calibration = content["calibration"]
    assert calibration["on"] == "dev.txt" and calibration["samples"] == calibration["texts"] == 200
    assert {"before", "after"} <= calibration.keys() and set(content["conformal"]) == {"0.9", "0.95"}
    rows = {row["format"]: row for row in content["metrics"]["dev"]}
    assert {"dynamic", "paddle", "onnx", "onnx_int8"} <= rows.keys() and rows["onnx"]["max_difference"] < 1e-4
    assert "conformal" in content["formats"]["onnx_int8"]
    predictor = Predictor(folder, "onnx")
    texts, truth = zip(*(line.split("\t") for line in read_lines(large / "dev.txt")))
    sets = predictor.label_sets(texts, conformal=0.9)
    held = np.mean([label in dict(found) for label, found in zip(truth, sets)])
    assert held >= 0.88
    assert any("The export's probabilities are" in line for line in log)
    card = (folder / "README_en.md").read_text("utf-8")
    accuracy = np.mean([label == own for label, (own, _) in zip(truth, predictor.classify(texts))])
    assert f"| accuracy | {accuracy:.2%} |" in card and "| training | 48 | 3/3 |" in card and "| dev | 200 |" in card
    assert "the parts' weights were fitted on dev" in card and "`--max_steps 6`" in card and "shrinkage" not in card
    assert f"`{tiny_model.name}`" in card and str(tmp_path) not in card


def test_the_temperature_is_in_the_graph_or_is_left_out(large, run, tiny_model, tmp_path, monkeypatch, learning):
    """With weights that make the probabilities far too sure, as no fit would."""
    monkeypatch.setattr(learning.heads, "fit_weights", lambda logits, truth, share=None: [4.0] * len(logits))
    flags = ["--max_steps", "0", "--do_train"]
    tempered = run(large, tiny_model, tmp_path / "one", *flags)
    plain = run(large, tiny_model, tmp_path / "two", *flags, "--calibrate", "False")
    read = [json.loads((folder / "export.json").read_text("utf-8")) for folder in (tempered, plain)]
    temperature = read[0]["calibration"]["temperature"]
    assert temperature > 1.5 and read[0]["calibration"]["after"] != read[0]["calibration"]["before"]
    assert read[1]["calibration"]["temperature"] is None and read[1]["calibration"]["why"] == "--calibrate False"
    own = np.log(probabilities(plain, large)) / temperature
    own = np.exp(own) / np.exp(own).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities(tempered, large), own, atol=1e-5)


def test_without_dev_nothing_is_promised(few, run, tiny_model, tmp_path):
    (few / "dev.txt").unlink()
    folder = run(few, tiny_model, tmp_path / "out", "--max_steps", "0", "--do_train")
    content = json.loads((folder / "export.json").read_text("utf-8"))
    assert content["calibration"]["on"] == "train.txt" and content["calibration"]["temperature"] is None
    assert content["calibration"]["why"].startswith(f"there is no {few / 'dev.txt'} to fit a temperature on")
    assert "thresholds" not in content and "metrics" not in content
    with pytest.raises(UsageError, match="there is no .*dev.txt"):
        Predictor(folder).classify(["头疼"], min_confidence="accuracy:0.95")
    card = (folder / "README_en.md").read_text("utf-8")
    assert "there is no dev.txt to fit a temperature on" in card and "| dev | unknown | unknown |" in card


def test_help(help_of):
    assert help_of("setfit.py").startswith("usage: setfit.py")
