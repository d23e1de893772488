"""Tables that programs for offices export under the name .xls: HTML, and XML Spreadsheet 2003.

Both are read with the standard library. Of XML with a document type nothing is read: its entities may name files, and
grow without an end.
"""

import html.parser
import re
import xml.etree.ElementTree

from core.encodings import codec_of, utf16_variant
from utils import UsageError

SPREADSHEET = "{urn:schemas-microsoft-com:office:spreadsheet}"
HTML = re.compile(r"\ufeff?\s*(?:<!--.*?-->\s*)*<(?:!doctype html|html|table|meta)\b", re.IGNORECASE | re.DOTALL)
CHARSET = re.compile(rb"""<meta[^>]{0,200}charset\s*=\s*["']?\s*([\w-]{3,20})""", re.IGNORECASE)
INTEGER = re.compile(r"-?\d{1,15}(?:\.0*)?")
# Cells that one may be spread over; more are a mistake.
MOST_SPAN = 1000


def markup_kind(head):
    """ "HTML" or "XML Spreadsheet 2003" by the first bytes of a file; None for another."""
    text = head[:4000].decode(utf16_variant(head[:4000]) or "utf-8", "replace")
    if "urn:schemas-microsoft-com:office:spreadsheet" in text and re.match(r"\ufeff?\s*<(?:\?xml|Workbook)", text):
        return "XML Spreadsheet 2003"
    return "HTML" if HTML.match(text) else None


def charset_of(head):
    """The encoding that a page names for itself, where Python knows it; else None."""
    match = CHARSET.search(head[:4000])
    name = match and match[1].decode("ascii")
    # What is called GB2312 has characters of GBK.
    name = "gb18030" if name and name.lower() in ("gb2312", "gbk") else name
    return name if name and codec_of(name) not in (None, "utf-8") else None


def markup_sheets(where, text, kind):
    """The tables in a file.

    Args:
        where (str): the file, for messages.
        text (str): the whole of it.
        kind (str): what markup_kind says.

    Returns:
        dict[str, list[tuple[int, list[str]]]]: name of a table -> number of a row, from 1, and its cells; rows without
        any are left out. A cell that goes over several rows is in each of them.

    Raises:
        UsageError: no table in it, or XML that cannot be read.
    """
    if kind == "HTML":
        parser = _Tables()
        parser.feed(text)
        parser.close()
        found = {f"table {number}": _in_place(rows) for number, rows in enumerate(parser.tables, 1)}
    else:
        found = _worksheets(where, text)
    found = {name: filled for name, rows in found.items() if (filled := _filled(rows))}
    if not found:
        what = "a web page" if kind == "HTML" else kind
        raise UsageError(f"{where}: {what} without a table; give a file of texts and labels, such as CSV or .xlsx")
    return found


def _filled(rows):
    """Rows of texts with their numbers and all of one width, without those that are empty."""
    width = max(map(len, rows), default=0)
    return [
        (number, row + [""] * (width - len(row))) for number, row in enumerate(rows, 1) if any(map(str.strip, row))
    ]


def _in_place(rows):
    """Rows of HTML, of (text, rows, columns), as texts: each cell in all the rows that it goes over."""
    found, hanging = [], {}
    for row in rows:
        cells, place, waiting = [], 0, list(row)
        while waiting or place in hanging:
            if place in hanging:
                text, left = hanging.pop(place)
                if left > 1:
                    hanging[place] = text, left - 1
                cells.append(text)
                place += 1
                continue
            text, down, across = waiting.pop(0)
            for offset in range(across):
                # A title over all columns stays in one cell.
                cells.append(text if not offset else "")
                if down > 1:
                    hanging[place + offset] = cells[-1], down - 1
            place += across
        found.append(cells)
    return found


