"""doccano over HTTP: projects, labels, members, and auto-labelling by a model of ours.

The form for a custom REST request on doccano 1.8.4's page takes neither a body nor headers; its API does.
"""

import json
import math
import urllib.parse
from dataclasses import dataclass

import requests

from utils import UsageError, shortened

# doccano's name for a request to a server of one's own, and where it puts the text.
REST_REQUEST, TEXT_MARK = "Custom REST Request", "{{ text }}"
# Begins the templates that are made here, by which a configuration is found again; Jinja leaves it out.
OURS = "{# text_classification #}"
# Where label and score are in a model's answer, once it is seen that there is one.
SUGGEST, SERVING = "suggest", "simple_serving"
PLACES = {
    SUGGEST: ("input", "input.label", "input.score"),
    SERVING: ("input.result", "input.result.label[0]", "input.result.confidence[0]"),
}
BODIES = {SUGGEST: {"text": TEXT_MARK}, SERVING: {"data": {"text": TEXT_MARK}}}
# Longest name that doccano keeps of a project or a label.
MAX_NAME = 100
ANNOTATOR = "annotator"
GUIDELINE = """标签是模型的建议：对就按 Enter（✓），不对先选正确的标签再按 Enter。没有打勾的不算标完。

The label is the model's suggestion: press Enter (✓) if it is right; otherwise choose the right one, then Enter. What \
is not ticked does not count.
"""


