"""What JSON Schema cannot say of a request, and how to read an answer in binary, for schemathesis: test_openapi.py."""

import json
import unicodedata

import schemathesis


def meant(value):
    """What a good request means: JSON Schema takes 3.0 for an integer, and the server does not; and schemathesis makes
    characters that are not assigned, private or invisible although the pattern forbids its \\p{C}."""
    if isinstance(value, dict):
        return {name: meant(part) for name, part in value.items()}
    if isinstance(value, list):
        return [meant(part) for part in value]
    if isinstance(value, str):
        return "".join(
            "x" if unicodedata.category(character) in ("Cn", "Co", "Cf") else character for character in value
        )
    return int(value) if isinstance(value, float) and value.is_integer() else value


@schemathesis.hook
def before_call(context, case, kwargs):
    """A tensor's shape says how much it holds: give good requests to /infer the one that their texts have."""
    if case.meta is None or not case.meta.generation.mode.is_positive or not isinstance(case.body, dict):
        return
    case.body = meant(case.body)
    if case.path.endswith("/infer"):
        for given in case.body["inputs"]:
            given["shape"] = [len(given["data"]), *given["shape"][1:]]


@schemathesis.deserializer("application/octet-stream")
def read_binary(context, response):
    """The JSON in front of the tensors."""
    [size] = response.headers["inference-header-content-length"]
    return json.loads(response.content[: int(size)])
