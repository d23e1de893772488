"""Triton Python backend: windows of long texts -> one row of logits a text, and which window decided.

build_models.py copies this file to models/seqcls_windows/1/model.py, beside long_texts.py, for exports that read long
texts in windows. The tokenizer lays the windows of a text side by side, max_length tokens each; they are run by
seqcls_model one below the other, and pooled by the step that core/predictor.py shares (core/long_texts.py).
"""

import importlib.util
import json
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

MODEL = "seqcls_model"


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        parameter = {name: value["string_value"] for name, value in config["parameters"].items()}
        self.names = [value["name"] for value in config["input"]]
        self.logits = config["output"][0]["name"]
        self.max_rows, self.pad_token_id = config["max_batch_size"], int(parameter["pad_token_id"])
        path = Path(args["model_repository"]) / args["model_version"] / "long_texts.py"
        spec = importlib.util.spec_from_file_location("long_texts", path)
        self.module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self.module)
        self.long_text = self.module.LongText(json.loads(parameter["long_text"]), int(parameter["max_length"]))

    def execute(self, requests):
        """Answer some requests, whose texts are all equally long: only such are given together."""
        batches = [
            {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.names}
            for request in requests
        ]
        sizes = [len(batch[self.names[0]]) for batch in batches]
        ids = {name: np.concatenate([batch[name] for batch in batches]) for name in self.names}
        try:
            logits, windows = self.pooled(ids)
        except RuntimeError as error:
            return [pb_utils.InferenceResponse([], pb_utils.TritonError(str(error))) for _ in requests]
        responses, start = [], 0
        for size in sizes:
            own = slice(start, start + size)
            tensors = [pb_utils.Tensor(self.logits, logits[own]), pb_utils.Tensor("window", windows[own])]
            responses.append(pb_utils.InferenceResponse(tensors))
            start += size
        return responses

    def pooled(self, ids):
        """Logits [texts, classes], and int32 [texts, 2]: the number of the deciding window, and how many there are.

        Raises:
            RuntimeError: seqcls_model failed.
        """
        texts, width = ids["input_ids"].shape
        tokens = min(width, self.long_text.max_length)
        rows = {name: values.reshape(-1, tokens) for name, values in ids.items()}
        is_there = (rows["input_ids"] != self.pad_token_id).any(axis=1)
        counts = is_there.reshape(texts, -1).sum(axis=1)
        raw = self.run({name: values[is_there] for name, values in rows.items()})
        logits = self.long_text.pool(raw, counts)
        found = self.long_text.deciding([{}] * texts, raw, counts, logits.argmax(axis=1))
        return logits, np.stack([found["number"], found["of"]], axis=1)

    def run(self, rows):
        """The logits of windows, max_rows at a time."""
        parts = []
        for start in range(0, len(rows["input_ids"]), self.max_rows):
            own = slice(start, start + self.max_rows)
            # Contiguous: a view would be sent from its first byte on.
            inputs = [pb_utils.Tensor(name, np.ascontiguousarray(values[own])) for name, values in rows.items()]
            request = pb_utils.InferenceRequest(
                model_name=MODEL,
                inputs=inputs,
                requested_output_names=[self.logits],
                preferred_memory=pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_CPU, 0),
            )
            response = request.exec()
            if response.has_error():
                raise RuntimeError(f"{MODEL}: {response.error().message()}")
            parts.append(pb_utils.get_output_tensor_by_name(response, self.logits).as_numpy())
        return np.concatenate(parts)
