"""What is sent to doccano, what it makes of a model's answer, and what a user is told; test_doccano_site.py has the
real one."""

import json

import jinja2
import numpy as np
import pytest

from core.long_texts import WINDOW
from data.doccano_api import SERVING, SUGGEST, Doccano, DoccanoError, Model, find_model, make_config, make_mapping
from deploy.simple_serving.answers import Writer, most_probable, sure_enough
from tests.data.json_server import json_server
from utils import UsageError

LABELS = ["病情诊断", '"引号"', "a<b> & c\\d"]
LOGIN = {("POST", "/v1/auth/login/"): (200, {"key": "token-of-the-test"})}


def rendered(model, answer, least=0.0):
    """What doccano makes of a model's answer: labels, as its pipeline renders the template and reads it as JSON."""
    template = make_config(model, {}, least)["template"]
    return [row["label"] for row in json.loads(jinja2.Template(template).render(input=answer))]


@pytest.mark.parametrize("class_id", range(3))
def test_the_template_reads_simple_serving(class_id):
    rows = np.full((1, 3), 0.1)
    rows[0, class_id] = 0.8
    model, writer = Model(SERVING, "http://x/models/a"), Writer(LABELS)
    windows = np.zeros(1, WINDOW)
    windows["of"] = 3
    for entries, options in (
        (most_probable(rows, 1), {"with_top": False}),
        (most_probable(rows, 0), {"with_top": True, "windows": windows}),
        (sure_enough(rows, 1, writer_paths(), 0.5), {"with_top": True, "is_limited": True}),
    ):
        answer = json.loads(b"".join(writer.pieces(entries, **options)))
        assert rendered(model, answer) == [LABELS[class_id]]
        assert rendered(model, answer, 0.8) == [LABELS[class_id]]
        assert rendered(model, answer, 0.81) == []


def writer_paths():
    from core.label_paths import LabelPaths

    return LabelPaths(LABELS)


@pytest.mark.parametrize("label", LABELS)
def test_the_template_reads_suggestions(label):
    model = Model(SUGGEST, "http://x/suggest")
    assert rendered(model, {"label": label, "score": 0.4}) == [label]
    assert rendered(model, {"label": label, "score": 0.4}, 0.5) == []


@pytest.mark.parametrize("kind", [SERVING, SUGGEST])
@pytest.mark.parametrize(
    "answer",
    [{"error": {"status": 503, "message": "busy"}}, {"label": "", "score": 0.0}, {"detail": "x"}, [], None],
)
def test_no_suggestion_of_an_answer_without_a_label(kind, answer):
    assert rendered(Model(kind, "http://x"), answer, 0.5) == [] == rendered(Model(kind, "http://x"), answer)


def test_the_request():
    """doccano puts the text in the place of the mark: only where it is the whole value of a key, in dicts of dicts."""
    for kind, place in ((SUGGEST, ["text"]), (SERVING, ["data", "text"])):
        attributes = make_config(Model(kind, "http://x"), {"a": "b"}, key="secret")["model_attrs"]
        value = attributes["body"]
        for key in place:
            value = value[key]
        assert value == "{{ text }}"
        assert attributes["headers"] == {"X-API-Key": "secret"}
        assert attributes["params"] == {}, "doccano asks it for its items"
    first, second = (make_config(Model(SERVING, "http://x"), {})["model_attrs"]["body"] for _ in range(2))
    assert first["data"] is not second["data"]


def test_find_model():
    models = {"models": [{"name": "cls", "labels": LABELS}]}
    with json_server({("GET", "/models"): (200, models)}) as (url, asked):
        for given in (url, f"{url}/", f"{url}/models/cls", f"{url}/models/cls/"):
            assert find_model(given, "secret") == Model(SERVING, f"{url}/models/cls", LABELS)
        assert asked[0][2]["X-API-Key"] == "secret"
        with pytest.raises(UsageError, match="no such model there; it has: cls"):
            find_model(f"{url}/models/other")
        models["models"].append({"name": "two", "labels": ["a", "b"]})
        with pytest.raises(UsageError, match=f"2 models; choose one: {url}/models/cls {url}/models/two"):
            find_model(url)
        assert find_model(f"{url}/models/two").labels == ["a", "b"]
        asked.clear()
        assert find_model(f"{url}/suggest") == Model(SUGGEST, f"{url}/suggest") and not asked
    with json_server({}) as (url, _):
        assert find_model(url) == Model(SUGGEST, f"{url}/suggest")
    with (
        json_server({("GET", "/models"): (401, {"error": {}})}) as (url, _),
        pytest.raises(UsageError, match="API key"),
    ):
        find_model(f"{url}/models/cls")
    # It may be reachable for doccano alone.
    assert find_model("http://127.0.0.1:9/models/cls") == Model(SERVING, "http://127.0.0.1:9/models/cls")
    for wrong in ("127.0.0.1:8189", "ftp://x/models/a", "http://", "http://[x"):
        with pytest.raises(UsageError, match="not an address"):
            find_model(wrong)


