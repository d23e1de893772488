"""The page at / in a real browser."""

import re
import urllib.parse

import pytest
import requests

from core.predictor import Predictor
from deploy.simple_serving.application import create_app
from deploy.simple_serving.settings import Settings
from tests.deploy.running import server_thread
from tests.helpers import LABELS

TEXT = "孩子发烧<b>咳嗽</b>，挂什么科 & 多少钱"


@pytest.fixture(scope="module")
def serve(trained_once):
    """A function from settings to the address of a server with two models of the same export."""
    opened = []

    def start(**settings):
        folder = trained_once[1] / "export"
        app = create_app(Settings(models=f"one={folder},two={folder}", **settings))
        opened.append(server_thread(app))
        return opened[-1].__enter__()

    yield start
    for context in opened:
        context.__exit__(None, None, None)


@pytest.fixture(scope="module")
def address(serve):
    return serve()


def part(dom, identity):
    """An element's content, and its attributes, in a dumped page."""
    attributes, content = re.search(
        rf'<\w+[^>]* id="{identity}"([^>]*)>(.*?)</(?:p|section|tbody|select|caption)>', dom, re.DOTALL
    ).groups()
    return content, attributes


def test_the_distribution_is_shown(address, rendered, trained_once):
    dom = rendered(f"{address}/?" + urllib.parse.urlencode({"text": TEXT, "model": "two"}))
    rows = re.findall(r'<th scope="row">(.*?)</th>.*?width: ([\d.]+)%.*?<td>([\d.]+)%</td>', part(dom, "classes")[0])
    chances = Predictor(trained_once[1] / "export").probabilities([TEXT])[0]
    assert [label for label, *_ in rows] == [LABELS[index] for index in (-chances).argsort()]
    for (_, width, shown), chance in zip(rows, sorted(chances, reverse=True)):
        assert float(width) == pytest.approx(chance * 100, abs=0.01) == pytest.approx(float(shown), abs=0.02)
    assert part(dom, "shown")[0] == "孩子发烧&lt;b&gt;咳嗽&lt;/b&gt;，挂什么科 &amp; 多少钱"
    assert part(dom, "facts")[0].startswith("two（paddle），3 个类别，最多 32 个 token")
    assert "hidden" in part(dom, "problem")[1]
    assert re.findall(r"<option[^>]*>(\w+)</option>", part(dom, "model")[0]) == ["one", "two"]


def test_a_limit_gives_a_verdict(address, rendered, trained_once):
    """What is not sure enough is unknown, above the classes; a limit that is none comes back with the reason."""
    dom = rendered(f"{address}/?" + urllib.parse.urlencode({"text": TEXT, "limit": "1"}))
    best = round(float(Predictor(trained_once[1] / "export").probabilities([TEXT]).max()), 6)
    content, attributes = part(dom, "verdict")
    assert content == f"回答：unknown（{100 * best:.2f}%）" and "hidden" not in attributes
    assert "hidden" in part(rendered(f"{address}/?" + urllib.parse.urlencode({"text": TEXT})), "verdict")[1]
    dom = rendered(f"{address}/?" + urllib.parse.urlencode({"text": TEXT, "limit": "accuracy:0.95"}))
    assert "accuracy:0.95: no threshold for that; dev has 60 samples of 3 labels" in part(dom, "problem")[0]


def test_a_set_of_labels(rendered, distilled):
    """The labels that hold the right one so often, of a model and of its cascade; a share that is not known, or is
    none, comes back with the reason."""
    folder = distilled[1] / "export"
    app = create_app(Settings(models=f"model={folder}@onnx,cascade={folder}@cascade:onnx"))
    with server_thread(app) as own:
        for name, format in (("model", "onnx"), ("cascade", "cascade:onnx")):
            predictor, shown = Predictor(folder, format), set()
            for text in (TEXT, "头疼", "医保卡能刷吗"):
                (expected,) = predictor.label_sets([text], 0.95)
                query = urllib.parse.urlencode({"text": text, "model": name, "conformal": "0.95"})
                dom = rendered(f"{own}/?{query}")
                found = re.findall(r'<th scope="row">(.*?)</th>', part(dom, "classes")[0])
                assert found == [label for label, _ in expected]
                facts = part(dom, "facts")[0]
                assert f"集合中有 {len(expected)} 个标签，这样的集合中 95% 含有正确标签" in facts
                shown.add(len(expected))
            assert re.findall(r'<option value="([\d.]+)">', dom[dom.index('id="shares"') :]) == ["0.9", "0.95"]
            assert min(shown) < 3  # the page itself has all three
        dom = rendered(f"{own}/?" + urllib.parse.urlencode({"text": TEXT, "conformal": "0.8", "limit": "0.5"}))
        assert "conformal 0.8: no least probability for that; export.json has one for 0.9, 0.95" in dom
        dom = rendered(f"{own}/?" + urllib.parse.urlencode({"text": TEXT, "conformal": "many"}))
        assert part(dom, "problem")[0].startswith("422：") and "hidden" in part(dom, "answer")[1]


def test_the_servers_reason_is_shown(address, rendered):
    content, attributes = part(rendered(f"{address}/?text=%01"), "problem")
    assert content == "422：there is nothing to read in it; leave it out" and "hidden" not in attributes


def test_a_key_is_asked_for_where_it_is_needed(serve, address, rendered):
    dom = rendered(serve(api_key="k") + "/")
    assert 'id="key-row" hidden' not in dom and part(dom, "problem")[0].startswith("401：")
    assert 'id="key-row" hidden' in rendered(f"{address}/")


def test_nothing_comes_from_elsewhere(address):
    response = requests.get(f"{address}/", timeout=60)
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert not re.findall(r"(?:https?:)?//\w", response.text.replace("// ", ""))
