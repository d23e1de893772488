"""Serve export folders (see export.py) over HTTP, with a page to try them at /.

    paddlenlp server server:app --host 0.0.0.0 --port 8189
    uvicorn server:app --host 0.0.0.0 --port 8189
    SERVING_MODELS=full=../../checkpoint/export,small=../../checkpoint/prune/width_mult_0.67@onnx uvicorn server:app

    POST /models/<name>   {"data": {"text": ["…"]}, "parameters": {"max_seq_len": 128, "batch_size": 32, "top_k": 1}}
                          -> {"result": {"label": ["…"], "confidence": [0.97], "label_id": [8]}}
    GET  /models          names, labels and limits
    GET  /health          200 when requests are answered, else 503; /health/live: 503 when only a restart helps
    GET  /metrics         for Prometheus

Settings come from the environment (see Settings): `paddlenlp server` passes no flags on. Whatever is wrong with a
request is answered with 4xx and {"error": {"status": 422, "message": "…", "field": "data.text[3]"}}.
query.py checks requests, batching.py runs their texts.
"""

import asyncio
import contextlib
import dataclasses
import gc
import hmac
import json
import logging
import os
import re
import sys
import time
from pathlib import Path

import numpy as np
import prometheus_client
from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT), str(HERE)]
from batching import Batcher, Overloaded, Stopped  # noqa: E402
from query import Refusal, parse_json, read_query  # noqa: E402

from predictor import EXACT_FORMATS, FORMATS, Predictor, available_formats  # noqa: E402
from utils import PARITY_FILE, UsageError, exit_on_usage_error, read_json, usable_cores  # noqa: E402

DEFAULT_NAME = "cls_multi_class"
# How far a probability may be from what the model gave before it was exported. Another model's are further off.
EXACT_TOLERANCE, ROUNDED_TOLERANCE = 1e-3, 0.2
# Threads that share the requests of one model; on more cores each of them uses several.
MAX_WORKERS = 4

logger = logging.getLogger("serving")


# -------------------------------------------------------------------------------------------------------- settings


