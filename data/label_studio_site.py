"""A Label Studio of one's own on 127.0.0.1: its process, its project, and the labels that people gave there.

Tested with Label Studio 1.23.2 (data/requirements-label-studio.txt), in an environment of its own. It is asked through
its HTTP API alone; its database is SQLite in the working folder. label_studio_settings.py, copied there anew at each
start, mends what it does wrong where several people label.
"""

import contextlib
import http.cookiejar
import os
import re
import secrets
import shutil
import urllib.parse
import urllib.request
from pathlib import Path

from data.label_studio import LabelStudioError, find_project, labels_of_task, make_interface
from data.local_services import Service, ServiceError, ask, refuse_taken_port, write_private
from utils import UsageError, read_json

ADMIN = "admin@annotation.local"
LOGIN_FILE, LOG_FILE, DATA_FOLDER = "label_studio_login.json", "label_studio.log", "label_studio"
SETTINGS = Path(__file__).with_name("label_studio_settings.py")
MODEL_TITLE = "quick model"
# Seconds: the first start makes the database, which takes minutes on a slow machine.
START_SECONDS, REQUEST_SECONDS = 900, 120
PAGE = 1000
NAMES = {"text_key": "text", "choice": "label", "to_name": "text"}
# Label Studio refuses to send anything to this machine itself unless it is told that it may, and asks servers of its
# makers for news, which this does not need.
ENVIRONMENT = {
    "SSRF_PROTECTION_ENABLED": "false",
    "ML_BLOCK_LOCAL_IP": "false",
    "LABEL_STUDIO_DISABLE_SIGNUP_WITHOUT_LINK": "true",
    "COLLECT_ANALYTICS": "false",
    "LATEST_VERSION_CHECK": "false",
    "SENTRY_DSN": "",
    "FRONTEND_SENTRY_DSN": "",
}


