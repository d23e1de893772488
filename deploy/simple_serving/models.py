"""The export folders that are served."""

import asyncio

import numpy as np

from core.predictor import Predictor, available_formats
from deploy.parity import check_parity


class Model:
    """A served export folder: its predictors, and the queue in front of them.

    Raises:
        UsageError: the folder cannot be used, or it answers otherwise than the model did before it was exported.
    """

    def __init__(self, name, folder, format, settings):
        self.name, self.folder = name, folder
        if format == "auto":
            format = "onnx" if "onnx" in available_formats(folder) else "paddle"
        self.format = format
        # Spinning threads would keep the cores from those that read and write the requests.
        predictor = Predictor(folder, format, num_threads=settings.threads, device=settings.device, spin=False)
        self.predictors = [predictor, *(predictor.clone() for _ in range(settings.workers - 1))]
        self.labels, self.max_length = predictor.labels, predictor.max_length
        self.self_check = check_parity(predictor)
        # PaddleNLP's ERNIE-M attends to padding: a text's answer would depend on whose texts are beside it.
        short, long = predictor.encode(["头疼", "头疼应该挂什么科" * 3])
        alone, beside = predictor.logits([short])[0], predictor.logits([short, long])[0]
        self.may_pad = bool(np.abs(alone - beside).max() < 1e-3)
        self.batcher = None

    def describe(self):
        return {"name": self.name, "labels": self.labels, "max_seq_len": self.max_length, "format": self.format}

    def health(self):
        return {
            "ready": self.batcher is not None and self.batcher.is_alive,
            "format": self.format,
            "self_check": self.self_check,
            "waiting_requests": self.batcher.waiting_requests if self.batcher else 0,
        }

    async def classify(self, query):
        """The result of a checked request (see read_query).

        Returns:
            dict[str, list]: label, confidence, label_id, an entry a text; with top_k other than 1 also top, in each
                entry the most probable classes in order.
        """
        max_length = min(query["max_seq_len"] or self.max_length, self.max_length)
        future = self.batcher.submit(query["texts"], max_length, query["batch_size"])
        rows = await asyncio.wrap_future(future)  # if this is cancelled, so is the future
        best = rows.argmax(axis=1).tolist()
        confidence = rows.max(axis=1).round(6).tolist()
        result = {"label": [self.labels[index] for index in best], "confidence": confidence, "label_id": best}
        if query["top_k"] != 1:
            order = np.argsort(-rows, axis=1, kind="stable")[:, : query["top_k"] or None]
            values = np.take_along_axis(rows, order, axis=1).round(6).tolist()
            result["top"] = [
                [
                    {"label": self.labels[index], "confidence": value, "label_id": index}
                    for index, value in zip(indices, chances)
                ]
                for indices, chances in zip(order.tolist(), values)
            ]
        return result
