"""Triton Python backend: logits -> label, its confidence, and the probabilities of all classes.

build_models.py copies this file to models/seqcls_postprocess/1/model.py; ../labels.txt has the labels in class order.
"""

import json
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.logits = json.loads(args["model_config"])["input"][0]["name"]
        lines = (Path(args["model_repository"]) / "labels.txt").read_bytes().splitlines()
        self.labels = np.array(lines, dtype=object)

    def execute(self, requests):
        responses = []
        for request in requests:
            logits = pb_utils.get_input_tensor_by_name(request, self.logits).as_numpy().astype("float64")
            powers = np.exp(logits - logits.max(axis=1, keepdims=True))
            probabilities = powers / powers.sum(axis=1, keepdims=True)
            outputs = {
                "label": self.labels[logits.argmax(axis=1)][:, None],
                "confidence": probabilities.max(axis=1, keepdims=True).astype("float32"),
                "probabilities": probabilities.astype("float32"),
            }
            tensors = [pb_utils.Tensor(name, value) for name, value in outputs.items()]
            responses.append(pb_utils.InferenceResponse(tensors))
        return responses
