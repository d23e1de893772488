"""query.py: bad requests to a real server get a reason, good ones an answer."""

import json
import random

import pytest

from tests.deploy.asking import classify, send
from tests.deploy.malformed import BAD_BODIES, GOOD_BODIES, malformed


def test_known_bad_input_is_refused_with_a_reason(address):
    for name, body in BAD_BODIES.items():
        status, content = send(address, body)
        assert status in (400, 413, 422), (name, status, content)
        assert content["error"]["status"] == status and len(content["error"]["message"]) > 5, name


def test_plain_input_is_answered(address):
    for name, body in GOOD_BODIES.items():
        assert send(address, body)[0] == 200, name


@pytest.mark.parametrize(
    "changes, field, message",
    [
        ({"data": {"text": ["a", None]}}, "data.text[1]", "null instead of a text"),
        ({"data": {"text": ["a", " "]}}, "data.text[1]", "there is nothing to read in it; leave it out"),
        ({"data": {"text": ["a\ud800"]}}, "data.text[0]", "character 1 is half of a surrogate pair; send whole chara"),
        ({"data": {"text": []}}, "data.text", "empty instead of a list with at least one text"),
        ({"data": {"text": ["a"], "text_pair": ["b"]}}, "data.text_pair", "this model classifies single texts"),
        ({"parameters": {"batch_size": "32"}}, "parameters.batch_size", "'32'; give a whole number from 1"),
        ({"parameters": {"topk": 1}}, "parameters", "'topk' is not known; use max_seq_len, batch_size, top_k"),
        ({"parameters": {"min_confidence": 1.5}}, "parameters.min_confidence", "1.5; give a number from 0 to 1"),
        ({"parameters": {"min_confidence": True}}, "parameters.min_confidence", "True; give a number from 0 to 1"),
        ({"parameters": {"min_confidence": "0.5"}}, "parameters.min_confidence", "'0.5'; give a number from 0 to 1"),
        ({"parameters": {"min_confidence": None}}, "parameters.min_confidence", "null; give a number from 0 to 1"),
        ({"parameters": {"unknown": "x"}}, "parameters.unknown", "no answer is called so without min_confidence"),
        (
            {"parameters": {"unknown": " ", "min_confidence": 1}},
            "parameters.unknown",
            "' '; give a name of at most 100",
        ),
        ({"more": 1}, None, "'more' is not known; use data, parameters"),
    ],
)
def test_the_reason_says_where(address, changes, field, message):
    status, content = send(address, json.dumps({"data": {"text": ["a"]}, **changes}))
    assert status == 422 and content["error"].get("field") == field and content["error"]["message"].startswith(message)


def test_random_damage_breaks_nothing(address, texts):
    before = classify(address, texts)
    rng, statuses = random.Random(3), []
    for _ in range(400):
        path, headers, body = malformed(rng)
        statuses.append(send(address, body, headers, path.format(path="/models/paddle"))[0])
    assert set(statuses) <= {200, 400, 404, 413, 415, 422} and statuses.count(200) < 100
    assert classify(address, texts) == before


def test_limits_on_texts(serve):
    address, _ = serve(max_texts=2, max_characters=5)
    for given, status in ((["a"] * 2, 200), (["a"] * 3, 413), (["a" * 5], 200), (["a" * 6], 413)):
        assert send(address, json.dumps({"data": {"text": given}}), path="/models/one")[0] == status
