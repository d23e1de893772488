"""What a request may be: from the bytes of its body to texts and parameters, or the reason why not."""

import json

from core.confidence import share_problem
from core.label_paths import confidence_problem, unknown_problem

# JSON objects in a request: it needs three, and each one costs a call.
MAX_OBJECTS = 16
# Parameters and their smallest values: a text keeps [CLS], one token and [SEP]; top_k 0 means all classes.
SMALLEST = {"max_seq_len": 3, "batch_size": 1, "top_k": 0}
PARAMETERS = (*SMALLEST, "min_confidence", "unknown", "conformal")


# Characters of the user's own words that are quoted in a reason.
MAX_QUOTED = 40


class Refusal(Exception):
    """An answer of 4xx or 503, with the reason.

    Args:
        status (int): of HTTP.
        message (str): the reason and how to go on.
        field (str | None): where in the JSON.
        headers (dict[str, str] | None): more of them.
        quoted: what of the request stands in the message, at %s; the log has … there.
    """

    def __init__(self, status, message, field=None, headers=None, quoted=None):
        super().__init__(message)
        self.status, self.field, self.headers = status, field, headers or {}
        self.message = message if quoted is None else message.replace("%s", repr(quoted)[: MAX_QUOTED + 2])
        self.logged = message if quoted is None else message.replace("%s", "…")


def parse_json(body, example='{"data": {"text": ["…"]}}'):
    """The JSON value in a body; `example` shows what to send instead.

    Raises:
        Refusal: it is not UTF-8, not JSON, nested too deeply, or has a key twice.
    """
    objects = 0

    def check_object(pairs):
        nonlocal objects
        objects += 1
        if objects > MAX_OBJECTS:
            raise Refusal(400, f"more than {MAX_OBJECTS} objects; a request has a few")
        content = dict(pairs)
        if len(content) < len(pairs):
            seen = set()
            twice = next(name for name, _ in pairs if name in seen or seen.add(name))
            raise Refusal(400, "the key %s is there twice; give it once", quoted=twice[:MAX_QUOTED])
        return content

    def refuse_constant(name):
        raise Refusal(400, f"{name} is not JSON; give a number")

    try:
        return json.loads(body.decode("utf-8-sig"), object_pairs_hook=check_object, parse_constant=refuse_constant)
    except UnicodeDecodeError as error:
        raise Refusal(400, f"byte {error.start} of the body is not UTF-8; send UTF-8 (not GBK)") from None
    except RecursionError:
        raise Refusal(400, "the JSON is nested too deeply") from None
    except ValueError as error:  # also a number of thousands of digits
        what = f"not JSON: {error}" if body.strip() else "the body is empty"
        raise Refusal(400, f"{what}; send {example}") from None


def read_query(content, settings):
    """Check a request's JSON.

    Args:
        content: whatever it was.
        settings (Settings): with the limits, and how unknown is called.

    Returns:
        dict: texts (list[str]), max_seq_len (int | None), batch_size and top_k (int), min_confidence (float | str |
        None), unknown (str), conformal (float | None).

    Raises:
        Refusal: 422 with the field, or 413 for too many or too long texts.
    """
    check_keys(content, "", "the body", ("data", "parameters"))
    if "data" not in content:
        raise Refusal(422, 'missing; send {"data": {"text": ["…"]}}', "data")
    data, parameters = content["data"], content.get("parameters")
    check_keys(data, "data", "data", ("text", "text_pair"))
    if data.get("text_pair") is not None:
        raise Refusal(422, "this model classifies single texts; leave text_pair out or null", "data.text_pair")
    if "text" not in data:
        raise Refusal(422, "missing; give a list of texts", "data.text")
    texts = [data["text"]] if isinstance(data["text"], str) else data["text"]
    if not isinstance(texts, list) or not texts:
        raise Refusal(422, f"{kind_of(texts)} instead of a list with at least one text", "data.text")
    if len(texts) > settings.max_texts:
        raise Refusal(413, f"{len(texts)} texts; send at most {settings.max_texts} a request", "data.text")
    for index, text in enumerate(texts):
        problem = text_problem(text, settings.max_characters)
        if problem:
            status, message = problem
            raise Refusal(status, message, f"data.text[{index}]")
    query = {
        "texts": texts,
        "max_seq_len": None,
        "batch_size": 32,
        "top_k": 1,
        "min_confidence": None,
        "unknown": settings.unknown,
        "conformal": None,
    }
    check_keys({} if parameters is None else parameters, "parameters", "parameters", PARAMETERS)
    for name, value in (parameters or {}).items():
        problem = parameter_problem(name, value)
        if problem:
            shown = "null" if value is None else "%s"
            raise Refusal(422, f"{shown}; {problem}", f"parameters.{name}", quoted=value)
        query[name] = value
    if query["min_confidence"] is None and "unknown" in (parameters or {}):
        what = "no answer is called so without min_confidence; give that too, or leave unknown out"
        raise Refusal(422, what, "parameters.unknown")
    if query["conformal"] is not None and "top_k" in parameters:
        raise Refusal(422, "conformal decides how many classes a text has in top; leave top_k out", "parameters.top_k")
    return query


def parameter_problem(name, value):
    """What is wrong with the value of one of PARAMETERS, or None."""
    if name == "min_confidence":
        return confidence_problem(value)
    if name == "unknown":
        return unknown_problem(value)
    if name == "conformal":
        return share_problem(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < SMALLEST[name]:
        return f"give a whole number from {SMALLEST[name]}"
    return None


def check_keys(value, field, name, keys):
    """Refuse what is no object, or has other keys than these."""
    if not isinstance(value, dict):
        raise Refusal(422, f"{name} is {kind_of(value)} instead of an object with {' and '.join(keys)}", field or None)
    for key in value:
        if key not in keys:
            what = f"%s is not known; use {', '.join(keys)}"
            raise Refusal(422, what, field or None, quoted=key[:MAX_QUOTED])


def kind_of(value):
    """A JSON value's kind in JSON's words."""
    if isinstance(value, (list, dict, str)) and not value:
        return "empty"
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")


def text_problem(text, max_characters):
    """(status, message) of what is wrong with one text, or None."""
    if not isinstance(text, str):
        return 422, f"{kind_of(text)} instead of a text"
    if len(text) > max_characters:
        return 413, f"{len(text)} characters; send at most {max_characters} a text"
    if "\0" in text:
        return 422, "it holds a NUL character; remove it"
    if not any(character.isprintable() and character != " " for character in text):
        return 422, "there is nothing to read in it; leave it out"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return 422, f"character {error.start} is half of a surrogate pair; send whole characters"
    return None
