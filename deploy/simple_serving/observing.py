"""What the server tells of itself: numbers for Prometheus, and a log of JSON lines."""

import functools
import json
import logging
import sys
import time

import prometheus_client

logger = logging.getLogger("serving")

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
        for kind in ("requests", "texts"):
            gauge = prometheus_client.Gauge(f"waiting_{kind}", "Accepted, not yet begun.", ["model"], **options)
            for model in models.values():
                gauge.labels(model.name).set_function(functools.partial(self._waiting, model, kind))

    @staticmethod
    def _waiting(model, kind):
        return getattr(model.batcher, f"waiting_{kind}", 0)

    def on_turn(self, name):
        """The function that Batcher calls after each turn."""
        turn_texts, turn_seconds = self.turn_texts.labels(name), self.turn_seconds.labels(name)

        def on_turn(texts, seconds):
            turn_texts.observe(texts)
            turn_seconds.observe(seconds)

        return on_turn


class JsonLines(logging.Formatter):
    """A log record as one line of JSON, with what was given as extra={"fields": …}."""

    def format(self, record):
        when = self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z")
        line = {"time": when, "level": record.levelname.lower(), "event": record.getMessage()}
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def start_logging():
    """JSON lines on stdout, and no lines of uvicorn's own for each request."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonLines())
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)
    access = logging.getLogger("uvicorn.access")
    access.handlers, access.propagate = [], False


class Observer:
    """ASGI middleware: counts, times and logs each answer. Handlers leave what they know in scope["observed"]."""

    def __init__(self, app, metrics):
        self.app, self.metrics = app, metrics

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        started, status = time.perf_counter(), 499  # 499: the client left before its answer
        observed = scope["observed"] = {}

        async def send_observed(message):
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_observed)
        except Exception:
            status = 500
            raise
        finally:
            seconds = time.perf_counter() - started
            model = observed.get("model", "")
            self.metrics.requests.labels(model, status).inc()
            if model and status == 200:
                self.metrics.texts.labels(model).inc(observed["texts"])
                self.metrics.seconds.labels(model).observe(seconds)
            if not scope["path"].startswith(("/health", "/metrics")):
                fields = {"method": scope["method"], "path": scope["path"], "status": status}
                fields.update({"ms": round(seconds * 1000, 1), **observed})
                logger.info("request", extra={"fields": fields})
