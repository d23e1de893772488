"""data/agreement.py and its page: from exports to the texts to decide, and back into the data."""

import json
import re
import string

import numpy as np
import pytest

from core.ngram_student import ORDERS, NgramStudent
from data import agreement, doccano
from data.agreement_page import WORDS
from tests.helpers import LABELS, write_data
from utils import UsageError, write_json

TEXTS = [f"第{place}个问题<b>" for place in range(30)]


@pytest.fixture
def exports(tmp_path):
    """Two annotators' files: they differ in texts 0 to 4 (two labels), and 5 (two others)."""
    paths = []
    for name, shift in (("alice", 0), ("bob", 1)):
        rows = []
        for place, text in enumerate(TEXTS):
            label = LABELS[place % 3] if place > 5 else LABELS[shift] if place < 5 else LABELS[2 * shift]
            rows.append(json.dumps({"text": text, "label": [label]}, ensure_ascii=False))
        paths.append(tmp_path / f"{name}.jsonl")
        paths[-1].write_text("\n".join(rows), encoding="utf-8")
    return paths


def run(tmp_path, exports, *more):
    flags = ["--doccano_file", *exports, "--report_dir", tmp_path / "out", "--lang", "en", *more]
    return agreement.main(list(map(str, flags)))


def test_there_and_back_again(tmp_path, exports, capsys):
    assert run(tmp_path, exports) is None
    out = capsys.readouterr().out
    assert "30 texts have labels of several annotators, 80.0% of them one label" in out
    assert f"confused 5 times: {' / '.join(sorted(LABELS[:2]))}" in out and "6 texts to decide" in out
    page = (tmp_path / "out" / "agreement.html").read_text(encoding="utf-8")
    assert "Cohen&#x27;s kappa" in page and "第0个问题&lt;b&gt;" in page and "<b>" not in page.split("</style>")[1]
    found = json.loads((tmp_path / "out" / "agreement.json").read_text(encoding="utf-8"))
    assert found["texts"] == 30 and 0 < found["alpha"]["interval"][0] < found["alpha"]["value"] < 1
    rows = [json.loads(line) for line in (tmp_path / "out" / "to_adjudicate.jsonl").read_text("utf-8").splitlines()]
    assert [row["text"] for row in rows] == TEXTS[:6] and rows[0]["label"] == []
    assert rows[5]["origin"] == f"alice={LABELS[0]} bob={LABELS[2]}"

    # A third person decides; the data had alice's labels.
    decided = tmp_path / "decided.jsonl"
    lines = [json.dumps({**row, "label": [LABELS[1]]}, ensure_ascii=False) for row in rows]
    decided.write_text("\n".join(lines), encoding="utf-8")
    folder = tmp_path / "data"
    folder.mkdir()
    write_data(folder, [f"{text}\t{LABELS[0]}" for text in TEXTS[:4]], [f"{TEXTS[5]}\t{LABELS[0]}"])
    assert doccano.main(["--doccano_file", str(decided), "--merge_into", str(folder)]) == 0
    wanted = [f"{text}\t{LABELS[1]}" for text in TEXTS[:5]]
    assert (folder / "train.txt").read_text(encoding="utf-8").splitlines() == wanted
    assert (folder / "dev.txt").read_text(encoding="utf-8").splitlines() == [f"{TEXTS[5]}\t{LABELS[1]}"]


def test_the_page_in_a_browser(tmp_path, exports, rendered):
    run(tmp_path, exports)
    seen = rendered(tmp_path / "out" / "agreement.html")
    assert "Cohen's kappa" in seen and "alice, bob" in seen and "第0个问题&lt;b&gt;" in seen
    assert seen.count("<table") >= 4 and "<b>" not in seen


def test_label_studio_and_the_models_opinion(tmp_path, exports, trained_once):
    target = tmp_path / "tasks.json"
    more = (
        "--export_file",
        target,
        "--export_format",
        "label_studio",
        "--export_model_dir",
        trained_once[1] / "export",
    )
    run(tmp_path, exports, *more)
    tasks = json.loads(target.read_text(encoding="utf-8"))
    assert len(tasks) == 6 and tasks[0]["data"]["origin"].startswith("alice=")
    assert all(task["predictions"][0]["result"][0]["value"]["choices"][0] in LABELS for task in tasks)
    assert all(0 < task["predictions"][0]["score"] <= 1 for task in tasks)
    assert target.with_suffix(".xml").read_text(encoding="utf-8").count("<Choice ") == 3
    with pytest.raises(UsageError, match="already has tasks.json tasks.xml; add --force"):
        run(tmp_path, exports, *more)


@pytest.fixture
def student(tmp_path):
    """The folder of a student of n-grams, which answers the same to every text."""
    folder, none = tmp_path / "student", np.zeros((1, len(LABELS) + 1), "float32")
    folder.mkdir()
    bias = np.array([0, 2, 0], "float32")
    NgramStudent(np.zeros(64, "int32"), none, bias, ORDERS).save(folder)
    write_json(folder / "id2label.json", dict(enumerate(LABELS)))
    write_json(folder / "export.json", {"max_length": 32})
    return folder


def test_a_student_s_opinion(tmp_path, exports, student):
    run(tmp_path, exports, "--export_model_dir", student)
    rows = [json.loads(line) for line in (tmp_path / "out" / "to_adjudicate.jsonl").read_text("utf-8").splitlines()]
    assert [row["label"] for row in rows] == [[LABELS[1]]] * 6 and {row["score"] for row in rows} == {"0.7870"}
    (tmp_path / "texts.txt").write_text("头疼\n", encoding="utf-8")
    flags = ["--text_file", tmp_path / "texts.txt", "--export_file", tmp_path / "tasks.jsonl"]
    doccano.main([*map(str, flags), "--export_model_dir", str(student)])
    assert json.loads((tmp_path / "tasks.jsonl").read_text("utf-8"))["label"] == [LABELS[1]]


def test_refusals(tmp_path, exports):
    (tmp_path / "label.txt").write_text("\n".join([*LABELS[:2], "其他"]), encoding="utf-8")
    with pytest.raises(UsageError, match=f"label.txt: not there: '{LABELS[2]}' in .*bob.jsonl"):
        run(tmp_path, exports, "--label_file", tmp_path / "label.txt")
    exports[1].write_text(json.dumps({"text": "别的", "label": ["a"]}), encoding="utf-8")
    with pytest.raises(UsageError, match=r"no text has labels of two annotators \(alice, bob\)"):
        run(tmp_path, exports)
    assert not (tmp_path / "out").exists()


def test_nothing_to_decide(tmp_path, exports, capsys):
    exports[1].write_bytes(exports[0].read_bytes())
    run(tmp_path, exports)
    assert "to decide" not in capsys.readouterr().out
    assert not (tmp_path / "out" / "to_adjudicate.jsonl").exists()
    assert "There is no disagreement." in (tmp_path / "out" / "agreement.html").read_text(encoding="utf-8")
    run(tmp_path, exports, "--lang", "zh")
    assert re.search("没有分歧。", (tmp_path / "out" / "agreement.html").read_text(encoding="utf-8"))


def test_both_languages_say_the_same():
    def fields(text):
        return sorted(name for _, name, _, _ in string.Formatter().parse(text) if name)

    assert list(WORDS["en"]) == list(WORDS["zh"])
    assert all(fields(WORDS["en"][name]) == fields(WORDS["zh"][name]) for name in WORDS["en"])
