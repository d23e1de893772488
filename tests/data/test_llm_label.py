"""data/llm_label.py against a server on 127.0.0.1 that imitates the protocol, with its faults."""

import collections
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from core.origins import origin_counts, read_origins
from data import llm_endpoint, llm_label
from utils import UsageError, read_json, read_lines

LABELS = ["病情", "费用", "其他"]
KEY = "sk-secret-0123456789"
# Words that tell the true label.
WORDS = {"疼": 0, "钱": 1, "天气": 2}


def truth_of(text):
    return next(class_id for word, class_id in WORDS.items() if word in text)


class Model:
    """Answers as a language model might: right where a text is not marked as hard, unsure where it is.

    Attributes:
        faults (list): what the next requests get instead: a status, "cut", "slow", "prose" or "drop".
        refused (dict): a word -> the status that requests with it get, or "empty": an answer without choices.
        usage (dict | None): what an answer says that it took.
    """

    def __init__(self):
        self.faults, self.bodies, self.keys, self.sizes, self.refused = [], [], [], [], {}
        self.usage = {"prompt_tokens": 100, "completion_tokens": 10}
        self.retry_after = None

    def answer(self, texts):
        rows = []
        for number, text in texts:
            if "漏" in text and len(texts) > 1:
                continue
            hard = "难" in text
            class_id = (truth_of(text) + hard) % 3
            rows.append({"id": number, "label": LABELS[class_id], "confidence": 55 if hard else 95})
        return json.dumps(rows, ensure_ascii=False)


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        model = self.server.model
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        model.bodies.append(body)
        model.keys.append(self.headers.get("Authorization"))
        fault = model.faults.pop(0) if model.faults else None
        asked = body["messages"][1]["content"]
        fault = fault or next((said for word, said in model.refused.items() if word in asked), None)
        if isinstance(fault, int):
            content = json.dumps({"error": f"no for {self.headers.get('Authorization')}"}).encode()
            self.send_response(fault)
            if fault == 429:
                self.send_header("Retry-After", "0.01")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            return
        if fault == "slow":
            time.sleep(1.5)
        if fault == "drop":
            self.close_connection = True
            return
        lines = body["messages"][1]["content"].splitlines()[1:]
        texts = [(row["id"], row["text"]) for row in map(json.loads, lines)]
        model.sizes.append(len(texts))
        said = model.answer(texts)
        said = {"prose": f"好的：\n```json\n{said}\n```", "nonsense": "我不知道"}.get(fault, said)
        choices = [] if fault == "empty" else [{"message": {"content": said}}]
        content = json.dumps({"choices": choices, "usage": model.usage}).encode()
        if fault == "cut":
            content = content[: len(content) // 2]
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args):
        pass


