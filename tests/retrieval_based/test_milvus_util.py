"""retrieval_based/utils/milvus_util.py: the same tests on Milvus Lite and on a real server."""

import time

import numpy as np
import pytest

from retrieval_based.utils import milvus_util
from retrieval_based.utils.config import Graph
from utils import UsageError

pytest.importorskip("pymilvus", reason="pymilvus is not installed")

DIM = 24
ODD_LABELS = ['带"引号"', "back\\slash", "it's", 'a] or id != ""', "\u2028\x7f", "{{}}%_", "emoji 😀", "\\", '\\"']


@pytest.fixture(params=["lite", "server"])
def open_index(request, tmp_path):
    """A function that opens an index of this test's own, in a file or on the server."""
    opened = []
    uri = str(tmp_path / "milvus.db") if request.param == "lite" else request.getfixturevalue("milvus").uri
    name = f"test_{time.monotonic_ns()}"

    def open_index(dim=DIM, model_hash="a", **options):
        options = {"collection": name, "graph": Graph(m=8), **options}
        index = milvus_util.MilvusIndex(uri, dim, model_hash, **options)
        opened.append(index)
        return index

    yield open_index
    if opened:
        for part in (name, f"{name}_notes"):
            opened[0]._client.drop_collection(part, timeout=30)
    for index in opened:
        index.close()


@pytest.fixture(scope="module")
def rows():
    """Texts, labels and vectors: 300 points around 10 centres."""
    random = np.random.RandomState(0)
    vectors = random.randn(10, DIM)[np.arange(300) % 10] + 0.5 * random.randn(300, DIM)
    return [f"文本 {row}" for row in range(300)], [f"类 {row % 10}" for row in range(300)], vectors


def head(rows, count):
    return [part[:count] for part in rows]


def test_search(open_index, rows, monkeypatch):
    texts, labels, vectors = rows
    index = open_index()
    assert index.upsert(*rows) == len(index) == 300
    queries = vectors[:30] + 0.1
    cosines = queries @ vectors.T / np.linalg.norm(queries, axis=1)[:, None] / np.linalg.norm(vectors, axis=1)
    for row, hits in enumerate(index.search(queries, 10)):
        best = np.argsort(-cosines[row])[:10]
        assert len({hit.text for hit in hits} & {texts[place] for place in best}) >= 9
        assert [hit.score for hit in hits] == pytest.approx(sorted(cosines[row], reverse=True)[:10], abs=1e-2)
        assert all(labels[texts.index(hit.text)] == hit.label for hit in hits)
    hits = index.search(queries[:1], 300)[0]
    assert len(hits) == 300 and hits[0].score == pytest.approx(cosines[0].max(), abs=1e-5)
    assert index.labels() == {f"类 {number}": 30 for number in range(10)}
    assert index.has_label("类 1") and not index.has_label("类")
    monkeypatch.setattr(milvus_util, "READ_BATCH", 20)  # fewer than one label has rows
    assert index.present(["类 1", "类", "类 2", "类 9"]) == {"类 1", "类 2", "类 9"} and index.present([]) == set()
    monkeypatch.setattr(milvus_util, "MAX_ROWS", 200)  # counted range by range of the content ids
    assert sum(index.labels().values()) == 300


def test_a_text_is_there_once(open_index, rows):
    texts, labels, vectors = head(rows, 50)
    index = open_index()
    index.upsert(texts, labels, vectors)
    assert index.upsert(texts, labels, vectors) == len(index) == 50
    index.upsert([texts[0], texts[1], texts[0]], ["甲", "甲", "乙"], vectors[[5, 1, 7]], version="2")
    assert len(index) == 50 and index.labels()["乙"] == index.labels()["甲"] == 1
    (hit,) = index.search(vectors[7:8], 1, ["乙"])[0]
    assert (hit.text, hit.score) == (texts[0], pytest.approx(1, abs=1e-5))
    assert index.stored([hit.id, "no such row"]) == {hit.id: ("乙", "2")}


