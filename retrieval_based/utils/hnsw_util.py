"""An index on one machine: a graph of hnswlib with the texts and labels beside it, in memory and in a folder.

index = HnswIndex("index", dim=384, model_hash=extractor.model_hash)
index.upsert(texts, labels, extractor.encode(texts))
index.save()
index.search(extractor.encode(["头疼挂什么科"]), top_k=10)
"""

import os

import numpy as np

from core.arguments import require_packages
from core.progress import progress_bar
from retrieval_based.utils import config
from retrieval_based.utils.config import Hit, content_id
from retrieval_based.utils.hnsw_files import IndexFolder
from utils import UsageError

FIRST_CAPACITY = 1024
# Up to so many rows a search among them compares them all: exact, and faster than asking Python for each node.
EXACT_ROWS = 10_000
# Rows whose vectors are copied out of the graph together.
CHUNK = 50_000


class HnswIndex:
    """Rows of text, label, version and vector, found by the cosine of their vectors.

    A text is there once: upserting it again, with another label too, replaces it.

    Args:
        folder: where it is kept; None: in memory only. What is there is opened.
        dim (int): numbers a vector.
        model_hash (str): of the model that makes the vectors.
        graph (config.Graph): of an index that is opened, m and ef_construction are those it was made with.
        max_elements (int | None): places at first; they double when they are full.
        writes (bool): no other process may write in the folder until close(); else it may not while save() runs.

    Raises:
        UsageError: the folder holds another model's index or dimension, or is damaged; or another process writes it.
    """

    # Rows are safe when save() returns.
    is_durable = False
    # Nobody else changes what is in memory.
    is_shared = False

    def __init__(self, folder, dim, model_hash, graph=config.GRAPH, max_elements=None, writes=False):
        require_packages("the index", "hnswlib", requirements="retrieval_based/requirements.txt")
        import hnswlib

        self.dim, self.model_hash = int(dim), model_hash
        self._rows = []  # by place: (text, label, version), None where it is free
        self._place = {}  # content id -> place
        self._places_of = {}  # label -> places
        self._free = []
        self._notes = []
        # Vectors of length 1: their inner product is the cosine.
        self._new_graph = lambda: hnswlib.Index(space="ip", dim=self.dim)
        about = {"space": "cosine", "dim": self.dim, "model_hash": model_hash}
        self._files = None if folder is None else IndexFolder(folder, about)
        try:
            if writes and self._files:
                self._files.lock.acquire()
            rows = self._files and self._files.read(self._load_graph)
            if rows is None:
                self._graph = self._new_graph()
                room, most = max_elements or FIRST_CAPACITY, graph.ef_construction
                self._graph.init_index(room, M=graph.m, ef_construction=most)
            for place, row in enumerate(rows or []):
                self._rows.append(row)
                if row is None:
                    self._free.append(place)
                else:
                    self._keep(place, row)
        except BaseException:
            self.close()
            raise
        self._ef = graph.ef
        self._graph.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

    # ------------------------------------------------------------------------------------------------------- files

    def _load_graph(self, path, capacity):
        self._graph = self._new_graph()
        self._graph.load_index(str(path), max_elements=capacity)

    def save(self):
        """Write the folder; a kill at any moment leaves the old state or the new one.

        Raises:
            UsageError: the folder cannot be written to, another process writes there, or has since it was opened.
        """
        if self._files is None:
            return
        graph = {"m": self._graph.M, "ef_construction": self._graph.ef_construction, "ef": self._ef}
        facts = {**graph, "count": len(self), "capacity": self._graph.get_max_elements()}
        self._files.write(lambda path: self._graph.save_index(str(path)), self._rows, facts)

    def notes(self):
        """What add_note was given, oldest first: list[dict]."""
        return list(self._files.notes if self._files else self._notes)

    def add_note(self, note):
        """Keep a dict of JSON's values with the index: safe when this returns, unlike rows that are not saved yet.

        Raises:
            UsageError: as save.
        """
        if self._files:
            self._files.add_note(note)
        else:
            self._notes.append(note)

    def close(self):
        """Let others write; what was not saved is dropped."""
        if self._files:
            self._files.lock.release()

    # ------------------------------------------------------------------------------------------------------ changes

    def _keep(self, place, row):
        """Note a row at its place."""
        self._place[content_id(row[0])] = place
        self._places_of.setdefault(row[1], set()).add(place)

    def _forget(self, place):
        """Take a row's label out of the tables, not yet its place."""
        label = self._rows[place][1]
        self._places_of[label].discard(place)
        if not self._places_of[label]:
            del self._places_of[label]

    def upsert(self, texts, labels, vectors, version="", progress=False):
        """Add rows, or replace those of the same texts.

        Args:
            texts, labels (list[str]): [rows]; of a text that is there twice, the last counts.
            vectors: float [rows, dim], of any length but 0.
            version (str): kept with the rows.
            progress (bool): show a bar.

        Returns:
            int: rows written, which are the different texts.
        """
        chosen, vectors = config.checked_rows(texts, labels, vectors, self.dim)
        chosen = list(chosen.items())
        with progress_bar(total=len(chosen), unit="row", desc="index", disable=not progress) as bar:
            for start in range(0, len(chosen), config.INSERT_BATCH):
                batch = chosen[start : start + config.INSERT_BATCH]
                self._upsert_batch(batch, texts, labels, vectors, version)
                bar.update(len(batch))
        return len(chosen)

    def _upsert_batch(self, batch, texts, labels, vectors, version):
        """Write rows of (content id, row number)."""
        known = [(self._place[key], row) for key, row in batch if key in self._place]
        new = [row for key, row in batch if key not in self._place]
        if known:
            # A vector that has not changed is not linked anew: that costs as much as a new one.
            stored = np.array(self._graph.get_items([place for place, _ in known]), dtype=np.float32)
            changed = np.abs(stored - vectors[[row for _, row in known]]).max(axis=1) > 1e-5
            for place, _ in known:
                self._forget(place)
        else:
            changed = np.zeros(0, dtype=bool)
        linked = [pair for pair, differs in zip(known, changed) if differs]
        while len(self._rows) - len(self._free) + len(new) > self._graph.get_max_elements():
            self._graph.resize_index(2 * self._graph.get_max_elements())
        for row in new:
            if self._free:
                place = self._free.pop()
            else:
                place = len(self._rows)
                self._rows.append(None)
            linked.append((place, row))
            known.append((place, row))
        if linked:
            places, rows = zip(*linked)
            self._graph.add_items(vectors[list(rows)], np.array(places))
        for place, row in known:
            self._rows[place] = [texts[row], labels[row], version]
            self._keep(place, self._rows[place])

    def delete_texts(self, ids):
        """Delete rows by their content ids; unknown ones are passed over. Returns the number deleted."""
        places = [self._place.pop(key) for key in dict.fromkeys(ids) if key in self._place]
        for place in places:
            self._graph.mark_deleted(place)
            self._forget(place)
            self._rows[place] = None
        self._free += places
        return len(places)

    def delete_label(self, label):
        """Delete the rows of a label; their number."""
        return self.delete_texts([content_id(self._rows[place][0]) for place in self._places_of.get(label, ())])

    def rename_label(self, old, new):
        """Give the rows of one label another, which may have rows already; their number.

        Raises:
            UsageError: a label that upsert refuses too.
        """
        config.check_label(new)
        places = self._places_of.pop(old, set())
        for place in places:
            self._rows[place][1] = new
        if places:
            self._places_of.setdefault(new, set()).update(places)
        return len(places)

    # ------------------------------------------------------------------------------------------------------- search

    def __len__(self):
        return len(self._place)

    def has_label(self, label):
        """Whether there is a row of this label."""
        return label in self._places_of

    def present(self, labels):
        """Those of some labels that have a row: set[str]."""
        return {label for label in labels if label in self._places_of}

    def labels(self):
        """Rows by label, in alphabetical order: dict[str, int]."""
        return {label: len(self._places_of[label]) for label in sorted(self._places_of)}

    def stored(self, ids):
        """Label and version of the rows that are there: dict[str, tuple[str, str]] by content id."""
        return {key: tuple(self._rows[self._place[key]][1:]) for key in ids if key in self._place}

    def search(self, vectors, top_k, labels=None):
        """The nearest rows of each vector.

        Args:
            vectors: float [queries, dim].
            top_k (int): rows wanted; fewer come where there are fewer.
            labels (list[str] | None): only rows of these; None: all.

        Returns:
            list[list[Hit]]: of each query, best first.

        Raises:
            UsageError: another dimension, a value that is not finite, or top_k below 1.
        """
        vectors = config.checked_vectors(vectors, self.dim) if len(vectors) else np.empty((0, self.dim), np.float32)
        if top_k < 1:
            raise UsageError(f"top_k {top_k}: give 1 or more")
        wanted = None
        if labels is not None:
            wanted = set().union(*(self._places_of.get(label, ()) for label in labels))
        count = len(self) if wanted is None else len(wanted)
        if not count or not len(vectors):
            return [[] for _ in vectors]
        places, scores = self._nearest(vectors, min(top_k, count), wanted)
        return [
            [self._hit(place, score) for place, score in zip(*row)] for row in zip(places.tolist(), scores.tolist())
        ]

    def _hit(self, place, score):
        text, label, _ = self._rows[place]
        return Hit(text, label, score, content_id(text))

    def _nearest(self, vectors, top_k, wanted):
        """Places and scores [queries, top_k], among the `wanted` places where there are some."""
        if wanted is None or len(wanted) > EXACT_ROWS:
            self._graph.set_ef(max(self._ef, top_k))
            options = {} if wanted is None else {"filter": wanted.__contains__, "num_threads": 1}
            try:
                places, distances = self._graph.knn_query(vectors, k=top_k, **options)
                order = np.argsort(distances, axis=1, kind="stable")
                return np.take_along_axis(places, order, 1), 1 - np.take_along_axis(distances, order, 1)
            except RuntimeError:
                # The graph reached fewer rows than wanted, among many deleted ones or ones of other labels.
                pass
        every = self._place.values() if wanted is None else wanted
        return self._exact(vectors, top_k, np.sort(np.fromiter(every, dtype=np.int64)))

    def _exact(self, vectors, top_k, candidates):
        """Places and scores [queries, top_k] by comparison with every one of the `candidates` [rows]."""
        places = np.zeros((len(vectors), 0), dtype=np.int64)
        scores = np.zeros((len(vectors), 0), dtype=np.float32)
        for start in range(0, len(candidates), CHUNK):
            chunk = candidates[start : start + CHUNK]
            found = vectors @ np.array(self._graph.get_items(chunk), dtype=np.float32).T
            scores = np.concatenate([scores, found], axis=1)
            places = np.concatenate([places, np.broadcast_to(chunk, found.shape)], axis=1)
            order = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
            scores, places = np.take_along_axis(scores, order, 1), np.take_along_axis(places, order, 1)
        return places, scores
