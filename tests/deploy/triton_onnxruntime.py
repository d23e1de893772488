"""Stand-in for Triton's C++ ONNX Runtime backend, which the wheel does not have: the same configs, in Python.

triton_server.py copies it to backends/onnxruntime/model.py. Like the original it gets requests of equal shapes from
the dynamic batcher, runs them as one batch, and reads intra_op_thread_count.
"""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        return config

    def initialize(self, args):
        config = json.loads(args["model_config"])
        file = config.get("default_model_filename") or "model.onnx"
        options = onnxruntime.SessionOptions()
        threads = config.get("parameters", {}).get("intra_op_thread_count", {}).get("string_value", "0")
        options.intra_op_num_threads = int(threads)
        path = Path(args["model_repository"]) / args["model_version"] / file
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.inputs = [value["name"] for value in config["input"]]
        self.outputs = [value["name"] for value in config["output"]]

    def execute(self, requests):
        arrays = {
            name: [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for request in requests]
            for name in self.inputs
        }
        results = self.session.run(self.outputs, {name: np.concatenate(values) for name, values in arrays.items()})
        ends = np.cumsum([len(array) for array in arrays[self.inputs[0]]])[:-1]
        parts = zip(*(np.split(result, ends) for result in results))
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor(name, part) for name, part in zip(self.outputs, row)])
            for row in parts
        ]
