"""tokenizer_model.py in a generated repository, as Triton runs it."""

import numpy as np
import pytest

from core.predictor import Predictor
from deploy.triton_serving import build_models
from tests.deploy.exporting import TEXTS, as_input, odd_texts, read_config, readable


def test_ids_are_those_of_the_predictor(models, predictor, python_model):
    model = python_model(models / "tokenizer")
    texts = readable(odd_texts(800))
    expected = predictor.encode(texts)
    requests = [as_input(texts[start : start + 7]) for start in range(0, len(texts), 7)]
    responses = sum((model.execute(requests[start : start + 5]) for start in range(0, len(requests), 5)), [])
    rows = [row for tensors, error in responses for row in tensors["input_ids"]]
    assert len(rows) == len(texts)
    for text, row, feature in zip(texts, rows, expected):
        ids = feature["input_ids"]
        assert row[: len(ids)].tolist() == ids, ascii(text)
        assert set(row[len(ids) :]) <= {predictor.pad_token_id} and len(row) in (16, 32)
    assert not any(tensors["token_type_ids"].any() for tensors, _ in responses)
    # Requests that were tokenised together are equally long, so that their next step can be one batch.
    together = model.execute([as_input(["头"]), as_input(TEXTS)])
    assert len({tensors["input_ids"].shape[1] for tensors, _ in together}) == 1


def test_a_request_that_is_not_utf8_fails_alone(models, python_model):
    bad = {"INPUT": np.array([[b"\xff"]], dtype=object)}
    good, error, last = python_model(models / "tokenizer").execute([as_input(TEXTS), bad, as_input(TEXTS[:1])])
    assert "not UTF-8" in error[1] and error[0] == {}
    assert good[1] is None and good[0]["input_ids"][0].tolist() == last[0]["input_ids"][0].tolist()
    (alone,) = python_model(models / "tokenizer").execute([bad])
    assert "not UTF-8" in alone[1]


@pytest.mark.parametrize("text, message", [("", "nothing to read"), (" \u200b", "nothing to read"), ("a\0", "NUL")])
def test_a_text_with_nothing_in_it_is_refused(models, python_model, text, message):
    """As the HTTP server does it: it would get a guess."""
    asked = [as_input(["头疼", text]), as_input(["头疼"])]
    (tensors, error), (others, none) = python_model(models / "tokenizer").execute(asked)
    assert tensors == {} and error.startswith("INPUT[1]: ") and message in error
    assert none is None and len(others["input_ids"]) == 1


def test_the_tokenizer_of_another_version_is_refused(models, python_model, monkeypatch):
    monkeypatch.setattr("tokenizers.__version__", "0.0.1")
    with pytest.raises(Exception, match=r"tokenizers 0.0.1 is installed.*pip install tokenizers==\d"):
        python_model(models / "tokenizer")


def test_ernie_m_has_no_token_types_and_keeps_its_own_tokenizer(ernie_m, tmp_path, python_model, capsys):
    models = tmp_path / "models"
    build_models.main(["--export_dir", str(ernie_m), "--output_dir", str(models)])
    assert "pip install paddlepaddle paddlenlp" in capsys.readouterr().out
    assert [tensor["name"] for tensor in read_config(models / "seqcls_model")["input"]] == ["input_ids"]
    predictor = Predictor(ernie_m, "onnx")
    texts = [*TEXTS, *readable(odd_texts(100))]
    ((tensors, _),) = python_model(models / "tokenizer").execute([as_input(texts)])
    for row, feature in zip(tensors["input_ids"], predictor.encode(texts)):
        ids = feature["input_ids"]
        assert row.tolist() == ids + [predictor.pad_token_id] * (len(row) - len(ids))
