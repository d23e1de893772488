"""A model whose truth is known, and flags of word_interpret.py, for the tests of what explains words."""

import numpy as np
import paddle

MARKER = "头痛"


def word_flags(data, checkpoint, *more):
    given = f"--device cpu --dataset_dir {data} --params_path {checkpoint} --interpret_input_file dev.txt --samples 50"
    return [*given.split(), *map(str, more)]


class Planted(paddle.nn.Layer):
    """A model whose truth is known: the logits are s, 0 and -s, where s is the sum of a weight a token."""

    def __init__(self, weights):
        super().__init__()
        self.embedding, self.head = paddle.nn.Embedding(len(weights), 1), paddle.nn.Linear(1, 3)
        self.embedding.weight.set_value(weights[:, None].astype("float32"))
        self.head.weight.set_value(np.array([[1, 0, -1]], "float32"))

    def forward(self, input_ids, token_type_ids=None, output_attentions=False, return_dict=False):
        values = self.embedding(input_ids)
        logits = self.head(values.sum(axis=1))
        if not output_attentions:
            return logits
        heads = paddle.nn.functional.softmax(values.reshape([len(values), 1, 1, -1]), axis=-1)
        return type("Output", (), {"logits": logits, "attentions": [heads]})


def scale_layer_norms(model, trainable=True):
    """Random scales far from 1, as a real model has them and a fresh one has not."""
    generator = np.random.RandomState(0)
    for layer in model.sublayers():
        if isinstance(layer, paddle.nn.LayerNorm):
            layer.weight.set_value(generator.uniform(0.3, 2.5, layer.weight.shape).astype("float32"))
            layer.weight.stop_gradient = layer.bias.stop_gradient = not trainable


def logit(explainer, case, ids):
    with paddle.no_grad():
        logits = explainer.model(**explainer.classifier.pad([{**case.feature, "input_ids": ids}]))
    return float(logits[0, case.class_id])
