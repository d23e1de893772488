"""The server's own description, in OpenAPI 3.1: /openapi.json, which /docs shows.

Each model has paths of its own, since what its requests may hold differs: what it can promise, what its labels are.
"""

from core.label_paths import MAX_UNKNOWN
from deploy.simple_serving.query import SMALLEST
from deploy.simple_serving.tensors import IGNORED, INPUT, MAX_ID, OUTPUTS, VERSION
from deploy.simple_serving.v2 import BINARY, LENGTH

# Any character but NUL, and one that can be seen: as query.text_problem has it.
READABLE = r"^[^\u0000]*[^\p{C}\p{Z}][^\u0000]*$"
PRINTABLE = r"^ *[^\p{C}\p{Z}]( |[^\p{C}\p{Z}])*$"

ERRORS = {
    400: "not JSON, not UTF-8, a key twice, nested too deeply; or what is packed cannot be unpacked",
    401: "the API key is missing or wrong",
    403: "nobody may do that on a server without an API key",
    408: "the request did not arrive in time",
    409: "the folder cannot be used; the model stays as it was",
    413: "too many bytes, texts, characters of a text, or texts x classes of the answer",
    415: "another Content-Type, or a Content-Encoding that is not taken",
    422: "the content is wrong; the message says where",
    500: "a fault of the server; its log has the reason",
    503: "too many texts wait, try again after Retry-After seconds; or the model has stopped",
}
ASKING = (400, 408, 413, 415, 422, 500, 503)

INTRODUCTION = """Classifies texts: POST /models/<name>, or the Open Inference Protocol (KServe V2) under /v2, for the
clients of Triton. Whatever is wrong is answered with 4xx and the reason; 404 and 405 are for paths and methods that
are not here. HEAD works where GET does. Limits of a request: {max_body_bytes} bytes, {max_texts} texts,
{max_characters} characters a text, {max_scores} texts x classes of the answer, {body_seconds} seconds to arrive.
{max_waiting_texts} texts may wait for a model, and {max_connections} connections be open."""

ASK = """`min_confidence`: of labels with levels the deepest that is so sure, else `unknown`; the most probable class
is then in `guess`. `conformal`: `top` is a set of labels that holds the right one so often; not together with
`top_k`."""

INFER = f"""The texts may also follow the JSON in binary: Content-Type {BINARY}, the header {LENGTH} with the length of
the JSON, `parameters: {{"binary_data_size": …}}` of the input instead of `data`, and for each text its length in 4
bytes, the lowest first, and its UTF-8. The body may be packed (Content-Encoding: gzip or deflate). `shape` is
[texts, 1], as many as `data` has. `classification` gives so many strings `probability:id:label` a text."""


def in_a_line(text):
    return " ".join(text.split())


def ref(name):
    return {"$ref": f"#/components/schemas/{name}"}


def thing(required=None, **properties):
    """The schema of an object that has these properties and no others; all are required unless `required` says so."""
    required = list(properties) if required is None else required
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": required} if required else schema


def array(items, least=None, most=None, **more):
    bounds = {name: value for name, value in (("minItems", least), ("maxItems", most)) if value is not None}
    return {"type": "array", "items": items, **bounds, **more}


def nullable(schema):
    return {"anyOf": [schema, {"type": "null"}]}


TEXT, FLAG, COUNT = {"type": "string"}, {"type": "boolean"}, {"type": "integer", "minimum": 0}
SHARE = {"type": "number", "minimum": 0, "maximum": 1}
NUMBERS = {name: {"type": "integer", "minimum": least} for name, least in SMALLEST.items()}


def numbers(model):
    """NUMBERS as a model's requests may have them."""
    least = {"max_seq_len": {"type": "integer", "minimum": model.max_length}} if model.reads_parts else {}
    return {**NUMBERS, **least}


def inference_name(name, model):
    """The schema of a model's requests of V2: that of all, or one of its own."""
    return f"Inference-{name}" if model.reads_parts else "Inference"


