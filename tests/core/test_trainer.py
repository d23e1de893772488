"""The Trainer's evaluation and metrics."""

import numpy as np
import paddle
import pytest

import train
from core import loading, pipeline, trainer


def test_predictions_come_in_file_order(trained_once):
    """Of texts sorted by length inside; also, predict must not return None (a fault without compute_metrics)."""
    data, checkpoint = trained_once
    flags = (
        f"--do_eval --debug True --device cpu --model_name_or_path {checkpoint} --data_dir {data} "
        f"--output_dir {checkpoint} --disable_tqdm True"
    ).split()
    run = train.parse_all(flags)
    config, tokenizer = loading.load_config_and_tokenizer(str(checkpoint))
    model = loading.load_model(str(checkpoint), config, run.data.labels)
    runner = pipeline.make_trainer(model, tokenizer, run)
    output = runner.predict(runner.test_dataset)
    assert np.asarray(output.label_ids).reshape(-1).tolist() == run.data.test[1]
    model.eval()
    for index in (0, 7, 20):
        feature = runner.test_dataset[index]
        with paddle.no_grad():
            logits = model(paddle.to_tensor([feature["input_ids"]]), paddle.to_tensor([feature["token_type_ids"]]))
        np.testing.assert_allclose(output.predictions[index], logits.numpy()[0], atol=1e-5)


def test_metrics_against_a_count_by_hand():
    from types import SimpleNamespace

    logits = np.eye(3)[[0, 0, 1, 1, 1, 0]]
    metrics = trainer.compute_metrics(
        SimpleNamespace(predictions=logits, label_ids=np.array([[0], [0], [1], [0], [1], [2]]))
    )
    assert metrics["accuracy"] == pytest.approx(4 / 6)
    assert metrics["macro_precision"] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert metrics["macro_recall"] == pytest.approx((2 / 3 + 1 + 0) / 3)