class _Tables(html.parser.HTMLParser):
    """The outermost tables of a page: lists of rows of (text, rows, columns)."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tables, self.depth, self.cell, self.unseen = [], 0, None, 0

    def handle_starttag(self, tag, attrs):
        if tag in ("style", "script"):
            self.unseen += 1
        elif tag == "table":
            self.depth += 1
            if self.depth == 1:
                self.tables.append([])
        elif self.depth == 1 and tag == "tr":
            self._end_cell()
            self.tables[-1].append([])
        elif self.depth == 1 and tag in ("td", "th") and self.tables[-1]:
            self._end_cell()
            spans = [_span(dict(attrs).get(name)) for name in ("rowspan", "colspan")]
            self.cell = ([], *spans)
        elif self.cell and tag in ("br", "p", "div", "li"):
            self.cell[0].append("\n")

    def handle_endtag(self, tag):
        if tag in ("style", "script"):
            self.unseen = max(0, self.unseen - 1)
        elif tag == "table":
            if self.depth == 1:
                self._end_cell()
            self.depth = max(0, self.depth - 1)
        elif self.depth == 1 and tag in ("td", "th", "tr"):
            self._end_cell()

    def handle_data(self, data):
        if self.cell and not self.unseen:
            self.cell[0].append(data)

    def _end_cell(self):
        if self.cell:
            texts, down, across = self.cell
            self.tables[-1][-1].append(("".join(texts).strip(), down, across))
            self.cell = None


def _span(value):
    """How many cells a rowspan or colspan says."""
    value = (value or "").strip()
    return min(max(int(value), 1), MOST_SPAN) if value.isdecimal() else 1


def _worksheets(where, text):
    """The sheets of XML Spreadsheet 2003: lists of rows of texts."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise UsageError(f"{where}: XML with a document type, which is not read; save it again, as .xlsx or CSV")
    # The encoding that it names was needed for its bytes.
    text = re.sub(r"^\s*<\?xml[^>]*\?>", "", text.lstrip("\ufeff"))
    try:
        root = xml.etree.ElementTree.fromstring(text)
    except xml.etree.ElementTree.ParseError as error:
        raise UsageError(f"{where}: not readable as XML ({error}); save it again, as .xlsx or CSV") from None
    found = {}
    for sheet in root.iter(f"{SPREADSHEET}Worksheet"):
        rows, hanging = [], {}
        for row in sheet.iter(f"{SPREADSHEET}Row"):
            _pad(rows, row, [])
            cells = [""]  # of place 0; places count from 1
            merged = {}
            for cell in row.iter(f"{SPREADSHEET}Cell"):
                _pad(cells, cell, "", 1)
                cells.append(_text_of(cell))
                down, across = (cell.get(f"{SPREADSHEET}{name}", "") for name in ("MergeDown", "MergeAcross"))
                if down.isdecimal():
                    merged[len(cells) - 1] = cells[-1], int(down)
                cells += [""] * min(int(across), MOST_SPAN) if across.isdecimal() else []
            for place, (text, left) in hanging.items():
                cells += [""] * (place + 1 - len(cells))
                cells[place] = cells[place] or text
                if left > 1:
                    merged.setdefault(place, (text, left - 1))
            hanging = merged
            rows.append(cells[1:])
        if rows:
            found[sheet.get(f"{SPREADSHEET}Name") or f"sheet {len(found) + 1}"] = rows
    return found


def _text_of(cell):
    """What a cell shows; whole numbers without a point."""
    data = cell.find(f"{SPREADSHEET}Data")
    if data is None:
        return ""
    text = "".join(data.itertext())
    is_whole = data.get(f"{SPREADSHEET}Type") == "Number" and INTEGER.fullmatch(text)
    return str(int(float(text))) if is_whole else text


def _pad(items, element, empty, first=0):
    """Add what an Index leaves out before an element; first: the items that are none."""
    index = element.get(f"{SPREADSHEET}Index", "")
    while index.isdecimal() and len(items) + 1 - first < min(int(index), 1 << 20):
        items.append(empty)
