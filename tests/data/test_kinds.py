"""data/kinds.py: the kinds of findings."""

import pytest

from data.kinds import ERRORS, WARNINGS
from tests.helpers import ROOT


@pytest.mark.parametrize("name", ["README.md", "README_en.md"])
def test_all_are_in_the_readme(name):
    text = (ROOT / "data" / name).read_text(encoding="utf-8")
    assert [kind for kind in (*ERRORS, *WARNINGS) if f"`{kind}`" not in text] == []