class Doccano:
    """A session of one user.

    Args:
        url (str): such as http://127.0.0.1:8000.
        user, password (str): of doccano. Messages hold neither the password nor the token.
        timeout (float): seconds for an answer.

    Raises:
        UsageError: nothing answers, it is no doccano, or user or password is wrong.
    """

    def __init__(self, url, user, password, timeout=60):
        self.url, self.user, self.timeout = url.rstrip("/"), user, timeout
        self.session = requests.Session()
        # A proxy knows nothing of this machine's loopback.
        self.session.trust_env = not is_loopback(url)
        login = {"username": user, "password": password}
        response = self._send("POST", "auth/login/", json=login, allow_redirects=False)
        if response.status_code == 400:
            raise UsageError(f"{self.url}: doccano does not know the user {user} with this password")
        key = _json_of(response).get("key") if response.status_code == 200 else None
        if not isinstance(key, str):
            raise UsageError(f"{self.url}: answers, but not as doccano does; give doccano's address, without a path")
        # A cookie would ask for a CSRF token.
        self.session.cookies.clear()
        self.session.headers["Authorization"] = f"Token {key}"

    def _send(self, method, path, **options):
        try:
            return self.session.request(method, f"{self.url}/v1/{path}", timeout=self.timeout, **options)
        except requests.Timeout:
            raise UsageError(f"{self.url}: no answer within {self.timeout:g} s") from None
        except requests.ConnectionError:
            raise UsageError(f"{self.url}: nothing answers there; start doccano, or correct the address") from None
        except (requests.RequestException, ValueError):
            raise UsageError(f"{self.url}: not an address; give one such as http://127.0.0.1:8000") from None

    def call(self, method, path, **options):
        """The parsed answer; None where it has no content.

        Raises:
            DoccanoError: doccano refuses.
        """
        response = self._send(method, path, **options)
        if not response.ok:
            raise DoccanoError(f"{self.url}: {method} {path}: {_refusal(response)}", response.status_code)
        return response.json() if response.content else None

    # -------------------------------------------------------------------------------------------- projects and people

    def find_projects(self, name):
        """The text classification projects of this name that the user is a member of: list[dict]."""
        found = self.call("GET", "projects", params={"q": name, "limit": 10000})["results"]
        return [row for row in found if row["name"] == name and row["project_type"] == "DocumentClassification"]

    def project(self, name):
        """The only project of a name, or the one with this number: dict.

        Raises:
            UsageError: none, or several.
        """
        found = self.find_projects(name)
        if not found and name.isdigit():
            try:
                found = [self.call("GET", f"projects/{name}")]
            except DoccanoError:
                found = []
            if found and found[0]["project_type"] != "DocumentClassification":
                raise UsageError(f"--project {name}: a project of another kind; this needs text classification")
        if not found:
            raise UsageError(f"--project {name}: {self.user} has no text classification project of this name")
        if len(found) > 1:
            numbers = " ".join(str(row["id"]) for row in found)
            raise UsageError(f"--project {name}: several projects have this name; give the number of one: {numbers}")
        return found[0]

    def create_project(self, name, shared):
        """Make a text classification project with one label a text: its number.

        Args:
            name (str): at most MAX_NAME characters.
            shared (bool): all see the same label of a text; else each annotator has their own.
        """
        body = {
            "name": name,
            "description": name,
            "guideline": GUIDELINE,
            "tags": [],
            "project_type": "DocumentClassification",
            "resourcetype": "TextClassificationProject",
            "random_order": False,
            "collaborative_annotation": shared,
            "single_class_classification": True,
        }
        return self.call("POST", "projects", json=body)["id"]

    def labels(self, project):
        """Label -> number."""
        return {row["text"]: row["id"] for row in self.call("GET", f"projects/{project}/category-types")}

    def add_labels(self, project, labels):
        """Add the labels that are not there, the first nine with the keys 1 to 9.

        Raises:
            UsageError: a label is too long for doccano, or not kept as it is.
        """
        there = self.call("GET", f"projects/{project}/category-types")
        known, keys = {row["text"] for row in there}, {row["suffix_key"] for row in there}
        for number, label in enumerate(labels, 1):
            if len(label) > MAX_NAME or label != label.strip():
                raise UsageError(f"label {shortened(label)!r}: doccano keeps up to {MAX_NAME} characters; shorten it")
            if label not in known:
                key = str(number) if number < 10 and str(number) not in keys else None
                self.call("POST", f"projects/{project}/category-types", json={"text": label, "suffix_key": key})

    def users(self):
        """Name -> number, for an administrator."""
        return {row["username"]: row["id"] for row in self.call("GET", "users")}

    def create_user(self, name, password):
        """Make an account.

        Raises:
            DoccanoError: doccano does not take the name or the password.
        """
        body = {"username": name, "password1": password, "password2": password}
        return self.call("POST", "users/create", json=body)["id"]

    def members(self, project):
        """The numbers of a project's users: list[int]."""
        return [row["user"] for row in self.call("GET", f"projects/{project}/members")]

    def add_member(self, project, user, role=ANNOTATOR):
        """Let a user, by number, into a project; whether they are new there."""
        if user in self.members(project):
            return False
        roles = {row["name"]: row["id"] for row in self.call("GET", "roles")}
        self.call("POST", f"projects/{project}/members", json={"user": user, "role": roles[role]})
        return True

    # -------------------------------------------------------------------------------------------------- auto-labelling

    def set_auto_labelling(self, project, config):
        """Make the configuration, or put it in the place of the one that was made here before: its number."""
        path = f"projects/{project}/auto-labeling/configs"
        ours = [row["id"] for row in self.call("GET", path) if row["template"].startswith(OURS)]
        for number in ours[1:]:
            self.call("DELETE", f"{path}/{number}")
        if ours:
            return self.call("PATCH", f"{path}/{ours[0]}", json=config)["id"]
        return self.call("POST", path, json=config)["id"]

    def try_auto_labelling(self, project, config, text):
        """Let doccano ask the model about a text.

        Returns:
            tuple[object, str | None]: the model's answer, and the label that doccano makes of it.

        Raises:
            UsageError: doccano cannot reach the model, or it does not answer in JSON.
        """
        address = config["model_attrs"]["url"]
        body = {"model_name": config["model_name"], "model_attrs": config["model_attrs"], "text": text}
        try:
            answer = self.call("POST", f"projects/{project}/auto-labeling/request-testing", json=body)
        except DoccanoError as error:
            raise UsageError(
                f"{address}: doccano gets no answer there ({error.reason}). Start the model's server; the address is "
                "doccano's: in a container, 127.0.0.1 is the container"
            ) from None
        body = {"response": answer, "template": config["template"], "task_type": config["task_type"]}
        try:
            labels = self.call("POST", f"projects/{project}/auto-labeling/label-extractor-testing", json=body)
        except DoccanoError:  # doccano calls it one, where there is no label
            return answer, None
        labels = [config["label_mapping"].get(row["label"]) for row in labels]
        return answer, labels[0] if labels else None


class DoccanoError(UsageError):
    """doccano refuses.

    Attributes:
        status (int): of HTTP.
        reason (str): what doccano says.
    """

    def __init__(self, message, status):
        super().__init__(message)
        self.status, self.reason = status, message.rsplit(": ", 1)[-1]


def _json_of(response):
    try:
        content = response.json()
        return content if isinstance(content, dict) else {}
    except ValueError:
        return {}


def _refusal(response):
    """The status and what doccano says, in a line."""
    said = "" if "html" in response.headers.get("Content-Type", "") else " ".join(response.text.split())
    return f"{response.status_code} {shortened(said, 300)}".strip()


def is_loopback(url):
    """Whether an address is this machine's own."""
    try:
        return urllib.parse.urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
    except ValueError:
        return False


