"""retrieval_based/utils/hnsw_util.py: answers beside exact search, changes, and files that survive a crash."""

import json
import os

import numpy as np
import pytest

from retrieval_based.utils import hnsw_util
from retrieval_based.utils.config import Graph, content_id
from utils import UsageError

pytest.importorskip("hnswlib", reason="hnswlib is not installed")

DIM = 24


@pytest.fixture(scope="module")
def rows():
    """Texts, labels and vectors: 2,000 points around 40 centres."""
    random = np.random.RandomState(0)
    vectors = random.randn(40, DIM)[np.arange(2000) % 40] + 0.5 * random.randn(2000, DIM)
    return [f"文本 {row}" for row in range(2000)], [f"类 {row % 40}" for row in range(2000)], vectors


def exact(query, vectors, top_k, keep=None):
    """Rows and cosines of the nearest, by comparison with all."""
    cosines = vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
    if keep is not None:
        cosines = np.where(keep, cosines, -2)
    best = np.argsort(-cosines)[:top_k]
    return best, cosines[best]


def found(index, rows):
    """What the index holds of these rows: their content ids with their labels."""
    ids = [content_id(text) for text in rows[0]]
    return {key: label for key, (label, _) in index.stored(ids).items()}


def test_recall_and_growth(rows):
    texts, labels, vectors = rows
    index = hnsw_util.HnswIndex(None, DIM, "a", Graph(m=16), max_elements=10)  # 2,000 rows: it doubles 8 times
    assert index.upsert(texts, labels, vectors) == len(index) == 2000
    queries = vectors[::20] + 0.1
    agreed = 0
    for query, hits in zip(queries, index.search(queries, 10)):
        best, cosines = exact(query, vectors, 10)
        agreed += len({texts[row] for row in best} & {hit.text for hit in hits})
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert hits[0].score == pytest.approx(cosines[0], abs=1e-5)
    assert agreed / (10 * len(queries)) > 0.98
    assert index.labels() == dict.fromkeys(sorted(set(labels)), 50)


@pytest.mark.parametrize("exact_rows", [10_000, 0])
def test_filter(rows, monkeypatch, exact_rows):
    """By comparison of all, and inside the graph, which may reach too few rows and is then not relied on."""
    monkeypatch.setattr(hnsw_util, "EXACT_ROWS", exact_rows)
    monkeypatch.setattr(hnsw_util, "CHUNK", 17)
    texts, labels, vectors = rows
    index = hnsw_util.HnswIndex(None, DIM, "a", Graph(m=16))
    index.upsert(texts, labels, vectors)
    wanted = ["类 3", "类 17", "没有"]
    keep = np.isin(labels, wanted)
    for hits, query in zip(index.search(vectors[:30], 20, wanted), vectors[:30]):
        best, cosines = exact(query, vectors, 20, keep)
        assert {hit.label for hit in hits} <= set(wanted)
        assert len({texts[row] for row in best} & {hit.text for hit in hits}) >= 18
    assert len(index.search(vectors[:1], 500, ["类 3"])[0]) == 50  # all there are
    assert index.search(vectors[:2], 5, ["没有"]) == [[], []] and index.search(vectors[:1], 5, []) == [[]]


def test_a_text_is_there_once(rows):
    texts, labels, vectors = rows
    index = hnsw_util.HnswIndex(None, DIM, "a")
    index.upsert(texts[:50], labels[:50], vectors[:50])
    assert index.upsert(texts[:50], labels[:50], vectors[:50]) == 50 and len(index) == 50
    index.upsert([texts[0], texts[1], texts[0]], ["甲", "甲", "乙"], vectors[[5, 1, 7]], version="2")
    assert len(index) == 50 and index.labels()["乙"] == index.labels()["甲"] == 1
    (hit,) = index.search(vectors[7:8], 1, ["乙"])[0]  # the last vector as well as the last label
    assert (hit.text, hit.score) == (texts[0], pytest.approx(1, abs=1e-5))
    assert index.stored([content_id(texts[0]), "no such row"]) == {content_id(texts[0]): ("乙", "2")}


def test_delete_and_rename(rows, tmp_path):
    texts, labels, vectors = rows
    index = hnsw_util.HnswIndex(tmp_path, DIM, "a", Graph(m=16))
    index.upsert(texts[:400], labels[:400], vectors[:400])
    assert index.delete_label("类 0") == 10 and index.delete_label("类 0") == 0
    assert index.delete_texts([content_id(texts[1]), content_id(texts[1]), "unknown"]) == 1
    assert len(index) == 389 and all(hit.label != "类 0" for hit in index.search(vectors[:1], 389)[0])
    assert index.rename_label("类 2", "类 3") == 10 and index.labels()["类 3"] == 20
    assert index.rename_label("类 2", "类 4") == 0
    assert index.present(["类 3", "类 2", "没有"]) == {"类 3"}
    for label in ("", "行\n列", "标\t签", "标" * 342, "\ud800"):
        with pytest.raises(UsageError, match="the label"):
            index.rename_label("类 3", label)
    index.save()
    index = hnsw_util.HnswIndex(tmp_path, DIM, "a")  # deletions are kept, and their places used again
    assert len(index) == 389 and index.delete_label("类 0") == 0
    index.upsert(texts[400:411], labels[400:411], vectors[400:411])
    assert len(index._rows) == 400 and len(index) == 400
    for row in range(400, 411):
        assert index.search(vectors[row : row + 1], 1)[0][0].text == texts[row]


