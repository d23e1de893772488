"""The folder of an index of hnswlib, and what keeps it whole.

hnsw-<n>.bin is the graph; rows-<n>.jsonl has text, label and version a line, null for a free place; meta.json names
both with their sizes and SHA-256, and holds the notes of the index. It is renamed into its place last: until then the
folder holds the old state, from then on the new one. It is there before the first other file, so other files without
it are a damaged index, not a new one.
"""

import contextlib
import hashlib
import json
import os
import re
from pathlib import Path

from retrieval_based.utils.index_lock import FolderLock
from utils import UsageError, write_json

META_FILE = "meta.json"
FORMAT_VERSION = 1
PART = re.compile(r"(?:hnsw|rows)-\d+\.(?:bin|jsonl)")
# Bytes that are hashed at once.
CHUNK = 1 << 20
AGAIN = "bring back a copy of the folder, or build the index again"


def sha256_of(path):
    """The SHA-256 (hex) of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def checksum_of(meta):
    """The SHA-256 (hex) of what meta.json says, but for this number itself."""
    content = {name: value for name, value in meta.items() if name != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode("ascii")).hexdigest()


class IndexFolder:
    """The files of one index.

    Args:
        folder: it need not be there.
        about (dict): space, dim and model_hash, which the index must have.

    Attributes:
        generation (int): of the state that was read or written last; whatever is written has the next one.
        notes (list[dict]): of the index, oldest first.
        lock (FolderLock): of whoever writes.
    """

    def __init__(self, folder, about):
        self.folder, self.about = Path(folder), about
        self.generation, self.notes, self.lock = 0, [], FolderLock(folder)

    # -------------------------------------------------------------------------------------------------------- reading

    def read(self, load_graph):
        """Read the index.

        Args:
            load_graph (Callable[[Path, int], None]): loads a graph from a file into so many places.

        Returns:
            list | None: a row [text, label, version], or None, a place; None: no index, or one without rows yet.

        Raises:
            UsageError: another model's index, or a damaged one.
        """
        while True:
            meta = self._read_meta()
            if meta is None:
                return None
            try:
                rows = self._read_parts(meta, load_graph)
            except UsageError:
                # Another process may have written the next state and deleted the files of this one.
                if self._generation_on_disk() == meta["generation"]:
                    raise
                continue
            self.generation, self.notes = meta["generation"], meta.get("notes", [])
            return rows

    def _read_meta(self):
        """The content of meta.json, None for a new index.

        Raises:
            UsageError: it is missing beside other files, cannot be read, or the index is not one of this model.
        """
        path = self.folder / META_FILE
        try:
            if not path.exists():
                return self._no_meta()
            meta = json.loads(path.read_text(encoding="utf-8"))
            format_version, stored = meta["format_version"], {name: meta[name] for name in self.about}
            _ = [meta[name] for name in ("generation", "files", "count", "capacity")]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path}: not the meta.json of an index ({error!r}); {AGAIN}") from None
        if format_version != FORMAT_VERSION:
            raise UsageError(f"{path}: format {format_version}, this code reads {FORMAT_VERSION}; build it again")
        for name, wanted in self.about.items():
            if stored[name] != wanted:
                raise UsageError(
                    f"{self.folder}: {name} of the index is {stored[name]}, that of the model {wanted}; vectors of "
                    "two models cannot be compared: use the model it was made with, or build another index"
                )
        # An index of before has no checksums.
        if meta.get("checksum", checksum_of(meta)) != checksum_of(meta):
            raise UsageError(f"{path}: was changed after it had been written: the index is damaged; {AGAIN}")
        return meta

    def _no_meta(self):
        if self.folder.is_file():
            raise UsageError(f"{self.folder}: is a file; give a folder for the index, or a name that ends in .db")
        parts = self._parts() if self.folder.is_dir() else []
        if parts:
            raise UsageError(
                f"{self.folder / META_FILE}: missing beside {parts[0].name}: the index is damaged; bring back a copy "
                f"of the folder, or delete {' '.join(path.name for path in parts)} and build the index again"
            )

    def _read_parts(self, meta, load_graph):
        """The rows, after the graph was loaded: both as they were written."""
        if not meta["files"]:
            return None
        sums = meta.get("sha256", {})
        try:
            for name, size in meta["files"].items():
                path = self.folder / name
                found = path.stat().st_size if path.is_file() else 0
                if found != size:
                    raise UsageError(f"{path}: {found} bytes, but {size} were written: the index is damaged; {AGAIN}")
                # Before hnswlib reads it: a wrong number in a graph ends the process, or gives other answers.
                if name in sums and sha256_of(path) != sums[name]:
                    raise UsageError(f"{path}: was changed after it had been written: the index is damaged; {AGAIN}")
            graph, lines = sorted(meta["files"])
            load_graph(self.folder / graph, max(meta["capacity"], 1))
            with (self.folder / lines).open(encoding="utf-8") as file:
                rows = [json.loads(line) for line in file]
        except (OSError, RuntimeError, ValueError) as error:
            raise UsageError(f"{self.folder}: the index is damaged ({error}); {AGAIN}") from None
        count = sum(row is not None for row in rows)
        if count != meta["count"]:
            raise UsageError(f"{self.folder / lines}: {count} rows instead of {meta['count']}; {AGAIN}")
        return rows

    def _parts(self):
        return sorted(path for path in self.folder.iterdir() if PART.fullmatch(path.name))

    def _generation_on_disk(self):
        """The generation of what is there now; 0 where nothing can be read."""
        try:
            return json.loads((self.folder / META_FILE).read_text(encoding="utf-8"))["generation"]
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    # -------------------------------------------------------------------------------------------------------- writing

    def write(self, save_graph, rows, facts):
        """Write the whole index; a kill at any moment leaves the old state or the new one.

        Args:
            save_graph (Callable[[Path], None]): writes the graph to a file.
            rows (list): as read gives them.
            facts (dict): of the index, for meta.json; with count and capacity.

        Raises:
            UsageError: the folder cannot be written to, another process writes there, or has since this one read.
        """
        with self._writing():
            if not (self.folder / META_FILE).exists():
                self._write_meta({"count": 0, "capacity": 0, "files": {}, "sha256": {}}, 0)
            generation = self.generation + 1
            graph, lines = self.folder / f"hnsw-{generation}.bin", self.folder / f"rows-{generation}.jsonl"
            save_graph(graph)
            with lines.open("w", encoding="utf-8") as file:
                for row in rows:
                    file.write(json.dumps(row) + "\n")
            for path in (graph, lines):
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            sizes = {path.name: path.stat().st_size for path in (graph, lines)}
            sums = {path.name: sha256_of(path) for path in (graph, lines)}
            self._write_meta({**facts, "files": sizes, "sha256": sums}, generation)
            for path in self._parts():
                if path.name not in sizes:
                    with contextlib.suppress(OSError):  # on Windows, one that another process reads
                        path.unlink()

    def add_note(self, note):
        """Keep a note with the index; it is safe when this returns. What else has changed is not written.

        Raises:
            UsageError: as write.
        """
        with self._writing():
            meta = self._read_meta() or {"count": 0, "capacity": 0, "files": {}, "sha256": {}}
            self._write_meta({**meta, "notes": [*self.notes, note]}, self.generation + 1)
            self.notes.append(note)

    @contextlib.contextmanager
    def _writing(self):
        try:
            with self.lock.held():
                if self._generation_on_disk() != self.generation:
                    raise UsageError(f"{self.folder}: another process has changed it meanwhile; open it again")
                yield
        except (OSError, RuntimeError) as error:
            raise UsageError(f"{self.folder}: cannot write the index there ({error}); choose another folder") from None

    def _write_meta(self, facts, generation):
        about = {"format_version": FORMAT_VERSION, **self.about}
        meta = {"notes": self.notes, **facts, **about, "generation": generation}
        new = self.folder / f"{META_FILE}.new"
        write_json(new, {**meta, "checksum": checksum_of(meta)})
        with new.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(new, self.folder / META_FILE)
        self.generation = generation
