"""A doccano 1.8.4 of one's own: started on 127.0.0.1, its state in one folder, ended with all it started.

In the folder `doccano` there: db.sqlite3 (texts, labels, people), doccano.json (users, passwords and keys, readable by
the owner alone), doccano_settings.py (copied anew at each start), web.log and task.log.
"""

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
from pathlib import Path

from data import doccano_tables
from data.doccano_api import MAX_NAME, Doccano, DoccanoError, find_model, make_config, make_mapping
from data.local_services import Service, refuse_taken_port, write_private
from utils import UsageError

VERSION = "1.8.4"
ADMIN = "admin"
STATE, DATABASE = "doccano.json", "db.sqlite3"
SETTINGS = Path(__file__).with_name("doccano_settings.py")
# Seconds that it may take to make the database, and to answer.
PREPARE_SECONDS, START_SECONDS = 900, 300
HOW_TO_INSTALL = (
    "python3 -m venv .venv-doccano && .venv-doccano/bin/python -m pip install -r data/requirements-doccano.txt "
    "(Python 3.9 to 3.11)"
)
# Makes the database and the administrator, whose password no command line shows.
PREPARE = """
import sys
import django
django.setup()
from django.contrib.auth.models import User
from django.core.management import call_command
call_command("migrate", verbosity=0)
call_command("create_roles", verbosity=0)
user, _ = User.objects.get_or_create(username=sys.argv[1], defaults={"email": "admin@example.com"})
user.is_staff = user.is_superuser = True
user.set_password(sys.stdin.read())
user.save()
"""


