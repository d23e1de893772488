"""A spreadsheet as small as programs can read it."""

import zipfile
from xml.sax.saxutils import escape

CONTENT = "application/vnd.openxmlformats-officedocument.spreadsheetml"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"


def _cell(value, place):
    if value is None:
        return ""
    if isinstance(value, (int, float)):
        return f'<c r="{place}"><v>{value}</v></c>'
    return f'<c r="{place}" t="inlineStr"><is><t>{escape(value)}</t></is></c>'


def write_xlsx(path, sheets):
    """Write a book: name of a sheet -> rows of texts, numbers and None."""
    parts = {}
    books, relations, types = [], [], []
    for number, (name, rows) in enumerate(sheets.items(), 1):
        lines = [
            f'<row r="{r}">{"".join(_cell(value, f"{chr(65 + c)}{r}") for c, value in enumerate(row))}</row>'
            for r, row in enumerate(rows, 1)
        ]
        parts[f"xl/worksheets/sheet{number}.xml"] = (
            f'<worksheet xmlns="{MAIN}"><sheetData>{"".join(lines)}</sheetData></worksheet>'
        )
        books.append(f'<sheet name="{escape(name)}" sheetId="{number}" r:id="rId{number}"/>')
        relations.append(
            f'<Relationship Id="rId{number}" Type="{OFFICE}/worksheet" Target="worksheets/sheet{number}.xml"/>'
        )
        types.append(f'<Override PartName="/xl/worksheets/sheet{number}.xml" ContentType="{CONTENT}.worksheet+xml"/>')
    parts["xl/workbook.xml"] = (
        f'<workbook xmlns="{MAIN}" xmlns:r="{OFFICE}"><sheets>{"".join(books)}</sheets></workbook>'
    )
    relation = f'<Relationships xmlns="{PACKAGE}/relationships">'
    parts["xl/_rels/workbook.xml.rels"] = f"{relation}{''.join(relations)}</Relationships>"
    parts["_rels/.rels"] = (
        f'{relation}<Relationship Id="rId1" Type="{OFFICE}/officeDocument" Target="xl/workbook.xml"/></Relationships>'
    )
    parts["[Content_Types].xml"] = (
        f'<Types xmlns="{PACKAGE}/content-types"><Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Override PartName="/xl/workbook.xml" ContentType="{CONTENT}.sheet.main+xml"/>{"".join(types)}</Types>'
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, f'<?xml version="1.0" encoding="UTF-8"?>{text}'.encode())
