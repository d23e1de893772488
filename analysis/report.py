"""HTML pages and pictures: what data/check.py and the scripts of analysis/ share.

A page is one file: styles and plots are inside it, nothing is fetched. In its plots text stays text, drawn in the
reader's fonts; PNG files need a font with the labels' characters on this machine (see set_font).
"""

import contextlib
import functools
import html
import io
import locale
import logging
import os
import re
import warnings

from utils import staged_files

STYLE = """
body { font-family: system-ui, "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", sans-serif; color: #222;
       max-width: 62rem; margin: 2rem auto; padding: 0 1rem; line-height: 1.5; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; font-size: .9rem; }
td, th { border-bottom: 1px solid #ddd; padding: .25rem .7rem .25rem 0; text-align: left; vertical-align: top;
         overflow-wrap: anywhere; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
td.number, td:first-child { white-space: nowrap; }
td small { color: #666; }
table.texts td { white-space: normal; } table.texts td:first-child { min-width: 12rem; }
h1, h2 { line-height: 1.25; overflow-wrap: anywhere; }
summary { cursor: pointer; margin: .4rem 0; font-weight: 600; }
.chart { overflow-x: auto; margin: .5rem 0 1.5rem; } .chart.wide svg { max-width: none; }
.error { color: #b3261e; font-weight: 600; } .warning { color: #8a5a00; font-weight: 600; }
.ok { color: #2e7d32; font-weight: 600; }
svg { max-width: 100%; height: auto; }
@media (max-width: 40rem) {
  body { margin: 1rem auto; } h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; }
  table { display: block; overflow-x: auto; font-size: .85rem; } td, th { padding-right: .4rem; }
  th { word-break: keep-all; } td small { font-size: .7rem; letter-spacing: -.02em; }
  th.number, table.texts td { overflow-wrap: normal; } table.texts td { min-width: 4rem; }
}
"""

# Pages are written in these languages.
LANGUAGES = ("zh", "en")
LANGUAGE_TAGS = {"zh": "zh-CN", "en": "en"}


def locale_language():
    """zh where the locale is Chinese (LC_ALL, LC_MESSAGES or LANG, else what the system says), else en."""
    names = (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    name = next(filter(None, names), None) or locale.getlocale()[0] or ""
    return "zh" if re.match("zh|chinese", name, re.IGNORECASE) else "en"


def add_language_flag(parser):
    """--lang, of the page."""
    text = "language of the page (default: zh where the locale is Chinese, else en)"
    parser.add_argument("--lang", choices=LANGUAGES, default=locale_language(), help=text)


def new_figure(width, height):
    """A figure of that many inches and its axes."""
    import matplotlib
    from matplotlib.figure import Figure

    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "report", "font.size": 10})
    figure = Figure(figsize=(width, height))
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def to_svg(figure):
    """The figure as an <svg> element; text stays text, since Matplotlib itself has no Chinese fonts."""
    out = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about glyphs that its own fonts lack
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def to_png(figure, path):
    """Write the figure as a PNG file, with 150 dots an inch."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # set_font tells what is missing
        figure.savefig(path, format="png", dpi=150)


# Fonts with Chinese characters, by the names that Linux, macOS and Windows have them under.
CHINESE_FONTS = (
    "Noto Sans CJK SC",
    "Source Han Sans SC",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "PingFang SC",
    "Heiti SC",
    "Microsoft YaHei",
    "SimHei",
    "Noto Sans CJK JP",
    "Droid Sans Fallback",
)


@functools.cache
def set_font():
    """Choose a font with Chinese characters for PNG files; False where this machine has none."""
    import matplotlib
    from matplotlib import font_manager

    def installed():
        names = {font.name for font in font_manager.fontManager.ttflist}
        return [name for name in CHINESE_FONTS if name in names]

    if not installed():
        # Its list of fonts is kept from one run to the next: fonts installed since are looked for by their files.
        for path in font_manager.findSystemFonts():
            if re.search("cjk|sourcehan|wqy|simhei|msyh|pingfang|heiti|fallback", path, re.IGNORECASE):
                with contextlib.suppress(Exception):  # a broken font file is no reason to fail
                    font_manager.fontManager.addfont(path)
    found = installed()
    matplotlib.rcParams["font.sans-serif"] = [*found, "DejaVu Sans"]
    matplotlib.rcParams["axes.unicode_minus"] = False
    return bool(found)


def text_width(text):
    """The width of a label in Latin letters, of which a Chinese character takes nearly two."""
    return sum(1.8 if ord(character) >= 0x2E80 else 1 for character in text)


def show_legend(axes):
    """A legend above the axes, where it hides nothing."""
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0)


def table(header, rows, numbers=(), kind=""):
    """An HTML table. Cells are escaped; of a tuple the second part stands below the first one in small letters.

    Args:
        header (Sequence), rows (Iterable[Sequence]): cells.
        numbers (Collection[int]): columns that are set to the right and never broken.
        kind (str): a class of STYLE; texts for a table that is text in the first place.
    """

    def content(cell):
        first, *small = cell if isinstance(cell, tuple) else (cell,)
        return escape(first) + "".join(f"<br><small>{escape(part)}</small>" for part in small)

    def cells(tag, row):
        classes = [' class="number"' if column in numbers else "" for column in range(len(row))]
        return "".join(f"<{tag}{kind}>{content(cell)}</{tag}>" for kind, cell in zip(classes, row))

    lines = [f"<tr>{cells('th', header)}</tr>", *(f"<tr>{cells('td', row)}</tr>" for row in rows)]
    return (f'<table class="{kind}">' if kind else "<table>") + "\n".join(lines) + "</table>"


def chart(svg, is_wide=False):
    """A picture of to_svg; on a narrow screen it shrinks, or with `is_wide` keeps its size and is moved about."""
    return f'<div class="chart{" wide" if is_wide else ""}">{svg}</div>'


def escape(value):
    """Text for HTML; what cannot be seen or would turn its neighbours round is written as an escape."""
    text = f"{value:,}" if isinstance(value, int) else "" if value is None else str(value)
    return html.escape("".join(c if c.isprintable() else repr(c)[1:-1] for c in text))


def write_page(path, title, parts, lang="en"):
    """Write a page of HTML parts; a file that is there is replaced.

    Args:
        path (Path): the file.
        title (str): for its head and its first heading; it is escaped.
        parts (Iterable[str]): HTML.
        lang (str): of LANGUAGES, which browsers choose fonts by.

    Raises:
        UsageError: it cannot be written.
    """
    head = [
        f'<!DOCTYPE html>\n<html lang="{LANGUAGE_TAGS[lang]}"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>",
        f"<body><h1>{escape(title)}</h1>",
    ]
    with staged_files(path.parent) as stage:
        (stage / path.name).write_bytes("\n".join([*head, *parts, "</body></html>\n"]).encode("utf-8", "replace"))
