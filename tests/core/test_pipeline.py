"""The steps of a run of train.py."""

import numpy as np
import paddle

import train
from core import loading, pipeline


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
