"""data/agreement_page.py: what the page shows, beside what test_agreement.py sees."""

import collections

from data.agreement_measures import Measure, agreement_of
from data.agreement_page import as_json, cell, page_parts
from data.annotators import Vote

NAN = Measure(float("nan"), (float("nan"), float("nan")), 3)


def test_cells():
    assert cell(Measure(0.5, (0.25, 0.75), 9)) == ("0.500", "0.250 – 0.750") and cell(NAN) == "–"
    assert cell(Measure(0.5, (0.25, 0.75), 9), 100, 1) == ("50.0", "25.0 – 75.0")


def test_figures_that_cannot_be_told_and_many_rows():
    votes = [Vote("", who, f"text {place}", "x") for who in ("a", "b") for place in range(3)]
    found = agreement_of(votes, 0)
    page = "\n".join(page_parts(found, [], collections.Counter(several_labels=1234), "en"))
    assert "1,234 annotations with several labels" in page and "nan" not in page and "–" in page
    assert as_json(found)["alpha"] == {"value": None, "interval": None, "texts": 3}
    found = agreement_of([*votes, *(Vote("", who, "another", who) for who in ("a", "b"))], 0)
    rows = [{"text": f"第{place}条", "origin": "a=a b=b", "label": "x", "score": "0.5"} for place in range(300)]
    page = "\n".join(page_parts(found, rows, collections.Counter(), "zh"))
    assert "300 条中的前 200 条" in page and "第199条" in page and "第200条" not in page and "x 0.5" in page
