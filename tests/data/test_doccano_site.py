"""A doccano of one's own: without it what is refused, with it (slow, .venv-doccano) the whole of it."""

import json
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from data import agreement, doccano, doccano_model
from data.doccano_api import Doccano
from data.doccano_site import DoccanoSite, port_answers
from tests.browser import open_browser
from tests.data.json_server import json_server
from tests.deploy.annotation_parts import annotating, truth, write_pool
from tests.deploy.asking import wait_until
from tests.deploy.running import free_port, server_thread
from tests.helpers import LABELS, ROOT
from utils import UsageError

PYTHON = ROOT / ".venv-doccano" / "bin" / "python"
real = [
    pytest.mark.slow,
    pytest.mark.skipif(not (PYTHON.parent / "doccano").is_file(), reason="no .venv-doccano; run: make test-slow"),
]
TEXTS = [f"第{number}条：孩子发烧怎么办" for number in range(8)]
NEXT = "path[d^='M8.59,16.58']"  # the arrow of doccano's page

# ---------------------------------------------------------------------------------------------------- without doccano


def test_no_environment(tmp_path):
    with pytest.raises(UsageError, match="no such file; doccano has an environment of its own: python3 -m venv"):
        DoccanoSite(tmp_path / "site", 8000, tmp_path / "python")
    site = DoccanoSite(tmp_path / "site", 8000, Path(sys.executable))
    with pytest.raises(UsageError, match="has no doccano; 1.8.4 is needed: python3 -m venv"):
        site.start()
    assert not (tmp_path / "site").exists()


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Its Python has a doccano that cannot even make its database."""
    monkeypatch.setattr(DoccanoSite, "_find_backend", lambda self: str(tmp_path))
    return DoccanoSite(tmp_path / "site", free_port(), Path(sys.executable))


def test_a_port_in_use(site):
    with json_server({}) as (url, _):
        site.port = int(url.rsplit(":")[-1])
        with pytest.raises(UsageError, match=f"--port {site.port}: something listens there already"):
            site.start()
    assert not site.folder.exists()


def test_the_state(site):
    with pytest.raises(UsageError, match="doccano cannot make its database.*No module named 'd"):
        site.start()
    path = site.folder / "doccano.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(site.folder.stat().st_mode) == 0o700
    state = json.loads(path.read_text(encoding="utf-8"))
    assert site.password == state["users"]["admin"] and len(site.password) >= 16 and "prepared" not in state
    with pytest.raises(UsageError):
        site.start()
    assert json.loads(path.read_text(encoding="utf-8")) == state, "who has a password keeps it"
    path.write_text('{"users"', encoding="utf-8")
    with pytest.raises(UsageError, match="doccano.json: damaged; put back a copy"):
        site.start()
    path.unlink()
    (site.folder / "db.sqlite3").write_bytes(b"")
    with pytest.raises(UsageError, match="doccano.json: not there, but db.sqlite3 is"):
        site.start()
    assert not path.exists()


# ------------------------------------------------------------------------------------------------------- with doccano


class Annotator(Doccano):
    """What somebody does on the page."""

    def __init__(self, site, name):
        self.name, self.password = site.add_annotator(name)
        super().__init__(f"http://127.0.0.1:{site.port}", self.name, self.password)
        self.project_id = site.project
        self.ids = self.labels(site.project)

    def log_in(self):
        """Go on as the page does: with a cookie in the place of the token."""
        del self.session.headers["Authorization"]
        self.call("POST", "auth/login/", json={"username": self.name, "password": self.password})
        self.session.headers["X-CSRFToken"] = self.session.cookies["csrftoken"]

    def examples(self):
        rows = self.call("GET", f"projects/{self.project_id}/examples", params={"limit": 100})["results"]
        return {row["text"]: row["id"] for row in rows}

    def choose(self, text, label):
        path = f"projects/{self.project_id}/examples/{self.examples()[text]}/categories"
        self.call("POST", path, json={"label": self.ids[label]})

    def tick(self, text):
        self.call("POST", f"projects/{self.project_id}/examples/{self.examples()[text]}/states", json={})

    def open(self, text):
        """The label that is shown with a text, or None."""
        rows = self.call("GET", f"projects/{self.project_id}/examples/{self.examples()[text]}/categories")
        names = {number: label for label, number in self.ids.items()}
        return names[rows[0]["label"]] if rows else None


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """A doccano that all tests below share, each with a project of its own."""
    site = DoccanoSite(tmp_path_factory.mktemp("doccano") / "site", free_port(), PYTHON)
    site.start()
    yield site
    site.stop()
    assert not port_answers(site.port)


@pytest.fixture
def suggesting():
    """A model's server: address, what it was asked, and its answer, which a test may change."""
    answer = {"label": LABELS[1], "score": 0.8}
    with json_server({("POST", "/suggest"): lambda body: (200, answer)}) as (url, asked):
        yield url, asked, answer