@dataclasses.dataclass
class Settings:
    """What can be set: each field is the environment variable SERVING_<FIELD>."""

    models: str = ""  # name=folder or name=folder@format, with commas between; empty: checkpoint/export
    format: str = "auto"  # auto: onnx where the folder has it, else paddle
    device: str = "cpu"
    workers: int = min(MAX_WORKERS, usable_cores())  # requests are run on so many threads a model …
    threads: int = max(1, usable_cores() // MAX_WORKERS)  # … with so many cores each
    max_texts: int = 10_000  # a request
    max_characters: int = 10_000  # a text
    max_body_bytes: int = 8 << 20
    max_waiting_texts: int = 40_000  # a model; above it requests are answered 503
    body_seconds: int = 30  # until a request must have arrived
    api_key: str = ""  # not empty: requests need it
    log_texts: int = 0  # 1: users' texts are logged

    @classmethod
    def from_environment(cls, environment):
        """Read SERVING_… variables.

        Raises:
            UsageError: naming all that are wrong.
        """
        fields = {field.name: field.type for field in dataclasses.fields(cls)}
        values, problems = {}, []
        for key in sorted(environment):
            name = key[len("SERVING_") :].lower()
            if not key.startswith("SERVING_"):
                continue
            text = environment[key].strip()
            if name not in fields:
                known = ", ".join(f"SERVING_{field.upper()}" for field in fields)
                problems.append(f"{key}: not known; use one of {known}")
            elif fields[name] is str:
                values[name] = text
            elif not re.fullmatch(r"[0-9]{1,15}", text) or (int(text) == 0 and name != "log_texts"):
                problems.append(f"{key}={text}: give a whole number above 0")
            else:
                values[name] = int(text)
        if values.get("format", "auto") not in ("auto", *FORMATS):
            problems.append(f"SERVING_FORMAT={values['format']}: use auto, {', '.join(FORMATS)}")
        if problems:
            raise UsageError("\n".join(problems))
        return cls(**values)

    def folders(self):
        """name -> (folder, format) of each model.

        Raises:
            UsageError: an entry without a name, a name twice or with other characters than letters, digits, _ . -
        """
        found = {}
        if not self.models:
            return {DEFAULT_NAME: (ROOT / "checkpoint" / "export", self.format)}
        for entry in map(str.strip, self.models.split(",")):
            name, equals, path = entry.partition("=")
            if not equals:
                name, path = DEFAULT_NAME, entry
            path, at, format = path.rpartition("@")
            if not at or format not in FORMATS:
                path, format = path + at + format, self.format
            if not re.fullmatch(r"[\w.-]+", name, re.ASCII) or name in found:
                problem = "the name is there twice" if name in found else "not a usable name"
                raise UsageError(
                    f"SERVING_MODELS: {entry!r}: {problem}; "
                    "write name=folder,name2=folder2 with names of letters, digits, _ . -"
                )
            found[name] = Path(path).expanduser(), format
        return found


# ---------------------------------------------------------------------------------------------------------- models


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
        self.self_check = self._check_parity(predictor)
        # PaddleNLP's ERNIE-M attends to padding: a text's answer would depend on whose texts are beside it.
        short, long = predictor.encode(["头疼", "头疼应该挂什么科" * 3])
        alone, beside = predictor.logits([short])[0], predictor.logits([short, long])[0]
        self.may_pad = bool(np.abs(alone - beside).max() < 1e-3)
        self.batcher = None

    def _check_parity(self, predictor):
        """Compare with parity.json; returns what was seen, in words."""
        path = self.folder / PARITY_FILE
        parity = read_json(path)
        if not parity:
            return f"not compared: no {PARITY_FILE} in {self.folder}"
        if parity.get("labels") != self.labels:
            raise UsageError(f"{path}: its labels are not those of id2label.json; export the model again")
        difference = np.abs(predictor.probabilities(parity["texts"]) - parity["probabilities"]).max()
        tolerance = EXACT_TOLERANCE if self.format in EXACT_FORMATS else ROUNDED_TOLERANCE
        if not difference <= tolerance:
            raise UsageError(
                f"{predictor.path}: not the model that was exported: a probability is {difference:.2g} away from "
                f"{PARITY_FILE}, more than {tolerance:g}; export the model again"
            )
        return f"probabilities within {difference:.1e} of {PARITY_FILE}"

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


# -------------------------------------------------------------------------------------------------------- requests


async def read_body(request, settings):
    """The body of a request.

    Raises:
        Refusal: it is too large or too slow, or is not said to be JSON.
    """
    kind = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal(415, f"Content-Type is {kind!r}; send JSON with the header Content-Type: application/json")

    def check_size(size):
        if size > settings.max_body_bytes:
            raise Refusal(413, f"the body is larger than {settings.max_body_bytes} bytes; send fewer texts a request")

    check_size(int(request.headers.get("content-length", 0)))

    async def receive():
        chunks, size = [], 0
        async for chunk in request.stream():
            size += len(chunk)
            check_size(size)
            chunks.append(chunk)
        return b"".join(chunks)

    try:
        return await asyncio.wait_for(receive(), settings.body_seconds)
    except asyncio.TimeoutError:
        raise Refusal(408, f"the request did not arrive within {settings.body_seconds} seconds") from None


async def unless_gone(request, work):
    """The result of a coroutine, which is cancelled when the client closes its connection.

    Raises:
        ClientDisconnect: the client has gone.
    """

    async def gone():
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task, watch = asyncio.ensure_future(work), asyncio.ensure_future(gone())
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        watch.cancel()


# ------------------------------------------------------------------------------------------------ metrics and logs


class Metrics:
    """What /metrics shows, in a registry of its own."""

    def __init__(self, models):
        self.registry = prometheus_client.CollectorRegistry()
        options = {"registry": self.registry, "namespace": "serving"}
        prometheus_client.ProcessCollector(registry=self.registry)
        self.requests = prometheus_client.Counter("requests", "Answers, by status.", ["model", "status"], **options)
        self.texts = prometheus_client.Counter("texts", "Texts answered with 200.", ["model"], **options)
        self.seconds = prometheus_client.Histogram(
            "request_seconds", "From the first byte to the answer.", ["model"], **options,
            buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120),
        )  # fmt: skip
        self.turn_texts = prometheus_client.Histogram(
            "turn_texts", "Texts run in one turn of a thread.", ["model"], buckets=(1, 2, 4, 8, 16, 32), **options
        )
        self.turn_seconds = prometheus_client.Histogram("turn_seconds", "Time of a turn.", ["model"], **options)
        for kind in ("requests", "texts"):
            gauge = prometheus_client.Gauge(f"waiting_{kind}", "Accepted, not yet begun.", ["model"], **options)
            for model in models.values():
                read = lambda model=model, kind=kind: getattr(model.batcher, f"waiting_{kind}", 0)  # noqa: E731
                gauge.labels(model.name).set_function(read)

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
        line = {"time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"), "level": record.levelname.lower(),
                "event": record.getMessage(), **getattr(record, "fields", {})}  # fmt: skip
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
                fields = {"method": scope["method"], "path": scope["path"], "status": status,
                          "ms": round(seconds * 1000, 1), **observed}  # fmt: skip
                logger.info("request", extra={"fields": fields})