# --------------------------------------------------------------------------------------------------------- the model


@dataclass(frozen=True)
class Model:
    """A model's server as doccano asks it.

    Attributes:
        kind (str): SUGGEST: {"text": …} -> {"label": …, "score": …}; SERVING: as deploy/simple_serving.
        url (str): where requests go.
        labels (list[str] | None): that it may answer with, where it says so.
    """

    kind: str
    url: str
    labels: list = None


def find_model(url, key=None, timeout=10):
    """What is served at an address: a model of simple_serving, the server itself if it has one model, or …/suggest.

    Args:
        url (str): http://host:port/models/NAME, http://host:port/suggest, or http://host:port.
        key (str | None): the API key.
        timeout (float): seconds.

    Returns:
        Model: without labels where the server cannot be asked from here; only doccano must reach it.

    Raises:
        UsageError: no address, a model that the server does not have, or several models to choose from.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError
    except ValueError:
        raise UsageError(f"{url}: not an address; give one such as http://127.0.0.1:8189/models/NAME") from None
    url = url.rstrip("/")
    if parts.path.rstrip("/").endswith("/suggest"):
        return Model(SUGGEST, url)
    head, separator, name = url.rpartition("/models/")
    models = _served_models(head if separator else url, key, timeout)
    if separator:
        name = urllib.parse.unquote(name)
        if models is not None and name not in models:
            raise UsageError(f"{url}: no such model there; it has: {' '.join(models)}")
        return Model(SERVING, url, (models or {}).get(name))
    if models is None:
        return Model(SUGGEST, f"{url}/suggest")
    if len(models) != 1:
        raise UsageError(f"{url}: {len(models)} models; choose one: {' '.join(f'{url}/models/{m}' for m in models)}")
    name, labels = next(iter(models.items()))
    return Model(SERVING, f"{url}/models/{urllib.parse.quote(name)}", labels)


def _served_models(url, key, timeout):
    """Name -> labels of simple_serving's models; None where it is no simple_serving, or cannot be asked from here.

    Raises:
        UsageError: the API key is missing or wrong.
    """
    session = requests.Session()
    session.trust_env = not is_loopback(url)
    try:
        response = session.get(f"{url}/models", headers={"X-API-Key": key} if key else {}, timeout=timeout)
    except requests.RequestException:
        return None
    if response.status_code in (401, 403):
        raise UsageError(f"{url}: the model's server asks for its API key; set SERVING_API_KEY to it")
    models = _json_of(response).get("models")
    return {row["name"]: row["labels"] for row in models} if response.ok and isinstance(models, list) else None


def make_config(model, mapping, least=0.0, key=None):
    """An auto-labelling configuration as doccano's API takes it.

    Args:
        model (Model): which is asked.
        mapping (dict[str, str]): the model's label -> the project's; others give no suggestion.
        least (float): the score from which on there is a suggestion.
        key (str | None): the API key that doccano sends; the project's administrators can read it in doccano.
    """
    answer, label, score = PLACES[model.kind]
    # Of an answer without a label, such as an error or one from before the first training, nothing is made.
    some = f"{answer} and {label} is string and {label}" + (f" and {score} >= {least:g}" if least else "")
    template = f'{OURS}[{{% if {some} %}}{{"label": {{{{ {label} | tojson }}}}}}{{% endif %}}]'
    headers = {"X-API-Key": key} if key else {}
    # doccano writes the text into the body that it is given: a copy for each configuration.
    body = json.loads(json.dumps(BODIES[model.kind]))
    return {
        "model_name": REST_REQUEST,
        "model_attrs": {"url": model.url, "method": "POST", "params": {}, "headers": headers, "body": body},
        "template": template,
        "label_mapping": dict(mapping),
        "task_type": "Category",
        "default": False,
    }


def make_mapping(model_labels, project_labels, renames):
    """Which of the project's labels each of the model's becomes.

    Args:
        model_labels (list[str] | None): None: not known; then the project's.
        project_labels (Iterable[str]): of the project.
        renames (dict[str, str]): the model's label -> the project's, where the names differ.

    Returns:
        tuple[dict[str, str], list[str]]: the mapping; and the model's labels that the project does not have.
    """
    project_labels = list(project_labels)
    names = list(dict.fromkeys([*(project_labels if model_labels is None else model_labels), *renames]))
    mapping = {name: renames.get(name, name) for name in names}
    known = set(project_labels)
    return ({name: target for name, target in mapping.items() if target in known},
            [name for name, target in mapping.items() if target not in known])  # fmt: skip


def is_share(value):
    """Whether a score can be asked for."""
    return not math.isnan(value) and 0 <= value <= 1
