"""The server's ASGI application: from requests to answers."""

import asyncio
import contextlib
import gc
import hmac
import json
from pathlib import Path

import prometheus_client
from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from deploy.simple_serving.batching import Batcher, Overloaded, Stopped
from deploy.simple_serving.models import Model
from deploy.simple_serving.observing import Metrics, Observer, logger
from deploy.simple_serving.query import Refusal, parse_json, read_query

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
    page = Path(__file__).with_name("page.html").read_bytes()

    @contextlib.asynccontextmanager
    async def lifespan(app):
        for model in models.values():
            on_turn = metrics.on_turn(model.name)
            model.batcher = Batcher(model.predictors, settings.max_waiting_texts, model.may_pad, on_turn)
            fields = {"path": f"/models/{model.name}", "folder": str(model.folder), **model.health()}
            logger.info("ready", extra={"fields": fields})
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
            how = "send the API key as X-API-Key: … or Authorization: Bearer …"
            raise Refusal(401, how, headers={"WWW-Authenticate": "Bearer"})

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
            why = f"more than {settings.max_waiting_texts} texts wait already; try again later"
            raise Refusal(503, why, headers={"Retry-After": "2"}) from None
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
        content = prometheus_client.generate_latest(metrics.registry)
        return Response(content, media_type=prometheus_client.CONTENT_TYPE_LATEST)

    @app.get("/")
    async def show_page():
        policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
        headers = {"Content-Security-Policy": policy + "; img-src data:"}
        return Response(page, media_type="text/html", headers=headers)

    return app
