"""analysis/report.py: what is escaped, tables, pictures, pages."""

import matplotlib
import pytest

from analysis import report
from utils import UsageError


def test_text_is_escaped():
    assert report.escape("<a href='x'>&") == "&lt;a href=&#x27;x&#x27;&gt;&amp;"
    assert report.escape("turned \u202eround\u200b") == "turned \\u202eround\\u200b"
    assert report.escape(12345) == "12,345" and report.escape(None) == "" and report.escape(0.5) == "0.5"


def test_a_table():
    html = report.table(["name", "count"], [["<x>", 1000]], numbers=(1,))
    assert html == (
        '<table><tr><th>name</th><th class="number">count</th></tr>\n'
        '<tr><td>&lt;x&gt;</td><td class="number">1,000</td></tr></table>'
    )


def test_pictures(tmp_path):
    figure, axes = report.new_figure(4, 3)
    axes.plot([0, 1], [0, 1], label="病情诊断")
    report.show_legend(axes)
    svg = report.to_svg(figure)
    assert svg.startswith("<svg") and "病情诊断" in svg  # text stays text
    assert svg == report.to_svg(figure)  # no dates, no random names
    report.to_png(figure, tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert isinstance(report.set_font(), bool) and "DejaVu Sans" in matplotlib.rcParams["font.sans-serif"]
    assert report.text_width("病a") > report.text_width("aa")


def test_a_page_is_one_file(tmp_path):
    page = tmp_path / "new" / "page.html"
    report.write_page(page, "<title>", ["<p>first</p>"])
    report.write_page(page, "<title>", ["<p>second</p>"])
    text = page.read_text(encoding="utf-8")
    assert "<h1>&lt;title&gt;</h1>" in text and "<p>second</p>" in text and "<p>first" not in text
    assert "src=" not in text and "href=" not in text and [path.name for path in page.parent.iterdir()] == [page.name]
    with pytest.raises(UsageError, match="cannot write there"):
        report.write_page(page / "below.html", "x", [])
