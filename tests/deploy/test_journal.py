"""deploy/annotation/journal.py: no label is lost."""

import pytest

from deploy.annotation.journal import JOURNAL_FILE, Journal
from utils import UsageError


def test_labels_come_back_and_a_torn_line_does_not(tmp_path):
    journal = Journal(tmp_path)
    assert journal.record([("一 条\n文本", "a", "x"), ("二", "a", "y")]) == 2
    assert journal.record([("一 条 文本", "a", "x")]) == 0  # no news
    before = (tmp_path / JOURNAL_FILE).read_bytes()
    journal.close()
    (tmp_path / JOURNAL_FILE).write_bytes(before + '{"text": "三", "anno'.encode())
    again = Journal(tmp_path)
    assert again.agreed() == {"一 条 文本": "x", "二": "y"}
    assert (tmp_path / JOURNAL_FILE).read_bytes() == before
    again.record([("三", "b", "x")])
    again.close()
    last = Journal(tmp_path)
    assert last.labels["三"] == {"b": "x"}
    last.close()


def test_two_annotators_agree_or_do_not(tmp_path):
    journal = Journal(tmp_path)
    journal.replace([("一", "x", "a"), ("一", "y", "b"), ("二", "x", "a"), ("二", "x", "b")])
    assert journal.agreed() == {"二": "x"} and journal.disputed() == {"一": {"a": "x", "b": "y"}}
    journal.replace([("一", "y", "b"), ("二", "x", "a"), ("二", "x", "b")])  # a took the label back
    assert journal.agreed() == {"一": "y", "二": "x"} and journal.annotators() == {"a": 1, "b": 2}
    journal.close()


def test_what_came_while_the_tool_was_asked_stays(tmp_path):
    journal = Journal(tmp_path)
    journal.record([("一", "a", "x"), ("二", "a", "x")])
    mark, rows = journal.mark, [("一", "x", "a"), ("二", "x", "a"), ("四", "y", "b")]  # as the tool has them now
    journal.record([("三", "b", "y"), ("一", "a", "y"), ("二", "a", None)])
    assert journal.replace(rows, mark) == 1  # 四, of which nobody told
    assert journal.labels == {"一": {"a": "y"}, "三": {"b": "y"}, "四": {"b": "y"}}
    assert journal.replace(rows, journal.mark) == 3 and journal.labels["二"] == {"a": "x"}
    journal.close()


def test_a_line_that_is_no_event_is_refused(tmp_path):
    (tmp_path / JOURNAL_FILE).write_text('{"text": "a"}\n', encoding="utf-8")
    with pytest.raises(UsageError, match=f"{JOURNAL_FILE}:1: not a line"):
        Journal(tmp_path)
    (tmp_path / JOURNAL_FILE).unlink()
    Journal(tmp_path).close()  # the lock was given back
