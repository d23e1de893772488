"""core/trained.py: nothing of a trained classifier is drawn at random."""

import shutil

import numpy as np
import paddle
import pytest

from core.loading import load_config_and_tokenizer
from core.trained import load_trained
from tests.helpers import LABELS
from utils import UsageError


def test_a_whole_model_is_loaded_and_one_without_its_head_is_not(trained_once, tmp_path):
    _, checkpoint = trained_once
    folder = tmp_path / "model"
    shutil.copytree(checkpoint, folder, ignore=shutil.ignore_patterns("checkpoint-*", "export"))
    path = folder / "model_state.pdparams"
    state = paddle.load(str(path), return_numpy=True)
    config, _ = load_config_and_tokenizer(str(folder))
    model = load_trained(str(folder), config, LABELS)
    np.testing.assert_array_equal(model.classifier.weight.numpy(), state["classifier.weight"])
    kept = {name: value for name, value in state.items() if not name.startswith(("classifier.", "ernie.pooler."))}
    paddle.save(kept, str(path))
    config, _ = load_config_and_tokenizer(str(folder))
    message = "the weights lack classifier.bias, classifier.weight, ernie.pooler.dense.bias and 1 more, which would be"
    with pytest.raises(UsageError, match=message):
        load_trained(str(folder), config, LABELS)
