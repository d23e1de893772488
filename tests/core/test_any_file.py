"""core/any_file.py: a table in the place of a file of <text>, a tab, <label>."""

import subprocess
import sys

import pytest

from core.any_file import read_any_examples, read_table
from core.checks import read_dev
from tests.data import zoo
from tests.helpers import ROOT
from utils import UsageError

TEXTS, LABELS = map(list, zip(*zoo.SAMPLES))
IDS = [zoo.NAMES.index(label) for label in LABELS]


def test_a_table(tmp_path, capsys):
    path = zoo.write(tmp_path / "a.csv", zoo.table([["label", "text"], *((n, t) for t, n in zoo.SAMPLES)]), "gbk")
    assert read_any_examples(path, zoo.NAMES) == (TEXTS, IDS) == read_dev(path, zoo.NAMES, path)
    assert "a.csv: fields in quotes between commas" in capsys.readouterr().err
    assert read_table(path) == (TEXTS, LABELS)


def test_lines_are_read_as_ever(tmp_path):
    path = zoo.write(tmp_path / "a.txt", "".join(f"{t}\t{n}\n" for t, n in zoo.SAMPLES) + "没有标签\n")
    with pytest.raises(UsageError, match=r"a\.txt:61: no tab"):
        read_any_examples(path, zoo.NAMES)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("没有标签,\n", r"a\.csv:62: no label; mend it, or leave such rows out"),
        ("多,一,列\n", r"a\.csv:62: 3 fields, not 2; mend it"),
        ("第一条,体玉\n", r"a\.csv:62: unknown label '体玉'"),
    ],
)
def test_nothing_is_left_out(tmp_path, more, message):
    path = zoo.write(tmp_path / "a.csv", zoo.table([["text", "label"], *zoo.SAMPLES]) + more)
    with pytest.raises(UsageError, match=message):
        read_any_examples(path, zoo.NAMES)


def test_where_it_is_unsure(tmp_path):
    path = zoo.write(
        tmp_path / "a.csv", zoo.table([["title", "content", "label"], *((t, t, n) for t, n in zoo.SAMPLES)])
    )
    with pytest.raises(UsageError, match="2 columns may be the text.*python data/convert.py --input_file .*a.csv"):
        read_any_examples(path, zoo.NAMES)


def test_it_is_light(tmp_path):
    """train.py reads its data before anything heavy is imported."""
    path = zoo.write(tmp_path / "a.csv", zoo.table([["text", "label"], *zoo.SAMPLES]))
    code = f"import sys; from core.any_file import read_table; read_table({str(path)!r}); print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    assert not {"numpy", "pandas", "pyarrow", "scipy", "paddle"} & set(result.stdout.split())
