"""data/label_studio_site.py with a real Label Studio of its own: suggestions, labels, the order, and kill -9."""

import json
import os
import signal
import time

import pytest

from data.label_studio_site import LOGIN_FILE
from data.local_services import ServiceError, ask
from tests.deploy.annotation_parts import annotating, truth, write_pool
from tests.deploy.running import free_port
from tests.helpers import ROOT

PYTHON = ROOT / ".venv-label-studio" / "bin" / "python"


class Person:
    """Who labels through Label Studio's own API, as its page does."""

    def __init__(self, work, port):
        token = json.loads((work / LOGIN_FILE).read_text(encoding="utf-8"))["token"]
        self.base, self.headers = f"http://127.0.0.1:{port}", {"Authorization": f"Token {token}"}

    def call(self, method, path, body=None):
        return ask(method, f"{self.base}{path}", body, self.headers)

    def label(self, project, right=truth):
        """Label the next text by a function of it; the label that was suggested, or None."""
        end = time.monotonic() + 60
        while True:
            try:
                task = self.call("GET", f"/api/projects/{project}/next")
                break
            except ServiceError:  # nothing waits this moment
                assert time.monotonic() < end
                time.sleep(0.5)
        value = {"choices": [right(task["data"]["text"])]}
        result = [{"from_name": "label", "to_name": "text", "type": "choices", "value": value}]
        self.call("POST", f"/api/tasks/{task['id']}/annotations/", {"result": result})
        found = task["predictions"]
        return found[0]["result"][0]["value"]["choices"][0] if found and found[0]["result"] else None


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_annotate_with_a_real_label_studio(tmp_path, tiny_model):
    if not PYTHON.exists():
        pytest.skip("no .venv-label-studio: make .venv-label-studio/.installed")
    folder, log = write_pool(tmp_path / "data"), tmp_path / "out.log"
    ports = free_port(), free_port()
    flags = f"--data_dir {folder} --port {ports[0]} --model_port {ports[1]} --encoder {tiny_model} --annotators wang"
    command = [*flags.split(), "--retrain_every", "10"]
    with annotating(command, log) as process:
        assert "user wang@annotation.local  password " in log.read_text(encoding="utf-8")
        person = Person(folder / "annotation", ports[0])
        project = person.call("GET", "/api/projects/")["results"][0]["id"]
        given = [person.label(project) for _ in range(40)]
        assert given[0] is None and any(given[20:])  # from the first model on
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        journal = (folder / "annotation" / "labels.jsonl").read_text(encoding="utf-8").splitlines()
        assert len({json.loads(line)["text"] for line in journal}) == 40
        assert {json.loads(line)["annotator"] for line in journal} == {"admin@annotation.local"}
    time.sleep(5)  # the others end with it
    with annotating(command, log) as process:
        given = [person.label(project) for _ in range(5)]
        assert all(given)
        process.terminate()
        assert process.wait(60) == 0
        assert "45 labelled texts" in log.read_text(encoding="utf-8")
    lines = (folder / "annotation" / "labelled.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 45 and all(truth(line) == line.split("\t")[1] for line in lines)
    with pytest.raises(ServiceError):
        ask("GET", f"http://127.0.0.1:{ports[0]}/health", seconds=5)
