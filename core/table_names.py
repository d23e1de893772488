"""Files of data by their names alone: which are tables, and the command that makes lines of one."""

import re
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


def file_a_label(tables):
    """What to do where each file holds the texts of one label, as their names suggest.

    Args:
        tables (list[core.tables.Table]): those of files that belong to no part.

    Returns:
        str: the end of a message; empty for one file, for pieces with numbers, and for files with several columns.
    """
    paths = [Path(table.name) for table in tables]
    stems = {path.stem for path in paths}
    if (
        not 1 < len(stems) == len(paths)
        or any(table.width > 1 for table in tables)
        or re.search(r"\d", "".join(stems))
    ):
        return ""
    shown = " ".join(stem[:30] for stem in sorted(stems)[:20])
    how = "" if tables[0].names else ", names=['text'], sep='\\t', quoting=3"
    return (
        f"is each file one label ({shown})? Put that beside the texts, in pandas: "
        f"pandas.concat(pandas.read_csv(path{how}).assign(label=path.stem) for path in "
        f"pathlib.Path({str(paths[0].parent)!r}).glob('*{paths[0].suffix}')).to_csv('all.csv', index=False)"
    )
