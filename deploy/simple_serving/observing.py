"""What the server tells of itself: numbers for Prometheus, and a log of JSON lines."""

import collections
import functools
import json
import logging
import sys

import prometheus_client

logger = logging.getLogger("serving")

# Lines a second of one kind: all, and those that tell of trouble.
MAX_LINES, MAX_TROUBLE = 1000, 20
# Characters of a value and of a traceback, and texts of a request, that a line holds.
MAX_VALUE, MAX_TRACEBACK, MAX_TEXTS = 300, 4000, 20

# Upper ends of the histogram of a request's time.
SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120)


class Metrics:
    """What /metrics shows, in a registry of its own."""

    def __init__(self, models):
        self.registry = prometheus_client.CollectorRegistry()
        options = {"registry": self.registry, "namespace": "serving"}
        prometheus_client.ProcessCollector(registry=self.registry)
        self.requests = prometheus_client.Counter("requests", "Answers, by status.", ["model", "status"], **options)
        self.texts = prometheus_client.Counter("texts", "Texts answered with 200.", ["model"], **options)
        self.seconds = prometheus_client.Histogram(
            "request_seconds", "From the first byte to the answer.", ["model"], buckets=SECONDS, **options
        )
        self.turn_texts = prometheus_client.Histogram(
            "turn_texts", "Texts run in one turn of a thread.", ["model"], buckets=(1, 2, 4, 8, 16, 32), **options
        )
        self.turn_seconds = prometheus_client.Histogram("turn_seconds", "Time of a turn.", ["model"], **options)
        self.stage_texts = prometheus_client.Counter(
            "stage_texts", "Texts that a student answered, and the model behind it.", ["model", "stage"], **options
        )
        for kind in ("requests", "texts"):
            gauge = prometheus_client.Gauge(f"waiting_{kind}", "Accepted, not yet begun.", ["model"], **options)
            for name in models:
                gauge.labels(name).set_function(functools.partial(self._waiting, models, name, kind))

    @staticmethod
    def _waiting(models, name, kind):
        return getattr(models[name].batcher, f"waiting_{kind}", 0)  # models: a name's model may be another one later

    def on_turn(self, name):
        """The function that Batcher calls after each turn."""
        turn_texts, turn_seconds = self.turn_texts.labels(name), self.turn_seconds.labels(name)

        def on_turn(texts, seconds):
            turn_texts.observe(texts)
            turn_seconds.observe(seconds)

        return on_turn

    def on_stages(self, name):
        """The function that Batcher calls with the texts of a turn that a student and the model have answered."""

        def on_stages(by_student, by_model):
            self.stage_texts.labels(name, "student").inc(by_student)
            self.stage_texts.labels(name, "model").inc(by_model)

        return on_stages


class JsonLines(logging.Formatter):
    """A log record as one line of JSON, with what was given as extra={"fields": …}; long values are cut."""

    def format(self, record):
        when = self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z")
        line = {"time": when, "level": record.levelname.lower(), "event": record.getMessage()[:MAX_VALUE]}
        line.update((name, shortened(value)) for name, value in getattr(record, "fields", {}).items())
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)[-MAX_TRACEBACK:]
        return json.dumps(line, ensure_ascii=False)


def shortened(value):
    """A value for the log: a string or a list with its beginning only."""
    if isinstance(value, list):
        return [shortened(part) for part in value[:MAX_TEXTS]]
    return value[:MAX_VALUE] if isinstance(value, str) else value


class Bounded(logging.Filter):
    """Lets through MAX_LINES a second; of lines that tell of trouble, MAX_TROUBLE of each kind.

    The first line of a kind after some were left out says how many these were.
    """

    def __init__(self):
        super().__init__()
        self._second, self._lines, self._left_out = None, collections.Counter(), collections.Counter()

    def filter(self, record):
        if self._second != int(record.created):
            self._second = int(record.created)
            self._lines.clear()
        fields = getattr(record, "fields", {})
        is_trouble = record.levelno > logging.INFO or fields.get("status", 200) >= 400
        kind = (record.name, str(record.msg)[:MAX_VALUE], is_trouble)
        self._lines[kind] += 1
        if self._lines[kind] > (MAX_TROUBLE if is_trouble else MAX_LINES):
            self._left_out[kind] += 1
            return False
        if left_out := self._left_out.pop(kind, 0):
            record.fields = {**fields, "lines_left_out": left_out}
        return True


def start_logging():
    """JSON lines on stdout, uvicorn's and asyncio's own too, but for uvicorn's line of each request."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    handler.addFilter(Bounded())
    for name in ("serving", "uvicorn", "asyncio"):
        logging.getLogger(name).handlers, logging.getLogger(name).propagate = [handler], False
    logger.setLevel(logging.INFO)
    access = logging.getLogger("uvicorn.access")
    access.handlers, access.propagate = [], False
    errors = logging.getLogger("uvicorn.error")  # whoever gave it handlers of its own: one line is enough
    errors.handlers, errors.propagate = [], True