@pytest.fixture
def model(monkeypatch):
    monkeypatch.setattr(llm_endpoint, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(llm_endpoint.Endpoint.__init__, "__defaults__", (0.0, 120, 6, 0.01))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.model = Model()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    server.model.url = f"http://127.0.0.1:{server.server_port}/v1"
    yield server.model
    server.shutdown()
    server.server_close()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LLM_API_KEY", KEY)
    words = list(WORDS)
    train = [f"第{number}次{words[number % 3]}\t{LABELS[number % 3]}" for number in range(12)]
    dev = [f"dev{number}{words[number % 3]}{'难' * (number % 10 == 9)}\t{LABELS[number % 3]}" for number in range(80)]
    data = [f"data{number}{words[number % 3]}{'难' * (number % 5 == 4)}{'漏' * (number == 7)}" for number in range(30)]
    data.append(train[0].split("\t")[0])
    for name, lines in {"train": train, "dev": dev, "data": data, "label": LABELS}.items():
        (tmp_path / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return tmp_path


def run(folder, model, *more):
    return llm_label.main(["--data_dir", str(folder), "--base_url", model.url, "--model", "tiny", *more])


def everything(folder):
    return {path.name: path.read_text(encoding="utf-8") for path in (folder / "llm").iterdir() if path.is_file()}


def test_what_is_sure_is_taken_and_the_rest_is_for_people(folder, model, capsys):
    assert run(folder, model, "--min_accuracy", "0.85") == 0
    told = capsys.readouterr().out
    agreement = read_json(folder / "llm" / "agreement.json")
    assert agreement["samples"] == 80 and agreement["accuracy"] == 0.9 and agreement["threshold"] == 0.95
    assert agreement["at_threshold"]["answers"] == 72 and agreement["at_threshold"]["accuracy"] == 1
    expected = 1 - (1 - 0.9) / (1 - sum(row["samples"] * row["named"] for row in agreement["labels"].values()) / 80**2)
    assert agreement["kappa"] == pytest.approx(expected)
    labelled = [line.split("\t") for line in read_lines(folder / "llm" / "labelled.txt")]
    assert len(labelled) == 24 and all(LABELS[truth_of(text)] == label for text, label in labelled)
    to_annotate = read_lines(folder / "llm" / "to_annotate.txt")
    assert len(to_annotate) == 6 and all("难" in text for text in to_annotate)
    train = read_lines(folder / "llm" / "train.txt")
    assert train == [*read_lines(folder / "train.txt"), *("\t".join(pair) for pair in labelled)]
    origins = read_origins(folder / "llm")
    assert origins == {text: (label, "llm:tiny") for text, label in labelled}
    texts, names = zip(*(line.split("\t") for line in train))
    assert origin_counts(texts, names, origins) == {"llm:tiny": 24}
    assert origin_counts(texts, ["其他"] * len(texts), origins) == {
        "llm:tiny": sum(one[1] == "其他" for one in labelled)
    }
    assert "gives the label of dev.txt to 90.0%" in told and "24 texts are in" in told
    # The text that an answer leaves out is asked once more, alone.
    assert model.sizes.count(1) >= 1 and set(model.keys) == {f"Bearer {KEY}"}
    asked = collections.Counter(
        json.loads(line)["text"] for body in model.bodies for line in body["messages"][1]["content"].splitlines()[1:]
    )
    assert {text for text, count in asked.items() if count > 1} == {"data7钱漏"}
    assert "第0次疼" not in asked

    before, requests = everything(folder), len(model.bodies)
    assert run(folder, model, "--min_accuracy", "0.85") == 0
    assert len(model.bodies) == requests and everything(folder) == before


def test_faults_are_waited_out(folder, model, capsys, monkeypatch):
    assert run(folder, model, "--min_accuracy", "0.85", "--concurrency", "1") == 0
    calm = everything(folder)
    for path in (folder / "llm").iterdir():
        path.unlink()
    model.faults = [429, 500, "cut", "prose", "slow", "drop", 503, None, "cut", 429]
    assert run(folder, model, "--min_accuracy", "0.85", "--concurrency", "1", "--timeout", "1") == 0
    found = everything(folder)
    assert not model.faults
    for name in ("labelled.txt", "to_annotate.txt", "train.txt", "origins.jsonl", "agreement.json"):
        assert found[name] == calm[name]
    told = capsys.readouterr()
    for text in (told.out, told.err, *found.values()):
        assert KEY not in text and model.url not in text


def test_a_run_that_was_cut_goes_on(folder, model, capsys):
    assert run(folder, model, "--min_accuracy", "0.85") == 0
    calm, requests = everything(folder), len(model.bodies)
    path = folder / "llm" / llm_label.ANSWERS_FILE
    content = path.read_bytes()
    for cut in (0, 10, len(content) // 2, len(content) - 5):
        path.write_bytes(content[:cut])
        model.bodies.clear()
        assert run(folder, model, "--min_accuracy", "0.85") == 0
        assert len(model.bodies) <= requests and len(model.bodies) > 0
        found = everything(folder)
        assert {name: text for name, text in found.items() if name != path.name} == {
            name: text for name, text in calm.items() if name != path.name
        }
    capsys.readouterr()


def test_limits_hold(folder, model, capsys):
    assert run(folder, model, "--max_requests", "3", "--concurrency", "4") == 1
    assert len(model.bodies) == 3 and "--max_requests 3 is reached" in capsys.readouterr().out
    assert run(folder, model, "--max_tokens", "600", "--concurrency", "1") == 1
    assert len(model.bodies) == 6  # 330 tokens before, 110 each: the third one more is over 600
    flags = ("--min_accuracy", "0.85", "--max_cost", "0.0011", "--prices", "1", "2", "--concurrency", "1")
    assert run(folder, model, *flags) == 1
    told = capsys.readouterr().out
    assert "--max_cost 0.0011 is reached" in told and len(model.bodies) == 10  # 120 millionths each
    start = time.monotonic()
    assert run(folder, model, "--min_accuracy", "0.85", "--requests_per_minute", "1200") == 0
    assert time.monotonic() - start >= 0.05 * (len(model.bodies) - 10 - 1)


def test_a_model_that_does_not_agree_labels_nothing(folder, model, capsys):
    assert run(folder, model, "--min_accuracy", "0.99") == 1
    told = capsys.readouterr().out
    assert "no label is taken" in told
    assert (folder / "llm" / "labelled.txt").read_bytes() == b""
    assert len(read_lines(folder / "llm" / "to_annotate.txt")) == 30
    assert not any("data0" in body["messages"][1]["content"] for body in model.bodies)


def test_refusals_end_it_at_once_and_tell_no_secret(folder, model, capsys):
    for status, message in [(401, "the key is not accepted"), (404, "no such model"), (400, "it answers 400: ")]:
        model.faults, model.bodies = [status], []
        with pytest.raises(UsageError, match=message) as error:
            run(folder, model, "--concurrency", "1")
        assert KEY not in str(error.value) and model.url not in str(error.value) and len(model.bodies) == 1
    model.faults = [500] * 10
    with pytest.raises(UsageError, match=r"it answers 500 \(tried 3 times\); what is answered is kept"):
        run(folder, model, "--concurrency", "1", "--retries", "2")


@pytest.mark.parametrize("said", [400, "empty"])
def test_a_text_that_is_refused_is_for_people_and_holds_nothing_up(folder, model, capsys, said):
    model.refused = {"data3": said}
    more = ("--min_accuracy", "0.85", "--concurrency", "1")
    assert run(folder, model, *more) == 0
    told = capsys.readouterr().out
    assert "1 texts got no answer, such as: " in told and "they are for people" in told and KEY not in told
    assert "data3疼" in read_lines(folder / "llm" / "to_annotate.txt")
    assert len(read_lines(folder / "llm" / "labelled.txt")) == 23
    requests = len(model.bodies)
    spent = sum(json.loads(line)["tokens"][0] for line in everything(folder)["answers.jsonl"].splitlines() if line)
    assert spent == 100 * (requests - 2 * (said == 400))  # an empty answer has its price, too
    assert run(folder, model, *more) == 0 and len(model.bodies) == requests


@pytest.mark.parametrize("said", [400, "empty"])
def test_a_refusal_at_the_very_beginning_is_not_met_again(folder, model, capsys, said):
    model.refused = {'"text": "dev0': said}
    more = ("--min_accuracy", "0.85", "--concurrency", "1", "--retries", "1")
    with pytest.raises(UsageError, match="--base_url: it"):
        run(folder, model, *more)
    assert run(folder, model, *more) == 0
    assert read_json(folder / "llm" / "agreement.json")["without_answer"] == 1
    assert "1 texts got no answer" in capsys.readouterr().out


def test_an_endpoint_that_begins_to_refuse_all_ends_it(folder, model, monkeypatch):
    monkeypatch.setattr(llm_label, "MOST_FAILURES", 3)
    more = ("--min_accuracy", "0.85", "--concurrency", "1")
    model.faults = [None] * 3 + [400] * 50
    with pytest.raises(UsageError, match=r"it answers 400: .* \(3 times in a row\); the same command goes on"):
        run(folder, model, *more)
    assert len(model.bodies) == 6 and KEY not in everything(folder)["answers.jsonl"]
    model.faults = []
    assert run(folder, model, *more) == 0
    assert read_json(folder / "llm" / "agreement.json")["without_answer"] == 0


def test_texts_of_test_txt_are_never_asked_about(folder, model):
    lines = [f"{text}\t{LABELS[truth_of(text)]}\n" for text in read_lines(folder / "data.txt")[:6]]
    (folder / "test.txt").write_text("".join(lines), encoding="utf-8")
    assert run(folder, model, "--min_accuracy", "0.85") == 0
    train = read_lines(folder / "llm" / "train.txt")
    asked = "".join(body["messages"][1]["content"] for body in model.bodies)
    for line in lines:
        assert line.strip() not in train and f'"{line.split()[0]}"' not in asked


def test_limits_of_tokens_need_an_endpoint_that_counts_them(folder, model):
    model.usage = None
    for limit in (("--max_tokens", "150"), ("--max_cost", "1", "--prices", "1", "1")):
        model.bodies.clear()
        with pytest.raises(UsageError, match="does not say how many tokens .* use --max_requests"):
            run(folder, model, "--concurrency", "1", *limit)
        assert len(model.bodies) == 1
    assert run(folder, model, "--min_accuracy", "0.85", "--max_requests", "100") == 0


def test_the_key(folder, model, monkeypatch):
    monkeypatch.setenv("LLM_API_KEY", f" {KEY}\n")
    assert run(folder, model, "--min_accuracy", "0.85") == 0 and set(model.keys) == {f"Bearer {KEY}"}
    monkeypatch.setenv("OTHER_KEY", "sk-…")
    with pytest.raises(UsageError, match="OTHER_KEY: not a key, which has ASCII characters alone"):
        run(folder, model, "--api_key_env", "OTHER_KEY")
    monkeypatch.delenv("OTHER_KEY")
    model.faults = [401]
    with pytest.raises(UsageError, match="no key was sent: its variable is empty or not set"):
        run(folder, model, "--api_key_env", "OTHER_KEY", "--temperature", "0.5", "--concurrency", "1")


def test_this_machine_is_asked_without_a_proxy(folder, model, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    assert run(folder, model, "--min_accuracy", "0.85", "--retries", "0") == 0


def test_votes_are_shares(folder, model, monkeypatch):
    answers = iter([(0, 0.9), (1, 0.8), (0, 0.6)] * 1000)
    flags = ("--votes", "3", "--temperature", "0.7", "--min_accuracy", "0.85")
    assert run(folder, model, *flags) == 0
    assert {body["seed"] for body in model.bodies} == {1000, 1001, 1002}
    annotator = llm_label.Annotator.__new__(llm_label.Annotator)
    annotator.flags = llm_label.parse_flags(["--base_url", "a", "--model", "b", "--votes", "3", "--temperature", "1"])
    annotator.votes = {("a", vote): list(next(answers)) for vote in range(3)}
    assert annotator.label_of("a") == (0, pytest.approx(0.5))


@pytest.mark.parametrize(
    "flags, message",
    [
        ("--min_accuracy 1", "--min_accuracy 1.0: give a share"),
        ("--votes 3", "all answers are the same at --temperature 0"),
        ("--max_cost 1", "--max_cost needs --prices"),
        ("--texts_per_request 0", "--texts_per_request"),
        ("--requests_per_minute -5", "--requests_per_minute -5: give 0 or more"),
        ("--temperature -1", "--temperature -1: give 0 or more"),
        ("--timeout 0", "--timeout 0: give seconds, more than 0"),
        ("--timeout nan", "--timeout nan: give seconds"),
    ],
)
def test_flags_that_are_refused(flags, message):
    with pytest.raises(UsageError, match=message):
        llm_label.parse_flags(["--base_url", "a", "--model", "b", *flags.split()])
