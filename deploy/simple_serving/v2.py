"""The routes of the Open Inference Protocol (KServe V2), so that Triton's clients and KServe's can ask this server."""

import functools
import itertools

from deploy.simple_serving.messages import Watch, decompress, header, json_bytes, read_body, send_pieces, send_whole
from deploy.simple_serving.query import Refusal
from deploy.simple_serving.tensors import INPUT, KEEP, OUTPUTS, VERSION, TensorWriter, read_inference

BINARY, LENGTH = "application/octet-stream", "Inference-Header-Content-Length"
CODINGS = ("gzip", "deflate")
# Bytes of a body above which it is read on another thread, and elements of an answer above which it is sent in pieces.
SHORT_BODY, SHORT_ANSWER = 1 << 16, 2000
SERVER = {
    "name": "simple_serving",
    "version": "1",
    "extensions": ["binary_tensor_data", "classification", "model_configuration"],
}
KINDS = {"BYTES": "TYPE_STRING", "FP32": "TYPE_FP32"}


class V2:
    """The routes of a protocol that others have defined.

    Args:
        application (application.Application): has the models, the key, the pool, and answers the requests.
    """

    def __init__(self, application):
        self.application = application
        self.routes = {
            "/v2": {"GET": self.server},
            "/v2/": {"GET": self.server},
            "/v2/health/live": {"GET": self.live},
            "/v2/health/ready": {"GET": self.ready},
        }
        for name in application.models:
            for path in (f"/v2/models/{name}", f"/v2/models/{name}/versions/{VERSION}"):
                self.routes[path] = {"GET": self.metadata}
                self.routes[f"{path}/ready"] = {"GET": self.model_ready}
                self.routes[f"{path}/config"] = {"GET": self.config}
                self.routes[f"{path}/infer"] = {"POST": self.infer}

    async def server(self, scope, receive, send, observed):
        await send_whole(send, 200, json_bytes(SERVER))

    async def live(self, scope, receive, send, observed):
        alive = all(model.batcher.is_alive for model in self.application.models.values())
        await send_whole(send, 200 if alive else 503, json_bytes({"live": alive}))

    async def ready(self, scope, receive, send, observed):
        ready = all(model.health()["ready"] for model in self.application.models.values())
        await send_whole(send, 200 if ready else 503, json_bytes({"ready": ready}))

    def model(self, scope):
        """The model of a request that has the key."""
        self.application.check_key(scope)
        return self.application.models[scope["path"].split("/")[3]]

    async def model_ready(self, scope, receive, send, observed):
        model = self.model(scope)
        ready = model.health()["ready"]
        await send_whole(send, 200 if ready else 503, json_bytes({"name": model.name, "ready": ready}))

    async def metadata(self, scope, receive, send, observed):
        model = self.model(scope)
        content = {"name": model.name, "versions": [VERSION], "platform": platform(model)}
        content["inputs"] = [{"name": INPUT, "datatype": "BYTES", "shape": [-1, 1]}]
        content["outputs"] = [
            {"name": name, "datatype": kind, "shape": [-1, width]} for name, kind, width in outputs_of(model)
        ]
        await send_whole(send, 200, json_bytes(content))

    async def config(self, scope, receive, send, observed):
        """Of Triton's configuration what clients read: the names, the types, and how many texts a request may have."""
        model = self.model(scope)
        content = {"name": model.name, "platform": platform(model)}
        content["max_batch_size"] = self.application.settings.max_texts
        content["input"] = [{"name": INPUT, "data_type": KINDS["BYTES"], "dims": [1]}]
        content["output"] = [
            {"name": name, "data_type": KINDS[kind], "dims": [width]} for name, kind, width in outputs_of(model)
        ]
        await send_whole(send, 200, json_bytes(content))

    async def infer(self, scope, receive, send, observed):
        application, model = self.application, self.model(scope)
        observed["model"] = model.name
        body = await read_body(scope, receive, application.settings, ("application/json", BINARY), CODINGS)
        coding = (header(scope, b"content-encoding") or "identity").strip().lower()
        read = functools.partial(self.query, body, coding, header(scope, LENGTH.lower().encode()))
        watch = Watch(receive)
        try:
            if len(body) <= SHORT_BODY and coding == "identity":
                query = read()
            else:
                query = await application.loop.run_in_executor(application.pool, read)
            application.observe(observed, query["texts"])
            kept = await application.result(watch, lambda: submit(model, query))
            kept = application.logged(model, query["texts"], kept)
            pieces, binary, size = TensorWriter(model.labels).pieces(query, kept, model.name)
            headers, kind = {}, "application/json"
            if size is not None:
                if kept.size > SHORT_ANSWER:
                    head = b"".join(await application.loop.run_in_executor(application.pool, list, pieces))
                else:
                    head = b"".join(pieces)
                headers, kind, pieces = {LENGTH: str(len(head))}, BINARY, itertools.chain([head], binary)
            if kept.size <= SHORT_ANSWER:
                await send_whole(send, 200, b"".join(pieces), headers, kind)
            else:
                if size is not None:
                    headers["content-length"] = str(len(head) + size)
                await send_pieces(send, pieces, watch, application.pool, {"content-type": kind, **headers})
        finally:
            watch.end()

    def query(self, body, coding, json_size):
        settings = self.application.settings
        if coding != "identity":
            body = decompress(body, coding, settings.max_body_bytes)
        return read_inference(body, json_size, settings)


def submit(model, query):
    """Queue a checked request; Future: see tensors.best_class."""
    with_all = any(name == "probabilities" for name, *_ in query["outputs"])
    model.check_scores(len(query["texts"]), len(model.labels) if with_all else 1, "outputs", "probabilities left out")
    return model.batcher.submit(
        query["texts"], model.tokens(query["max_seq_len"]), query["batch_size"], model.kept(KEEP[with_all])
    )


def platform(model):
    """What runs a model, in the protocol's names."""
    return "onnxruntime_onnx" if model.format.startswith("onnx") else model.format


def outputs_of(model):
    """(name, type, width) of each output."""
    return [(name, kind, len(model.labels) if name == "probabilities" else 1) for name, kind in OUTPUTS.items()]


def unknown_model(path, names):
    """The refusal of a path below /v2/models/ that is none: 404."""
    name, *rest = path[len("/v2/models/") :].split("/")
    if name in names and rest[:1] == ["versions"]:
        return Refusal(404, f"{name} has no version %s; ask for {VERSION}, or none", quoted="/".join(rest[1:2])[:40])
    if name in names:
        return Refusal(404, f"{name} has /infer, /ready and /config, and no %s", quoted="/".join(rest)[:40])
    return Refusal(404, f"no model %s; served: {', '.join(names)}", quoted=name[:40])
