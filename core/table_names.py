"""Files of data by their names alone: which are tables, and the command that makes lines of one."""

import shlex
from pathlib import Path

# Names of files that are no lines of <text>, a tab, <label>; those are read as ever.
ENDINGS = (".csv", ".json", ".jsonl", ".parquet", ".xlsx", ".xls", ".ods", ".gz", ".zip")


def is_table(path):
    """Whether a file is read as a table, by its name."""
    return Path(path).name.lower().endswith(ENDINGS)


def table_beside(path):
    """The table of the same name as a file of lines that is not there: train.csv for train.txt; None without one."""
    path = Path(path)
    return next((other for ending in ENDINGS if (other := path.with_suffix(ending)).is_file()), None)


def convert_command(path):
    """The command that makes a data folder of a file, as it may be copied."""
    folder = f"{Path(path).name.partition('.')[0] or 'my'}_data"
    return f"python data/convert.py --input_file {shlex.quote(str(path))} --save_dir {shlex.quote(folder)}"
