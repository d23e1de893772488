"""An index in Milvus: a local file (Milvus Lite), a server, or a cluster of servers, with the same code.

index = MilvusIndex("./milvus.db", dim=384, model_hash=extractor.model_hash)        # or http://host:19530
index.upsert(texts, labels, extractor.encode(texts), progress=True)
index.search(extractor.encode(["头疼挂什么科"]), top_k=10, labels=["就医建议", "疾病表述"])

It has the methods of HnswIndex (hnsw_util.py). What upsert has returned for is kept by Milvus, whatever is killed.
"""

import json
import os
import re
import uuid
from pathlib import Path

import numpy as np

from core.progress import progress_bar
from retrieval_based.utils import config
from retrieval_based.utils.config import Hit
from retrieval_based.utils.milvus_client import (
    CALL_TIMEOUT,
    LOAD_TIMEOUT,
    READ_ALL,
    SERVER,
    connect,
    disconnect,
    plain_errors,
)
from retrieval_based.utils.milvus_notes import MilvusNotes
from utils import UsageError, staged_files

FORMAT_VERSION = 1
METRIC = "COSINE"
# Rows that Milvus gives at most for one query or search.
MAX_ROWS = 16384
# Rows that are read together: with a vector of 1,024 numbers 8 MB, of the 64 MB that a message may have.
READ_BATCH = 2000
SEARCH_BATCH = 100
# The limit of Milvus 2.3 for the links of its HNSW; later versions take more.
MAX_M = 64


def quoted(text):
    """A string as Milvus's filters write it."""
    return json.dumps(text, ensure_ascii=False)


def label_filter(labels):
    return f"label in [{', '.join(map(quoted, labels))}]"


def found_hit(row):
    """A row of a search's result as a Hit."""
    return Hit(row["entity"]["text"], row["entity"]["label"], float(row["distance"]), row["id"])