def download(site, target, approved):
    """What the page's Export does."""
    body = {"format": "JSONL", "exportApproved": approved}
    task = site.api.call("POST", f"projects/{site.project}/download", json=body)["task_id"]
    wait_until(lambda: site.api.call("GET", f"tasks/status/{task}")["ready"], 120)
    address = f"{site.api.url}/v1/projects/{site.project}/download?taskId={task}"
    target.write_bytes(site.api.session.get(address, timeout=60).content)
    return target


class TestReal:
    pytestmark = real

    def test_only_this_machine(self, started):
        table = Path("/proc/net/tcp")
        if table.is_file():
            rows = [line.split() for line in table.read_text(encoding="ascii").splitlines()[1:]]
            listening = [row[1] for row in rows if row[3] == "0A" and row[1].endswith(f":{started.port:04X}")]
            assert listening == [f"0100007F:{started.port:04X}"]
        # A page of another name that leads here does not get in.
        bad = requests.get(f"http://127.0.0.1:{started.port}/v1/me", headers={"Host": "evil.example"}, timeout=30)
        assert bad.status_code == 400

    def test_restart(self, started, tmp_path):
        """Nothing is lost by a stop or by kill -9, and nothing is there twice."""
        started.open_project("重启", LABELS)
        assert started.add_texts(TEXTS[:3], [(LABELS[0], 0.9)] * 3) == 3
        alice = Annotator(started, "alice")
        alice.tick(TEXTS[0])
        alice.choose(TEXTS[1], LABELS[2])
        alice.tick(TEXTS[1])
        page, password = started.url, started.password
        code = (
            "import sys, time; sys.path.insert(0, '.'); from pathlib import Path\n"
            "from data.doccano_site import DoccanoSite\n"
            f"site = DoccanoSite(Path({str(started.folder.parent)!r}), {started.port}, Path({str(PYTHON)!r}))\n"
            "site.start(); print('up', flush=True); time.sleep(600)"
        )
        started.stop()
        with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE) as other:
            assert other.stdout.readline() == b"up\n"
            assert port_answers(started.port)
            other.send_signal(signal.SIGKILL)
        wait_until(lambda: not port_answers(started.port), 60)
        started.start()
        started.start()  # nothing more happens
        started.open_project("重启", LABELS)
        assert (started.url, started.password) == (page, password) and page.endswith("page=3")
        assert started.add_texts(TEXTS[:4]) == 1
        assert started.annotations() == [(TEXTS[0], LABELS[0], "alice"), (TEXTS[1], LABELS[2], "alice")]
        assert len(Annotator(started, "alice").examples()) == 4
        started.open_project("重启", [*LABELS, "新的"])
        assert list(started.api.labels(started.project)) == [*LABELS, "新的"]
        with pytest.raises(UsageError, match="was made with one label of a text for all"):
            started.open_project("重启", LABELS, shared=False)

    def test_order(self, started):
        started.open_project("顺序", LABELS)
        started.add_texts(TEXTS)
        alice = Annotator(started, "alice")
        assert list(alice.examples()) == TEXTS
        alice.choose(TEXTS[0], LABELS[0])
        alice.tick(TEXTS[0])
        started.reorder([TEXTS[7], TEXTS[5]])
        assert list(alice.examples()) == [*TEXTS[:3], TEXTS[7], TEXTS[5], TEXTS[3], TEXTS[4], TEXTS[6]]

    def test_annotators(self, started):
        started.open_project("标注者", LABELS)
        started.add_texts(TEXTS, [(LABELS[0], 0.9)] * 8)
        first, again = started.add_annotator("张三"), started.add_annotator("张三")
        assert first == again and first[0] == "张三"
        alice, zhang = Annotator(started, "alice"), Annotator(started, "张三")
        assert alice.examples() == zhang.examples()
        zhang.choose(TEXTS[0], LABELS[1])
        zhang.tick(TEXTS[0])
        assert alice.open(TEXTS[0]) == LABELS[1], "all see one label"
        with pytest.raises(UsageError, match="annotator 'a b': doccano does not take the name"):
            started.add_annotator("a b")
        assert started.annotations() == [(TEXTS[0], LABELS[1], "张三")]

    def test_two_who_disagree(self, started, tmp_path, capsys):
        """Their export is read by agreement.py and doccano.py, with what the page shows of it beforehand."""
        started.open_project("分开", LABELS, shared=False)
        started.add_texts(TEXTS[:6], [(LABELS[0], 0.9)] * 6)
        people = {name: Annotator(started, name) for name in ("alice", "bob")}
        votes = {"alice": [0, 1, 2, 0, 1, 2], "bob": [0, 1, 0, 0, 2, None]}
        for name, chosen in votes.items():
            assert people[name].open(TEXTS[0]) == LABELS[0], "each has the suggestion"
            for text, class_id in zip(TEXTS, chosen):
                if class_id is not None:
                    people[name].choose(text, LABELS[class_id])
                    people[name].tick(text)
        wanted = [
            (text, LABELS[class_id], name)
            for name, chosen in votes.items()
            for text, class_id in zip(TEXTS, chosen)
            if class_id is not None
        ]
        assert started.annotations() == wanted
        export = download(started, tmp_path / "export.zip", approved=True)
        capsys.readouterr()
        agreement.main(["--doccano_file", str(export), "--report_dir", str(tmp_path / "report"), "--lang", "en"])
        told = capsys.readouterr().out
        assert "5 texts have labels of several annotators, 60.0% of them one label" in told
        assert "alice, bob" in told and "approved documents only" in told and "admin" not in told
        assert doccano.main(["--doccano_file", str(export), "--save_dir", str(tmp_path / "out")]) == 1
        assert len((tmp_path / "out" / "conflicts.txt").read_text(encoding="utf-8").splitlines()) == 2

    def test_suggestions_when_a_text_is_opened(self, started, suggesting):
        url, asked, answer = suggesting
        started.open_project("建议", LABELS, shared=False)
        started.connect_model(url)
        started.connect_model(url)
        assert len(started.api.call("GET", f"projects/{started.project}/auto-labeling/configs")) == 1
        started.add_texts(TEXTS, [(LABELS[0], 0.9)] * 8)
        alice, bob = Annotator(started, "alice"), Annotator(started, "bob")
        alice.log_in()
        bob.log_in()
        assert alice.open(TEXTS[0]) == LABELS[1] == bob.open(TEXTS[0])
        assert asked[-1][3] == {"text": TEXTS[0]}
        # Later suggestions are those of the model as it is then; what is chosen or ticked stays.
        answer["label"] = LABELS[2]
        assert alice.open(TEXTS[0]) == LABELS[1] and alice.open(TEXTS[1]) == LABELS[2]
        bob.tick(TEXTS[0])
        # One without a label: the model has not been fitted yet.
        answer["label"] = ""
        assert alice.open(TEXTS[2]) is None
        assert started.annotations() == [(TEXTS[0], LABELS[1], "bob")]
        # Whoever clears a suggestion does not get it again at once.
        answer["label"] = LABELS[2]
        alice.call("DELETE", f"projects/{started.project}/examples/{alice.examples()[TEXTS[1]]}/categories")
        assert alice.open(TEXTS[1]) is None
        with pytest.raises(UsageError, match="doccano gets no answer there"):
            started.connect_model("http://127.0.0.1:9")

    def test_a_trained_model(self, started, trained_once, monkeypatch, capsys):
        """doccano_model.py with simple_serving and an export."""
        from core.predictor import Predictor
        from deploy.simple_serving.application import create_app
        from deploy.simple_serving.settings import Settings

        export = trained_once[1] / "export"
        wanted = dict(zip(TEXTS, (label for label, _ in Predictor(export).classify(TEXTS))))
        started.open_project("模型", LABELS)
        started.add_texts(TEXTS)
        monkeypatch.setenv("DOCCANO_PASSWORD", started.password)
        monkeypatch.setenv("SERVING_API_KEY", "key-of-the-test")
        with server_thread(create_app(Settings(models=f"cls={export}", api_key="key-of-the-test"))) as address:
            flags = ["--doccano_url", started.api.url, "--project", "模型", "--model_url", address]
            doccano_model.main(flags)
            assert f"tried through doccano with '{TEXTS[0]}': {wanted[TEXTS[0]]}" in capsys.readouterr().out
            alice = Annotator(started, "alice")
            alice.log_in()
            assert {text: alice.open(text) for text in TEXTS[:4]} == dict(list(wanted.items())[:4])
            # And by doccano's own button, as in a doccano that was started otherwise.
            example = alice.examples()[TEXTS[5]]
            alice.call("POST", f"projects/{started.project}/auto-labeling", params={"example": example})
            assert alice.open(TEXTS[5]) == wanted[TEXTS[5]]

    def test_in_a_browser(self, started, suggesting, tmp_path):
        """Log in, see a suggestion, correct it with a key, tick, go on; the model's server ends meanwhile."""
        url, asked, answer = suggesting
        started.open_project("浏览器", LABELS)
        started.connect_model(url)
        started.add_texts(TEXTS)
        user, password = started.add_annotator("alice")
        chosen = "[...document.querySelectorAll('.v-chip--active')].map(it => it.innerText.split('\\n')[0]).join()"
        with open_browser(tmp_path / "profile") as browser:
            browser.open(f"http://127.0.0.1:{started.port}/auth/")
            browser.until("document.querySelectorAll('input').length >= 2")
            for number, value in enumerate((user, password)):
                browser.click("input", number)
                browser.type(value)
            browser.press("Enter")
            browser.until("location.pathname.startsWith('/projects')")
            browser.open(started.url)
            browser.until_text(TEXTS[0])
            browser.until(f"{chosen} === {json.dumps(LABELS[1])}")
            browser.press("Enter")
            wait_until(lambda: started.annotations() == [(TEXTS[0], LABELS[1], "alice")])
            answer["label"] = LABELS[0]
            browser.click(NEXT)
            browser.until_text(TEXTS[1])
            browser.until(f"{chosen} === {json.dumps(LABELS[0])}")
            browser.press("3")
            browser.until(f"{chosen} === {json.dumps(LABELS[2])}")
            browser.press("Enter")
            wait_until(lambda: started.annotations()[1:] == [(TEXTS[1], LABELS[2], "alice")])
            # Without the model, no label of the text before is shown.
            answer["label"] = ""
            browser.click(NEXT)
            browser.until_text(TEXTS[2])
            time.sleep(2)
            assert browser.run(chosen) == "" and browser.dialogs == []
            browser.until_text("2")
        assert started.url.endswith("page=3")


