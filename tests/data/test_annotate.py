"""data/annotate.py: the order of what it does, on a stand-in of a tool and the model's real server."""

import json
import time
from pathlib import Path

import pytest

from data import annotate
from data.label_studio_site import LabelStudioSite
from tests.deploy.annotation_parts import make_loop, truth, write_pool
from tests.deploy.running import free_port, server_thread
from utils import UsageError


class Tool:
    """A site whose person labels what stands in front, at once."""

    url, user, password = "http://127.0.0.1:1/", "admin", "word"

    def __init__(self):
        self.texts, self.rows, self.model, self.stopped = [], [], None, False

    def start(self):
        pass

    def stop(self):
        self.stopped = True

    def check(self):
        pass

    def open_project(self, title, labels):
        self.title, self.labels = title, labels

    def connect_model(self, url):
        self.model = url

    def add_texts(self, texts, suggestions):
        assert not set(texts) & set(self.texts)
        self.texts += texts

    def annotations(self):
        return self.rows

    def work(self, number):
        done = {text for text, *_ in self.rows}
        for text in [text for text in self.texts if text not in done][:number]:
            self.rows.append((text, truth(text), "wang"))


class Running:
    """In the place of the server's process: it runs in this one."""

    def start(self):
        pass

    def stop(self):
        pass

    def check(self):
        pass

    def wait_until(self, answers, seconds, on_wait=None):
        end = time.monotonic() + 60
        while not answers():
            assert time.monotonic() < end
            time.sleep(0.05)


def test_labels_go_to_the_model_and_texts_to_the_tool(tmp_path, capsys, monkeypatch):
    from deploy.annotation.application import create_app

    monkeypatch.setattr(annotate, "SYNC", 0.0)
    write_pool(tmp_path / "data")
    loop, tool = make_loop(tmp_path / "data", tmp_path / "data" / "annotation"), Tool()
    with server_thread(create_app(loop)) as address:
        port = address.rpartition(":")[2]
        flags = annotate.parse_flags(["--data_dir", str(tmp_path / "data"), "--model_port", port, "--queue", "5"])
        session = annotate.Session(flags, tool, Running())
        session.start(["体育", "财经"])
        assert tool.model == address and tool.title == "data" and len(tool.texts) == 5
        end = time.monotonic() + 90
        while len(tool.rows) < 50 or len(loop.fitted) < 45:
            tool.work(3)
            session.next_sync = 0.0
            progress = session.step()
            assert progress["open"] <= 5 and time.monotonic() < end
            time.sleep(0.05)
        session.stop()
    loop.journal.close()
    assert tool.stopped and loop.suggests and len(loop.labelled()) == len(tool.rows)
    lines = list(annotate.farewell(flags, {**progress, "labelled": len(tool.rows)}))
    assert f"{len(tool.rows)} labelled texts" in lines[0] and "--save_dir" in lines[-1]
    written = (flags.work_dir / "annotated.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["text"] for line in written} == {text for text, *_ in tool.rows}
    assert "accuracy" in annotate.progress_line(loop.progress())


@pytest.mark.parametrize(
    "more, words",
    [
        ("--port 9090", "--port and --model_port 9090"),
        ("--queue 0", "--queue 0: must be at least 1"),
        ("--min_accuracy 7", "from 0 to 1"),
    ],
)
def test_flags_are_checked(tmp_path, more, words):
    with pytest.raises(UsageError, match=words):
        annotate.parse_flags(["--data_dir", str(tmp_path), *more.split()])


def test_the_model_is_given_the_texts_too(tmp_path):
    common = ["--data_dir", str(tmp_path), "--retrain_every", "7"]
    command = annotate.make_model(annotate.parse_flags(common)).command
    assert "--text_file" not in command and command[command.index("--retrain_every") + 1] == "7"
    command = annotate.make_model(annotate.parse_flags([*common, "--text_file", "a.txt", "b.txt"])).command
    start = command.index("--text_file")
    assert command[start : start + 4] == ["--text_file", "a.txt", "b.txt", "--encoder"]


def test_the_farewell_tells_how_far_people_agree(tmp_path):
    flags = annotate.parse_flags(["--data_dir", str(tmp_path)])
    lines = list(annotate.farewell(flags, {"labelled": 3, "disputed": 2}))
    assert lines[2].endswith(f"python data/agreement.py --doccano_file {tmp_path / 'annotation' / 'labels.jsonl'}")
    assert not any("agreement" in line for line in annotate.farewell(flags, {"labelled": 3, "disputed": 0}))


def test_a_missing_tool_is_told_with_its_mending(tmp_path):
    with pytest.raises(UsageError, match="make the environment: python3 -m venv .*requirements-label-studio.txt"):
        LabelStudioSite(tmp_path, free_port(), Path(tmp_path / "venv" / "bin" / "python"))
    assert not list(tmp_path.iterdir())


def test_labels_that_label_txt_lacks_are_told(tmp_path):
    loop = make_loop(write_pool(tmp_path / "data"), tmp_path / "data" / "annotation")
    first, second, third = loop.pool.texts[:3]
    loop.record([(first, "a", "新类"), (second, "a", "新类"), (third, "a", truth(third))])
    progress = loop.progress()
    loop.journal.close()
    assert progress["not_in_label_txt"] == {"新类": 2} and progress["done"] == 3 and len(loop.labelled()) == 1
    assert "2 labels are not in label.txt (新类), no model learns them" in annotate.progress_line(progress)
    flags = annotate.parse_flags(["--data_dir", str(tmp_path / "data")])
    assert any("2 texts have labels that" in line and ": 新类;" in line for line in annotate.farewell(flags, progress))
    assert "label.txt" not in annotate.progress_line({**progress, "not_in_label_txt": {}})
