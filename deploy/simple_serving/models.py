"""The export folders that are served."""

import contextlib
import functools

import numpy as np

from core.checkpoints import NGRAM
from core.confidence import least_probability, limits, most_labels, promised
from core.cpu import return_freed_memory
from core.label_paths import ACCURACY
from core.predictor import Predictor, available_formats
from core.students import StagedPredictor
from deploy.parity import check_parity
from deploy.simple_serving.answers import Writer, most_probable, sure_enough
from deploy.simple_serving.batching import Batcher
from deploy.simple_serving.prediction_log import with_facts
from deploy.simple_serving.query import Refusal
from utils import UsageError


@functools.lru_cache(1000)
def keeper(top_k, paths=None, min_confidence=None, least=None):
    """most_probable for this top_k, or sure_enough where there is a limit.

    The same object each time, so that Batcher calls it once for many requests.
    """
    if min_confidence is None:
        return functools.partial(most_probable, top_k=top_k, least=least)
    return functools.partial(sure_enough, top_k=top_k, paths=paths, min_confidence=min_confidence, least=least)


@contextlib.contextmanager
def refusing(parameter):
    """Refuse a request for what a parameter of it cannot have here: 422 with the reason."""
    try:
        yield
    except UsageError as error:
        raise Refusal(422, str(error), f"parameters.{parameter}") from None


def check_padding(predictor):
    """See that a text's answer is its own.

    Raises:
        UsageError: it changes with the padding that longer texts beside it bring.
    """
    short, long = predictor.encode(["头疼", "头疼应该挂什么科" * 3])
    if np.abs(predictor.logits([short])[0] - predictor.logits([short, long])[0]).max() > 1e-3:
        raise UsageError(
            f"{predictor.folder}: answers change with the texts beside one, since the graph does not mask padding, as "
            "in exports of ERNIE-M and ALBERT by earlier versions; export the model again"
        )


def is_staged(predictor):
    """Whether it answers with a student and a model."""
    return isinstance(predictor, StagedPredictor)


class Model:
    """A served export folder: its predictors, and the queue in front of them.

    Raises:
        UsageError: the folder cannot be used, or it answers otherwise than the model did before it was exported.
    """

    def __init__(self, name, folder, format, settings):
        self.name, self.folder, self.settings = name, folder, settings
        if format == "auto":
            found = available_formats(folder)
            format = next((name for name in ("onnx", NGRAM) if name in found), "paddle")
        self.format = format
        # Spinning threads would keep the cores from those that read and write the requests.
        predictor = Predictor(folder, format, num_threads=settings.threads, device=settings.device, spin=False)
        self.predictors = [predictor, *(predictor.clone() for _ in range(settings.workers - 1))]
        # A request that is alone gets all the cores; they may spin, as nobody else wants them.
        cores, self.alone = settings.threads * settings.workers, None
        if cores > settings.threads and settings.device == "cpu":
            self.alone = Predictor(folder, format, num_threads=cores)
        self.labels, self.max_length, self.paths = predictor.labels, predictor.max_length, predictor.paths
        self.content, self.long_text = predictor.content, getattr(predictor, "long_text", None)
        stages = {"student": predictor.student, "model": predictor.model} if is_staged(predictor) else {"": predictor}
        checked = {name: check_parity(stage) for name, stage in stages.items()}
        self.self_check = "; ".join(f"{name}: {seen}" if name else seen for name, seen in checked.items())
        if settings.device == "cpu" and format != "paddle_bf16":  # where rounding is too fine to be mistaken for it
            check_padding(stages.get("model", predictor))
        return_freed_memory()
        self.writer = Writer(self.labels, self.paths)
        self.batcher = None

    def start(self, on_turn, hand_over, on_stages=lambda student, model: None):
        """Begin to answer; see Batcher."""
        waiting = self.settings.max_waiting_texts
        self.batcher = Batcher(self.predictors, waiting, on_turn, self.alone, hand_over, on_stages)

    @property
    def reads_parts(self):
        """Whether long texts are read in parts of the model's own length, which a request cannot make shorter."""
        return self.long_text is not None and self.long_text.way != "truncate"

    def describe(self):
        content = {"name": self.name, "labels": self.labels, "max_seq_len": self.max_length, "format": self.format}
        if self.reads_parts:
            content["long_text"] = self.long_text.way
        if self.paths.depth > 1:
            content["label_separator"] = self.paths.separator
        thresholds, sets = (promised(self.content, self.format, name) for name in ("thresholds", "conformal"))
        accuracies = [f"{ACCURACY}{name}" for name, row in thresholds.items() if any(row["levels"])]
        if accuracies:
            content["min_confidence"] = accuracies
        return {**content, "conformal": list(map(float, sets))} if sets else content

    def health(self):
        return {
            "ready": self.batcher is not None and self.batcher.is_alive,
            "format": self.format,
            "self_check": self.self_check,
            "waiting_requests": self.batcher.waiting_requests if self.batcher else 0,
        }

    def check_scores(self, texts, classes, field, way_out):
        """Refuse an answer that would be too large."""
        if texts * classes > self.settings.max_scores:
            most = max(1, self.settings.max_scores // classes)
            raise Refusal(413, f"{texts} texts x {classes} classes; send at most {most} texts, or {way_out}", field)

    def tokens(self, asked):
        """How many tokens are kept of a text where a request asks for so many, or for none (None).

        Raises:
            Refusal: 422, this model reads long texts in parts of its own length.
        """
        if self.reads_parts and (asked or self.max_length) < self.max_length:
            what = f"this model reads long texts by {self.long_text.way} of {self.max_length} tokens; leave it out"
            raise Refusal(422, what, "parameters.max_seq_len")
        return min(asked or self.max_length, self.max_length)

    def submit(self, query):
        """Queue a checked request (see read_query).

        Returns:
            Future: entries for self.writer, as most_probable gives them, or sure_enough where there is a limit.

        Raises:
            Refusal: 413, its answer would be too large; 422, a limit with a label that is called as what is unknown,
                what export.json does not know, or a max_seq_len that the model cannot have.
            Overloaded, Stopped: as Batcher.submit.
        """
        classes, least, own = min(query["top_k"] or len(self.labels), len(self.labels)), None, "top_k"
        if query["conformal"] is not None:
            with refusing("conformal"):
                least = least_probability(self.content, self.format, query["conformal"])
            classes, own = most_labels(least, len(self.labels)), "conformal"
        self.check_scores(len(query["texts"]), classes, f"parameters.{own}", f"a smaller {own}")
        max_length, limit = self.tokens(query["max_seq_len"]), query["min_confidence"]
        keep = keeper(classes, least=least)
        if limit is not None:
            with refusing("min_confidence" if query["unknown"] == self.settings.unknown else "unknown"):
                self.paths.check_answers(query["unknown"])
            with refusing("min_confidence"):
                keep = keeper(classes, self.paths, limits(self.content, self.format, limit), least)
        return self.batcher.submit(query["texts"], max_length, query["batch_size"], self.kept(keep))

    def kept(self, keep):
        """What is kept of probabilities, with what the log of answers needs, where there is one."""
        return with_facts(keep) if self.settings.prediction_log else keep