def test_mapping():
    assert make_mapping(["a", "b"], ["b", "c"], {"a": "c"}) == ({"a": "c", "b": "b"}, [])
    assert make_mapping(["a", "b"], ["b"], {}) == ({"b": "b"}, ["a"])
    assert make_mapping(["a"], ["b"], {"a": "x"}) == ({}, ["a"])
    assert make_mapping(None, ["a", "b"], {"z": "a"}) == ({"a": "a", "b": "b", "z": "a"}, [])


def test_who_is_asked(monkeypatch):
    """A proxy of the environment is not asked about this machine; no message has the password or the token."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with json_server({**LOGIN, ("GET", "/v1/users"): (403, {"detail": "no"})}) as (url, asked):
        doccano = Doccano(url, "admin", "secret-word")
        assert asked[0][3] == {"username": "admin", "password": "secret-word"}
        with pytest.raises(DoccanoError, match='GET users: 403 {"detail": "no"}') as error:
            doccano.users()
        assert error.value.status == 403
        assert "token-of" not in str(error.value) and "secret" not in str(error.value)
        assert asked[1][2]["Authorization"] == "Token token-of-the-test"


@pytest.mark.parametrize(
    "routes, message",
    [
        ({("POST", "/v1/auth/login/"): (400, {"non_field_errors": ["x"]})}, "does not know the user admin with this"),
        ({}, "answers, but not as doccano does"),
        ({("POST", "/v1/auth/login/"): (200, b"<html>")}, "answers, but not as doccano does"),
        ({("POST", "/v1/auth/login/"): (200, ["key"])}, "answers, but not as doccano does"),
    ],
)
def test_no_login(routes, message):
    with json_server(routes) as (url, _), pytest.raises(UsageError, match=message) as error:
        Doccano(url, "admin", "secret-word")
    assert "secret" not in str(error.value)


def test_no_doccano():
    with pytest.raises(UsageError, match="nothing answers there; start doccano"):
        Doccano("http://127.0.0.1:9", "admin", "x")
    with pytest.raises(UsageError, match="not an address"):
        Doccano("127.0.0.1", "admin", "x")


def project(number, name, kind="DocumentClassification"):
    return {"id": number, "name": name, "project_type": kind}


def test_find_the_project():
    rows = [project(1, "a"), project(2, "ab"), project(3, "b"), project(4, "b"), project(5, "c", "Seq2seq")]
    routes = {**LOGIN, ("GET", "/v1/projects"): (200, {"results": rows}), ("GET", "/v1/projects/2"): (200, rows[1])}
    routes["GET", "/v1/projects/5"] = (200, rows[4])
    with json_server(routes) as (url, _):
        doccano = Doccano(url, "admin", "x")
        assert doccano.project("a")["id"] == 1 and doccano.project("2")["name"] == "ab"
        for name, message in {
            "b": "several projects have this name; give the number of one: 3 4",
            "c": "admin has no text classification project of this name",
            "5": "a project of another kind",
            "77": "no text classification project of this name",
        }.items():
            with pytest.raises(UsageError, match=message):
                doccano.project(name)


def test_only_our_configuration_is_replaced():
    path = "/v1/projects/7/auto-labeling/configs"
    there = [{"id": 1, "template": "[]"}, {"id": 2, "template": make_config(Model(SUGGEST, "x"), {})["template"]}]
    routes = {**LOGIN, ("GET", path): (200, there), ("PATCH", f"{path}/2"): (200, {"id": 2})}
    routes["POST", path] = (201, {"id": 3})
    with json_server(routes) as (url, asked):
        doccano = Doccano(url, "admin", "x")
        config = make_config(Model(SERVING, "http://m/models/a"), {"a": "b"})
        assert doccano.set_auto_labelling(7, config) == 2
        assert asked[-1][:2] == ("PATCH", f"{path}/2") and asked[-1][3] == config
        del there[1]
        assert doccano.set_auto_labelling(7, config) == 3 and asked[-1][3] == config
        assert not [row for row in asked if row[0] == "DELETE"]


def test_labels_get_the_keys_that_are_free():
    routes = {**LOGIN, ("GET", "/v1/projects/7/category-types"): (200, [{"text": "a", "id": 1, "suffix_key": "2"}])}
    routes["POST", "/v1/projects/7/category-types"] = (201, {})
    with json_server(routes) as (url, asked):
        doccano = Doccano(url, "admin", "x")
        doccano.add_labels(7, ["z", "y", "a", "x", *map(str, range(10))])
        sent = [row[3] for row in asked if row[:2] == ("POST", "/v1/projects/7/category-types")]
        assert [row["text"] for row in sent] == ["z", "y", "x", *map(str, range(10))]
        assert [row["suffix_key"] for row in sent[:4]] == ["1", None, "4", "5"] and sent[-1]["suffix_key"] is None
        with pytest.raises(UsageError, match="up to 100 characters"):
            doccano.add_labels(7, ["长" * 101])