@pytest.mark.slow
@pytest.mark.skipif(not (PYTHON.parent / "doccano").is_file(), reason="no .venv-doccano; run: make test-slow")
@pytest.mark.timeout(1500)
def test_annotate_with_a_real_doccano(tmp_path, tiny_model):
    """data/annotate.py: labels reach the model, its suggestions the person; kill -9 in between, and on it goes."""
    data, log = write_pool(tmp_path / "data"), tmp_path / "out.log"
    port, model_port = free_port(), free_port()
    flags = f"--tool doccano --data_dir {data} --port {port} --model_port {model_port} --encoder {tiny_model}"
    command = [*flags.split(), "--retrain_every", "10", "--annotators", "wang"]
    with annotating(command, log) as process:
        site = DoccanoSite(data / "annotation", port, PYTHON)
        state = json.loads((site.folder / "doccano.json").read_text(encoding="utf-8"))
        told = log.read_text(encoding="utf-8")
        assert f"user wang  password {state['users']['wang']}" in told
        site.user, site.password = "admin", state["users"]["admin"]
        site.api = Doccano(f"http://127.0.0.1:{port}", site.user, site.password)
        site.project = site.api.project("data")["id"]
        wang = Annotator(site, "wang")
        wang.log_in()
        given = [label_next(wang, site) for _ in range(40)]
        assert given[0] is None and any(given[25:])  # from the first model on
        process.kill()
        process.wait()
        wait_until(lambda: not port_answers(port) and not port_answers(model_port), 60)
    with annotating(command, log) as process:
        given = [label_next(wang, site) for _ in range(5)]
        assert any(given)
        process.terminate()
        assert process.wait(90) == 0
        assert "45 labelled texts" in log.read_text(encoding="utf-8")
    lines = (data / "annotation" / "labelled.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 45 and all(truth(line) == line.split("\t")[1] for line in lines)
    wait_until(lambda: not port_answers(port), 60)


def label_next(person, site):
    """Open the first open text, choose the right label and tick it: what was suggested, or None."""
    done = {text for text, *_ in site.annotations()}
    wait_until(lambda: set(person.examples()) - done, 90)
    text = next(text for text in person.examples() if text not in done)
    suggested = person.open(text)
    person.choose(text, truth(text))
    person.tick(text)
    return suggested
