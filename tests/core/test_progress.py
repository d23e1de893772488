"""Progress bars where nobody looks at them."""

import io

from core import progress


def test_lines_instead_of_a_bar_in_a_file(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr("sys.stderr", out)
    monkeypatch.setattr(progress, "LINE_INTERVAL", 0)
    assert list(progress.progress_bar(range(3), desc="texts")) == [0, 1, 2]
    lines = out.getvalue().splitlines()
    assert lines and all(line.startswith("texts: ") for line in lines)
    assert "100%" in lines[-1] and "\r" not in out.getvalue()


def test_short_work_is_silent_in_a_file(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr("sys.stderr", out)
    assert list(progress.progress_bar(range(3), desc="texts")) == [0, 1, 2]
    assert out.getvalue() == ""


def test_a_bar_on_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    out = Terminal()
    monkeypatch.setattr("sys.stderr", out)
    assert list(progress.progress_bar(range(3), desc="texts")) == [0, 1, 2]
    assert "\rtexts: 100%" in out.getvalue()
