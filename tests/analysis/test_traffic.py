"""analysis/traffic.py: files of predictions, the server's log, and whose words can be compared."""

import json

import numpy as np
import pytest

from analysis.traffic import is_predictions, read_traffic, vocabularies
from core.hashed_ngrams import buckets_of, key_name, key_path, make_bucket, make_key
from utils import UsageError

FOUND = {"text": None, "label": None, "score": None}
ROWS = [("头疼挂什么科", "就医建议", 0.91), ("医保卡能刷吗", "医疗费用", 0.5), ("感冒是什么症状", "病情诊断", 1.0)]


def write(path, lines):
    path.write_bytes("".join(f"{line}\n" for line in lines).encode("utf-8"))
    return path


def log_line(key, text, label, confidence, version="v1", model="one", **more):
    own = {"time": "2026-01-01T00:00Z", "model": model, "version": version, "key": key_name(key), "label": label}
    own |= {"confidence": confidence, "entropy": 0.1, "length": len(text)}
    return json.dumps({**own, "ngrams": buckets_of(text, make_bucket(key)), **more}, ensure_ascii=False)


@pytest.fixture
def log(tmp_path):
    """A server's log of ROWS with its key beside it."""
    path = tmp_path / "log.jsonl"
    key = make_key(key_path(path))
    return write(path, [log_line(key, *row) for row in ROWS]), key


@pytest.mark.parametrize(
    "name, lines",
    [
        ("a.csv", ["text,label,score", *(f"{text},{label},{score}" for text, label, score in ROWS)]),
        ("a.tsv", ["Text\tLabel\tPrediction\tScore", *(f"{t}\t医疗费用\t{label}\t{s}" for t, label, s in ROWS)]),
        ("a.jsonl", [json.dumps(dict(zip(("label", "text", "confidence"), (b, a, c)))) for a, b, c in ROWS]),
    ],
)
def test_files_of_predictions(tmp_path, name, lines):
    path = write(tmp_path / name, lines)
    found = read_traffic([path], FOUND)
    assert found.texts == [row[0] for row in ROWS] and found.labels == [row[1] for row in ROWS]
    assert found.confidence.tolist() == [0.91, 0.5, 1.0] and found.lengths.tolist() == [6, 6, 7]
    assert found.truth == (["医疗费用"] * 3 if name == "a.tsv" else None)
    assert is_predictions(path) and found.buckets is None
    twice = read_traffic([path, path], FOUND)
    assert len(twice) == 6 and twice.texts == 2 * found.texts and twice.newest(2).labels == found.labels[1:]


def test_what_predict_py_writes(tmp_path):
    """With --min_confidence, beside labels of the input's own, and both."""
    rows = [(text, label, score, label if score > 0.6 else "unknown") for text, label, score in ROWS]
    lines = ["text,label,score,guess,guess_score", *(f"{t},{kept},{s},{label},{s}" for t, label, s, kept in rows)]
    path = write(tmp_path / "limited.csv", lines)
    found = read_traffic([path], FOUND)
    assert is_predictions(path) and found.labels == [row[1] for row in ROWS] and found.truth is None
    assert read_traffic([path], {**FOUND, "label": "label"}).labels[1] == "unknown"
    own = ("text", "label", "guess", "predicted_label", "predicted_score")
    path = write(tmp_path / "b.jsonl", [json.dumps(dict(zip(own, (t, "医疗费用", "?", a, s)))) for t, a, s in ROWS])
    found = read_traffic([path], FOUND)
    assert is_predictions(path) and found.labels == [row[1] for row in ROWS] and found.truth == ["医疗费用"] * 3
    names = "text label predicted_label predicted_score predicted_guess predicted_guess_score".split()
    lines = ["\t".join(names), *(f"{t}\t医疗费用\t{kept}\t{s}\t{label}\t{s}" for t, label, s, kept in rows)]
    found = read_traffic([write(tmp_path / "c.tsv", lines)], FOUND)
    assert found.labels == [row[1] for row in ROWS] and found.truth == ["医疗费用"] * 3
    assert found.confidence.tolist() == [0.91, 0.5, 1.0]