def test_filter_by_odd_labels(open_index, rows):
    texts, labels, vectors = rows
    index = open_index()
    index.upsert(texts[: len(ODD_LABELS)], ODD_LABELS, vectors[: len(ODD_LABELS)])
    index.upsert(texts[100:150], labels[100:150], vectors[100:150])
    for text, label in zip(texts, ODD_LABELS):
        assert [(hit.text, hit.label) for hit in index.search(vectors[:1], 10, [label])[0]] == [(text, label)]
    hits = index.search(vectors[:1], 100, [*ODD_LABELS, "没有"])[0]
    assert sorted(hit.label for hit in hits) == sorted(ODD_LABELS)
    assert index.search(vectors[:2], 5, []) == [[], []] == index.search(vectors[:2], 5, ["没有"])
    for label in ODD_LABELS[:2]:
        assert index.rename_label(label, f"{label}{label}") == 1
        assert index.delete_label(f"{label}{label}") == 1
    assert len(index) == 50 + len(ODD_LABELS[2:])


def test_delete_and_rename(open_index, rows, monkeypatch):
    texts, labels, vectors = rows
    index = open_index()
    index.upsert(*rows, version="v1")
    monkeypatch.setattr(milvus_util, "READ_BATCH", 10)  # of 30 rows: exactly three times
    assert index.delete_label("类 0") == 30 and index.delete_label("类 0") == 0
    ids = [hit.id for hit in index.search(vectors[1:2], 3)[0]]
    assert index.delete_texts([*ids, ids[0], "unknown"]) == 3 and len(index) == 267
    assert {hit.id for hit in index.search(vectors[1:2], 20)[0]}.isdisjoint(ids)
    before = index.labels()
    assert index.rename_label("类 2", "类 3") == before["类 2"] and index.rename_label("类 2", "类 4") == 0
    assert index.rename_label("类 3", "类 3") == before["类 2"] + before["类 3"] == index.labels()["类 3"]
    (hit,) = index.search(vectors[2:3], 1, ["类 3"])[0]
    assert hit.score == pytest.approx(1, abs=1e-5) and index.stored([hit.id]) == {hit.id: ("类 3", "v1")}
    for label in ("", "行\n列", "标" * 342, "\ud800"):
        with pytest.raises(UsageError, match="the label"):
            index.rename_label("类 3", label)


def test_reopen_and_another_model(open_index, rows):
    texts, labels, vectors = rows
    index = open_index()
    index.upsert(*rows)
    index.save()
    again = open_index()
    assert len(again) == 300 and again.search(vectors[:1], 1)[0][0].text == texts[0]
    with pytest.raises(UsageError, match="model_hash of the index is a, that of the model b; vectors of two models"):
        open_index(model_hash="b")
    with pytest.raises(UsageError, match=f"dim of the index is {DIM}, that of the model 25"):
        open_index(dim=25)


