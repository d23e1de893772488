"""Section 6.1 of data/README.md, each command as it stands there: a raw table is annotated, a model trained, served
and watched, and what it is unsure of annotated again. Labels are given through Label Studio's own API."""

import os
import re
import shlex
import subprocess
import sys
import time

import pytest

from tests.browser import open_browser
from tests.data.test_label_studio_site import PYTHON, Person
from tests.deploy.annotation_parts import annotating
from tests.deploy.running import free_port, server_process
from tests.helpers import ROOT
from tests.test_readme import TEXTS, copy_data, replaced

# What somebody asks on the server's page.
ASKED = "发烧了怎么办"
# So many labels are given in the first round and in the second.
LABELS_GIVEN = (120, 10)


def loop_commands():
    """The lines of the section's shell blocks."""
    text = TEXTS["data/README.md"]
    section = text[text.index('<a name="6.1">') : text.index('<a name="7">')]
    return [line for block in re.findall(r"```shell\n(.*?)```", section, re.DOTALL) for line in block.splitlines()]


class Loop:
    """A folder in which the commands run, and the people who use what they start."""

    def __init__(self, folder, model, truth):
        self.folder, self.model, self.truth, self.labels_given = folder, model, truth, list(LABELS_GIVEN)

    def run(self, command):
        """Run a script of the repository; what it prints."""
        script, *flags = command
        command = [sys.executable, ROOT / script, *flags]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, encoding="utf-8", timeout=900)
        # monitor.py: 1 is an alarm.
        assert done.returncode in ((0, 1) if script.endswith("monitor.py") else (0,)), done.stdout + done.stderr
        return done.stdout

    def train(self, command):
        more = "--max_length 32 --per_device_train_batch_size 8 --disable_tqdm True".split()
        values = {"model_name_or_path": self.model, "learning_rate": "5e-3"}
        return self.run([*replaced(command, **values), *more])

    def annotate(self, command):
        """Start it, label what stands in front, end it: what it says then."""
        log, ports = self.folder / "annotate.log", (free_port(), free_port())
        flags = [*command[1:], "--encoder", self.model, "--port", ports[0], "--model_port", ports[1]]
        work = self.folder / flags[flags.index("--data_dir") + 1] / "annotation"
        with annotating(flags, log, self.folder) as process:
            person = Person(work, ports[0])
            project = person.call("GET", "/api/projects/")["results"][0]["id"]
            for _ in range(self.labels_given.pop(0)):
                person.label(project, lambda text: self.truth.get(text, "其他"))
            process.terminate()  # as Ctrl+C, which a test in the background cannot send
            assert process.wait(90) == 0
        return log.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.timeout(3400)
def test_the_whole_loop(tmp_path, tiny_model):
    if not PYTHON.exists():
        pytest.skip("no .venv-label-studio: make .venv-label-studio/.installed")
    copy_data(tmp_path)
    lines = (tmp_path / "data" / "train.txt").read_text(encoding="utf-8").splitlines()
    loop = Loop(tmp_path, tiny_model, dict(line.split("\t") for line in lines))
    before, serve, after = [], None, []
    for line in loop_commands():
        if line.startswith("SERVING_"):
            serve = line
        else:
            (after if serve else before).append(line)
    done, said = [], ""

    def follow(line):
        nonlocal said
        if line.startswith("cut "):
            subprocess.run(["bash", "-c", line], cwd=tmp_path, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
            return
        command = shlex.split(line)[1:]
        done.append(command[0])
        if command[0] == "data/annotate.py":
            said = loop.annotate(command)
            return
        if command[0] == "data/doccano.py":
            assert " ".join(line.split()[:4]) in said, "the command that annotate.py prints"
        out = loop.train(command) if command[0] == "train.py" else loop.run(command)
        assert command[0] != "data/check.py" or "0 errors" in out

    for line in before:
        follow(line)
    train = (tmp_path / "my_data" / "train.txt").read_text(encoding="utf-8").splitlines()
    dev = (tmp_path / "my_data" / "dev.txt").read_text(encoding="utf-8").splitlines()
    assert len(train) + len(dev) == LABELS_GIVEN[0] and set(train + dev) <= set(lines)

    words = shlex.split(serve)
    environment = dict(word.split("=") for word in words if word.startswith("SERVING_"))
    command = [sys.executable, "-m", *server_words([word for word in words if not word.startswith("SERVING_")])]
    environment["SERVING_MODELS"] = f"cls_multi_class={tmp_path / 'checkpoint' / 'export'}"
    with server_process(command, tmp_path, environment, tmp_path / "server.log", 300) as (port, _):
        client, *rest = after
        out = loop.run([*shlex.split(client)[1:], "--port", str(port)])
        wait_for_lines(tmp_path / "predictions.jsonl", 80, out)
        with open_browser(tmp_path / "profile") as browser:
            browser.open(f"http://127.0.0.1:{port}/?text={ASKED}")
            browser.until("/\\d%|0\\.\\d/.test(document.body.innerText)")
            browser.screenshot(tmp_path / "server.png")
            follow(rest[0])
            browser.open((tmp_path / "monitor_report" / "monitor.html").as_uri())
            browser.until("document.readyState === 'complete' && document.querySelectorAll('table').length > 0")
            browser.screenshot(tmp_path / "monitor.png")
    chosen = (tmp_path / "monitor_report" / "to_label.txt").read_text(encoding="utf-8").splitlines()
    asked = (tmp_path / "data" / "data.txt").read_text(encoding="utf-8").splitlines()
    assert chosen and set(chosen) <= {*asked, ASKED}
    for line in rest[1:]:
        follow(line)
    now = (tmp_path / "my_data" / "train.txt").read_text(encoding="utf-8").splitlines()
    assert now[: len(train)] == train and len(now) == len(train) + LABELS_GIVEN[1]
    assert {line.split("\t")[0] for line in now[len(train) :]} <= set(chosen)
    names = "convert annotate doccano check train client monitor annotate doccano check train".split()
    assert [name.rpartition("/")[2].removesuffix(".py") for name in done] == [*names[:5], *names[6:]]


def server_words(command):
    """The server's command with its path in the repository, and a free port."""
    command = list(map(str, replaced(command, port="{port}")))
    place = command.index("--app-dir") + 1
    command[place] = str(ROOT / command[place])
    return command


def wait_for_lines(path, number, told):
    end = time.monotonic() + 30
    while not path.is_file() or len(path.read_bytes().splitlines()) < number:
        assert time.monotonic() < end, told
        time.sleep(0.2)
