"""The middleware of the doccano that is started here, without doccano; with it: test_doccano_site.py."""

import sys
import types

import pytest

from core.arguments import load_module
from tests.helpers import ROOT


@pytest.fixture
def settings(monkeypatch, tmp_path):
    """The module, with a stand-in for the settings that it builds on."""
    production = types.ModuleType("config.settings.production")
    production.MIDDLEWARE = ["theirs"]
    production.ALLOWED_HOSTS = ["*"]
    for name in ("config", "config.settings"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "config.settings.production", production)
    monkeypatch.setenv("DOCCANO_HOME", str(tmp_path))
    monkeypatch.setenv("DOCCANO_SITE_KEY", "key")
    monkeypatch.delitem(sys.modules, "doccano_settings_of_test", raising=False)
    return load_module("doccano_settings_of_test", ROOT / "data" / "doccano_settings.py")


def request(method, path, known=True):
    return types.SimpleNamespace(method=method, path=path, user=types.SimpleNamespace(is_authenticated=known))


def test_settings(settings, tmp_path):
    assert settings.MIDDLEWARE == ["theirs", "doccano_settings.Suggestions"]
    assert settings.ALLOWED_HOSTS == ["127.0.0.1", "localhost"] and settings.SECRET_KEY == "key"
    assert str(tmp_path / "uploads") == settings.DJANGO_DRF_FILEPOND_UPLOAD_TMP


def test_when_the_model_is_asked(settings, monkeypatch):
    asked = []
    monkeypatch.setattr(settings, "suggest", lambda *values: asked.append(values[:2]))
    middleware = settings.Suggestions(lambda request: "the page")
    page = "/v1/projects/3/examples/14/categories"
    for method, path, known in (
        ("GET", page, True),
        ("POST", page, True),
        ("GET", page, False),
        ("GET", f"{page}/5", True),
        ("GET", "/v1/projects/3/examples/14", True),
    ):
        assert middleware(request(method, path, known)) == "the page"
    assert asked == [(3, 14)]


def test_a_model_that_does_not_answer(settings, monkeypatch):
    """The text is shown all the same."""

    def fail(*_):
        raise ConnectionError("refused")

    monkeypatch.setattr(settings, "suggest", fail)
    middleware = settings.Suggestions(lambda request: "the page")
    assert middleware(request("GET", "/v1/projects/3/examples/14/categories")) == "the page"
    answers = types.ModuleType("django.http")
    answers.JsonResponse = lambda content, status: (content, status)
    monkeypatch.setitem(sys.modules, "django", types.ModuleType("django"))
    monkeypatch.setitem(sys.modules, "django.http", answers)
    button = "/v1/projects/3/auto-labeling"
    assert middleware.process_exception(request("POST", button), ConnectionError()) == ({"ok": True}, 201)
    for method, path in (("GET", button), ("POST", f"{button}/configs"), ("POST", f"{button}/request-testing")):
        assert middleware.process_exception(request(method, path), ConnectionError()) is None
