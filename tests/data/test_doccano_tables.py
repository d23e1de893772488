"""Texts, suggestions, ticks and order in tables such as doccano 1.8.4 makes; the real ones: test_doccano_site.py."""

import sqlite3

import pytest

from data import doccano_tables
from utils import UsageError

# The columns that matter, with doccano's constraints.
TABLES = """
CREATE TABLE examples_example (id integer PRIMARY KEY AUTOINCREMENT, uuid char(32) NOT NULL UNIQUE,
  meta text NOT NULL CHECK (JSON_VALID(meta)), filename varchar(1024) NOT NULL, text text,
  created_at datetime NOT NULL, updated_at datetime NOT NULL, annotations_approved_by_id integer,
  project_id bigint NOT NULL, upload_name varchar(512) NOT NULL, score real NOT NULL);
CREATE TABLE labels_category (id integer PRIMARY KEY AUTOINCREMENT, prob real NOT NULL, manual bool NOT NULL,
  created_at datetime NOT NULL, updated_at datetime NOT NULL, example_id bigint NOT NULL, label_id bigint NOT NULL,
  user_id integer NOT NULL, uuid char(32) NOT NULL UNIQUE, UNIQUE (example_id, user_id, label_id));
CREATE TABLE examples_examplestate (id integer PRIMARY KEY AUTOINCREMENT, confirmed_at datetime NOT NULL,
  confirmed_by_id integer NOT NULL, example_id integer NOT NULL);
CREATE TABLE label_types_categorytype (id integer PRIMARY KEY, text varchar(100) NOT NULL, project_id bigint NOT NULL);
CREATE TABLE auth_user (id integer PRIMARY KEY, username varchar(150) NOT NULL);
INSERT INTO auth_user VALUES (1, 'admin'), (2, 'alice'), (3, 'bob');
INSERT INTO label_types_categorytype VALUES (10, '甲', 7), (11, '乙', 7), (12, '丙', 8);
"""
TEXTS = [f"文本{number}" for number in range(6)]


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "db.sqlite3"
    db = sqlite3.connect(path)
    db.executescript(TABLES)
    db.close()
    return path


def do(path, query, *values):
    with sqlite3.connect(path) as db:
        return db.execute(query, values).fetchall()


def texts(path):
    return [row[0] for row in do(path, "SELECT text FROM examples_example WHERE project_id = 7 ORDER BY created_at")]


def tick(path, text, user, label=None):
    (example,) = do(path, "SELECT id FROM examples_example WHERE text = ?", text)[0]
    if label:
        do(path, "DELETE FROM labels_category WHERE example_id = ? AND user_id = ?", example, user)
        do(
            path,
            "INSERT INTO labels_category (uuid, prob, manual, created_at, updated_at, example_id, label_id, user_id) "
            "VALUES (hex(randomblob(16)), 0, 0, '', '', ?, ?, ?)",
            example,
            label,
            user,
        )
    query = "INSERT INTO examples_examplestate (confirmed_at, confirmed_by_id, example_id) VALUES (?, ?, ?)"
    (count,) = do(path, "SELECT COUNT(*) FROM examples_examplestate")[0]
    do(path, query, f"2026-01-01 00:00:{count:02}", user, example)


def test_texts_come_once_and_in_order(path):
    do(
        path,
        "INSERT INTO examples_example (uuid, meta, filename, text, created_at, updated_at, project_id, upload_name, "
        "score) VALUES ('x', '{}', '.', '先来的', '2999-01-01 00:00:00', '', 7, '', 100)",
    )
    assert doccano_tables.add_texts(path, 7, [*TEXTS[:3], TEXTS[0], "先来的"], None, [1]) == 3
    assert texts(path) == ["先来的", *TEXTS[:3]]
    assert doccano_tables.add_texts(path, 7, TEXTS, [("甲", 0.5)] * 6, [1]) == 3
    assert texts(path) == ["先来的", *TEXTS]
    # A suggestion on a text that is there could replace, unseen, what somebody is about to tick.
    suggested = do(path, "SELECT text FROM labels_category c JOIN examples_example e ON e.id = example_id")
    assert [row[0] for row in suggested] == TEXTS[3:]
    assert do(path, "SELECT DISTINCT meta FROM examples_example WHERE text = ?", TEXTS[4]) == [
        ('{"score": "0.5000"}',)
    ]
    assert doccano_tables.add_texts(path, 8, TEXTS[:1], None, [1]) == 1, "another project has texts of its own"


