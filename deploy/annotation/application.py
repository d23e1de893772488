"""The HTTP side: Label Studio's protocol for ML backends, doccano's custom REST request, and the page of progress.

It answers requests for its own address alone, and none that a browser sends for another site's page.
"""

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Optional

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from deploy.annotation.label_config import label_of_result, parse_label_config, prediction

logger = logging.getLogger("annotation")

OWN_HOSTS = ("127.0.0.1", "localhost", "[::1]")
MAX_BODY = 64 << 20
# What Label Studio tells of on its webhook that changes a label.
SAVED = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED")


class Labels(BaseModel):
    """All labels of a tool: [text, label, annotator] rows; what it calls the people whom a webhook gives a number; and
    the journal's mark, as /progress tells it, of before the tool was asked."""

    rows: list[tuple[str, str, str]]
    people: dict[str, str] = {}
    mark: Optional[int] = None


class Count(BaseModel):
    """How many texts are wanted."""

    count: int = 1


class Given(BaseModel):
    """Texts that the tool has."""

    texts: list[str]


class Suggestion(BaseModel):
    """A text that wants a label."""

    text: str


def create_app(loop, hosts=()):
    """The ASGI application.

    Args:
        loop (deploy.annotation.loop.Loop): what does the work; started and stopped with the application.
        hosts (Iterable[str]): names that it may be asked by, beside the loopback ones.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_):
        loop.start()
        yield
        loop.stop()

    app = FastAPI(title="annotation", lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    page = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    projects = {}  # Label Studio's project -> LabelConfig
    people = {}  # the number of a person -> the name
    places = {}  # an annotation's id -> (text, annotator), to know what a deletion is about

    @app.middleware("http")
    async def only_own(request: Request, call_next):
        host = request.headers.get("host", "").lower()
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        origin = request.headers.get("origin")
        if name not in (*OWN_HOSTS, *hosts):
            return JSONResponse(
                {"detail": f"not asked by this name; start the server with --allowed_host {name}"}, 403
            )
        if origin is not None and origin.partition("://")[2].lower() != host:
            return JSONResponse({"detail": "a page of another site may not ask this server"}, 403)
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY:
            return JSONResponse({"detail": f"at most {MAX_BODY} bytes at once"}, 413)
        return await call_next(request)

    @app.exception_handler(RequestValidationError)
    async def wrong_body(request: Request, error):
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"][1:]))
        return JSONResponse({"detail": f"{where or 'body'}: {first['msg']}"}, 422)

    def config_of(body):
        """The interface that a request speaks of, or that its project was set up with."""
        project = body.get("project")
        own = project if isinstance(project, dict) else {}
        xml = body.get("label_config") or body.get("schema") or own.get("label_config")
        key = str(own.get("id", project)).partition(".")[0]
        if isinstance(xml, str) and xml.strip():
            found = parse_label_config(xml)
            if found is None:
                raise HTTPException(400, "the labelling interface has no <Choices> about a <Text>")
            projects[key] = found
        if key not in projects:
            raise HTTPException(400, "no labelling interface is known of this project; send label_config")
        return projects[key]

    async def json_body(request):
        try:
            body = await request.json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise HTTPException(422, "the body is no JSON object")
        return body

    @app.get("/", response_class=HTMLResponse)
    def show_page():
        policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"
        return HTMLResponse(page, headers={"Content-Security-Policy": policy})

    @app.get("/progress")
    def progress():
        return loop.progress()

    # ------------------------------------------------------------------------------------ Label Studio's ML backend

    @app.get("/health")
    def health():
        if loop.problem:
            return JSONResponse({"status": "DOWN", "error": loop.problem}, 503)
        if not loop.ready:
            return JSONResponse({"status": "LOADING", "state": loop.state, "encoded": loop.encoded}, 503)
        return {"status": "UP", "model_class": "QuickModel"}

    @app.post("/setup")
    async def setup(request: Request):
        config = config_of(await json_body(request))
        if lacking := [label for label in loop.pool.labels if label not in config.choices]:
            raise HTTPException(
                400, f"the project's <Choices> lack {', '.join(lacking[:10])}, which label.txt has; add them there"
            )
        return {"model_version": loop.version_name}

    @app.post("/validate")
    async def validate(request: Request):
        body = await json_body(request)
        if parse_label_config(str(body.get("config", ""))) is None:
            raise HTTPException(400, "the labelling interface has no <Choices> about a <Text>")
        return {"status": "valid"}

    @app.get("/versions")
    def versions():
        return {"versions": [loop.version_name]}

    @app.post("/predict")
    async def predict(request: Request):
        body = await json_body(request)
        config, tasks = config_of(body), body.get("tasks")
        if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
            raise HTTPException(422, "tasks: a list of tasks is needed")
        texts = [str((task.get("data") or {}).get(config.key) or "") for task in tasks]
        version, found = loop.version_name, await asyncio.to_thread(loop.suggest, texts)
        # An empty list is no prediction; one without a result would be kept, and shown as an answer.
        return {"results": [[] if one is None else prediction(*one, version, config) for one in found]}

    @app.post("/train", status_code=201)
    async def train(request: Request):
        body = await json_body(request)
        if isinstance(body.get("annotations"), list):  # Label Studio before 1.5 sends all of them
            config = config_of(body)
            loop.record(
                event
                for task in body["annotations"]
                if isinstance(task, dict)
                for annotation in task.get("annotations") or task.get("completions") or ()
                if (event := event_of(annotation, task.get("data"), config, people))
            )
        loop.train()
        return {"job": loop.version_name}

    @app.api_route("/job_status", methods=["GET", "POST"])
    def job_status():
        return {"job_status": "started" if loop.state == "fitting" else "finished"}

    @app.post("/webhook")
    async def webhook(request: Request):
        body = await json_body(request)
        action = body.get("action")
        if action in SAVED and isinstance(body.get("annotation"), dict):
            annotation = body["annotation"]
            event = event_of(annotation, (body.get("task") or {}).get("data"), config_of(body), people)
            if event is None and annotation.get("id") in places:  # skipped now, or without a label
                event = (*places[annotation["id"]], None)
            elif event is None and text_of(body, config_of(body)):  # from before this process began
                event = (text_of(body, config_of(body)), annotator_of(annotation, people), None)
            if event:
                places[annotation.get("id")] = event[:2]
                await asyncio.to_thread(loop.record, [event])
        elif action == "ANNOTATIONS_DELETED":
            some = [row for row in body.get("annotations") or () if isinstance(row, dict)]
            gone = [places.pop(row.get("id")) for row in some if row.get("id") in places]
            await asyncio.to_thread(loop.record, [(*place, None) for place in gone])
        elif action == "START_TRAINING":
            loop.train()
        return {"status": "ok"}

    # ------------------------------------------------------------------------------------- doccano, and annotate.py

    @app.post("/suggest")
    def suggest(body: Suggestion):
        found = loop.suggest([body.text])[0]
        return {"label": found[0], "score": found[1]} if found else {"label": "", "score": 0.0}

    @app.post("/labels")
    def take_labels(body: Labels):
        people.update(body.people)
        return {"changes": loop.replace([(text, label, name) for text, label, name in body.rows], body.mark)}

    @app.post("/next")
    def next_texts(body: Count):
        texts = loop.next(max(0, min(body.count, 1000)))
        return {"texts": texts, "suggestions": loop.suggest(texts) if loop.ready else [None] * len(texts)}

    @app.post("/given")
    def given(body: Given):
        loop.give(body.texts)
        return {"given": len(loop.given)}

    return app


def text_of(body, config):
    """The text of a webhook's task, or None."""
    text = ((body.get("task") or {}).get("data") or {}).get(config.key)
    return text if isinstance(text, str) and text.strip() else None


def event_of(annotation, data, config, people):
    """(text, annotator, label) of an annotation of Label Studio's, or None where it has no label."""
    text = (data or {}).get(config.key) if isinstance(data, dict) else None
    if not isinstance(text, str) or not text.strip() or annotation.get("was_cancelled"):
        return None
    label = label_of_result(annotation.get("result"), config)
    return (text, annotator_of(annotation, people), label) if label else None


def annotator_of(annotation, people):
    """Who made an annotation: the e-mail address where it is told or known, else the number."""
    name = str(annotation.get("created_username") or "").rpartition(",")[0].strip()
    by = annotation.get("completed_by")
    by = by.get("email") or by.get("id") if isinstance(by, dict) else by
    return name.split()[-1] if name else people.get(str(by), str(by if by is not None else "somebody"))
