"""retrieval_based/utils/hnsw_files.py: damage is seen before hnswlib reads it, and writers do not mix their files."""

import json
import subprocess
import sys

import numpy as np
import pytest

from retrieval_based.utils.hnsw_files import IndexFolder
from retrieval_based.utils.hnsw_util import HnswIndex
from tests.helpers import ROOT
from utils import UsageError

pytest.importorskip("hnswlib", reason="hnswlib is not installed")

DIM = 24
VECTORS = np.random.RandomState(0).randn(300, DIM)
TEXTS = [f"文本 {row}" for row in range(300)]
# Writes rows of its own into an index, when it is told to.
WRITER = """
import sys
from tests.retrieval_based.test_hnsw_files import TEXTS, VECTORS, DIM
from retrieval_based.utils.hnsw_util import HnswIndex
from utils import exit_on_usage_error
index = HnswIndex(sys.argv[1], DIM, "a")
index.upsert([f"{sys.argv[2]} {text}" for text in TEXTS], [sys.argv[2]] * 300, VECTORS)
print("ready", flush=True)
input()
with exit_on_usage_error():
    index.save()
"""


@pytest.fixture
def folder(tmp_path):
    index = HnswIndex(tmp_path / "index", DIM, "a")
    index.upsert(TEXTS, ["类"] * 300, VECTORS)
    index.add_note({"set": {"threshold": 0.5}})
    index.save()
    return tmp_path / "index"


def reopened(folder):
    return HnswIndex(folder, DIM, "a")


@pytest.mark.parametrize("name", ["hnsw-2.bin", "rows-2.jsonl", "meta.json"])
def test_changed_bytes(folder, name):
    """Silent today, or the end of the process: the sizes are right."""
    data = bytearray((folder / name).read_bytes())
    at = data.index("文本 7".encode("ascii", "backslashreplace")) if name.startswith("rows") else len(data) // 2
    for position in range(at, min(at + 400, len(data) - 8)) if name.startswith("hnsw") else [at + 8]:
        data[position] ^= 1
    (folder / name).write_bytes(data)
    with pytest.raises(UsageError) as error:
        reopened(folder)
    assert name in str(error.value) and "build the index again" in str(error.value) and "\n" not in str(error.value)


def test_a_setting_that_was_changed_by_hand(folder):
    meta = json.loads((folder / "meta.json").read_text("utf-8"))
    meta["notes"][0]["set"]["threshold"] = 0.1
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    with pytest.raises(UsageError, match="meta.json: was changed after it had been written"):
        reopened(folder)


def test_meta_missing_is_damage(folder):
    (folder / "meta.json").unlink()
    with pytest.raises(UsageError, match="meta.json: missing beside hnsw-2.bin: the index is damaged; .* or delete"):
        reopened(folder)
    with pytest.raises(UsageError, match="missing beside"):
        HnswIndex(folder, DIM, "a", writes=True)


def test_a_kill_in_the_first_save_is_no_damage(tmp_path, monkeypatch):
    class KilledError(BaseException):
        pass

    def die(self, *_):
        raise KilledError

    index = reopened(tmp_path / "index")
    index.upsert(TEXTS, ["类"] * 300, VECTORS)
    save_graph = index._graph.save_index
    files = index._files
    with pytest.raises(KilledError):
        files.write(lambda path: (save_graph(str(path)), die(path)), [], {})
    assert {path.name for path in files.folder.iterdir()} == {"meta.json", "hnsw-1.bin"}
    index = reopened(tmp_path / "index")
    assert len(index) == 0
    index.upsert(TEXTS, ["类"] * 300, VECTORS)
    index.save()
    assert len(reopened(tmp_path / "index")) == 300


def test_an_index_of_before(folder):
    """Without checksums and notes it opens, and gets them when it is saved."""
    meta = json.loads((folder / "meta.json").read_text("utf-8"))
    for name in ("sha256", "checksum", "notes"):
        del meta[name]
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    index = reopened(folder)
    assert len(index) == 300 and index.notes() == []
    index.save()
    assert {"sha256", "checksum"} <= json.loads((folder / "meta.json").read_text("utf-8")).keys()


def test_notes_are_kept_at_once(folder):
    index = reopened(folder)
    index.upsert(["新"], ["新"], VECTORS[:1])
    index.add_note({"renaming": ["a", "b"]})
    index.close()  # the row was not saved
    again = reopened(folder)
    assert again.notes() == [{"set": {"threshold": 0.5}}, {"renaming": ["a", "b"]}] and len(again) == 300
    # Whoever read before knows nothing of the note, and may not write over it.
    for change in (index.save, lambda: index.add_note({})):
        again.add_note({"set": {}})
        with pytest.raises(UsageError, match="another process has changed it meanwhile"):
            change()
    assert len(reopened(folder).notes()) == 4
    in_memory = HnswIndex(None, DIM, "a")
    in_memory.add_note({"set": {}})
    assert in_memory.notes() == [{"set": {}}]


def test_two_processes_save_at_once(tmp_path):
    """One of them is refused and says so; what is there is the other's, whole."""
    reopened(tmp_path / "index").save()
    command = [sys.executable, "-c", WRITER, tmp_path / "index"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
    writers = {name: subprocess.Popen([*command, name], cwd=ROOT, **pipes) for name in ("甲", "乙")}
    for writer in writers.values():
        assert writer.stdout.readline() == "ready\n"
    for writer in writers.values():
        writer.stdin.write("\n")
        writer.stdin.flush()
    ended = {name: (writer.communicate(timeout=60)[1], writer.returncode) for name, writer in writers.items()}
    (winner,) = (name for name, (_, code) in ended.items() if code == 0)
    ((message, code),) = (end for name, end in ended.items() if name != winner)
    assert code == 2 and ("is writing the index there" in message or "has changed it meanwhile" in message)
    index = reopened(tmp_path / "index")
    assert index.labels() == {winner: 300}
    hits = index.search(VECTORS, 1)
    assert [found[0].text for found in hits] == [f"{winner} {text}" for text in TEXTS]


def test_a_writer_keeps_others_from_writing_until_it_closes(folder):
    writer = HnswIndex(folder, DIM, "a", writes=True)
    reader = reopened(folder)
    assert len(reader) == 300
    for attempt in (reader.save, lambda: reader.add_note({}), lambda: HnswIndex(folder, DIM, "a", writes=True)):
        with pytest.raises(UsageError, match="is writing the index there; wait until it has ended"):
            attempt()
    writer.close()
    reader.save()
    assert {path.name for path in folder.iterdir()} == {"meta.json", "hnsw-3.bin", "rows-3.jsonl"}


def test_files_that_go_while_they_are_read(folder, monkeypatch):
    """Another process has saved the next state between meta.json and the rest: that is read, not called damage."""
    read_meta, other = IndexFolder._read_meta, reopened(folder)

    def slow(self):
        meta = read_meta(self)
        if other is not None and meta["generation"] == 2:
            other.upsert(["新"], ["新"], VECTORS[:1])
            other.save()
        return meta

    monkeypatch.setattr(IndexFolder, "_read_meta", slow)
    assert len(reopened(folder)) == 301
