"""The server's ASGI application: from requests to answers.

It speaks ASGI itself: the routes are few, and a framework's layers took a tenth of the time of a short request.
"""

import asyncio
import gc
import hmac
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import prometheus_client

from deploy.simple_serving.batching import Overloaded, Stopped
from deploy.simple_serving.connections import STATE_KEY, Guard, guard_uvicorn
from deploy.simple_serving.messages import (
    ClientGone,
    Watch,
    header,
    json_bytes,
    read_body,
    send_pieces,
    send_whole,
)
from deploy.simple_serving.models import Model
from deploy.simple_serving.observing import Metrics, logger
from deploy.simple_serving.openapi import Document
from deploy.simple_serving.prediction_log import PredictionLog
from deploy.simple_serving.query import Refusal, parse_json, read_query
from deploy.simple_serving.v2 import V2, unknown_model
from utils import UsageError

# Bytes of a body above which it is read on another thread, and entries of an answer above which it is sent in pieces.
SHORT_BODY, SHORT_ANSWER = 1 << 16, 2000
PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:"
)
# Asked all the time, and so not logged: how these begin, and end.
WATCHED, WATCHED_END = ("/health", "/metrics", "/v2/health"), "/ready"


def create_app(settings):
    """The ASGI application.

    Args:
        settings (Settings): what to serve.

    Raises:
        UsageError: a model cannot be served.
    """
    return Application(settings)


