"""analysis/report.py: what is escaped, tables, pictures, pages."""

import argparse

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


def test_small_letters_and_kinds():
    html = report.table(["name", "value"], [["<x>", ("85.22", "80.10 – 89.03")]], numbers=(1,), kind="texts")
    assert html.startswith('<table class="texts">') and "&lt;x&gt;" in html
    assert '<td class="number">85.22<br><small>80.10 – 89.03</small></td>' in html
    assert report.chart("<svg/>") == '<div class="chart"><svg/></div>'
    assert report.chart("<svg/>", is_wide=True) == '<div class="chart wide"><svg/></div>'


@pytest.mark.parametrize(
    "names, lang",
    [
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_TW.Big5"}, "zh"),
        ({"LANG": "en_US.UTF-8"}, "en"),
        ({"LC_ALL": "zh_CN.UTF-8", "LANG": "en_US.UTF-8"}, "zh"),
        ({"LC_ALL": "C", "LANG": "zh_CN.UTF-8"}, "en"),
        ({"LC_ALL": "", "LANG": "zh_CN"}, "zh"),
        ({"LC_MESSAGES": "zh_HK", "LANG": "de_DE"}, "zh"),
    ],
)
def test_the_language_is_the_locales(names, lang, monkeypatch):
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    parser = argparse.ArgumentParser()
    report.add_language_flag(parser)
    assert report.locale_language() == parser.parse_args([]).lang == lang
    assert parser.parse_args(["--lang", "en"]).lang == "en"


def test_without_a_locale_the_system_is_asked(monkeypatch):
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for answer, lang in (("Chinese (Simplified)_China", "zh"), ("zh_CN", "zh"), ("en_US", "en"), (None, "en")):
        monkeypatch.setattr(report.locale, "getlocale", lambda answer=answer: (answer, None))
        assert report.locale_language() == lang


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
    assert '<html lang="en">' in text and "width=device-width" in text
    report.write_page(page, "题", [], "zh")
    assert '<html lang="zh-CN">' in page.read_text(encoding="utf-8")
    assert "src=" not in text and "href=" not in text and [path.name for path in page.parent.iterdir()] == [page.name]
    with pytest.raises(UsageError, match="cannot write there"):
        report.write_page(page / "below.html", "x", [])