# ------------------------------------------------------------------------------------------------- the application


def json_response(content, status=200, headers=None):
    body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(body, status, headers, media_type="application/json")


def refuse(request, error):
    """The answer to an HTTPException; Starlette raises those for unknown paths and methods."""
    content = {"status": error.status_code, "message": error.detail}
    if getattr(error, "field", None):
        content["field"] = error.field
    request.scope["observed"]["error"] = error.detail
    return json_response({"error": content}, error.status_code, error.headers)


def create_app(settings):
    """The ASGI application.

    Args:
        settings (Settings): what to serve.

    Raises:
        UsageError: a model cannot be served.
    """
    models = {name: Model(name, *place, settings) for name, place in settings.folders().items()}
    metrics = Metrics(models)
    page = (HERE / "page.html").read_bytes()

    @contextlib.asynccontextmanager
    async def lifespan(app):
        for model in models.values():
            on_turn = metrics.on_turn(model.name)
            model.batcher = Batcher(model.predictors, settings.max_waiting_texts, model.may_pad, on_turn)
            logger.info("ready", extra={"fields": {"path": f"/models/{model.name}", "folder": str(model.folder),
                                                   **model.health()}})  # fmt: skip
        # What the imports left is not garbage: looking through it holds all threads up for 0.2 seconds at a time.
        gc.collect()
        gc.freeze()
        yield
        # uvicorn has closed its sockets and waited for the answers under way.
        for model in models.values():
            model.batcher.close()
        logger.info("stopped")

    app = FastAPI(lifespan=lifespan, openapi_url=None)
    app.state.models = models
    app.add_middleware(Observer, metrics=metrics)
    app.add_exception_handler(HTTPException, refuse)

    @app.exception_handler(Exception)
    def fail(request, error):
        logger.error("failed", exc_info=error)
        message = "the server failed on this request; its log has the reason"
        return json_response({"error": {"status": 500, "message": message}}, 500)

    @app.exception_handler(ClientDisconnect)
    def leave(request, error):
        return Response(status_code=499)  # for the log: nobody reads it

    def check_key(request):
        given = request.headers.get("x-api-key") or request.headers.get("authorization", "")
        given = given[len("Bearer ") :] if given.startswith("Bearer ") else given
        if settings.api_key and not hmac.compare_digest(given.encode("latin-1"), settings.api_key.encode()):
            raise Refusal(401, "send the API key as X-API-Key: … or Authorization: Bearer …",
                          headers={"WWW-Authenticate": "Bearer"})  # fmt: skip

    @app.post("/models/{name}")
    async def predict(name: str, request: Request):
        check_key(request)
        if name not in models:
            raise Refusal(404, f"no model {name[:40]!r}; served: {', '.join(models)}")
        observed = request.scope["observed"]
        observed["model"] = name
        query = read_query(parse_json(await read_body(request, settings)), settings)
        observed["texts"] = len(query["texts"])
        if settings.log_texts:
            observed["text"] = query["texts"]
        try:
            result = await unless_gone(request, models[name].classify(query))
        except Overloaded:
            raise Refusal(503, f"more than {settings.max_waiting_texts} texts wait already; try again later",
                          headers={"Retry-After": "2"}) from None  # fmt: skip
        except Stopped:
            raise Refusal(503, "the model has stopped", headers={"Retry-After": "10"}) from None
        return json_response({"result": result})

    @app.get("/models")
    async def list_models(request: Request):
        check_key(request)
        limits = {name: getattr(settings, name) for name in ("max_texts", "max_characters", "max_body_bytes")}
        return json_response({"models": [model.describe() for model in models.values()], "limits": limits})

    @app.get("/health")
    async def health():
        state = {name: model.health() for name, model in models.items()}
        ready = all(model["ready"] for model in state.values())
        return json_response({"ready": ready, "models": state}, 200 if ready else 503)

    @app.get("/health/live")
    async def live():
        alive = all(model.batcher.is_alive for model in models.values())
        return json_response({"alive": alive}, 200 if alive else 503)

    @app.get("/metrics")
    async def show_metrics(request: Request):
        check_key(request)
        return Response(prometheus_client.generate_latest(metrics.registry),
                        media_type=prometheus_client.CONTENT_TYPE_LATEST)  # fmt: skip

    @app.get("/")
    async def show_page():
        policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
        headers = {"Content-Security-Policy": policy + "; img-src data:"}
        return Response(page, media_type="text/html", headers=headers)

    return app


with exit_on_usage_error():
    start_logging()
    app = create_app(Settings.from_environment(os.environ))