class DoccanoSite:
    """See the module, and data/annotate.py, which uses it.

    Args:
        folder (Path): has its state, in a folder below it; made where it is not there.
        port (int): on 127.0.0.1.
        python (Path): of the environment that has doccano, such as .venv-doccano/bin/python.

    Attributes:
        user, password (str): of the administrator, once it is started.

    Raises:
        UsageError: there is no such environment, with how to make it.
    """

    name = "doccano"

    def __init__(self, folder, port, python):
        self.folder, self.port, self.python = Path(folder).absolute() / "doccano", port, Path(python).absolute()
        if not self.python.is_file():
            raise UsageError(f"{python}: no such file; doccano has an environment of its own: {HOW_TO_INSTALL}")
        self.user = self.password = self.project = self.api = None
        self.services, self.shared, self.connected = [], True, False

    # ------------------------------------------------------------------------------------------------- start and stop

    def start(self):
        """Start the web server and the task process, and wait until doccano answers.

        Raises:
            UsageError: the environment lacks doccano 1.8.4, the port is taken, or doccano ends or does not answer.
        """
        if self.services:
            return
        backend = self._find_backend()
        refuse_taken_port(self.port, "--port")
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            state = self._read_state()
            self.user, self.password = ADMIN, state["users"][ADMIN]
            shutil.copyfile(SETTINGS, self.folder / SETTINGS.name)
        except OSError as error:
            raise UsageError(f"{self.folder}: cannot write there ({error.strerror})") from None
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.folder),
            "DJANGO_SETTINGS_MODULE": SETTINGS.stem,
            "DOCCANO_SITE_KEY": state["key"],
            "DOCCANO_HOME": str(self.folder),
            "MEDIA_ROOT": str(self.folder / "media"),
            "DATABASE_URL": f"sqlite:///{self.folder / DATABASE}",
            "STANDALONE": "True",
            # The model runs on this machine, and a proxy knows nothing of it.
            "NO_PROXY": ",".join(filter(None, [os.environ.get("NO_PROXY"), "127.0.0.1,localhost"])),
        }
        environment["no_proxy"] = environment["NO_PROXY"]
        if not state.get("prepared"):
            self._prepare(environment, backend)
            self._write_state({**state, "prepared": VERSION})
        # `doccano webserver` listens on every address; this is its server for Windows, on the loopback one.
        web = ["waitress", f"--listen=127.0.0.1:{self.port}", "--threads=8", "config.wsgi:application"]
        task = ["celery", "--app=config", "worker", "--pool=solo", "--loglevel=warning"]
        try:
            for name, command in (("web", web), ("task", task)):
                log, command = self.folder / f"{name}.log", [self.python, "-m", *command]
                self.services.append(Service(f"doccano's {name} process", command, log, environment, backend))
                self.services[-1].start()
            self.services[0].wait_until(lambda: port_answers(self.port), START_SECONDS)
            self.api = Doccano(f"http://127.0.0.1:{self.port}", self.user, self.password, timeout=START_SECONDS)
        except BaseException:
            self.stop()
            raise

    def check(self):
        """Raise UsageError where one of doccano's processes has ended, with the last lines of its log."""
        for service in self.services:
            service.check()

    def stop(self):
        """End what was started; what people did is in the database."""
        for service in self.services:
            service.stop()
        self.services = []

    def _find_backend(self):
        """The folder of doccano's program.

        Raises:
            UsageError: it is not installed, or in another version, whose tables may differ.
        """
        code = (
            "import importlib.metadata as m, importlib.util as u; print(m.version('doccano')); "
            "print(u.find_spec('backend').submodule_search_locations[0])"
        )
        done = subprocess.run([self.python, "-c", code], capture_output=True, encoding="utf-8", check=False)
        version, _, backend = done.stdout.strip().partition("\n")
        if done.returncode or version != VERSION:
            found = f"has doccano {version}" if version else "has no doccano"
            raise UsageError(f"{self.python}: {found}; {VERSION} is needed: {HOW_TO_INSTALL}")
        return backend

    def _prepare(self, environment, backend):
        command = [self.python, "-c", PREPARE, self.user]
        try:
            done = subprocess.run(
                command,
                input=self.password.encode(),
                cwd=backend,
                env=environment,
                capture_output=True,
                timeout=PREPARE_SECONDS,
                start_new_session=True,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise UsageError(f"doccano has not made its database within {PREPARE_SECONDS} s; start it again") from None
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
            raise UsageError(f"doccano cannot make its database in {self.folder}: {' '.join(said)}")

    def _read_state(self):
        """Users, passwords and key; made at the first start.

        Raises:
            UsageError: the file is damaged: without it, nobody can log in.
        """
        path = self.folder / STATE
        if not path.exists():
            if (self.folder / DATABASE).exists():
                raise UsageError(f"{path}: not there, but {DATABASE} is; put it back, or choose another folder")
            state = {"key": secrets.token_urlsafe(40), "users": {ADMIN: secrets.token_urlsafe(12)}}
            self._write_state(state)
            return state
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            state["key"], state["users"][ADMIN]  # noqa: B018
            return state
        except (ValueError, KeyError, TypeError):
            raise UsageError(f"{path}: damaged; put back a copy, or choose another folder") from None

    def _write_state(self, state):
        write_private(self.folder, STATE, state)

    # ------------------------------------------------------------------------------------------------ what is in it

    @property
    def database(self):
        return self.folder / DATABASE

    @property
    def url(self):
        """The page of the first text that is open."""
        page = doccano_tables.first_page(self.database, self.project)
        return f"http://127.0.0.1:{self.port}/projects/{self.project}/text-classification?page={page}"

    def open_project(self, title, labels, shared=True):
        """Find the project of this title, or make it, with these labels; those that are there stay.

        Args:
            title (str): at most 100 characters.
            labels (list[str]): in the order of their buttons.
            shared (bool): all annotators see and change one label of a text. Else each has their own, several of one
                text, which agreement.py needs. It is chosen when the project is made.

        Raises:
            UsageError: a title or label that doccano does not keep, or a project that was made the other way.
        """
        if not title.strip() or len(title) > MAX_NAME or title != title.strip():
            raise UsageError(f"title {title!r}: doccano keeps 1 to {MAX_NAME} characters; choose another")
        found = self.api.find_projects(title)
        if found and found[-1]["collaborative_annotation"] != shared:
            how = "one label of a text for all" if not shared else "labels of their own for each annotator"
            raise UsageError(f"project {title}: was made with {how}, which doccano does not change; choose another")
        self.project = found[-1]["id"] if found else self.api.create_project(title, shared)
        self.shared = shared
        self.api.add_labels(self.project, labels)

    def connect_model(self, url, key=None):
        """Let the model at this address suggest a label for each text that is opened without one.

        Args:
            url (str): of the annotation backend (…/suggest is added), or of a model of deploy/simple_serving.
            key (str | None): the API key of the model's server.

        Raises:
            UsageError: doccano gets no answer there, or the model has labels that the project does not have.
        """
        model = find_model(url, key)
        mapping, missing = make_mapping(model.labels, self.api.labels(self.project), {})
        if missing:
            raise UsageError(f"{url}: the model has labels that are not in the project: {' '.join(missing)}")
        config = make_config(model, mapping, key=key)
        self.api.try_auto_labelling(self.project, config, "text")
        self.api.set_auto_labelling(self.project, config)
        self.connected = True

    def add_texts(self, texts, suggestions=None):
        """Add texts in this order, each once.

        Args:
            texts (list[str]): those that are there already stay as they are.
            suggestions (list[tuple[str, float]] | None): label and score of each text, which count only once somebody
                ticks them. After connect_model they are not used: what they say would be older than what the model
                answers when the text is opened.

        Returns:
            int: how many were new.
        """
        if self.connected:
            suggestions = None
        users = [self.api.users()[self.user]] if self.shared else self.api.members(self.project)
        return doccano_tables.add_texts(self.database, self.project, texts, suggestions, users)

    def annotations(self):
        """What people have ticked so far: list[tuple[str, str, str]], text, label, and who ticked it."""
        return doccano_tables.annotations(self.database, self.project, self.shared)

    def reorder(self, texts):
        """Show these next, behind the two open texts that may be on a screen; what is ticked stays in its place."""
        doccano_tables.reorder(self.database, self.project, texts)

    def add_annotator(self, name):
        """Let one more person in.

        Args:
            name (str): letters, digits and @ . + - _.

        Returns:
            tuple[str, str]: user and password; the same ones when the name was added before.

        Raises:
            UsageError: doccano does not take the name.
        """
        state, users = self._read_state(), self.api.users()
        # Written first: an account whose password nobody knows would be of no use.
        password = state["users"].setdefault(name, secrets.token_urlsafe(12))
        self._write_state(state)
        if name not in users:
            try:
                self.api.create_user(name, password)
            except DoccanoError as error:
                del state["users"][name]
                self._write_state(state)
                raise UsageError(f"annotator {name!r}: doccano does not take the name: {error.reason}") from None
        number = self.api.users()[name]
        if self.api.add_member(self.project, number) and not self.shared:
            doccano_tables.suggest_to(self.database, self.project, number)
        return name, password


def port_answers(port):
    """Whether something listens there on 127.0.0.1."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
