"""core/card_words.py: whatever is said in one language is said in the other."""

import re

import numpy as np
import pytest

from core import card_words
from core.calibration import export_facts
from core.checks import dev_at_hand
from core.label_paths import LabelPaths
from tests.helpers import LABELS


def test_every_word_is_there_twice():
    for name, both in card_words.TEXT.items():
        assert len(both) == 2 and all(both), name
        if isinstance(both[0], str):
            fields = [set(re.findall(r"{(\w+)}", words)) for words in both]
            assert fields[0] == fields[1], name
        else:
            assert len(both[0]) == len(both[1]) and type(both[0]) is type(both[1]), name
            assert not isinstance(both[0], dict) or both[0].keys() == both[1].keys(), name


@pytest.mark.parametrize("kind", ["small", "not wanted", "no dev", "other labels"])
def test_reasons_are_said_in_chinese_too(tmp_path, kind):
    """Those that the code gives, not copies of them; and no folder of this machine."""
    if kind in ("small", "not wanted"):
        truth = np.arange(50 if kind == "small" else 200) % 2
        facts = export_facts(np.eye(2)[truth], truth, LabelPaths(["a", "b"]), 0, wanted=kind == "small")
        text = facts["calibration"]["why"]
    else:
        (tmp_path / "label.txt").write_text("x\ny\n", encoding="utf-8")
        if kind == "other labels":
            (tmp_path / "dev.txt").write_text("a\tx\n", encoding="utf-8")
        _, text = dev_at_hand(tmp_path / "dev.txt", tmp_path / "label.txt", LABELS)
    chinese, english = (card_words.Words(language).reason(text) for language in ("zh", "en"))
    assert str(tmp_path) not in chinese + english
    assert re.search("[\u4e00-\u9fff]", chinese) or chinese == english == "--calibrate False"
    assert not re.search("[\u4e00-\u9fff]", english)


def test_paths_lose_their_folders():
    cut = card_words.without_folders
    assert cut("there is no /home/me/dev.txt; give --data_dir") == "there is no dev.txt; give --data_dir"
    assert cut(r"C:\me\dev.txt:3: wrong") == "dev.txt:3: wrong"
