"""core/windows.py: a classifier that reads the windows of a text, in training and evaluation."""

import copy

import numpy as np
import paddle
import pytest

from core import windows
from core.batches import TextDataset, make_collator
from core.encoders import make_encoder
from core.loading import load_config_and_tokenizer, load_model, uses_token_types
from core.long_texts import LongText, flat
from tests.helpers import LABELS

TEXTS = ["头疼挂什么科", "医保卡能刷吗" * 4, "高血压患者能不能喝咖啡，一天最多几杯？" * 5]


def facts(pooling):
    return {"way": "windows", "stride": 10, "pooling": pooling}


@pytest.fixture
def model(tiny_model):
    config, _ = load_config_and_tokenizer(str(tiny_model))
    paddle.seed(1)
    model = load_model(str(tiny_model), config, LABELS)
    model.eval()
    return model


@pytest.fixture
def dataset(tiny_model):
    _, tokenizer = load_config_and_tokenizer(str(tiny_model))
    encode = make_encoder(tokenizer, 16, True, long_text=LongText(facts("mean"), 16))
    dataset = TextDataset(TEXTS, [0, 1, 2], encode)
    dataset.collate = make_collator(tokenizer)
    return dataset


def run(model, dataset, samples):
    batch = dataset.collate([dataset[index] for index in samples])
    return model(**{name: paddle.to_tensor(value) for name, value in batch.items() if name != "labels"})


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_logits_are_those_of_the_shared_step(model, dataset, pooling):
    """As core/predictor.py has them, whatever stands beside a text."""
    rows, counts = flat(dataset.features)
    assert counts.tolist() == [1, 2, 10]
    plain = np.concatenate([one_row(model, dataset, row) for row in rows])
    expected = LongText(facts(pooling), 16).pool(plain, counts)
    alone = run(model, dataset, [0]).numpy()
    windows.set_long_text(model, facts(pooling))
    assert type(model).__name__ == "ErnieForSequenceClassification" and uses_token_types(model)
    assert np.abs(run(model, dataset, [0, 1, 2]).numpy() - expected).max() < 1e-5
    with windows.few_at_once(model):
        model.rows_at_once = 4
        assert np.abs(run(model, dataset, [0, 1, 2]).numpy() - expected).max() < 1e-5
    assert "rows_at_once" not in vars(model)
    assert (run(model, dataset, [0]).numpy() == alone).all()  # a batch without windows is the plain model's
    assert np.abs(run(copy.deepcopy(model), dataset, [2]).numpy() - expected[2]).max() < 1e-5
    with windows.one_window(model):
        assert not isinstance(model, windows.Windows)
    assert isinstance(model, windows.Windows) and model.config.to_dict()["long_text"] == facts(pooling)


def one_row(model, dataset, row):
    batch = dataset.collate([{**row, "labels": 0}])
    with paddle.no_grad():
        return model(**{name: paddle.to_tensor(batch[name]) for name in ("input_ids", "token_type_ids")}).numpy()


def test_every_window_learns_from_the_text_s_label(model, dataset):
    windows.set_long_text(model, facts("mean"))
    loss = paddle.nn.functional.cross_entropy(run(model, dataset, [0, 2]), paddle.to_tensor([0, 2]))
    loss.backward()
    table = model.ernie.embeddings.word_embeddings.weight.grad.numpy()
    tokens = {token for row in flat(dataset.features[2:])[0] for token in row["input_ids"]}
    assert all(np.abs(table[token]).max() > 0 for token in tokens)


def test_ways_without_windows_leave_the_class(model):
    own = type(model)
    windows.set_long_text(model, {"way": "head_tail"})
    assert type(model) is own and model.config.long_text == {"way": "head_tail"}
    windows.set_long_text(model, None)
    assert type(model) is own and "long_text" not in model.config.to_dict()