class Document:
    """What the server offers.

    Args:
        settings (Settings): the limits, and whether there is a key.
        models (dict[str, Model]): by name.
    """

    def __init__(self, settings, models):
        self.settings, self.models = settings, models

    def content(self):
        """The document, JSON-ready."""
        limits = vars(self.settings)
        schemas = {**self._common(), **self._protocol()}
        paths = self._server_paths()
        for name, model in self.models.items():
            schemas[f"Parameters-{name}"] = self._parameters(model)
            schemas[inference_name(name, model)] = self._inference(numbers(model))
            paths.update(self._model_paths(name, model))
        components = {"schemas": schemas}
        if self.settings.api_key:
            components["securitySchemes"] = {
                "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "bearer": {"type": "http", "scheme": "bearer"},
            }
        info = {"title": "simple_serving", "version": "1", "description": in_a_line(INTRODUCTION.format(**limits))}
        return {"openapi": "3.1.0", "info": info, "paths": paths, "components": components}

    # ---------------------------------------------------------------------------------------------------- operations

    def _operation(self, summary, schema, errors=(), description=None, key=True, v2=False, **more):
        """One operation.

        Args:
            summary (str): a few words.
            schema (dict): of the answer's JSON; or its content by type.
            errors (Iterable[int]): statuses of ERRORS that it may have, beside 401.
            description (str | None): more words.
            key (bool): whether the API key is needed.
            v2 (bool): whether errors have that protocol's shape.
            **more: what else the operation has.
        """
        content = schema if "content" in schema else {"content": {"application/json": {"schema": schema}}}
        answers = {"200": {"description": "done", **content}}
        error = {"content": {"application/json": {"schema": ref("ProtocolError" if v2 else "Error")}}}
        is_closed = key and bool(self.settings.api_key)
        for status in sorted({*errors, *([401] if is_closed else [])}):
            answers[str(status)] = {"description": ERRORS[status], **error}
        words = {"description": in_a_line(description)} if description else {}
        security = {"security": [{"key": []}, {"bearer": []}]} if is_closed else {}
        return {"summary": summary, **words, **security, **more, "responses": answers}

    def _state(self, summary, name, schema, v2=False, **more):
        """A check of health: 503 has the same JSON as 200."""
        found = self._operation(summary, schema, v2=v2, **more)
        found["responses"]["503"] = {"description": f"not {name}", "content": found["responses"]["200"]["content"]}
        return {"get": found}

    def _server_paths(self):
        model = thing(
            ("ready", "format", "self_check", "waiting_requests"),
            ready=FLAG,
            format=TEXT,
            self_check=TEXT,
            waiting_requests=COUNT,
        )
        health = thing(("ready",), ready=FLAG, models={"type": "object", "additionalProperties": model})
        page = {"content": {"text/html": {"schema": TEXT}}}
        described = thing(
            ("name", "labels", "max_seq_len", "format"),
            name=TEXT,
            labels=array(TEXT),
            max_seq_len=COUNT,
            format=TEXT,
            label_separator=TEXT,
            long_text=TEXT,
            min_confidence=array(TEXT),
            conformal=array(SHARE),
        )
        limits = thing(**dict.fromkeys(("max_texts", "max_characters", "max_scores", "max_body_bytes"), COUNT))
        listed = thing(models=array(described), limits=limits, unknown=TEXT)
        server = self._operation(
            "服务的名称和扩展 · the server", thing(name=TEXT, version=TEXT, extensions=array(TEXT)), key=False, v2=True
        )
        metrics = {"content": {"text/plain": {"schema": TEXT}}}
        return {
            "/": {"get": self._operation("试用网页 · a page to try the models", page, key=False)},
            "/docs": {"get": self._operation("本页 · this description as a page", page, key=False)},
            "/openapi.json": {"get": self._operation("本说明 · this description", {"type": "object"})},
            "/models": {"get": self._operation("模型、标签和限制 · models, labels, limits", listed)},
            "/health": self._state("就绪 · ready to answer", "ready", health, key=False),
            "/health/live": self._state("存活 · only a restart helps if not", "alive", thing(alive=FLAG), key=False),
            "/metrics": {"get": self._operation("监控 · for Prometheus", metrics)},
            "/v2": {"get": server},
            "/v2/": {"get": server},
            "/v2/health/live": self._state("存活 · live", "live", thing(live=FLAG), True, key=False),
            "/v2/health/ready": self._state("就绪 · ready", "ready", thing(ready=FLAG), True, key=False),
        }

    def _model_paths(self, name, model):
        asked = thing(("data",), data=ref("Data"), parameters=nullable(ref(f"Parameters-{name}")))
        body = {"required": True, "content": {"application/json": {"schema": asked}}}
        ask = self._operation("分类 · classify texts", ref("Answer"), ASKING, ASK, requestBody=body)
        health = {"ready": FLAG, "format": TEXT, "self_check": TEXT, "waiting_requests": COUNT}
        reload = self._operation(
            "重新读取导出文件夹 · take up a new export",
            thing(reloaded=TEXT, **health),
            (409, 500) if self.settings.api_key else (403,),
        )
        paths = {f"/models/{name}": {"post": ask}, f"/models/{name}/reload": {"post": reload}}
        body = {"required": True, "content": {"application/json": {"schema": ref(inference_name(name, model))}}}
        answer = {"content": {"application/json": {"schema": ref("InferenceAnswer")}, BINARY: {"schema": {}}}}
        infer = self._operation("分类 · classify texts", answer, ASKING, INFER, v2=True, requestBody=body)
        ready = self._state("就绪 · ready", "ready", thing(name=TEXT, ready=FLAG), True)
        about = self._operation("输入和输出 · inputs and outputs", ref("ModelMetadata"), v2=True)
        config = self._operation("Triton 的配置 · of Triton's configuration", ref("ModelConfig"), v2=True)
        for path in (f"/v2/models/{name}", f"/v2/models/{name}/versions/{VERSION}"):
            paths[path] = {"get": about}
            paths[f"{path}/ready"], paths[f"{path}/config"] = ready, {"get": config}
            paths[f"{path}/infer"] = {"post": infer}
        return paths

    # ------------------------------------------------------------------------------------------------------- schemas

    def _common(self):
        settings = self.settings
        text = {"type": "string", "minLength": 1, "maxLength": settings.max_characters, "pattern": READABLE}
        entry = thing(label=TEXT, confidence=SHARE, label_id=COUNT)
        result = thing(
            ("label", "confidence", "label_id"),
            label=array(TEXT),
            confidence=array(SHARE),
            label_id=array(nullable(COUNT)),
            guess=array(TEXT),
            guess_confidence=array(SHARE),
            guess_id=array(COUNT),
            unknown=TEXT,
            window=array(nullable(thing(("number", "of"), **dict.fromkeys(("number", "of", "start", "end"), COUNT)))),
            top=array(array(entry)),
        )
        texts = {"anyOf": [ref("Text"), array(ref("Text"), 1, settings.max_texts)]}
        return {
            "Text": text,
            "Data": thing(("text",), text=texts, text_pair={"type": "null"}),
            "Answer": thing(result=result),
            "Error": thing(error=thing(("status", "message"), status=COUNT, message=TEXT, field=TEXT)),
            "ProtocolError": thing(error=TEXT),
        }

    def _parameters(self, model):
        """What a request to a model may ask for."""
        described = model.describe()
        limit, names = [SHARE], model.paths.names
        if accuracies := described.get("min_confidence"):
            limit.append({"enum": accuracies})
        unknown = {"type": "string", "minLength": 1, "maxLength": MAX_UNKNOWN, "pattern": PRINTABLE}
        own = {**numbers(model), "min_confidence": {"anyOf": limit}, "unknown": {**unknown, "not": {"enum": names}}}
        needed = {"unknown": ["min_confidence"]}
        if self.settings.unknown in names:
            needed["min_confidence"] = ["unknown"]
        schema = {**thing((), **own), "dependentRequired": needed}
        if shares := described.get("conformal"):
            schema["properties"]["conformal"] = {"enum": shares}
            schema["not"] = {"required": ["conformal", "top_k"]}
        return schema

    def _inference(self, numbers):
        """What a request of V2 may be; numbers: as numbers gives them."""
        most = self.settings.max_texts
        shape = {"type": "array", "minItems": 1, "maxItems": 2}
        shape["prefixItems"] = [{"type": "integer", "minimum": 1, "maximum": most}, {"const": 1}]
        flat, nested = array(ref("Text"), 1, most), array(array(ref("Text"), 1, 1), 1, most)
        given = thing(
            ("name", "shape", "datatype", "data"),
            name={"const": INPUT},
            shape=shape,
            datatype={"const": "BYTES"},
            data={"anyOf": [flat, nested]},
            parameters=nullable(thing(())),
        )
        plain = [name for name in OUTPUTS if name != "probabilities"]
        wanted = [
            thing(("name",), name={"enum": plain}, parameters=nullable(thing((), binary_data=FLAG))),
            thing(
                ("name",),
                name={"const": "probabilities"},
                parameters=nullable(thing((), binary_data=FLAG, classification=COUNT)),
            ),
        ]
        once = [
            {"contains": {"properties": {"name": {"const": name}}}, "minContains": 0, "maxContains": 1}
            for name in OUTPUTS
        ]
        chosen = array({"anyOf": wanted}, None, len(OUTPUTS), allOf=once)
        own = {name: numbers[name] for name in ("max_seq_len", "batch_size")}
        parameters = thing((), binary_data_output=FLAG, **own, **{name: {} for name in IGNORED})
        identity = {"type": "string", "maxLength": MAX_ID, "pattern": r"^[^\u0000]*$"}
        return thing(
            ("inputs",),
            id=nullable(identity),
            parameters=nullable(parameters),
            inputs=array(given, 1, 1),
            outputs=nullable(chosen),
        )

    def _protocol(self):
        """Schemas of V2 that all models share."""
        tensor = thing(name=TEXT, datatype=TEXT, shape=array({"type": "integer", "minimum": -1}, 2, 2))
        output = thing(
            ("name", "datatype", "shape"),
            name={"enum": list(OUTPUTS)},
            datatype={"enum": ["BYTES", "FP32"]},
            shape=array(COUNT, 2, 2),
            data=array({"type": ["string", "number"]}),
            parameters=thing(binary_data_size=COUNT),
        )
        configured = thing(name=TEXT, data_type=TEXT, dims=array(COUNT, 1, 1))
        return {
            "InferenceAnswer": thing(
                ("model_name", "model_version", "outputs"),
                model_name=TEXT,
                model_version={"const": VERSION},
                id=TEXT,
                outputs=array(output, 1, len(OUTPUTS)),
            ),
            "ModelMetadata": thing(
                name=TEXT, versions=array(TEXT), platform=TEXT, inputs=array(tensor), outputs=array(tensor)
            ),
            "ModelConfig": thing(
                name=TEXT,
                platform=TEXT,
                max_batch_size=COUNT,
                input=array(configured),
                output=array(configured),
            ),
        }
