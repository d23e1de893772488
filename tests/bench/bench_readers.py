"""What reads tables: core/tables.py beside pandas, polars, pyarrow and openpyxl, in size, import, time and memory.

    python -m venv .venv-readers
    .venv-readers/bin/python -m pip install pandas polars fastexcel openpyxl python-calamine pyarrow
    .venv-readers/bin/python tests/bench/bench_readers.py --data_dir ../shared/kuake_qic

Each reader reads a file to its end, on one core, and makes a Python string of every text, as converting them needs.
The number of rows and of characters that it saw is checked. Printed are the processor's seconds with and without the
import, the memory at most, and what pip installs for it, with what that needs.
"""

import argparse
import importlib.metadata
import os
import platform
import re
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository's root
from tests.bench.bench_convert import FORMATS, NAMES
from tests.bench.distinct_texts import varied_samples
from tests.bench.machine import cpu_name, measure
from utils import exit_on_usage_error, format_table

OURS = """
from core.sources import find_sources
from core.tables import open_table
texts = (row[1] for _, row in open_table(find_sources([path])[0]).rows())
"""
# Format -> reader -> what it imports, what gives all texts, and the packages.
READERS = {
    "csv": {
        "core/tables.py": ("", OURS, []),
        "pandas": ("import pandas", "texts = pandas.read_csv(path)['text'].tolist()", ["pandas"]),
        "polars": ("import polars", "texts = polars.read_csv(path)['text'].to_list()", ["polars"]),
        "pyarrow": (
            "import pyarrow.csv",
            "texts = pyarrow.csv.read_csv(path)['text'].to_pylist()",
            ["pyarrow"],
        ),
    },
    "xlsx": {
        "core/tables.py": ("", OURS, ["python-calamine"]),
        "openpyxl": (
            "import openpyxl",
            "rows = openpyxl.load_workbook(path, read_only=True).active.iter_rows(min_row=2, values_only=True)\n"
            "texts = (row[1] for row in rows)",
            ["openpyxl"],
        ),
        "pandas, openpyxl": (
            "import pandas, openpyxl",
            "texts = pandas.read_excel(path, engine='openpyxl')['text'].tolist()",
            ["pandas", "openpyxl"],
        ),
        "pandas, calamine": (
            "import pandas, python_calamine",
            "texts = pandas.read_excel(path, engine='calamine')['text'].tolist()",
            ["pandas", "python-calamine"],
        ),
        "polars, fastexcel": (
            "import polars, fastexcel",
            "texts = polars.read_excel(path)['text'].to_list()",
            ["polars", "fastexcel"],
        ),
    },
    "parquet": {
        "core/tables.py": ("", OURS, ["pyarrow"]),
        "pandas": ("import pandas", "texts = pandas.read_parquet(path)['text'].tolist()", ["pandas", "pyarrow"]),
        "polars": ("import polars", "texts = polars.read_parquet(path)['text'].to_list()", ["polars"]),
    },
}
THERE = {re.sub(r"[-_.]+", "-", one.metadata["Name"]).lower() for one in importlib.metadata.distributions()}
# What is needed by extras, by an older Python, or on other systems.
ELSEWHERE = re.compile(r"extra ==|python_version\s*<|win32|emscripten")
# Characters that no cell of a spreadsheet can have.
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f]")
COUNT = "count = size = 0\nfor text in texts:\n    count += 1\n    size += len(text)\nprint(count, size)"


def write_xlsx(path, rows):
    """A spreadsheet with its texts in a table of their own, as Excel writes it."""
    import openpyxl

    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("Sheet1")
    for row in (NAMES, *rows):
        sheet.append(row)
    book.save(path)


def installed(names):
    """Megabytes of some packages with all that they need."""
    found, waiting = set(), list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name not in found and name in THERE:
            found.add(name)
            needs = importlib.metadata.requires(name) or []
            waiting += [re.match(r"[\w.-]+", need)[0] for need in needs if not ELSEWHERE.search(need)]
    sizes = [
        path.stat().st_size
        for name in found
        for file in importlib.metadata.files(name) or ()
        if (path := Path(file.locate())).is_file()
    ]
    return sum(sizes) / 1e6


def run(path, imports, code, packages):
    """One reader over one file: dict of figures, and the rows and characters that it saw."""
    bare = measure("-c", "pass")[1]
    only = measure("-c", imports or "import core.tables")[1]
    _, processor, megabytes, [seen] = measure("-c", f"{imports}\npath = {str(path)!r}\n{code}\n{COUNT}")
    return {
        "installed, MB": f"{installed(packages):.0f}" if packages else "0",
        "import, s": f"{only - bare:.2f}",
        "reading, s": f"{processor - only:.2f}",
        "memory, MB": f"{megabytes:.0f}",
    }, seen


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data_dir", type=Path, default=Path("../shared/kuake_qic"), help="(default: %(default)s)")
    add("--rows", type=int, default=200_000, help="of CSV and Parquet (default: %(default)s)")
    add("--xlsx_rows", type=int, default=50_000, help="of the spreadsheet (default: %(default)s)")
    args = parser.parse_args(argv)
    os.environ["POLARS_MAX_THREADS"] = "1"
    table = []
    with tempfile.TemporaryDirectory() as work:
        for kind, readers in READERS.items():
            count, path = args.xlsx_rows if kind == "xlsx" else args.rows, Path(work, f"rows.{kind}")
            samples = [(CONTROL.sub("", text), label) for text, label in varied_samples(args.data_dir, count)]
            write = write_xlsx if kind == "xlsx" else FORMATS[kind]
            write(path, ((number, *sample) for number, sample in enumerate(samples)))
            wanted = f"{count} {sum(len(text) for text, _ in samples)}"
            for name, reader in readers.items():
                figures, seen = run(path, *reader)
                if seen != wanted:
                    raise SystemExit(f"{kind}, {name}: saw {seen}, not {wanted}")
                table.append({"format": f"{kind}, {count:,} rows", "reader": name, **figures})
                print(table[-1], flush=True)
    print("\n".join(format_table(table)))
    versions = {
        name: importlib.metadata.version(name) for row in READERS.values() for one in row.values() for name in one[2]
    }
    print(f"{cpu_name()}, Python {platform.python_version()}, {', '.join(f'{n} {v}' for n, v in versions.items())}")


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