class Application:
    """See create_app; state.models has the models by name."""

    def __init__(self, settings):
        guard_uvicorn()
        self.settings = settings
        self.models = {name: Model(name, *place, settings) for name, place in settings.folders().items()}
        self.state = SimpleNamespace(models=self.models)
        self.metrics = Metrics(self.models)
        self.prediction_log = PredictionLog(settings, self.metrics.registry) if settings.prediction_log else None
        pages = {"/": "page.html", "/docs": "docs.html"}
        self.pages = {path: Path(__file__).with_name(name).read_bytes() for path, name in pages.items()}
        self.pool = ThreadPoolExecutor(1, "answers")
        self.routes = {
            "/": {"GET": self.show_page},
            "/docs": {"GET": self.show_page},
            "/openapi.json": {"GET": self.describe},
            "/models": {"GET": self.list_models},
            "/health": {"GET": self.health},
            "/health/live": {"GET": self.live},
            "/metrics": {"GET": self.show_metrics},
        }
        for name in self.models:
            self.routes[f"/models/{name}"] = {"POST": self.predict}
            self.routes[f"/models/{name}/reload"] = {"POST": self.reload}
        self.routes.update(V2(self).routes)

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            await self.live_through(scope, receive, send)
        elif scope["type"] == "http":
            await self.answer(scope, receive, send)
        else:  # a WebSocket
            logger.info("refused", extra={"fields": {"kind": scope["type"]}})
            await receive()
            await send({"type": "websocket.close"})

    # -------------------------------------------------------------------------------------------------- start and end

    async def live_through(self, scope, receive, send):
        """The lifespan of ASGI."""
        await receive()
        scope.setdefault("state", {})[STATE_KEY] = Guard(self.settings)
        self.loop, self.reloading = asyncio.get_running_loop(), asyncio.Lock()
        # A terminal that is closed sends SIGHUP too, which then has to end the server, as ever.
        if hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread() and not has_terminal():
            self.loop.add_signal_handler(signal.SIGHUP, self.reload_all)
        for model in self.models.values():
            self.begin(model)
        # What the imports left is not garbage: looking through it holds all threads up for 0.2 seconds at a time.
        gc.collect()
        gc.freeze()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        # uvicorn has closed its sockets and waited for the answers under way.
        for model in self.models.values():
            model.batcher.close()
        self.pool.shutdown(wait=False)
        if self.prediction_log:
            await asyncio.to_thread(self.prediction_log.close)
        logger.info("stopped")
        await send({"type": "lifespan.shutdown.complete"})

    def begin(self, model):
        """Let a model answer."""
        on_turn, on_stages = self.metrics.on_turn(model.name), self.metrics.on_stages(model.name)
        model.start(on_turn, self.loop.call_soon_threadsafe, on_stages)
        fields = {"path": f"/models/{model.name}", "folder": str(model.folder), **model.health()}
        logger.info("ready", extra={"fields": fields})

    async def reload_model(self, name):
        """Read a model's folder again, and let the new one answer in the old one's place.

        The new one is loaded and compared with its parity.json first; the old one ends the requests that it has begun.

        Returns:
            Model: the new one.

        Raises:
            UsageError: the folder cannot be used; the old model goes on.
        """
        async with self.reloading:
            place = self.settings.folders()[name]
            new = await asyncio.to_thread(Model, name, *place, self.settings)
            old, self.models[name] = self.models[name], new
            self.begin(new)
            self.loop.run_in_executor(None, retire, old)
        return new

    def reload_all(self):
        """Read every folder again, one after the other, for SIGHUP; what goes wrong is logged."""

        async def reload():
            for name in self.models:
                try:
                    await self.reload_model(name)
                except Exception as error:
                    fields = {"model": name, "error": str(error)}
                    logger.error("not reloaded: the model stays as it was", extra={"fields": fields})

        self.reload_task = self.loop.create_task(reload())  # a task that nobody holds may be collected

    # ------------------------------------------------------------------------------------------------------- requests

    async def answer(self, scope, receive, send):
        """Answer one request, count it and log it."""
        started, status = time.perf_counter(), 499  # 499: the client left before its answer
        path, observed = scope["path"], {}

        async def send_observed(message):
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.route(scope, receive, send_observed, observed)
        except Refusal as refusal:
            observed["error"] = refusal.logged
            content = error_of(path, refusal.status, refusal.message, refusal.field)
            await send_whole(send_observed, refusal.status, content, refusal.headers)
        except ClientGone:
            status = 499
        except Exception as error:
            logger.error("failed", exc_info=error)
            if status != 499:
                raise  # in the middle of an answer: the connection is cut
            message = "the server failed on this request; its log has the reason"
            await send_whole(send_observed, 500, error_of(path, 500, message))
        finally:
            seconds = time.perf_counter() - started
            model = observed.get("model", "")
            self.metrics.requests.labels(model, status).inc()
            if model and status == 200:
                self.metrics.texts.labels(model).inc(observed["texts"])
                self.metrics.seconds.labels(model).observe(seconds)
            if not path.startswith(WATCHED) and not (path in self.routes and path.endswith(WATCHED_END)):
                # Other paths, which may hold anything, stay out of the log.
                fields = {"method": scope["method"], "path": path if path in self.routes else "unknown"}
                fields.update({"status": status, "ms": round(seconds * 1000, 1), **observed})
                logger.info("request", extra={"fields": fields})

    async def route(self, scope, receive, send, observed):
        """Call the handler of a request.

        Args:
            scope, receive, send: of ASGI.
            observed (dict): gets what is known about the request, for the log.

        Raises:
            Refusal: the answer of 4xx or 503.
        """
        path, method = scope["path"], scope["method"]
        handlers = self.routes.get(path)
        if handlers is None:
            if path.startswith("/v2/models/"):
                self.check_key(scope)
                raise unknown_model(path, list(self.models))
            if path.startswith("/models/"):
                self.check_key(scope)
                names = ", ".join(self.models)
                raise Refusal(404, f"no model %s; served: {names}", quoted=path[len("/models/") :][:40])
            raise Refusal(404, "Not Found")
        handler = handlers.get("GET" if method == "HEAD" else method)
        if handler is None:
            allowed = ", ".join([*handlers, "HEAD"] if "GET" in handlers else handlers)
            raise Refusal(405, "Method Not Allowed", headers={"Allow": allowed})
        await handler(scope, receive, send, observed)

    def has_key(self, scope):
        """Whether a request has the API key, or needs none."""
        given = header(scope, b"x-api-key") or header(scope, b"authorization") or ""
        given = given[len("Bearer ") :] if given.startswith("Bearer ") else given
        key = self.settings.api_key
        return not key or hmac.compare_digest(given.encode("latin-1"), key.encode())

    def check_key(self, scope):
        if not self.has_key(scope):
            how = "send the API key as X-API-Key: … or Authorization: Bearer …"
            raise Refusal(401, how, headers={"WWW-Authenticate": "Bearer"})

    async def predict(self, scope, receive, send, observed):
        self.check_key(scope)
        name = scope["path"].rpartition("/")[2]
        observed["model"] = name
        body = await read_body(scope, receive, self.settings)
        watch = Watch(receive)
        try:
            if len(body) <= SHORT_BODY:
                query = self.query(body)
            else:
                query = await self.loop.run_in_executor(self.pool, self.query, body)
            self.observe(observed, query["texts"])
            model = self.models[name]
            futures = []
            entries = await self.result(watch, lambda: futures.append(model.submit(query)) or futures[0])
            entries = self.logged(model, query["texts"], entries)
            with_top = query["top_k"] != 1 or query["conformal"] is not None
            is_limited, windows = query["min_confidence"] is not None, futures[0].windows
            pieces = model.writer.pieces(entries, with_top, is_limited, query["unknown"], windows)
            if entries.size <= SHORT_ANSWER:
                await send_whole(send, 200, b"".join(pieces))
            else:
                await send_pieces(send, pieces, watch, self.pool)
        finally:
            watch.end()

    def observe(self, observed, texts):
        """What the log has of a request's texts."""
        observed["texts"] = len(texts)
        if self.settings.log_texts:
            observed["text"] = texts

    def logged(self, model, texts, kept):
        """What a model gave, without the columns for the log of answers, which has them now, where there is one."""
        return self.prediction_log.take(model, texts, kept) if self.prediction_log else kept

    async def result(self, watch, submit):
        """What a model gives for a request.

        Args:
            watch (Watch): of the request.
            submit (Callable[[], Future]): queues it.

        Raises:
            Refusal: 503, or what submit raises.
            ClientGone: the client left.
        """
        try:
            return await watch.result(submit())
        except Overloaded:
            why = f"more than {self.settings.max_waiting_texts} texts wait already; try again later"
            raise Refusal(503, why, headers={"Retry-After": "2"}) from None
        except Stopped:
            raise Refusal(503, "the model has stopped", headers={"Retry-After": "10"}) from None

    def query(self, body):
        return read_query(parse_json(body), self.settings)

    async def reload(self, scope, receive, send, observed):
        self.check_key(scope)
        if not self.settings.api_key:
            raise Refusal(403, "without SERVING_API_KEY anybody could do that; set one, or send the process SIGHUP")
        name = scope["path"].split("/")[2]
        observed["model"], observed["texts"] = name, 0
        try:
            model = await self.reload_model(name)
        except UsageError as error:
            raise Refusal(409, f"the model stays as it was: {error}") from None
        await send_whole(send, 200, json_bytes({"reloaded": name, **model.health()}))

    async def list_models(self, scope, receive, send, observed):
        self.check_key(scope)
        names = ("max_texts", "max_characters", "max_scores", "max_body_bytes")
        limits = {name: getattr(self.settings, name) for name in names}
        models = [model.describe() for model in self.models.values()]
        await send_whole(send, 200, json_bytes({"models": models, "limits": limits, "unknown": self.settings.unknown}))

    async def health(self, scope, receive, send, observed):
        state = {name: model.health() for name, model in self.models.items()}
        ready = all(model["ready"] for model in state.values())
        content = {"ready": ready, "models": state} if self.has_key(scope) else {"ready": ready}
        await send_whole(send, 200 if ready else 503, json_bytes(content))

    async def live(self, scope, receive, send, observed):
        alive = all(model.batcher.is_alive for model in self.models.values())
        await send_whole(send, 200 if alive else 503, json_bytes({"alive": alive}))

    async def show_metrics(self, scope, receive, send, observed):
        self.check_key(scope)
        content = prometheus_client.generate_latest(self.metrics.registry)
        await send_whole(send, 200, content, kind=prometheus_client.CONTENT_TYPE_LATEST)

    async def show_page(self, scope, receive, send, observed):
        headers = {"Content-Security-Policy": PAGE_POLICY}
        await send_whole(send, 200, self.pages[scope["path"]], headers, "text/html; charset=utf-8")

    async def describe(self, scope, receive, send, observed):
        self.check_key(scope)
        await send_whole(send, 200, json_bytes(Document(self.settings, self.models).content()))


def error_of(path, status, message, field=None):
    """The JSON of an error: bytes. Below /v2 it has the shape of that protocol, a string."""
    if path.startswith("/v2"):
        return json_bytes({"error": f"{field}: {message}" if field else message})
    return json_bytes({"error": {"status": status, "message": message, **({"field": field} if field else {})}})


def has_terminal():
    """Whether the server was started by hand in a terminal."""
    try:
        return sys.stdin is not None and sys.stdin.isatty()
    except ValueError:  # closed
        return False


def retire(model):
    """Let a model that was replaced end what it has begun, and free its memory."""
    model.batcher.close()
    del model
    # It was there when the server froze what it had; its predictors are held by circles.
    gc.unfreeze()
    gc.collect()
    gc.freeze()