class LabelStudioSite:
    """See data/annotate.py, which uses it.

    Args:
        folder (Path): for the database, logs and passwords; made where it is not there.
        port (int): on 127.0.0.1.
        python (Path): of the environment that has Label Studio.

    Attributes:
        url (str): of the page where people label; after open_project.
        user, password (str): of the first person.

    Raises:
        UsageError: there is no Label Studio in that environment.
    """

    name = "Label Studio"

    def __init__(self, folder, port, python):
        self.folder, self.port, self.base = folder, port, f"http://127.0.0.1:{port}"
        self.program = python.with_name("label-studio.exe" if os.name == "nt" else "label-studio")
        if not self.program.is_file():
            venv = python.parent.parent
            raise UsageError(
                f"{self.program}: no such file; make the environment: python3 -m venv {venv} && "
                f"{venv}/bin/python -m pip install -r data/requirements-label-studio.txt"
            )
        self.service, self.project, self.url, self._texts, self._people = None, None, None, set(), {}
        self.login = read_json(folder / LOGIN_FILE)
        if not self.login:
            self.login = {
                "user": ADMIN,
                "password": secrets.token_urlsafe(12),
                "token": secrets.token_hex(20),
                "people": {},
            }
            self._keep_login()
        self.user, self.password = self.login["user"], self.login["password"]

    def _keep_login(self):
        write_private(self.folder, LOGIN_FILE, self.login)

    # ------------------------------------------------------------------------------------------------- the process

    def start(self):
        """Start Label Studio and wait until it answers.

        Raises:
            UsageError: the port is taken, or it ends, with the last lines of its log.
        """
        refuse_taken_port(self.port, "--port")
        data = (self.folder / DATA_FOLDER).resolve()
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        # From the environment, where other users of the machine cannot read it, as they can a command line.
        own = {
            "BASE_DATA_DIR": data,
            "USERNAME": self.user,
            "PASSWORD": self.password,
            "USER_TOKEN": self.login["token"],
        }
        environment = {key: value for key, value in os.environ.items() if not key.startswith("LABEL_STUDIO_")}
        settings = data / "settings"
        settings.mkdir(exist_ok=True)
        shutil.copyfile(SETTINGS, settings / SETTINGS.name)
        environment.update(DJANGO_SETTINGS_MODULE=SETTINGS.stem, PYTHONPATH=str(settings))
        environment.update(ENVIRONMENT, **{f"LABEL_STUDIO_{key}": str(value) for key, value in own.items()})
        command = [self.program.absolute(), "start", "--no-browser", "--internal-host", "127.0.0.1"]
        command += ["--port", self.port, "--enable-legacy-api-token", "--log-level", "ERROR"]
        self.service = Service(self.name, command, self.folder / LOG_FILE, environment, data)
        self.service.start()
        self.service.wait_until(self._answers, START_SECONDS)

    def _answers(self):
        try:
            return self._call("GET", "/api/current-user/whoami", seconds=10)["email"] == self.user
        except (ServiceError, KeyError, TypeError):
            return False

    def check(self):
        """Raise UsageError where Label Studio has ended."""
        self.service.check()

    def stop(self):
        """End Label Studio; what it was told is in its database."""
        if self.service is not None:
            self.service.stop()

    # ------------------------------------------------------------------------------------------------- the project

    def open_project(self, title, labels):
        """Find the project of this title, or make it; its labels become `labels`, which may have grown.

        Raises:
            UsageError: labels that were given already are no longer among them.
        """
        title = title.strip()[:50]
        title = title if len(title) >= 3 else f"{title} texts".strip()
        interface = "\n".join(make_interface(labels, **NAMES))
        found = self._call("GET", "/api/projects/?" + urllib.parse.urlencode({"title": title, "page_size": 100}))
        project = next((row for row in found["results"] if row["title"] == title), None)
        if project is None:
            settings = {"sampling": "Sequential sampling", "show_collab_predictions": True, "maximum_annotations": 1}
            body = {"title": title, "label_config": interface, "enable_empty_annotation": False, **settings}
            project = self._call("POST", "/api/projects/", body)
        elif project["label_config"].strip() != interface.strip():
            try:
                self._call("PATCH", f"/api/projects/{project['id']}/", {"label_config": interface})
            except ServiceError as error:
                raise UsageError(
                    f"Label Studio's project {title!r} cannot take the labels of label.txt: {error}; a label that was "
                    "given already has to stay in label.txt"
                ) from None
        self.project, self.url = project["id"], f"{self.base}/projects/{project['id']}/data?labeling=1"
        self._texts = {task["data"].get("text", "") for task in self._tasks()}

    def _tasks(self):
        page, seen = 1, 0
        while True:
            query = {"project": self.project, "page": page, "page_size": PAGE, "fields": "task_only"}
            found = self._call("GET", "/api/tasks?" + urllib.parse.urlencode(query))
            yield from found["tasks"]
            page, seen = page + 1, seen + len(found["tasks"])
            if not found["tasks"] or seen >= found["total"]:
                return

    def connect_model(self, url):
        """Make the server at this address the project's model: suggestions come from it, labels are told to it."""
        url, path = url.rstrip("/"), "/api/ml"
        models = self._call("GET", f"{path}?project={self.project}")
        for model in models:
            if model["title"] == MODEL_TITLE and model["url"].rstrip("/") != url:  # another port than last time
                self._call("DELETE", f"{path}/{model['id']}")
        if not any(model["title"] == MODEL_TITLE and model["url"].rstrip("/") == url for model in models):
            body = {"url": url, "project": self.project, "title": MODEL_TITLE}
            self._call("POST", path, body)
        for hook in (hooks := self._call("GET", f"/api/webhooks/?project={self.project}")):
            if hook["url"].endswith("/webhook") and hook["url"] != f"{url}/webhook":
                self._call("DELETE", f"/api/webhooks/{hook['id']}/")
        if not any(hook["url"] == f"{url}/webhook" for hook in hooks):
            body = {
                "url": f"{url}/webhook",
                "project": self.project,
                "send_payload": True,
                "send_for_all_actions": True,
            }
            self._call("POST", "/api/webhooks/", body)
        settings = {"model_version": MODEL_TITLE, "show_collab_predictions": True}
        self._call("PATCH", f"/api/projects/{self.project}/", settings)

    def add_texts(self, texts, suggestions=None):
        """Add texts behind those that are there, which is the order that people get them in; none twice.

        Args:
            texts (list[str]): any.
            suggestions (list | None): not used: a connected model is asked when a text is shown.
        """
        new = [text for text in dict.fromkeys(texts) if text not in self._texts]
        if new:
            tasks = [{"data": {"text": text}} for text in new]
            self._call("POST", f"/api/projects/{self.project}/import", tasks)
            self._texts.update(new)

    def reorder(self, texts):
        """Label Studio shows texts in the order that it got them.

        Raises:
            NotImplementedError: always; keep few texts waiting there, and choose the next ones late.
        """
        raise NotImplementedError("Label Studio shows texts in the order that it got them: add few at a time")

    def annotations(self):
        """What people have submitted so far: (text, label, annotator) rows, several of one text possible."""
        path = f"/api/projects/{self.project}/export?exportType=JSON&download_all_tasks=false"
        tasks, rows = self._call("GET", path), []
        where = find_project(self.base, tasks, NAMES["text_key"], NAMES["choice"]) if tasks else None
        for task in tasks:
            for annotation in task.get("annotations") or ():
                labels = [] if annotation.get("was_cancelled") else self._labels(annotation, where)
                if len(labels) == 1:
                    rows.append((task["data"]["text"], labels[0], self._person(annotation.get("completed_by"))))
        return rows

    @staticmethod
    def _labels(annotation, where):
        with contextlib.suppress(LabelStudioError):
            return labels_of_task({"data": {}, "annotations": [annotation]}, where)
        return []

    @property
    def people(self):
        """The number of a person, as webhooks tell it -> the name in `annotations`."""
        if len(self._people) < 1 + len(self.login["people"]):
            self._read_people()
        return {str(number): name for number, name in self._people.items()}

    def _person(self, number):
        number = number.get("id") if isinstance(number, dict) else number
        if number not in self._people:
            self._read_people()
        return self._people.get(number, str(number))

    def _read_people(self):
        self._people = {row["id"]: row["email"] for row in self._call("GET", "/api/users/")}

    # -------------------------------------------------------------------------------------------------- the people

    def add_annotator(self, name):
        """Make one more person; who is there already keeps the password.

        Returns:
            tuple[str, str]: user and password.

        Raises:
            UsageError: the name cannot be used.
        """
        if not re.fullmatch(r"[\w.+-]+(@[\w.-]+)?", name):
            raise UsageError(f"--annotators {name}: use letters, digits and . _ - alone, or an e-mail address")
        user = (name if "@" in name else f"{name}@annotation.local").lower()
        if user in self.login["people"]:
            return user, self.login["people"][user]
        password = secrets.token_urlsafe(12)
        link = self._call("GET", "/api/invite")["invite_url"]
        # A person joins by the link that an invitation has: the page's own form, with its token against forgery.
        jar = http.cookiejar.CookieJar()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(jar))
        address = urllib.parse.urljoin(self.base, link)
        page = opener.open(address, timeout=REQUEST_SECONDS).read().decode("utf-8")
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        form = {"csrfmiddlewaretoken": token[1] if token else "", "email": user, "password": password}
        form.update(elaborate="", allow_newsletters="false", how_find_us="")
        request = urllib.request.Request(address, urllib.parse.urlencode(form).encode(), {"Referer": address})
        opener.open(request, timeout=REQUEST_SECONDS).read()
        self._read_people()
        if user not in self._people.values():
            raise UsageError(f"--annotators {name}: Label Studio did not take {user}; choose another name")
        self.login["people"][user] = password
        self._keep_login()
        return user, password

    def _call(self, method, path, body=None, seconds=REQUEST_SECONDS):
        """Ask the API; what JSON it answers, or None. Raises ServiceError."""
        headers = {"Authorization": f"Token {self.login['token']}"}
        return ask(method, f"{self.base}{path}", body, headers, seconds)
