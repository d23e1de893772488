"""Requests that no server should answer with 5xx: each known kind once, and seeded random damage."""

import json

GOOD = {"data": {"text": ["头疼挂什么科"], "text_pair": None}, "parameters": {"max_seq_len": 128, "batch_size": 32}}


def body(**changes):
    """GOOD with some parts replaced, as bytes; a part that is ... is left out."""
    content = {**GOOD, **changes}
    return json.dumps({key: value for key, value in content.items() if value is not ...}).encode()


def of_text(text):
    return body(data={"text": text})


def with_parameters(**parameters):
    return body(parameters=parameters)


NOT_TEXTS = [None, 5, {}, {"a": "b"}, [5], [None], [["a"]], [], [{}], [True], ["a", 5]]
NOTHING_TO_READ = ["", [""], ["a", ""], [" "], ["\t\n"], ["\u200b"], ["\u3000"], ["\0"], ["a\0b"], ["\x01"]]
HALF_PAIRS = [["\ud800"], ["a\udfff"]]
NOT_NUMBERS = [-1, "y", "\ud800", "32", 1.5, 32.0, None, True, [], {}, [1], -(10**30)]
NOT_JSON_NUMBERS = ["NaN", "Infinity", "-Infinity", "1e999", "1e2", "9" * 5000]
PARAMETERS = b'{"data": {"text": ["a"]}, "parameters": {"%s": %s}}'

# Name -> body. Each of them is refused.
BAD_BODIES = {
    **{f"data {value!r}": body(data=value) for value in (..., None, 5, [], ["a"], "a", True, {}, 1.5)},
    **{f"text {value!r}": of_text(value) for value in [*NOT_TEXTS, *NOTHING_TO_READ, *HALF_PAIRS]},
    "no text": body(data={"text_pair": None}),
    "text_pair": body(data={"text": ["a"], "text_pair": ["b"]}),
    "text_pair of another length": body(data={"text": ["a"], "text_pair": []}),
    "extra field": body(more=1),
    "extra field in data": body(data={"text": ["a"], "texts": ["b"]}),
    "extra field with half a surrogate pair": b'{"data": {"text": ["a"]}, "\\ud800": 1}',
    "extra parameter": with_parameters(topk=1),
    **{f"parameters {value!r}": body(parameters=value) for value in (5, [], "a", True, [1])},
    **{
        f"{name} {value!r}": with_parameters(**{name: value})
        for name in ("batch_size", "max_seq_len", "top_k")
        for value in NOT_NUMBERS
    },
    **{f"{name} 0": with_parameters(**{name: 0}) for name in ("batch_size", "max_seq_len")},
    **{
        f"{name} {number}": PARAMETERS % (name.encode(), number.encode())
        for name in ("batch_size", "top_k")
        for number in NOT_JSON_NUMBERS
    },
    "empty": b"",
    "blank": b"  \n",
    "not JSON": b"hello",
    "null": b"null",
    "a list": b"[]",
    "a number": b"5",
    "a string": b'"a"',
    "an empty object": b"{}",
    "cut short": body()[:-5],
    "two values": body() + body(),
    "single quotes": body().replace(b'"', b"'"),
    "a comma too many": body()[:-1] + b",}",
    "GBK": json.dumps(GOOD, ensure_ascii=False).encode("gbk"),
    "UTF-16": json.dumps(GOOD, ensure_ascii=False).encode("utf-16"),
    "bad UTF-8": b'{"data": {"text": ["\xff\xfe"]}}',
    "half a surrogate pair in UTF-8": b'{"data": {"text": ["\xed\xa0\x80"]}}',
    "a control character": b'{"data": {"text": ["a\x01b"]}}',
    "a key twice": b'{"data": {"text": ["a"]}, "data": {"text": ["b"]}}',
    "a key twice inside": b'{"data": {"text": ["a"], "text": ["b"]}}',
    "a key twice among 100,000": b'{"data": 1, %s "b": 1, "b": 2}'
    % b"".join(b'"%d": 1, ' % i for i in range(100_000)),
    "lists nested deeply": b"[" * 100_000 + b"]" * 100_000,
    "objects nested deeply": b'{"data":' * 50_000 + b"1" + b"}" * 50_000,
    "lists nested deeply, not closed": b'{"data": {"text": ' + b"[" * 200_000,
    "many objects": body(data=[{}] * 100_000),
    "a number of a million digits": PARAMETERS % (b"top_k", b"9" * 1_000_000),
    "a long text": of_text(["长" * 10_001]),
    "many texts": of_text(["a"] * 10_001),
    "a form": b"text=a&batch_size=1",
    "XML": b"<data><text>a</text></data>",
}

# Name -> body. Each of them is answered, since what is missing or larger than useful has one plain meaning.
GOOD_BODIES = {
    "as documented": body(),
    "no parameters": body(parameters=...),
    "null for parameters": body(parameters=None),
    "empty parameters": body(parameters={}),
    "one parameter": with_parameters(batch_size=1),
    "no text_pair": of_text(["头疼挂什么科"]),
    "a string for a list": of_text("头疼挂什么科"),
    "huge limits": with_parameters(max_seq_len=10**9, batch_size=10**9, top_k=10**9),
    "a byte-order mark": b"\xef\xbb\xbf" + body(),
}


def damaged(rng):
    """One of all the bodies with some bytes changed, cut out or put in.

    Args:
        rng (random.Random): decides.
    """
    content = bytearray(rng.choice([*BAD_BODIES.values(), *GOOD_BODIES.values()])[:2000])
    for _ in range(rng.randint(1, 4)):
        place = rng.randint(0, len(content))
        action = rng.randrange(3)
        if action == 0:
            content[place:place] = rng.choice([b"[", b"{", b'"', b"\\ud83d", b"\0", b",", b"\xff", b"null", b"1e9"])
        elif action == 1:
            del content[place : place + rng.randint(1, 8)]
        elif place < len(content):
            content[place] = rng.randrange(256)
    return bytes(content)


def malformed(rng):
    """A request's (path, headers, body): two of three of a known kind, the others damaged at random."""
    headers = {
        "Content-Type": rng.choice(["application/json"] * 9 + ["text/plain", "application/x-www-form-urlencoded"])
    }
    path = rng.choice(["{path}"] * 19 + ["{path}/more"])
    return path, headers, rng.choice(list(BAD_BODIES.values())) if rng.random() < 2 / 3 else damaged(rng)
