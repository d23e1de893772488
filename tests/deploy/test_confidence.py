"""min_confidence accuracy:… and conformal: the same from Predictor, server, client and Triton's probabilities."""

import json
import urllib.parse

import numpy as np
import pytest
import requests

from core.predictor import Predictor
from deploy.simple_serving import client
from deploy.simple_serving.application import create_app
from deploy.simple_serving.settings import Settings
from deploy.triton_serving import build_models
from tests.deploy.asking import classify
from tests.deploy.exporting import read_config
from tests.deploy.running import server_thread
from tests.helpers import LABELS
from utils import UsageError, read_examples


@pytest.fixture(scope="module")
def served(calibrated):
    """Address of a server with the calibrated export in two formats."""
    folder = calibrated[2]
    models = ",".join(f"{format}={folder}@{format}" for format in ("onnx", "onnx_int8"))
    with server_thread(create_app(Settings(models=models))) as address:
        yield address


@pytest.fixture(scope="module")
def dev_texts(calibrated):
    return read_examples(calibrated[0] / "dev.txt", LABELS)[0]


@pytest.mark.parametrize("format", ["onnx", "onnx_int8"])
def test_the_same_answers_from_predictor_server_and_client(calibrated, served, dev_texts, format, tmp_path):
    predictor = Predictor(calibrated[2], format)
    sets = predictor.label_sets(dev_texts, 0.95)
    answers = predictor.classify(dev_texts, min_confidence="accuracy:0.95")
    found = classify(served, dev_texts, format, min_confidence="accuracy:0.95", conformal=0.95)
    assert found["label"] == [answer.label for answer in answers]
    assert found["confidence"] == pytest.approx([answer.confidence for answer in answers], abs=1e-5)
    assert found["guess"] == [answer.guess for answer in answers]
    assert [[entry["label"] for entry in top] for top in found["top"]] == [[label for label, _ in own] for own in sets]
    plain = classify(served, dev_texts, format, conformal=0.95)
    assert plain["top"] == found["top"] and plain["label"] == found["guess"] and "guess" not in plain
    (tmp_path / "texts.txt").write_text("\n".join(dev_texts) + "\n", encoding="utf-8")
    flags = f"--url {served}/models/{format} --file {tmp_path / 'texts.txt'} --chunk 64 --min_confidence accuracy:0.95"
    client.main([*flags.split(), "--conformal", "0.95"])
    lines = (tmp_path / "texts.txt.result.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["label"] for row in rows] == found["label"] and [row["top"] for row in rows] == found["top"]
    # Two of these sets differ in size, and some text is not sure enough: else nothing is compared here.
    least = json.loads((calibrated[2] / "export.json").read_text(encoding="utf-8"))
    own = least if format == "onnx" else least["formats"][format]
    limit = own["thresholds"]["0.95"]["levels"][0]["threshold"]
    assert [answer.label == "unknown" for answer in answers] == [
        round(row.max() * 1e6) < round(limit * 1e6) for row in predictor.probabilities(dev_texts)
    ]


def test_the_four_ways_with_another_name_for_what_is_unknown(
    calibrated, served, dev_texts, rendered, tmp_path, capsys
):
    """Predictor, HTTP, client.py and the page say the same, of a text that is sure enough and of one that is not."""
    predictor = Predictor(calibrated[2], "onnx")
    least = f"{np.median(predictor.probabilities(dev_texts).max(axis=1)):.4f}"
    limit = {"min_confidence": float(least), "unknown": "说不准"}
    answers = predictor.classify(dev_texts, **limit)
    labels = [answer.label for answer in answers]
    found = classify(served, dev_texts, "onnx", **limit)
    assert found["label"] == labels and found["unknown"] == "说不准"
    assert found["guess"] == [answer.guess for answer in answers]
    (tmp_path / "texts.txt").write_text("\n".join(dev_texts) + "\n", encoding="utf-8")
    flags = f"--url {served}/models/onnx --file {tmp_path / 'texts.txt'} --min_confidence {least}"
    client.main([*flags.split(), "--unknown", "说不准"])
    lines = (tmp_path / "texts.txt.result.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["label"] for row in rows] == labels and [row["guess"] for row in rows] == found["guess"]
    assert f"; {labels.count('说不准')} 说不准, surer than {least} of nothing" in capsys.readouterr().out
    for index in (labels.index("说不准"), [label == "说不准" for label in labels].index(False)):
        given = {"text": dev_texts[index], "model": "onnx", "limit": least, "unknown": "说不准"}
        page = rendered(f"{served}/?" + urllib.parse.urlencode(given))
        verdict = f"回答：{labels[index]}（{100 * found['confidence'][index]:.2f}%）"
        assert f'id="verdict">{verdict}<' in page
        assert f'<th scope="row">{found["guess"][index]}</th>' in page


def test_a_name_without_a_limit_is_refused(calibrated):
    with pytest.raises(UsageError, match="no answer is called so without min_confidence"):
        Predictor(calibrated[2], "onnx").classify(["头疼"], unknown="说不准")


def test_triton_s_probabilities_with_numpy_on_top(calibrated, served, dev_texts, python_model, tmp_path):
    folder = calibrated[2]
    build_models.main(["--export_dir", str(folder), "--output_dir", str(tmp_path / "models")])
    predictor, model = Predictor(folder, "onnx"), python_model(tmp_path / "models" / "seqcls_postprocess")
    name = read_config(tmp_path / "models" / "seqcls_postprocess")["input"][0]["name"]
    [(tensors, _)] = model.execute([{name: predictor.logits(predictor.encode(dev_texts))}])
    content = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    probabilities = tensors["probabilities"]
    limit = content["thresholds"]["0.95"]["levels"][0]["threshold"]
    labels = np.where(probabilities.max(axis=1) >= limit, np.array(LABELS)[probabilities.argmax(axis=1)], "unknown")
    found = classify(served, dev_texts, "onnx", min_confidence="accuracy:0.95", conformal=0.9)
    assert labels.tolist() == found["label"]
    least = content["conformal"]["0.9"]["least_probability"]
    members = np.rint(probabilities.astype("float64") * 1e6) >= round(least * 1e6)
    members[np.arange(len(members)), probabilities.argmax(axis=1)] = True
    for own, top in zip(members, found["top"]):
        assert {LABELS[index] for index in np.flatnonzero(own)} == {entry["label"] for entry in top}


def test_what_is_not_known_is_refused_where_it_stands(served, dev_texts):
    def refused(**parameters):
        body = {"data": {"text": dev_texts[:1]}, "parameters": parameters}
        answer = requests.post(f"{served}/models/onnx", json=body, timeout=60)
        assert answer.status_code == 422
        return answer.json()["error"]["field"], answer.json()["error"]["message"]

    field, message = refused(min_confidence="accuracy:0.5")
    assert field == "parameters.min_confidence" and "no threshold for that; export.json has one for 0.95" in message
    field, message = refused(conformal=0.5)
    assert field == "parameters.conformal" and "export.json has one for 0.9, 0.95" in message
    field, message = refused(conformal=0.9, top_k=2)
    assert field == "parameters.top_k" and message.startswith("conformal decides how many classes")
    assert refused(conformal=1)[0] == "parameters.conformal" and refused(conformal="0.9")[0] == "parameters.conformal"
    models = requests.get(f"{served}/models", timeout=60).json()["models"]
    for model in models:
        assert "accuracy:0.95" in model["min_confidence"] and model["conformal"] == [0.9, 0.95]


def test_wrong_flags_of_the_client(capsys):
    for flags, message in (
        (["--conformal", "1"], "give how often a set shall hold the right label"),
        (["--conformal", "0.9", "--top_k", "3"], "leave --top_k out"),
        (["--min_confidence", "accuracy:2"], "give a number from 0 to 1, or accuracy:0.98"),
        (["--min_confidence", "sure"], "give a number from 0 to 1, or accuracy:0.98"),
    ):
        with pytest.raises(SystemExit):
            client.parse_flags(flags)
        assert message in capsys.readouterr().err
