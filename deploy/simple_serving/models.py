"""The export folders that are served."""

import functools

import numpy as np

from core.cpu import return_freed_memory
from core.predictor import Predictor, available_formats
from deploy.parity import check_parity
from deploy.simple_serving.answers import Writer, most_probable
from deploy.simple_serving.batching import Batcher
from deploy.simple_serving.query import Refusal


@functools.lru_cache(1000)
def keeper(top_k):
    """most_probable for this top_k; the same object each time, so that Batcher calls it once for many requests."""
    return functools.partial(most_probable, top_k=top_k)


class Model:
    """A served export folder: its predictors, and the queue in front of them.

    Raises:
        UsageError: the folder cannot be used, or it answers otherwise than the model did before it was exported.
    """

    def __init__(self, name, folder, format, settings):
        self.name, self.folder, self.settings = name, folder, settings
        if format == "auto":
            format = "onnx" if "onnx" in available_formats(folder) else "paddle"
        self.format = format
        # Spinning threads would keep the cores from those that read and write the requests.
        predictor = Predictor(folder, format, num_threads=settings.threads, device=settings.device, spin=False)
        self.predictors = [predictor, *(predictor.clone() for _ in range(settings.workers - 1))]
        # A request that is alone gets all the cores; they may spin, as nobody else wants them.
        cores, self.alone = settings.threads * settings.workers, None
        if cores > settings.threads and settings.device == "cpu":
            self.alone = Predictor(folder, format, num_threads=cores)
        self.labels, self.max_length = predictor.labels, predictor.max_length
        self.self_check = check_parity(predictor)
        # PaddleNLP's ERNIE-M attends to padding: a text's answer would depend on whose texts are beside it.
        short, long = predictor.encode(["头疼", "头疼应该挂什么科" * 3])
        alone, beside = predictor.logits([short])[0], predictor.logits([short, long])[0]
        self.may_pad = bool(np.abs(alone - beside).max() < 1e-3)
        return_freed_memory()
        self.writer = Writer(self.labels)
        self.batcher = None

    def start(self, on_turn, hand_over):
        """Begin to answer; see Batcher."""
        self.batcher = Batcher(
            self.predictors, self.settings.max_waiting_texts, self.may_pad, on_turn, self.alone, hand_over
        )

    def describe(self):
        return {"name": self.name, "labels": self.labels, "max_seq_len": self.max_length, "format": self.format}

    def health(self):
        return {
            "ready": self.batcher is not None and self.batcher.is_alive,
            "format": self.format,
            "self_check": self.self_check,
            "waiting_requests": self.batcher.waiting_requests if self.batcher else 0,
        }

    def submit(self, query):
        """Queue a checked request (see read_query).

        Returns:
            Future: entries for self.writer, as most_probable gives them.

        Raises:
            Refusal: 413, its answer would be too large.
            Overloaded, Stopped: as Batcher.submit.
        """
        classes = min(query["top_k"] or len(self.labels), len(self.labels))
        if len(query["texts"]) * classes > self.settings.max_scores:
            most = max(1, self.settings.max_scores // classes)
            what = f"{len(query['texts'])} texts x {classes} classes; send at most {most} texts, or a smaller top_k"
            raise Refusal(413, what, "parameters.top_k")
        max_length = min(query["max_seq_len"] or self.max_length, self.max_length)
        return self.batcher.submit(query["texts"], max_length, query["batch_size"], keeper(classes))
