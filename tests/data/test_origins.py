"""data/origins.py: which labels no person has given."""

import json

import pytest

from data.origins import ORIGINS_FILE, origin_counts, read_origins
from utils import UsageError


def test_a_label_that_was_corrected_is_a_person_s(tmp_path):
    assert read_origins(tmp_path) == {}
    rows = [{"text": f"t{number}", "label": "甲", "origin": "llm:m", "confidence": 0.9} for number in range(3)]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / ORIGINS_FILE).write_text(lines, encoding="utf-8")
    origins = read_origins(tmp_path)
    assert origins["t2"] == ("甲", "llm:m")
    assert origin_counts(["t0", "t1", "other"], ["甲", "乙", "甲"], origins) == {"llm:m": 1}


@pytest.mark.parametrize("line", ["{", "[]", '{"text": "a"}'])
def test_a_damaged_line_is_named(tmp_path, line):
    (tmp_path / ORIGINS_FILE).write_text(f"{line}\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"origins\.jsonl:1: not readable"):
        read_origins(tmp_path)
