"""postprocess_model.py in a generated repository, as Triton runs it."""

import numpy as np

from tests.deploy.exporting import odd_texts, read_config


def test_labels_are_those_of_the_predictor(models, predictor, python_model):
    model = python_model(models / "seqcls_postprocess")
    texts = [text for text in odd_texts(60) if text.strip()]  # blank ones are refused before Triton's graph
    logits = predictor.logits(predictor.encode(texts))
    name = read_config(models / "seqcls_postprocess")["input"][0]["name"]
    (tensors, _), (more, _) = model.execute([{name: logits[:50]}, {name: logits[50:]}])
    labels = [label.decode("utf-8") for label in np.concatenate([tensors["label"], more["label"]])[:, 0]]
    expected = predictor.classify(texts)
    assert labels == [label for label, _ in expected]
    confidence = np.concatenate([tensors["confidence"], more["confidence"]])[:, 0]
    np.testing.assert_allclose(confidence, [score for _, score in expected], atol=1e-6)
    np.testing.assert_allclose(tensors["probabilities"], predictor.probabilities(texts[:50]), atol=1e-6)