class MilvusIndex:
    """Rows of text, label, version and vector, found by the cosine of their vectors.

    A text is there once: upserting it again, with another label too, replaces it.

    Args:
        uri (str): a file that ends in .db, or http://host:port.
        dim (int): numbers a vector.
        model_hash (str): of the model that makes the vectors.
        graph (config.Graph): of a server's.
        collection (str): the name in Milvus.
        token (str): user:password of a server that asks for it; default: environment variable MILVUS_TOKEN.

    Raises:
        UsageError: no server there, the file in use, or the collection is another model's.
    """

    # Rows are safe when upsert returns; save() is for speed.
    is_durable = True

    def __init__(
        self,
        uri,
        dim,
        model_hash,
        graph=config.GRAPH,
        collection=config.COLLECTION,
        token=None,
    ):
        # The collection of the notes has a longer name.
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,239}", collection):
            raise UsageError(f"collection {collection}: Milvus takes letters, digits and _, not a digit first")
        self.uri, self.collection, self.dim, self.model_hash = uri, collection, int(dim), model_hash
        self.is_lite = not SERVER.match(uri)
        self.is_shared = not self.is_lite
        self._graph = graph
        self._client = connect(uri, token or os.environ.get("MILVUS_TOKEN", ""))
        try:
            with plain_errors(uri):
                self._open_collection()
        except BaseException:
            self.close()
            raise

    # --------------------------------------------------------------------------------------------------- connection

    def _open_collection(self):
        """Make the collection, or check that it is this model's; load it.

        A creation that was cut off is taken up again: each part is made where it is missing.
        """
        about = {"format_version": FORMAT_VERSION, "dim": self.dim, "metric": METRIC, "model_hash": self.model_hash}
        if not self._client.has_collection(self.collection, timeout=CALL_TIMEOUT):
            self._create(json.dumps({**about, "index_id": uuid.uuid4().hex}))
        found = self._client.describe_collection(self.collection, timeout=CALL_TIMEOUT)
        try:
            description = json.loads(found["description"])
            stored = {name: description[name] for name in about}
        except (ValueError, KeyError, TypeError):
            raise UsageError(
                f"{self.uri}: the collection {self.collection} was not made by this program; choose another name"
            ) from None
        for name, wanted in about.items():
            if stored[name] != wanted:
                raise UsageError(
                    f"{self.uri}: {name} of the index is {stored[name]}, that of the model {wanted}; vectors of two "
                    "models cannot be compared: use the model it was made with, or another --uri or --collection"
                )
        # An index of before has none; a server has a number for each collection, Milvus Lite 0.
        self._index_id = description.get("index_id", str(found["collection_id"]))
        self._notes = MilvusNotes(self._client, self.uri, self.collection, self._index_id)
        if "vector" not in self._client.list_indexes(self.collection):
            self._create_index()
        self._client.load_collection(self.collection, timeout=LOAD_TIMEOUT)
        self._finish_pending()

    def _create(self, description):
        from pymilvus import DataType, MilvusClient

        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False, description=description)
        schema.add_field("id", DataType.VARCHAR, max_length=32, is_primary=True)
        schema.add_field("text", DataType.VARCHAR, max_length=config.MAX_TEXT_BYTES)
        schema.add_field("label", DataType.VARCHAR, max_length=config.MAX_LABEL_BYTES)
        schema.add_field("version", DataType.VARCHAR, max_length=255)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=self.dim)
        self._client.create_collection(self.collection, schema=schema, consistency_level="Strong")

    def _create_index(self):
        params = self._client.prepare_index_params()
        if self.is_lite:
            params.add_index("vector", index_type="FLAT", metric_type=METRIC)
        else:
            graph = {"M": min(self._graph.m, MAX_M), "efConstruction": self._graph.ef_construction}
            params.add_index("vector", index_type="HNSW", metric_type=METRIC, index_name="vector", params=graph)
        self._client.create_index(self.collection, params)

    def save(self):
        """On a server: close the growing segments, so that the graph is built over them. Nothing is lost without."""
        with plain_errors(self.uri):
            self._client.flush(self.collection, timeout=LOAD_TIMEOUT)

    def close(self):
        """End the connection; the file of Milvus Lite is then free for another process."""
        if self._client is not None:
            disconnect(self._client, self.uri)
            self._client = None

    def notes(self):
        """What add_note was given for this index, by anyone, oldest first: list[dict]."""
        return self._notes.read()

    def add_note(self, note):
        """Keep a dict of JSON's values with the index; it is safe when this returns."""
        self._notes.add(note)

    # ------------------------------------------------------------------------------------------------------ changes

    def upsert(self, texts, labels, vectors, version="", progress=False):
        """Add rows, or replace those of the same texts.

        Args:
            texts, labels (list[str]): [rows]; of a text that is there twice, the last counts.
            vectors: float [rows, dim], of any length but 0.
            version (str): kept with the rows.
            progress (bool): show a bar.

        Returns:
            int: rows written, which are the different texts. They are safe when this returns.
        """
        chosen, vectors = config.checked_rows(texts, labels, vectors, self.dim)
        rows = [
            {"id": key, "text": texts[row], "label": labels[row], "version": version, "vector": vectors[row]}
            for key, row in chosen.items()
        ]
        with progress_bar(total=len(rows), unit="row", desc="index", disable=not progress) as bar:
            for start in range(0, len(rows), config.INSERT_BATCH):
                batch = rows[start : start + config.INSERT_BATCH]
                self._upsert_rows(batch)
                bar.update(len(batch))
        return len(rows)

    def _upsert_rows(self, rows):
        rows = [{**row, "vector": np.asarray(row["vector"], dtype=np.float32)} for row in rows]
        # Milvus Lite deletes the old rows and then inserts the new ones: killed in between, it would lose both.
        replaces = self.is_lite and bool(self.stored(row["id"] for row in rows))
        if replaces:
            content = {"index_id": self._index_id}
            content["rows"] = [{**row, "vector": row["vector"].tolist()} for row in rows]
            with staged_files(self._pending.parent) as stage, (stage / self._pending.name).open("w") as file:
                json.dump(content, file)
                file.flush()
                os.fsync(file.fileno())
        with plain_errors(self.uri):
            self._client.upsert(self.collection, rows, timeout=CALL_TIMEOUT)
        if replaces:
            self._pending.unlink()

    @property
    def _pending(self):
        """Beside a file of Milvus Lite: rows that are being replaced."""
        return Path(f"{self.uri}.{self.collection}.pending")

    def _finish_pending(self):
        """Replace rows of which a kill has left neither the old nor the new state."""
        if self.is_lite and self._pending.exists():
            content = json.loads(self._pending.read_text(encoding="utf-8"))
            # A list: of a version before, which did not write whose they are.
            rows = content if isinstance(content, list) else content["rows"]
            if content is not rows and content["index_id"] != self._index_id:
                raise UsageError(f"{self._pending}: rows of an index that was here before; delete the file")
            self._client.upsert(self.collection, rows, timeout=CALL_TIMEOUT)
            self._pending.unlink()

    def delete_texts(self, ids):
        """Delete rows by their content ids; unknown ones are passed over. Returns the number deleted."""
        ids, deleted = list(dict.fromkeys(ids)), 0
        for start in range(0, len(ids), READ_BATCH):
            known = list(self.stored(ids[start : start + READ_BATCH]))
            if known:
                self._delete_rows(known)
            deleted += len(known)
        return deleted

    def _delete_rows(self, ids):
        with plain_errors(self.uri):
            self._client.delete(self.collection, ids=ids, timeout=CALL_TIMEOUT)

    def delete_label(self, label):
        """Delete the rows of a label; their number. Cut off, it may be called again."""
        deleted = 0
        while True:
            ids = [row["id"] for row in self._query(label_filter([label]), ["id"])]
            if ids:
                self._delete_rows(ids)
                deleted += len(ids)
            if len(ids) < READ_BATCH:
                return deleted

    def rename_label(self, old, new):
        """Give the rows of one label another, which may have rows already; their number.

        Cut off, it leaves some rows with each label, and may be called again.
        """
        config.check_label(new)
        if old == new:
            return self._count(label_filter([old]))
        renamed = 0
        while True:
            rows = self._query(label_filter([old]), ["id", "text", "version", "vector"])
            if rows:
                self._upsert_rows([{**row, "label": new} for row in rows])
                renamed += len(rows)
            if len(rows) < READ_BATCH:
                return renamed

    # ------------------------------------------------------------------------------------------------------- search

    def _query(self, condition, fields, limit=None):
        """Up to `limit` rows that meet a filter: list[dict]. What was written before, by anyone, is seen."""
        options = {"output_fields": fields, "limit": limit or READ_BATCH, **READ_ALL}
        with plain_errors(self.uri):
            found = self._client.query(self.collection, filter=condition, **options)
        return [{name: row[name] for name in fields} for row in found]

    def _count(self, condition=""):
        with plain_errors(self.uri):
            (row,) = self._client.query(self.collection, filter=condition, output_fields=["count(*)"], **READ_ALL)
        return int(row["count(*)"])

    def __len__(self):
        return self._count()

    def has_label(self, label):
        """Whether there is a row of this label."""
        return bool(self._query(label_filter([label]), ["id"], 1))

    def present(self, labels):
        """Those of some labels that have a row: set[str]."""
        missing, found = set(labels), set()
        while missing:
            rows = self._query(label_filter(sorted(missing)), ["label"])
            seen = {row["label"] for row in rows} & missing
            missing, found = missing - seen, found | seen
            if len(rows) < READ_BATCH or not seen:
                break
        return found

    def labels(self):
        """Rows by label, in alphabetical order: dict[str, int]. The label of every row is read for it."""
        # Content ids are hexadecimal digits at random: their beginnings part the rows evenly.
        digits = 0
        while len(self) / 16**digits > MAX_ROWS / 4:
            digits += 1
        counts = {}
        for number in range(16**digits):
            first = f"{number:0{digits}x}" if digits else ""
            # g comes after every digit.
            for row in self._query(f'id >= "{first}" and id < "{first}g"', ["label"], MAX_ROWS):
                counts[row["label"]] = counts.get(row["label"], 0) + 1
        return dict(sorted(counts.items()))

    def stored(self, ids):
        """Label and version of the rows that are there: dict[str, tuple[str, str]] by content id."""
        ids, found = list(ids), {}
        for start in range(0, len(ids), READ_BATCH):
            condition = f"id in [{', '.join(map(quoted, ids[start : start + READ_BATCH]))}]"
            for row in self._query(condition, ["id", "label", "version"]):
                found[row["id"]] = (row["label"], row["version"])
        return found

    def search(self, vectors, top_k, labels=None):
        """The nearest rows of each vector.

        Args:
            vectors: float [queries, dim].
            top_k (int): rows wanted, 1 to 16,384; fewer come where there are fewer.
            labels (list[str] | None): only rows of these; None: all.

        Returns:
            list[list[Hit]]: of each query, best first.

        Raises:
            UsageError: another dimension, a value that is not finite, or another top_k.
        """
        vectors = config.checked_vectors(vectors, self.dim) if len(vectors) else np.empty((0, self.dim), np.float32)
        if not 1 <= top_k <= MAX_ROWS:
            raise UsageError(f"top_k {top_k}: give 1 to {MAX_ROWS}")
        if labels is not None and not labels:
            return [[] for _ in vectors]
        hits = []
        for start in range(0, len(vectors), SEARCH_BATCH):
            hits += self._search_batch(vectors[start : start + SEARCH_BATCH], top_k, labels)
        return hits

    def _search_batch(self, vectors, top_k, labels):
        options = {
            "data": vectors.tolist(),
            "limit": top_k,
            "filter": "" if labels is None else label_filter(labels),
            "output_fields": ["text", "label"],
            "timeout": CALL_TIMEOUT,
            # What this client has written is found; Strong also waits for other clients' latest, up to 0.2 s.
            "consistency_level": "Session",
            "search_params": {
                "metric_type": METRIC,
                "params": {} if self.is_lite else {"ef": max(self._graph.ef, top_k)},
            },
        }
        with plain_errors(self.uri):
            found = self._client.search(self.collection, **options)
        return [sorted(map(found_hit, rows), key=lambda hit: -hit.score) for rows in found]
