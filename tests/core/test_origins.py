"""core/origins.py: which labels no person has given."""

import json

import pytest

from core.origins import ORIGINS_FILE, origin_counts, origin_lines, origins_of_files, read_origins
from data import check
from utils import UsageError


def test_a_label_that_was_corrected_is_a_person_s(tmp_path):
    assert read_origins(tmp_path) == {}
    rows = [{"text": f"t{number}", "label": "甲", "origin": "llm:m", "confidence": 0.9} for number in range(3)]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / ORIGINS_FILE).write_text(lines, encoding="utf-8")
    origins = read_origins(tmp_path)
    assert origins["t2"] == ("甲", "llm:m")
    assert origin_counts(["t0", "t1", "other"], ["甲", "乙", "甲"], origins) == {"llm:m": 1}


def test_check_tells_of_labels_that_no_person_has_given(data_dir, capsys):
    assert origins_of_files(data_dir) == {}
    rows = []
    for name, count in {"train.txt": 5, "dev.txt": 2}.items():
        for line in (data_dir / name).read_text(encoding="utf-8").splitlines()[:count]:
            text, label = line.rsplit("\t", 1)
            rows.append(json.dumps({"text": text, "label": label, "origin": "llm:m"}, ensure_ascii=False))
    (data_dir / ORIGINS_FILE).write_text("\n".join(rows), encoding="utf-8")
    found = origins_of_files(data_dir)
    assert found == {"train.txt": {"llm:m": 5}, "dev.txt": {"llm:m": 2}}
    train, dev = origin_lines(found)
    check.main(["--dataset_dir", str(data_dir)])
    told = capsys.readouterr().out.splitlines()
    assert train in told and dev in told and "have people label this file" in dev


def test_check_tells_of_the_training_file_that_llm_label_wrote(data_dir, capsys):
    """Its origins.jsonl lies beside it, not in --dataset_dir."""
    (data_dir / "llm").mkdir()
    lines = (data_dir / "train.txt").read_text(encoding="utf-8").splitlines()
    (data_dir / "llm" / "train.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = [dict(zip(("text", "label"), line.rsplit("\t", 1)), origin="llm:m") for line in lines[:4]]
    content = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (data_dir / "llm" / ORIGINS_FILE).write_text(content, encoding="utf-8")
    check.main(["--dataset_dir", str(data_dir), "--train_path", str(data_dir / "llm" / "train.txt")])
    assert "train.txt: labels that no person has given: 4 from llm:m" in capsys.readouterr().out
    check.main(["--train_path", str(data_dir / "llm" / "train.txt")])
    assert "train.txt: labels that no person has given: 4 from llm:m" in capsys.readouterr().out
    check.main(["--dataset_dir", str(data_dir)])
    assert "no person has given" not in capsys.readouterr().out


@pytest.mark.parametrize("line", ["{", "[]", '{"text": "a"}'])
def test_a_damaged_line_is_named(tmp_path, line):
    (tmp_path / ORIGINS_FILE).write_text(f"{line}\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"origins\.jsonl:1: not readable"):
        read_origins(tmp_path)
