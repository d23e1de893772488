"""The texts, labels and ticks in the SQLite database of a doccano 1.8.4 that runs here.

doccano's API adds texts one a request, tells nobody what others have labelled, and cannot change the order of texts.
Each function here is one transaction, so that a stop in its middle leaves all of it or nothing.
"""

import contextlib
import datetime
import json
import sqlite3
import uuid

from utils import UsageError

# Seconds that doccano's own writing is waited for.
PATIENCE = 60
# So many texts that nobody has ticked keep their place: they may be on somebody's screen, or the next.
KEPT = 2
# Of a label that doccano or a person sets it is 0, so that a suggestion is known by it.
LEAST_PROBABILITY = 1e-6


@contextlib.contextmanager
def transaction(path):
    """A connection; what was done with it is written when the block ends well."""
    connection = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("COMMIT")
    finally:
        connection.close()  # rolls back where the block failed


def rows_of(path, query, values):
    """What a query finds, on a connection that cannot write."""
    with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", timeout=PATIENCE, uri=True)) as db:
        return db.execute(query, values).fetchall()


def add_texts(path, project, texts, suggestions, users):
    """Add texts behind those that are there, each once; one that is there stays as it is.

    A suggestion is set only on a text that is new: on another one it could replace, unseen, what an annotator is
    about to confirm.

    Args:
        path (Path): the database.
        project (int): its number.
        texts (list[str]): in this order.
        suggestions (list[tuple[str, float] | None] | None): label and score of each.
        users (list[int]): whose labels the suggestions become.

    Returns:
        int: how many were new.

    Raises:
        UsageError: a suggested label is not one of the project's.
    """
    with transaction(path) as db:
        labels = dict(db.execute("SELECT text, id FROM label_types_categorytype WHERE project_id = ?", [project]))
        there = {row[0] for row in db.execute("SELECT text FROM examples_example WHERE project_id = ?", [project])}
        last = db.execute("SELECT MAX(created_at) FROM examples_example WHERE project_id = ?", [project]).fetchone()[0]
        times = later(last)
        before = len(there)
        for text, suggestion in zip(texts, suggestions or [None] * len(texts)):
            if text in there:
                continue
            there.add(text)
            now = next(times)
            label, score = suggestion or (None, 0.0)
            if label is not None and label not in labels:
                raise UsageError(f"suggested label {label!r}: the project has no such label")
            meta = {} if label is None else {"score": f"{score:.4f}"}
            example = db.execute(
                "INSERT INTO examples_example (uuid, meta, filename, upload_name, text, score, created_at, updated_at,"
                " project_id) VALUES (?, ?, '.', '', ?, 100, ?, ?, ?)",
                [uuid.uuid4().hex, json.dumps(meta), text, now, now, project],
            ).lastrowid
            if label is not None:
                probability = max(float(score), LEAST_PROBABILITY)
                _suggest(db, example, labels[label], probability, users)
        return len(there) - before


def suggest_to(path, project, user):
    """Give a new annotator of a project without shared labels the suggestions that the others got."""
    with transaction(path) as db:
        rows = db.execute(
            "SELECT example_id, label_id, MAX(prob) FROM labels_category WHERE prob > 0 AND example_id IN (SELECT id "
            "FROM examples_example WHERE project_id = ?) GROUP BY example_id HAVING SUM(user_id = ?) = 0",
            [project, user],
        ).fetchall()
        for example, label, probability in rows:
            _suggest(db, example, label, probability, [user])


def _suggest(db, example, label, probability, users):
    now = text_of(datetime.datetime.now(datetime.timezone.utc))
    for user in users:
        db.execute(
            "INSERT INTO labels_category (uuid, prob, manual, created_at, updated_at, example_id, label_id, user_id) "
            "VALUES (?, ?, 0, ?, ?, ?, ?, ?)",
            [uuid.uuid4().hex, probability, now, now, example, label, user],
        )


def annotations(path, project, shared):
    """What people have ticked.

    Args:
        path, project: see add_texts.
        shared (bool): all see the same label of a text; else each annotator has their own.

    Returns:
        list[tuple[str, str, str]]: text, label and who ticked it, in the order of ticking; a text that is ticked
        without a label is none.
    """
    own, other = (
        ("", "")
        if shared
        else ("AND category.user_id = state.confirmed_by_id", "AND other.user_id = state.confirmed_by_id")
    )
    query = f"""
        SELECT example.text, type.text, user.username
        FROM examples_examplestate state
        JOIN examples_example example ON example.id = state.example_id
        JOIN labels_category category ON category.example_id = example.id {own}
        JOIN label_types_categorytype type ON type.id = category.label_id
        JOIN auth_user user ON user.id = state.confirmed_by_id
        WHERE example.project_id = ?
        -- A suggestion that came while somebody chose a label stands beside it, with a probability above 0.
        AND category.prob = (SELECT MIN(prob) FROM labels_category other WHERE other.example_id = example.id {other})
        ORDER BY state.confirmed_at, state.id, type.id"""
    return rows_of(path, query, [project])


def reorder(path, project, texts):
    """Bring the texts that nobody has ticked into an order, behind the KEPT first of them; ticked ones stay in place.

    Args:
        path, project: see add_texts.
        texts (list[str]): the next ones; unticked texts that are not among them come behind, in their old order.
    """
    wanted = {text: place for place, text in reversed(list(enumerate(texts)))}
    with transaction(path) as db:
        rows = db.execute(
            "SELECT id, text, created_at FROM examples_example example WHERE project_id = ? AND NOT EXISTS "
            "(SELECT 1 FROM examples_examplestate WHERE example_id = example.id) ORDER BY created_at, id",
            [project],
        ).fetchall()[KEPT:]
        times = sorted(row[2] for row in rows)
        order = sorted(rows, key=lambda row: wanted.get(row[1], len(wanted)))  # stable
        moved = [(time, row[0]) for time, row in zip(times, order) if row[2] != time]
        db.executemany("UPDATE examples_example SET created_at = ? WHERE id = ?", moved)


def first_page(path, project):
    """The page of the first text that nobody has ticked; 1 where there is none."""
    query = (
        "SELECT EXISTS (SELECT 1 FROM examples_examplestate WHERE example_id = example.id) FROM examples_example "
        "example WHERE project_id = ? ORDER BY created_at"
    )
    ticked = [row[0] for row in rows_of(path, query, [project])]
    return ticked.index(0) + 1 if 0 in ticked else 1


def later(last):
    """Times behind `last`, as Django writes them, a microsecond apart: doccano shows texts in their order.

    Args:
        last (str | None): such a time.
    """
    now = datetime.datetime.now(datetime.timezone.utc)
    if last:
        now = max(now, datetime.datetime.fromisoformat(last).replace(tzinfo=datetime.timezone.utc))
    while True:
        now += datetime.timedelta(microseconds=1)
        yield text_of(now)


def text_of(time):
    """A time as Django writes it into SQLite: in UTC, to the microsecond, so that texts sort as times do."""
    return time.strftime("%Y-%m-%d %H:%M:%S.%f")
