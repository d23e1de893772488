"""A real doccano 1.8.4 on 127.0.0.1 with a new database, and a client of its API, for test_doccano_server.py."""

import contextlib
import os
import socket
import subprocess
import time
from pathlib import Path

import requests

USER, PASSWORD = "admin", "only-for-this-test"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running_doccano(venv, folder, deadline=120):
    """Start doccano's web server and task worker, yield a client, and stop both.

    Args:
        venv (Path): the environment that has doccano.
        folder (Path): an empty folder for its database, uploads and logs.
        deadline (float): seconds until it must answer.
    """
    python = venv / "bin" / "python"
    backend = next(venv.glob("lib/python*/site-packages/backend"))
    environment = {
        **os.environ,
        "DOCCANO_HOME": str(folder),
        "MEDIA_ROOT": str(folder / "media"),
        "DATABASE_URL": f"sqlite:///{folder / 'db.sqlite3'}",
        "DJANGO_SETTINGS_MODULE": "config.settings.production",
        "STANDALONE": "True",
    }
    user = ["createuser", "--username", USER, "--password", PASSWORD, "--email", "admin@example.com"]
    for command in (["init"], user):
        silent = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        subprocess.run([venv / "bin" / "doccano", *command], env=environment, check=True, **silent)
    port = free_port()
    # doccano's own `webserver` listens on every address; this is the same server on the loopback one.
    server = [python, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--workers", "1", "config.wsgi"]
    worker = [python, "-m", "celery", "--app=config", "worker", "--pool=solo", "--loglevel=warning"]
    processes = []
    try:
        for name, command in (("server", server), ("worker", worker)):
            with (folder / f"{name}.log").open("wb") as log:
                streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log}
                processes.append(subprocess.Popen(command, env=environment, cwd=backend, **streams))
        yield Client(f"http://127.0.0.1:{port}/v1", time.monotonic() + deadline)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()


class Client:
    """What a person does in the browser: make a project, import, label, export."""

    def __init__(self, url, deadline):
        self.url = url
        self.session = requests.Session()
        while True:
            try:
                login = self.session.post(f"{url}/auth/login/", {"username": USER, "password": PASSWORD}, timeout=10)
                break
            except requests.ConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
        login.raise_for_status()
        self.session.cookies.clear()  # a session cookie would ask for a CSRF token
        self.session.headers["Authorization"] = f"Token {login.json()['key']}"

    def call(self, method, path, **options):
        response = self.session.request(method, f"{self.url}/{path}", timeout=30, **options)
        if not response.ok:
            raise RuntimeError(f"{method} {path}: {response.status_code} {response.text[:500]}")
        return response

    def create_project(self, name, project_type="DocumentClassification", **options):
        """Make a project; its id."""
        body = {
            "name": name,
            "description": name,
            "guideline": "",
            "tags": [],
            "random_order": False,
            "project_type": project_type,
            "resourcetype": f"{RESOURCES[project_type]}Project",
            "collaborative_annotation": True,
            "single_class_classification": True,
            **options,
        }
        return self.call("POST", "projects", json=body).json()["id"]

    def upload(self, project, path, file_format="JSONL", task="DocumentClassification"):
        """Import a file with its labels; what the server found wrong with it."""
        with Path(path).open("rb") as file:
            files = {"filepond": (Path(path).name, file)}
            upload_id = self.call("POST", "fp/process/", files=files, data={"filepond": "{}"}).text
        body = {"format": file_format, "task": task, "uploadIds": [upload_id]}
        columns = {"column_data": "text", "column_label": "label", "encoding": "utf_8", "delimiter": ""}
        task_id = self.call("POST", f"projects/{project}/upload", json={**body, **columns}).json()["task_id"]
        return self.wait(task_id)["error"]

    def wait(self, task_id, seconds=60):
        """The result of a task of the worker."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            status = self.call("GET", f"tasks/status/{task_id}").json()
            if status["error"]:
                raise RuntimeError(status["error"])
            if status["ready"]:
                return status["result"]
            time.sleep(0.2)
        raise TimeoutError(f"task {task_id} is not ready after {seconds} s")

    def examples(self, project):
        """All examples: dicts with id, text and meta."""
        return self.call("GET", f"projects/{project}/examples?limit=10000").json()["results"]

    def labels(self, project):
        """Label name -> id."""
        return {row["text"]: row["id"] for row in self.call("GET", f"projects/{project}/category-types").json()}

    def set_label(self, project, example, label):
        """Give an example this label; in a single-class project it replaces the one that is there."""
        body = {"label": self.labels(project)[label]}
        self.call("POST", f"projects/{project}/examples/{example}/categories", json=body)

    def approve(self, project, example):
        self.call("POST", f"projects/{project}/examples/{example}/states", json={})

    def download(self, project, target, file_format="JSONL", approved_only=False):
        """Export into the zip file `target`."""
        body = {"format": file_format, "exportApproved": approved_only}
        task_id = self.call("POST", f"projects/{project}/download", json=body).json()["task_id"]
        self.wait(task_id)
        target.write_bytes(self.call("GET", f"projects/{project}/download?taskId={task_id}").content)
        return target


RESOURCES = {
    "DocumentClassification": "TextClassification",
    "SequenceLabeling": "SequenceLabeling",
    "Seq2seq": "Seq2seq",
}