def test_wrong_calls(open_index, rows):
    texts, labels, vectors = head(rows, 9)
    index = open_index()
    index.upsert(texts, labels, vectors)
    for broken, message in (
        (np.ones((1, DIM + 1)), f"the index holds {DIM}"),
        (np.full((1, DIM), np.nan), "not finite"),
        (np.zeros((1, DIM)), "zeros"),
    ):
        with pytest.raises(UsageError, match=message):
            index.search(broken, 1)
        with pytest.raises(UsageError, match=message):
            index.upsert(["新"], ["类"], broken)
    for top_k in (0, 16385):
        with pytest.raises(UsageError, match=f"top_k {top_k}: give 1 to 16384"):
            index.search(vectors[:1], top_k)
    assert index.search([], 3) == [] and index.upsert([], [], []) == 0 and len(index) == 9
    with pytest.raises(UsageError, match="row 2: the label '行.n列' has a tab, a line end or the like"):
        index.upsert(texts[:2], ["甲", "行\n列"], vectors[:2])
    with pytest.raises(UsageError, match="Milvus takes letters"):
        open_index(collection="9-a")
    text = "长" * (65535 // 3)
    index.upsert([text], ["标" * 341], -vectors[:1])  # the longest that may be
    assert index.search(-vectors[:1], 1)[0][0][:2] == (text, "标" * 341)
    with pytest.raises(UsageError, match="row 1: the text has 65536 bytes; give 1 to 65535"):
        index.upsert([text + "a"], ["标"], vectors[:1])


def test_collections_of_others(open_index):
    index = open_index()
    index._client.create_collection("other_one", dimension=DIM)
    try:
        with pytest.raises(UsageError, match="other_one was not made by this program"):
            open_index(collection="other_one")
    finally:
        open_index()._client.drop_collection("other_one", timeout=30)


@pytest.mark.parametrize("at", ["before", "between", "after"])
def test_a_kill_while_lite_replaces_rows(tmp_path, rows, at):
    """Milvus Lite deletes the old rows before it inserts the new ones; whatever of that was done, none is lost."""
    path = str(tmp_path / "milvus.db")
    index = milvus_util.MilvusIndex(path, DIM, "a")
    index.upsert(*rows)

    class KilledError(BaseException):
        pass

    def upsert(collection, data, **options):
        if at == "between":
            index._client.delete(collection, ids=[row["id"] for row in data])
        elif at == "after":
            milvus_upsert(collection, data, **options)
        raise KilledError

    milvus_upsert, index._client.upsert = index._client.upsert, upsert
    with pytest.raises(KilledError):
        index.rename_label("类 2", "新")
    index.close()
    index = milvus_util.MilvusIndex(path, DIM, "a")
    assert len(index) == 300 and index.labels()["新"] == 30 and not index.has_label("类 2")
    index.close()
    assert [name.name for name in tmp_path.iterdir()] == ["milvus.db"]


def test_rows_to_be_replaced_of_an_index_that_is_gone(tmp_path, rows):
    """Whoever deletes the file and begins anew does not get rows of the old one, nor its notes."""
    path = tmp_path / "milvus.db"
    index = milvus_util.MilvusIndex(str(path), DIM, "a")
    index.upsert(*rows)
    index._client.upsert = None  # dies after the rows were noted
    with pytest.raises(TypeError):
        index.rename_label("类 2", "新")
    index.close()
    path.unlink()
    with pytest.raises(UsageError, match="pending: rows of an index that was here before; delete the file"):
        milvus_util.MilvusIndex(str(path), DIM, "a")
    (tmp_path / "milvus.db.retrieval.pending").unlink()
    index = milvus_util.MilvusIndex(str(path), DIM, "a")
    assert len(index) == 0
    index.close()


@pytest.mark.slow  # most of its minute is the server's own recovery
def test_kill_the_server(milvus, rows):
    """kill -9 of the server after some rows were flushed and some only acknowledged: all are there afterwards."""
    texts, labels, vectors = rows
    index = milvus_util.MilvusIndex(milvus.uri, DIM, "a", Graph(m=8), "killed")
    index.upsert(texts[:100], labels[:100], vectors[:100])
    index.save()
    index.add_note({"set": {"k": 1}})
    index.add_note({"set": {"k": 2}})
    index.upsert(texts[100:], labels[100:], vectors[100:])
    assert index.delete_label("类 9") == 30 and index.rename_label("类 8", "新") == 30
    milvus.kill()
    with pytest.raises(UsageError, match="no Milvus answers there"):
        milvus_util.MilvusIndex(milvus.uri, DIM, "a", collection="killed")
    milvus.start()
    again = milvus_util.MilvusIndex(milvus.uri, DIM, "a", collection="killed")
    assert again.labels() == {**{f"类 {number}": 30 for number in range(8)}, "新": 30} and len(again) == 270
    assert again.search(vectors[100:101], 1)[0][0].text == texts[100]
    assert again.notes() == [{"set": {"k": 1}}, {"set": {"k": 2}}]
    again.close()
    assert len(index.search(vectors[:1], 270)[0]) == 270  # the client that was connected all along
    index._client.drop_collection("killed", timeout=30)
    index.close()
