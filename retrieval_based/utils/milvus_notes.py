"""Notes of an index in Milvus, in a collection of their own beside it: `<collection>_notes`.

Not the properties of its collection: Milvus Lite cannot change them, and Milvus 2.3.5 forgets every change but
the first when it is started again. A note is a row that is only ever added, so writers do not undo each other's.
"""

import json
import time
import uuid

from retrieval_based.utils.milvus_client import CALL_TIMEOUT, LOAD_TIMEOUT, READ_ALL, plain_errors
from utils import UsageError

MAX_NOTE_BYTES = 65535
# Rows that Milvus gives at most for one query.
MAX_NOTES = 16384
DESCRIPTION = "notes of retrieval_based"


class MilvusNotes:
    """The notes of one collection.

    Args:
        client (pymilvus.MilvusClient): connected.
        uri (str): for messages.
        collection (str): whose notes they are.
        index_id (str): of the index in it; notes of one that was there before are passed over.
    """

    def __init__(self, client, uri, collection, index_id):
        self._client, self.uri, self.index_id = client, uri, index_id
        self.collection = f"{collection}_notes"
        self._is_loaded = False

    def read(self):
        """The notes, oldest first: list[dict]."""
        return [note for _, note in self._rows()]

    def add(self, note):
        """Keep one more, a dict of JSON's values; the collection is made at the first.

        Raises:
            UsageError: the note is too long, or the name of the collection is another one's.
        """
        text = json.dumps(note, ensure_ascii=False)
        size = len(text.encode("utf-8"))
        if size > MAX_NOTE_BYTES:
            raise UsageError(f"{self.uri}: a note of {size} bytes; an index keeps notes of {MAX_NOTE_BYTES}")
        rows = self._rows()
        # After all that are there, whatever the clocks of two machines say.
        moment = max([time.time_ns(), *(int(moment.split("-")[0]) + 1 for moment, _ in rows[-1:])])
        row = {"id": f"{moment:020d}-{uuid.uuid4().hex[:8]}", "index_id": self.index_id, "note": text}
        with plain_errors(self.uri):
            if not self._load():
                self._create()
            self._client.insert(self.collection, [{**row, "vector": [1.0, 0.0]}], timeout=CALL_TIMEOUT)

    def _rows(self):
        """Ids and notes, oldest first: list[tuple[str, dict]]."""
        options = {"output_fields": ["id", "note"], "limit": MAX_NOTES, **READ_ALL}
        with plain_errors(self.uri):
            if not self._load():
                return []
            found = self._client.query(self.collection, filter=f'index_id == "{self.index_id}"', **options)
        return sorted((row["id"], json.loads(row["note"])) for row in found)

    def _load(self):
        """Whether the collection is there, which then is ready to be asked."""
        if not self._is_loaded and self._client.has_collection(self.collection, timeout=CALL_TIMEOUT):
            found = self._client.describe_collection(self.collection, timeout=CALL_TIMEOUT)
            if found["description"] != DESCRIPTION:
                raise UsageError(
                    f"{self.uri}: the collection {self.collection} holds something else than this index's notes; "
                    "choose another --collection"
                )
            self._make_ready()
        return self._is_loaded

    def _make_ready(self):
        """Index and load it; a creation that was cut off is taken up here."""
        if "vector" not in self._client.list_indexes(self.collection):
            params = self._client.prepare_index_params()
            params.add_index("vector", index_type="FLAT", metric_type="L2", index_name="vector")
            self._client.create_index(self.collection, params)
        self._client.load_collection(self.collection, timeout=LOAD_TIMEOUT)
        self._is_loaded = True

    def _create(self):
        from pymilvus import DataType, MilvusClient

        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False, description=DESCRIPTION)
        schema.add_field("id", DataType.VARCHAR, max_length=64, is_primary=True)
        schema.add_field("index_id", DataType.VARCHAR, max_length=64)
        schema.add_field("note", DataType.VARCHAR, max_length=MAX_NOTE_BYTES)
        # Milvus has no collection without one.
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=2)
        self._client.create_collection(self.collection, schema=schema, consistency_level="Strong")
        self._make_ready()
