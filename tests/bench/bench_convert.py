"""Time and memory of data/convert.py: CSV, JSON lines, Parquet and a spreadsheet into a data folder, on one core.

    python tests/bench/bench_convert.py                         # or: make bench-convert
    python tests/bench/bench_convert.py --rows 20000 --xlsx_rows 2000 --formats csv jsonl

The rows are the texts of the data with their labels, varied until there are --rows different ones; a number of the row
stands before them. They are divided into train, dev and test by convert.py's defaults, and it is checked that all are
there. Each format's figures are written to --results as it ends; the same command goes on with those that are missing.
"""

import argparse
import csv
import itertools
import json
import platform
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the repository's root
from tests.bench.distinct_texts import varied_samples
from tests.bench.machine import cpu_name, measure
from utils import exit_on_usage_error, format_table, read_json, write_lines

NAMES = ("id", "text", "label")
ROWS_AT_ONCE = 50_000


def write_csv(path, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(NAMES)
        writer.writerows(rows)


def write_jsonl(path, rows):
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(dict(zip(NAMES, row)), ensure_ascii=False) + "\n")


def write_parquet(path, rows):
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("id", pa.int64()), ("text", pa.string()), ("label", pa.string())])
    rows = iter(rows)
    with pq.ParquetWriter(path, schema) as writer:
        while some := list(itertools.islice(rows, ROWS_AT_ONCE)):
            writer.write_table(pa.table(dict(zip(NAMES, map(list, zip(*some)))), schema=schema))


def write_spreadsheet(path, rows):
    from tests.data.spreadsheets import write_xlsx

    write_xlsx(path, {"Sheet1": [NAMES, *rows]})


FORMATS = {"csv": write_csv, "jsonl": write_jsonl, "parquet": write_parquet, "xlsx": write_spreadsheet}


def run(work, data_dir, kind, count):
    """Convert so many rows of a format once: dict of figures.

    Raises:
        SystemExit: rows are missing in the data folder.
    """
    source, target = work / f"rows.{kind}", work / "converted"
    FORMATS[kind](source, ((number, *sample) for number, sample in enumerate(varied_samples(data_dir, count))))
    seconds, processor, megabytes, _ = measure(
        "data/convert.py", "--input_file", source, "--save_dir", target, "--force"
    )
    written = sum(path.read_bytes().count(b"\n") for path in (target / f"{n}.txt" for n in ("train", "dev", "test")))
    if written != count:
        raise SystemExit(f"{kind}: {written:,} of {count:,} rows are in the data folder")
    return {
        "format": kind,
        "rows": count,
        "file, MB": round(source.stat().st_size / 1e6, 1),
        "seconds": round(seconds, 1),
        "processor, s": round(processor, 1),
        "memory, MB": round(megabytes),
    }


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data_dir", type=Path, default=Path("../shared/kuake_qic"), help="(default: %(default)s)")
    add("--rows", type=int, default=1_000_000, help="(default: %(default)s)")
    add("--xlsx_rows", type=int, default=100_000, help="rows of the spreadsheet (default: %(default)s)")
    add("--formats", nargs="+", choices=FORMATS, default=list(FORMATS), help="(default: all)")
    add("--results", type=Path, default=Path(".bench/convert.json"), help="(default: %(default)s)")
    args = parser.parse_args(argv)
    done = read_json(args.results)
    for kind in args.formats:
        count = args.xlsx_rows if kind == "xlsx" else args.rows
        name = f"{kind} {count}"
        if name not in done:
            with tempfile.TemporaryDirectory() as work:
                done[name] = run(Path(work), args.data_dir, kind, count)
            done["machine"] = f"{cpu_name()}, Python {platform.python_version()}"
            write_lines(args.results.parent, {args.results.name: [json.dumps(done, indent=1)]}, "--results")
            print(name, done[name], flush=True)
    print("\n".join(format_table([row for name, row in done.items() if name != "machine"])))


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