def test_columns_by_name_and_vectors(tmp_path):
    lines = [json.dumps({"问题": text, "y": label, "p": p, "embedding": [p, 1]}) for text, label, p in ROWS]
    path = write(tmp_path / "a.jsonl", lines)
    found = read_traffic([path], {"text": "问题", "label": "y", "score": "P"})
    assert found.texts[0] == ROWS[0][0] and found.embedding.tolist()[1] == [0.5, 1]
    with pytest.raises(
        UsageError, match="a.jsonl: no column prediction or label, only .*; name it with --label_column"
    ):
        read_traffic([path], FOUND)
    lines = [json.dumps({"label": "a", "score": 0.5, "embedding": [1] * n}) for n in (2, 3)]
    with pytest.raises(UsageError, match="'embedding' has to be as many numbers in every row"):
        read_traffic([write(tmp_path / "b.jsonl", lines)], FOUND)


def test_wrong_values_are_named(tmp_path):
    for row, message in {"a,97": "a.csv:3: '97' is no probability", ",0.5": "a.csv:3: no label"}.items():
        path = write(tmp_path / "a.csv", ["label,score", "a,0.5", row, "a,0.25"])
        with pytest.raises(UsageError, match=message):
            read_traffic([path], FOUND)
    assert not is_predictions(write(tmp_path / "dev.txt", [f"{text}\t{label}" for text, label, _ in ROWS]))


def test_the_servers_log(log):
    path, key = log
    found = read_traffic([path], FOUND)
    assert found.labels == [row[1] for row in ROWS] and found.texts is None and found.lengths.tolist() == [6, 6, 7]
    assert found.key == key_name(key) and found.version == "v1" and is_predictions(path)
    assert list(found.buckets[0]) == buckets_of(ROWS[0][0], make_bucket(key))
    # A line that is being written is left alone; one that a crash cut short is counted.
    with path.open("ab") as file:
        file.write(b'{"half\n' + log_line(key, *ROWS[0]).encode("utf-8")[:50])
    found = read_traffic([path], FOUND)
    assert len(found) == 3 and found.left_out == {"unreadable": 1}


def test_a_log_of_several_exports_or_models(log):
    path, key = log
    write(path, [log_line(key, *ROWS[0]), log_line(key, *ROWS[1], version="v2"), log_line(key, *ROWS[2])])
    found = read_traffic([path], FOUND, exports={"v2", "v3"})
    assert found.labels == ["医疗费用"] and found.left_out == {"other_export": 2} and found.version == "v2"
    with pytest.raises(UsageError, match=r"lines of several exports \(v1, v2\).*--export_dir"):
        read_traffic([path], FOUND)
    with pytest.raises(UsageError, match=r"of another export \(v1, v2\) than --export_dir \(v9\)"):
        read_traffic([path], FOUND, exports=["v9"])
    write(path, [log_line(key, *ROWS[0]), log_line(key, *ROWS[1], model="two")])
    with pytest.raises(UsageError, match=r"several models \(one, two\); choose one with --model"):
        read_traffic([path], FOUND)
    assert read_traffic([path], FOUND, model="two").labels == ["医疗费用"]
    with pytest.raises(UsageError, match="no line of the model three; --model takes one, two"):
        read_traffic([path], FOUND, model="three")


def test_whose_words_can_be_compared(log, tmp_path):
    path, key = log
    hashed = read_traffic([path], FOUND)
    plain = read_traffic(
        [write(tmp_path / "a.csv", ["text,label,score", *(",".join(map(str, row)) for row in ROWS)])], FOUND
    )
    first, second = vocabularies(plain, hashed)
    assert first == [list(one) for one in second]
    assert vocabularies(hashed, plain)[1] == first and vocabularies(hashed, hashed)[0] == hashed.buckets
    assert vocabularies(plain, plain)[0] != first  # with no key
    plain.texts = None
    assert vocabularies(plain, hashed) is None
    plain.texts = [row[0] for row in ROWS]
    other = make_key(tmp_path / "other.key")
    with pytest.raises(UsageError, match=f"this is the key {key_name(other)}, but .*log.jsonl was made with"):
        vocabularies(plain, hashed, tmp_path / "other.key")
    key_path(path).unlink()
    with pytest.raises(UsageError, match="log.jsonl.key: cannot be read"):
        vocabularies(plain, hashed)
    strange = read_traffic([write(tmp_path / "b.jsonl", [log_line(other, *ROWS[0])])], FOUND)
    with pytest.raises(UsageError, match="give files of one key"):
        vocabularies(strange, hashed)
    assert np.isfinite(hashed.confidence).all()
