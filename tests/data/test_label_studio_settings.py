"""The middleware of the Label Studio that is started here, without it; with it: test_label_studio_browser.py."""

import json
import sys
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor

import pytest

from core.arguments import load_module
from tests.helpers import ROOT

EMPTY = {
    "ordering": [],
    "selectedItems": {"all": False, "included": []},
    "filters": {"conjunction": "and", "items": []},
    "project": "1",
}


@pytest.fixture
def settings(monkeypatch, tmp_path):
    """The module, with a stand-in for the settings that it builds on."""
    theirs = tmp_path / "label_studio" / "core" / "settings" / "label_studio.py"
    theirs.parent.mkdir(parents=True)
    for folder in (theirs.parents[2], theirs.parents[1], theirs.parent):
        (folder / "__init__.py").touch()
    theirs.write_text("MIDDLEWARE = ['theirs']\nDEBUG = False\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "label_studio_settings_of_test", raising=False)
    module = load_module("label_studio_settings_of_test", ROOT / "data" / "label_studio_settings.py")
    yield module
    for name in [name for name in sys.modules if name.partition(".")[0] == "label_studio"]:
        del sys.modules[name]


def request(path, body=b"", **query):
    return types.SimpleNamespace(path=path, body=body, GET=query)


def test_settings(settings):
    assert settings.MIDDLEWARE == ["label_studio_settings.OneAfterTheOther", "theirs"] and settings.DEBUG is False


def test_the_next_text_is_given_to_one_after_the_other(settings):
    now, most, mutex = [0], [0], threading.Lock()

    def answer(_):
        with mutex:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.05)
        with mutex:
            now[0] -= 1

    middleware = settings.OneAfterTheOther(answer)
    paths = [request("/api/projects/1/next"), request("/api/dm/actions/", b"{}", id="next_task")] * 2
    others = [request("/api/projects/1/"), request("/api/dm/actions", b"{}", id="delete_tasks")] * 2
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(middleware, paths))
        assert most == [1]
        list(pool.map(middleware, others))
        assert most[0] > 1


def test_a_selection_of_nothing_is_none(settings):
    seen = []
    middleware = settings.OneAfterTheOther(seen.append)
    middleware(request("/api/dm/actions", json.dumps(EMPTY).encode(), id="next_task"))
    assert json.loads(seen[0]._body) == {"project": "1"}
    for own in ({"ordering": ["id"]}, {"selectedItems": {"all": True}}, {"filters": {"items": [{}]}}):
        body = json.dumps({**EMPTY, **own}).encode()
        assert settings.without_empty_selection(body) == body
    for body in (b"", b"[1]", b'{"selectedItems": 3}', b"\xff"):
        assert settings.without_empty_selection(body) == body