def test_reopen(rows, tmp_path):
    texts, labels, vectors = rows
    odd = ['a"b\\c', "行 列", "\u2028'", "x" * 1000]
    index = hnsw_util.HnswIndex(tmp_path / "new" / "index", DIM, "a", Graph(m=8, ef=77))
    index.upsert([*texts[:200], *odd], [*labels[:200], *odd], vectors[:204], version="v1")
    index.save()
    again = hnsw_util.HnswIndex(tmp_path / "new" / "index", DIM, "a")
    assert again.search(vectors[:204], 5) == index.search(vectors[:204], 5)
    assert again.labels() == index.labels() and again.stored([content_id(odd[0])])[content_id(odd[0])] == (
        odd[0],
        "v1",
    )
    meta = json.loads((tmp_path / "new" / "index" / "meta.json").read_text("utf-8"))
    about = {name: meta[name] for name in ("space", "dim", "model_hash", "m", "ef", "count", "format_version")}
    expected = {"space": "cosine", "dim": DIM, "model_hash": "a", "m": 8, "ef": 77, "count": 204}
    assert about == {**expected, "format_version": 1}


def test_another_model_is_refused(rows, tmp_path):
    texts, labels, vectors = rows
    index = hnsw_util.HnswIndex(tmp_path, DIM, "a")
    index.upsert(texts[:9], labels[:9], vectors[:9])
    index.save()
    with pytest.raises(UsageError, match="model_hash of the index is a, that of the model b; vectors of two models"):
        hnsw_util.HnswIndex(tmp_path, DIM, "b")
    with pytest.raises(UsageError, match=f"dim of the index is {DIM}, that of the model 25"):
        hnsw_util.HnswIndex(tmp_path, 25, "a")
    meta = json.loads((tmp_path / "meta.json").read_text("utf-8"))
    (tmp_path / "meta.json").write_text(json.dumps({**meta, "space": "l2"}), encoding="utf-8")
    with pytest.raises(UsageError, match="space of the index is l2"):
        hnsw_util.HnswIndex(tmp_path, DIM, "a")
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match="file: is a file; give a folder"):
        hnsw_util.HnswIndex(tmp_path / "file", DIM, "a")


def test_vectors_that_are_none(rows):
    texts, labels, vectors = rows
    index = hnsw_util.HnswIndex(None, DIM, "a")
    index.upsert(texts[:9], labels[:9], vectors[:9])
    for broken, message in (
        (np.ones((1, DIM + 1)), f"shape .1, {DIM + 1}.: the index holds {DIM}"),
        (np.ones(DIM), "shape"),
        (np.full((1, DIM), np.nan), "vector 0: zeros, or values that are not finite"),
        (np.full((1, DIM), np.inf), "not finite"),
        (np.zeros((1, DIM)), "zeros"),
    ):
        with pytest.raises(UsageError, match=message):
            index.search(broken, 1)
        with pytest.raises(UsageError, match=message):
            index.upsert(["新"], ["类"], broken)
    with pytest.raises(UsageError, match="top_k 0"):
        index.search(vectors[:1], 0)
    with pytest.raises(UsageError, match="2 texts, 1 labels, 2 vectors"):
        index.upsert(texts[:2], labels[:1], vectors[:2])
    with pytest.raises(UsageError, match="row 2: the label has 0 bytes"):
        index.upsert(texts[:2], ["甲", ""], vectors[:2])
    assert len(index) == 9 and index.upsert([], [], []) == 0 and index.search([], 3) == []


@pytest.mark.parametrize("at", ["graph", "rows", "meta"])
def test_a_crash_while_saving(rows, tmp_path, monkeypatch, at):
    """Whatever was written when the process died, the folder opens with the old state, and saves again."""
    texts, labels, vectors = rows
    index = hnsw_util.HnswIndex(tmp_path, DIM, "a")
    index.upsert(texts[:100], labels[:100], vectors[:100])
    index.save()
    index.upsert(texts[100:200], labels[100:200], vectors[100:200])

    class KilledError(BaseException):
        pass

    def die(*_):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(*{"graph": (json, "dumps"), "rows": (os, "fsync"), "meta": (os, "replace")}[at], die)
        with pytest.raises(KilledError):
            index.save()
    assert (tmp_path / "hnsw-2.bin").exists() and (tmp_path / "meta.json.new").exists() == (at == "meta")
    again = hnsw_util.HnswIndex(tmp_path, DIM, "a")
    assert found(again, rows) == {content_id(text): label for text, label in zip(texts[:100], labels[:100])}
    again.upsert(texts[100:200], labels[100:200], vectors[100:200])
    again.save()
    assert len(hnsw_util.HnswIndex(tmp_path, DIM, "a")) == 200
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"hnsw-2.bin", "rows-2.jsonl", "meta.json"}


def test_two_processes(rows, tmp_path):
    texts, labels, vectors = rows
    first, second = (hnsw_util.HnswIndex(tmp_path, DIM, "a") for _ in range(2))
    first.upsert(texts[:10], labels[:10], vectors[:10])
    second.upsert(texts[10:20], labels[10:20], vectors[10:20])
    first.save()
    with pytest.raises(UsageError, match="another process has changed it meanwhile"):
        second.save()
    assert len(hnsw_util.HnswIndex(tmp_path, DIM, "a")) == 10


@pytest.mark.parametrize("name", ["hnsw-1.bin", "rows-1.jsonl", "meta.json"])
def test_files_cut_short(rows, tmp_path, name):
    texts, labels, vectors = rows
    index = hnsw_util.HnswIndex(tmp_path, DIM, "a")
    index.upsert(texts[:100], labels[:100], vectors[:100])
    index.save()
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(UsageError) as error:
        hnsw_util.HnswIndex(tmp_path, DIM, "a")
    assert name in str(error.value) and "again" in str(error.value) and "\n" not in str(error.value)
    (tmp_path / name).write_bytes(b"\0" * len(data))
    with pytest.raises(UsageError):
        hnsw_util.HnswIndex(tmp_path, DIM, "a")
