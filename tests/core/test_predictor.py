"""predictor.py: what a user meets when a folder is not what it should be."""

import json
import shutil

import numpy as np
import pytest

from core.predictor import Predictor, available_formats, graph_name, has_bfloat16, runs_onnx, student_format
from tests.helpers import LABELS
from utils import UsageError, read_examples


@pytest.fixture
def folder(trained, tmp_path):
    _, checkpoint = trained
    return checkpoint / "export"


def test_texts_come_back_in_order_whatever_the_batches(trained_once):
    data, checkpoint = trained_once
    texts, truth = read_examples(data / "dev.txt", LABELS)
    one = Predictor(checkpoint / "export", batch_size=1).probabilities(texts)
    many = Predictor(checkpoint / "export", batch_size=7).probabilities(texts)
    np.testing.assert_allclose(one, many, atol=1e-5)
    assert (one.argmax(axis=1) == np.array(truth)).mean() > 0.5
    np.testing.assert_allclose(one.sum(axis=1), 1)
    label, score = Predictor(checkpoint / "export").classify(texts[:1])[0]
    assert label == LABELS[one[0].argmax()] and score == pytest.approx(one[0].max(), abs=1e-5)


def test_many_texts_are_shared_out_among_cores(calibrated, monkeypatch):
    """The same answers in the same order, by a session of its own; fewer texts, or one core, need none."""
    pytest.importorskip("onnxruntime")
    texts, _ = read_examples(calibrated[0] / "dev.txt", LABELS)
    texts, predictor = texts[:64], Predictor(calibrated[2], "onnx", num_threads=2, batch_size=4)
    expected = Predictor(calibrated[2], "onnx", num_threads=1, batch_size=4).probabilities(texts)
    np.testing.assert_allclose(predictor.probabilities(texts[:63]), expected[:63], atol=1e-6)
    assert "_one_core" not in vars(predictor)
    np.testing.assert_allclose(predictor.probabilities(texts), expected, atol=1e-6)
    assert "_one_core" in vars(predictor)
    monkeypatch.setattr(predictor, "_collate", lambda features: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        predictor.probabilities(texts)


def test_bfloat16_where_the_processor_has_it(folder, trained_once):
    if not has_bfloat16():
        assert "paddle_bf16" not in available_formats(folder)
        with pytest.raises(UsageError, match="no bfloat16 arithmetic; use paddle or onnx_int8"):
            Predictor(folder, "paddle_bf16")
        return
    texts, _ = read_examples(trained_once[0] / "dev.txt", LABELS)
    difference = Predictor(folder, "paddle_bf16").probabilities(texts) - Predictor(folder).probabilities(texts)
    assert 0 < np.abs(difference).max() < 0.05


def test_on_a_cpu_onnx_runtime_makes_no_slow_step(calibrated, tmp_path, monkeypatch):
    """A newer version may have other names for what is left out: it would say nothing, and be slow again."""
    onnx, onnxruntime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    session, path, found = onnxruntime.InferenceSession, tmp_path / "optimized.onnx", []

    def kept(model, options, **kwargs):
        options.optimized_model_filepath = str(path)
        made = session(model, options, **kwargs)
        found.append([node.op_type for node in onnx.load(path).graph.node])
        return made

    monkeypatch.setattr(onnxruntime, "InferenceSession", kept)
    Predictor(calibrated[2], "onnx")
    monkeypatch.setattr("core.predictor.SLOW_FUSIONS", [])
    Predictor(calibrated[2], "onnx")
    quick, usual = found
    assert "LayerNormalization" in usual and "LayerNormalization" not in quick


def test_a_missing_folder_graph_or_format(folder, tmp_path):
    with pytest.raises(UsageError, match="no such directory"):
        graph_name(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="0 .*files instead of one"):
        Predictor(tmp_path / "empty")
    with pytest.raises(UsageError, match="model.onnx: no such file; export it with --export_type onnx"):
        Predictor(folder, "onnx")
    with pytest.raises(UsageError, match="format tflite: not known; use one of paddle, paddle_bf16, onnx, onnx_int8"):
        Predictor(folder, "tflite")
    shutil.copy(folder / "model.pdmodel", folder / "other.pdmodel")
    with pytest.raises(UsageError, match="2 .*files instead of one"):
        Predictor(folder)


@pytest.mark.parametrize("name", ["model.pdiparams", "model.pdmodel"])
def test_a_file_cut_short(folder, name):
    (folder / name).write_bytes((folder / name).read_bytes()[:-10])
    with pytest.raises(UsageError, match=f"{name}: .* bytes, but .* were written; it was cut short"):
        Predictor(folder)


@pytest.mark.parametrize("name, text", [("id2label.json", "{"), ("id2label.json", None), ("vocab.txt", None)])
def test_a_missing_or_broken_small_file(folder, name, text):
    (folder / name).unlink() if text is None else (folder / name).write_text(text)
    with pytest.raises(UsageError, match="export the model again"):
        Predictor(folder)


def test_one_text_any_iterable_and_what_is_no_text(trained_once):
    predictor = Predictor(trained_once[1] / "export")
    texts = ["头疼应该挂什么科", "做一次检查多少钱"]
    expected = predictor.classify(texts)
    assert predictor.classify(texts[0]) == expected[:1]
    assert predictor.classify(text for text in texts) == expected
    assert predictor.classify(dict.fromkeys(texts)) == expected
    for wrong in (None, float("nan"), "", " \t", 3):
        with pytest.raises(UsageError, match=r"texts\[1\]: "):
            predictor.classify([texts[0], wrong])


def test_probabilities_take_a_str_as_one_text_and_a_blank_one(trained_once):
    predictor = Predictor(trained_once[1] / "export")
    both = predictor.probabilities(["头疼应该挂什么科", ""])
    np.testing.assert_allclose(predictor.probabilities("头疼应该挂什么科"), both[:1], atol=1e-6)
    with pytest.raises(UsageError, match=r"texts\[1\]: None is not a text"):
        predictor.probabilities(["头疼应该挂什么科", None])


def test_a_limit(trained_once, folder):
    """The deepest level that is sure enough; the default answers stay tuples."""
    texts = read_examples(trained_once[0] / "dev.txt", LABELS)[0]
    names = ["病/诊断", "钱", "病/就医"]
    (folder / "id2label.json").write_text(json.dumps(dict(enumerate(names))), encoding="utf-8")
    content = json.loads((folder / "export.json").read_text(encoding="utf-8"))
    (folder / "export.json").write_text(json.dumps({**content, "label_separator": "/"}), encoding="utf-8")
    (folder / "parity.json").unlink()
    predictor = Predictor(folder)
    rows = predictor.probabilities(texts)
    assert predictor.classify(texts) == [(names[row.argmax()], row.max()) for row in rows]
    for limit in (0, 0.5, 0.9, 1):
        for row, answer in zip(rows, predictor.classify(texts, min_confidence=limit)):
            sums = {"病": row[0] + row[2], "钱": row[1]}
            best = max(sums, key=sums.get)
            if row.max() >= limit:
                expected = names[row.argmax()], row.max()
            else:
                expected = best if sums[best] >= limit else "unknown", sums[best]
            assert answer[:2] == (expected[0], pytest.approx(expected[1]))
            assert answer.guess == names[row.argmax()] and answer.guess_confidence == row.max()
    for wrong in (-1, 1.1, "0.5", True, float("nan")):
        with pytest.raises(UsageError, match="min_confidence .*: give a number from 0 to 1"):
            predictor.classify(texts, min_confidence=wrong)
    assert predictor.clone().paths.separator == "/" and Predictor(trained_once[1] / "export").paths.depth == 1


def test_which_formats_are_graphs_of_onnx(tmp_path):
    for name in ("model.pdmodel", "model.onnx", "model_int8.onnx"):
        (tmp_path / name).touch()
    formats = ["paddle", "onnx", "onnx_int8", "ngram", "cascade", "blend", "cascade:paddle", "cascade:onnx_int8"]
    assert [runs_onnx(tmp_path, one) for one in formats] == [False, True, True, False, True, True, False, True]
    (tmp_path / "model.onnx").unlink()
    assert not runs_onnx(tmp_path, "cascade")


def test_in_which_format_a_student_is_read(tmp_path):
    for name in ("model.pdmodel", "model.onnx", "model_int8.onnx"):
        (tmp_path / name).touch()
    assert student_format(tmp_path, {}) == "onnx_int8"
    assert student_format(tmp_path, {"student_format": "paddle"}) == "paddle"
    (tmp_path / "model_int8.onnx").unlink()
    assert student_format(tmp_path, {}) == "onnx"
    (tmp_path / "ngram_student.npz").touch()
    assert student_format(tmp_path, {"student_format": "onnx"}) == "ngram"
