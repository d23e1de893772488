"""deploy/annotation/application.py and server.py: Label Studio's protocol, over HTTP."""

import contextlib
import time

import pytest
import requests

from data.label_studio import make_interface
from deploy.annotation.application import create_app
from tests.deploy.annotation_parts import LABELS, make_loop, truth, write_pool
from tests.deploy.running import DEPLOY, run_light, server_thread

CONFIG = "\n".join(make_interface(LABELS, "text", "label", "text"))


@pytest.fixture
def served(tmp_path):
    """(address, loop) of a server that has its first model."""
    loop = make_loop(write_pool(tmp_path / "data"), tmp_path / "work")
    with server_thread(create_app(loop)) as address:
        wait(lambda: requests.get(f"{address}/health", timeout=10).ok)
        yield address, loop
    loop.journal.close()


def wait(ready, seconds=60):
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.05)


def event(action, number, text, label, person="wang@example.org"):
    """A webhook's body, as Label Studio 1.23.2 sends it."""
    result = [{"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": [label]}}]
    annotation = {"id": number, "result": result, "was_cancelled": False, "completed_by": 7}
    annotation["created_username"] = f" {person}, 7"
    return {
        "action": action,
        "annotation": annotation,
        "task": {"id": number, "data": {"text": text}},
        "project": {"id": 1, "label_config": CONFIG},
    }


def test_label_studios_protocol(served):
    address, loop = served

    def post(path, body, status=200):
        response = requests.post(f"{address}/{path}", json=body, timeout=30)
        assert response.status_code == status, response.text
        return response.json()

    assert requests.get(f"{address}/health", timeout=10).json()["status"] == "UP"
    setup = {"project": "1.17", "schema": CONFIG, "hostname": "http://localhost:8080", "access_token": "t"}
    first = post("setup", setup)["model_version"]
    assert requests.get(f"{address}/versions", timeout=10).json() == {"versions": [first]}
    ask = {"tasks": [{"id": 1, "data": {"text": "球员夺冠"}}, {"id": 2, "data": {}}], "project": "1.17"}
    assert post("predict", ask)["results"] == [[], []]  # no label yet: no suggestion
    texts = post("next", {"count": 30})["texts"]
    assert len(texts) == 30
    post("given", {"texts": texts})
    for number, text in enumerate(texts):
        post("webhook", event("ANNOTATION_CREATED", number, text, truth(text)))
        assert loop.journal.labels[text] == {"wang@example.org": truth(text)}  # before the answer
    # A model may have been begun with fewer of them: only one that is asked for now has seen all.
    post("webhook", {"action": "START_TRAINING", "project": {"id": 1}})
    wait(lambda: loop.suggests and len(loop.tried) == 30)
    row = post("predict", ask)["results"][0]
    assert row["result"][0]["value"] == {"choices": ["体育"]} and row["model_version"] == loop.version_name != first
    assert row["score"] == row["result"][0]["score"] > 0.5
    assert post("predict", ask)["results"][1] == []  # a task without its text
    assert post("suggest", {"text": "银行利率"})["label"] == "财经"
    post("webhook", event("ANNOTATION_UPDATED", 0, texts[0], "财经" if truth(texts[0]) == "体育" else "体育"))
    assert loop.journal.agreed()[texts[0]] != truth(texts[0])
    post("webhook", {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 0}], "project": {"id": 1}})
    assert texts[0] not in loop.journal.labels
    # As 1.23.2 sends it: a number, which is known from the tool's own list.
    rows = [[text, truth(text), "wang@example.org"] for text in texts[1:]]
    assert post("labels", {"rows": rows, "people": {"7": "wang@example.org"}}) == {"changes": 0}
    body = event("ANNOTATION_UPDATED", 1, texts[1], truth(texts[1]))
    del body["annotation"]["created_username"]
    post("webhook", body)
    assert loop.journal.annotators() == {"wang@example.org": 29}
    post("webhook", {"action": "START_TRAINING", "project": {"id": 1}})
    wait(lambda: len(loop.tried) == 29)
    post("webhook", {"action": "PROJECT_UPDATED", "project": {"id": 1}})
    progress = requests.get(f"{address}/progress", timeout=10).json()
    assert (progress["done"], progress["total"], progress["open"]) == (29, 120, 1)


def test_a_label_from_before_a_restart_is_taken_back(served):
    """Whose annotation a number is, only this process knows; a skip brings its text along."""
    address, loop = served
    text, other = loop.next(2)
    loop.record([(text, "wang@example.org", "体育"), (text, "li@example.org", "体育"), (other, "7", "体育")])
    skipped = event("ANNOTATION_UPDATED", 812, text, "体育")
    skipped["annotation"].update(was_cancelled=True, result=[])
    assert requests.post(f"{address}/webhook", json=skipped, timeout=10).ok
    assert loop.journal.labels[text] == {"li@example.org": "体育"} and other in loop.journal.labels
    skipped["task"]["data"] = {}
    assert requests.post(f"{address}/webhook", json=skipped, timeout=10).ok


def test_what_is_refused(served):
    address, _ = served
    other = "\n".join(make_interface(["体育"], "text", "label", "text"))
    for path, body, status, words in (
        ("setup", {"project": "9.1", "schema": other}, 400, "lack 财经"),
        ("predict", {"project": "8.1", "tasks": []}, 400, "send label_config"),
        ("predict", {"project": "8.1", "label_config": CONFIG, "tasks": {}}, 422, "a list of tasks"),
        ("labels", {"rows": [["a", "b"]]}, 422, "rows"),
        ("webhook", [], 422, "no JSON object"),
    ):
        response = requests.post(f"{address}/{path}", json=body, timeout=10)
        assert response.status_code == status and words in response.json()["detail"], response.text
    for headers in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}):
        response = requests.post(f"{address}/labels", json={"rows": []}, headers=headers, timeout=10)
        assert response.status_code == 403


def test_the_page_shows_progress(served, rendered):
    address, loop = served
    loop.record([(text, "wang", truth(text)) for text in loop.next(45)])
    loop.record([(text, "wang", "新类") for text in loop.next(2)])
    wait(lambda: loop.outlook and loop.outlook["more"])
    dom = rendered(f"{address}/")
    assert "45" in dom and "wang" in dom and "<polyline" in dom
    assert "(新类), and no model is trained on them" in dom or "（新类），没有用来训练模型" in dom
    assert dom.count('<th scope="row">') == 3


@pytest.mark.parametrize(
    "flags, words",
    [
        ("--data_dir {0} --retrain_every 0", "--retrain_every 0: must be at least 1"),
        ("--data_dir {0}/none", "no such folder"),
        ("--data_dir {0} --min_accuracy 2", "a number from 0 to 1"),
    ],
)
def test_flags_are_checked_before_anything_heavy(tmp_path, flags, words):
    write_pool(tmp_path)
    code, _, problem = run_light(DEPLOY / "annotation" / "server.py", *flags.format(tmp_path).split())
    assert code == 2 and words in problem
    with contextlib.suppress(FileNotFoundError):
        assert not list((tmp_path / "annotation").iterdir())