def test_all_or_nothing(path):
    with pytest.raises(UsageError, match="suggested label '丙': the project has no such label"):
        doccano_tables.add_texts(path, 7, TEXTS, [("甲", 0.9), None, ("丙", 0.9), *[None] * 3], [1])
    assert texts(path) == [] == do(path, "SELECT * FROM labels_category")
    assert doccano_tables.add_texts(path, 7, TEXTS, [("甲", 0.9), None, ("乙", 0.0), *[None] * 3], [1, 2]) == 6
    assert len(do(path, "SELECT * FROM labels_category WHERE prob > 0")) == 4


def test_only_what_is_ticked_counts(path):
    doccano_tables.add_texts(path, 7, TEXTS, [("甲", 0.9)] * 6, [1])
    assert doccano_tables.annotations(path, 7, True) == []
    tick(path, TEXTS[1], 2)  # the suggestion, which is the administrator's, is confirmed by another
    assert doccano_tables.annotations(path, 7, True) == [(TEXTS[1], "甲", "alice")]
    do(path, "DELETE FROM labels_category WHERE user_id = 1")
    assert doccano_tables.annotations(path, 7, True) == [], "ticked without a label"


@pytest.mark.parametrize("shared", [True, False])
def test_a_suggestion_beside_a_choice(path, shared):
    """The model's answer may come while somebody chooses: what was chosen counts."""
    doccano_tables.add_texts(path, 7, TEXTS, [("甲", 1e-6)] * 6, [2, 3])
    (example,) = do(path, "SELECT id FROM examples_example WHERE text = ?", TEXTS[0])[0]
    do(
        path,
        "INSERT INTO labels_category (uuid, prob, manual, created_at, updated_at, example_id, label_id, user_id) "
        "VALUES ('x', 0, 0, '', '', ?, 11, 2)",
        example,
    )
    tick(path, TEXTS[0], 2)
    assert doccano_tables.annotations(path, 7, shared) == [(TEXTS[0], "乙", "alice")]


def test_several_annotators_of_a_text(path):
    doccano_tables.add_texts(path, 7, TEXTS, [("甲", 0.9)] * 6, [1, 2])
    tick(path, TEXTS[0], 2)
    tick(path, TEXTS[0], 3, 11)
    tick(path, TEXTS[1], 3, 10)
    wanted = [(TEXTS[0], "甲", "alice"), (TEXTS[0], "乙", "bob"), (TEXTS[1], "甲", "bob")]
    assert doccano_tables.annotations(path, 7, False) == wanted
    # Who comes later gets the suggestions, but not what others have chosen.
    do(path, "INSERT INTO auth_user VALUES (4, 'carol')")
    for _ in range(2):
        doccano_tables.suggest_to(path, 7, 4)
    rows = do(path, "SELECT label_id, prob FROM labels_category WHERE user_id = 4")
    assert rows == [(10, 0.9)] * 6
    assert doccano_tables.annotations(path, 7, False) == wanted


def test_order(path):
    doccano_tables.add_texts(path, 7, TEXTS, None, [1])
    assert doccano_tables.first_page(path, 7) == 1
    tick(path, TEXTS[0], 2, 10)
    tick(path, TEXTS[4], 2, 10)
    assert doccano_tables.first_page(path, 7) == 2
    before = do(path, "SELECT created_at FROM examples_example ORDER BY created_at")
    # 1 and 2 may be on a screen; 4 is ticked and keeps its place.
    doccano_tables.reorder(path, 7, [TEXTS[5], TEXTS[1], TEXTS[4], "nowhere", TEXTS[5]])
    assert texts(path) == [TEXTS[0], TEXTS[1], TEXTS[2], TEXTS[5], TEXTS[4], TEXTS[3]]
    assert do(path, "SELECT created_at FROM examples_example ORDER BY created_at") == before
    doccano_tables.reorder(path, 7, [])
    assert texts(path) == [TEXTS[0], TEXTS[1], TEXTS[2], TEXTS[5], TEXTS[4], TEXTS[3]]
    for text in TEXTS[1:4] + TEXTS[5:]:
        tick(path, text, 2, 10)
    assert doccano_tables.first_page(path, 7) == 1
