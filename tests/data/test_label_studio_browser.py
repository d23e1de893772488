"""data/annotate.py with a real Label Studio, labelled on its page in a real browser: by one person, then by two."""

import json
import threading
import time

import pytest

from data import agreement
from data.local_services import ask
from tests.browser import open_browser
from tests.data.test_label_studio_site import PYTHON, Person
from tests.deploy.annotation_parts import LABELS, annotating, truth, write_pool
from tests.deploy.asking import wait_until
from tests.deploy.running import free_port

TEXT = "(document.querySelector('.lsf-richtext__line') || {innerText: ''}).innerText.trim()"
CHOSEN = "[...document.querySelectorAll('.lsf-choices input:checked')].map(it => it.name).join()"
CHOICE = "document.querySelectorAll('.lsf-choices input').length"
SUBMIT = "button[data-testid=bottombar-submit-button]"
ONE_MORE = "button[aria-label='Create an annotation']"
LABEL_ALL = "[...document.querySelectorAll('button')].find(it => it.innerText.trim() === 'Label All Tasks').click()"


class Page:
    """Label Studio's labelling page, and a person in front of it."""

    def __init__(self, browser, base, user, password):
        self.browser, self.seen = browser, []
        browser.open(f"{base}/user/login/")
        for name, value in (("email", user), ("password", password)):
            browser.click(f"input[name={name}]")
            browser.type(value)
        browser.press("Enter")
        browser.until("document.readyState === 'complete' && !location.pathname.startsWith('/user/login')")

    def open(self, address):
        """Go to a page that shows a text to label."""
        self.browser.open(address)
        self.browser.until(f"{TEXT} !== '' && {CHOICE} === {len(LABELS)}", 90)
        time.sleep(1)  # what is pre-selected comes with the text

    def label(self, label=None):
        """Label what is shown, the right way unless another label is given: (text, what was pre-selected)."""
        text, given = self.browser.run(TEXT), self.browser.run(CHOSEN)
        label = label or truth(text)
        if given != label:
            self.browser.click(f".lsf-choices input[name={label}]")
            self.browser.until(f"{CHOSEN} === {json.dumps(label)}")
        self.browser.click(SUBMIT)
        return text, given

    def work(self, number):
        """Label so many texts, one after the other as the page shows them."""
        for _ in range(number):
            text, given = self.label()
            self.seen.append((text, given))
            self.browser.until(f"{TEXT} !== '' && {TEXT} !== {json.dumps(text)} && {CHOICE} === {len(LABELS)}", 90)
            time.sleep(0.5)


def together(pages, number):
    """Both label so many texts, each click at the same moment as the other's."""
    gate, problems = threading.Barrier(len(pages)), []

    def work(page):
        try:
            for _ in range(number):
                gate.wait(120)
                page.work(1)
        except BaseException as error:
            problems.append(error)
            gate.abort()

    threads = [threading.Thread(target=work, args=(page,)) for page in pages]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_two_people_on_the_page(tmp_path, tiny_model, capsys):
    """Suggestions are chosen beforehand, a new model takes over, two people never have the same text, and where one
    labels another's text again, both labels are kept and agreement.py reads them."""
    if not PYTHON.exists():
        pytest.skip("no .venv-label-studio: make .venv-label-studio/.installed")
    folder, log = write_pool(tmp_path / "data"), tmp_path / "out.log"
    work, ports = folder / "annotation", (free_port(), free_port())
    flags = f"--data_dir {folder} --port {ports[0]} --model_port {ports[1]} --encoder {tiny_model} --annotators wang"
    command = [*flags.split(), "--retrain_every", "10"]
    base, model = (f"http://127.0.0.1:{port}" for port in ports)

    def journal():
        lines = (work / "labels.jsonl").read_text(encoding="utf-8").splitlines()
        rows = map(json.loads, lines)
        return [(row["annotator"].partition("@")[0], row["text"], row["label"]) for row in rows]

    with annotating(command, log) as process:
        told = log.read_text(encoding="utf-8")
        people = [line.split()[1::2] for line in told.splitlines() if line.startswith("  user ")]
        stream = next(line.split()[1] for line in told.splitlines() if line.startswith("open "))
        with open_browser(tmp_path / "admin") as one, open_browser(tmp_path / "wang") as other:
            admin, wang = (Page(browser, base, *who) for browser, who in zip((one, other), people))
            # Alone: no suggestion, then the model's, and the order is chosen anew.
            admin.open(stream)
            before = ask("POST", f"{model}/next", {"count": 30})["texts"]
            admin.work(10)
            assert [given for _, given in admin.seen] == [""] * 10
            wait_until(lambda: [row[1:] for row in journal()] == [(text, truth(text)) for text, _ in admin.seen], 60)
            wait_until(lambda: ask("GET", f"{model}/progress")["fitted_on"] >= 10, 60)
            after = ask("POST", f"{model}/next", {"count": 30})["texts"]
            assert [text for text in before if text in after] != [text for text in after if text in before]
            admin.work(10)
            given = [given for _, given in admin.seen[-5:]]
            assert all(label in LABELS for label in given), "chosen before a click"
            one.screenshot(tmp_path / "suggested.png")
            # Both at once, by the printed address and by the page's own button.
            admin.open(stream)
            wang.browser.open(stream.partition("?")[0])
            wang.browser.until_text("Label All Tasks", 90)
            wang.browser.run(LABEL_ALL)
            wang.browser.until(f"{TEXT} !== ''", 90)
            together([admin, wang], 5)
            wang.open(stream)
            together([admin, wang], 5)
            mine, theirs = ({text for text, _ in page.seen} for page in (admin, wang))
            assert len(mine) == 30 and len(theirs) == 10 and not mine & theirs
            wait_until(lambda: len(journal()) == 40, 60)
            assert set(journal()) == {
                (name, text, truth(text)) for name, some in (("admin", mine), ("wang", theirs)) for text in some
            }
            # The other's texts once more, one of them otherwise.
            person, export = Person(work, ports[0]), "/api/projects/1/export?exportType=JSON"
            again = [task["id"] for task in person.call("GET", export)][:2]
            for number, label in zip(again, (None, "other")):
                wang.open(f"{stream.partition('?')[0]}?task={number}")
                wang.browser.click(ONE_MORE)
                wang.browser.until(f"{CHOSEN} === '' && !!document.querySelector('{SUBMIT}')")
                text = wang.browser.run(TEXT)
                label = label and next(name for name in LABELS if name != truth(text))
                wang.label(label)
                wait_until(lambda text=text, label=label: ("wang", text, label or truth(text)) in journal(), 60)
            tasks = person.call("GET", export)
        wait_until(lambda: ask("GET", f"{model}/progress")["disputed"] == 1, 60)
        process.terminate()
        assert process.wait(60) == 0
        assert "39 labelled texts" in log.read_text(encoding="utf-8")
    (tmp_path / "export.json").write_text(json.dumps(tasks), encoding="utf-8")
    for source in (tmp_path / "export.json", work / "labels.jsonl"):
        agreement.main(["--doccano_file", str(source), "--report_dir", str(tmp_path / "report"), "--lang", "en"])
        assert "2 texts have labels of several annotators, 50.0% of them one label" in capsys.readouterr().out
