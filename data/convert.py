"""Turn what people have into a data folder: CSV, Excel, JSON, Parquet, fastText, folders of texts, in any encoding.

    python data/convert.py --input_file reviews.csv                        # only shows what it sees
    python data/convert.py --input_file reviews.csv --save_dir my_data     # 80 %, 10 %, 10 %
    python data/convert.py --input_file 'part-*.json.gz' --save_dir my_data --splits 0.9 0.1 0
    python data/convert.py --train_path train.json --dev_path dev.json --test_path test.json --save_dir my_data
    python data/convert.py --input_file news.zip --save_dir my_data        # a folder a label, or train, dev and test
    python data/convert.py --input_file reviews.xlsx --save_dir my_data --text_column title body --label_column stars

Read are files with separators (commas, tabs, semicolons, _!_ …, quotes and line breaks inside, names of columns or
none), JSON and JSON lines, Parquet, fastText (__label__x), spreadsheets (data/requirements-convert.txt), texts in one
folder a label, ids with a class.txt beside them; gzip and zip of these, patterns, folders. The format, the encoding
and the columns are found and told, with three samples, before anything is written. Where two answers are possible
nothing is written, and the message has the flags to choose.

Written are train.txt, dev.txt, test.txt and label.txt; data.txt where texts have no label; and rejected.csv, with the
file, line and reason of every row that could not be used.
"""

import argparse
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository's root
from core.arguments import parse_argv
from core.encodings import codec_of
from core.folders import FOLDER_LABELS, Layout
from core.samples import CLEANING, PARTS, Samples, Wishes
from core.sources import find_sources, is_label_file, is_unlabelled, parts_by_folder
from core.table_columns import Unsure
from core.tables import Reading, add_reading_flags
from utils import UsageError, check_save_dir, exit_on_usage_error

WHOLE, REST = [0.8, 0.1, 0.1], [0.9, 0.1]


def parse_flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--input_file", nargs="+", metavar="FILE", help="files, folders, zips or patterns to be split")
    for part in PARTS:
        add(f"--{part}_path", nargs="+", metavar="FILE", help=f"files, folders or patterns that are {part} data")
    add("--save_dir", type=Path, help="the folder for the files; without it nothing is written")
    add("--text_column", nargs="+", metavar="COLUMN", help="name or number (from 1) of the text; several are joined")
    add(
        "--label_column", metavar="COLUMN", help="name or number (from 1) of the label; none: the texts have no labels"
    )
    names = "names of class ids: a file such as class.txt, names in the order of their ids, or id=name …"
    add("--label_names", nargs="+", metavar="NAME", help=names)
    add_reading_flags(add)
    folders = "of folders in folders of texts: the first one is the label (default), or all are: sports##football"
    add("--folder_labels", choices=FOLDER_LABELS, default="first", help=folders)
    clean = "html: take out tags, replace entities, join lines (default); none: line breaks and tabs become spaces"
    add("--clean", choices=sorted(CLEANING), default="html", help=clean)
    splits = "shares of train, dev, test (0.8 0.1 0.1); of train and dev (0.9 0.1) where --test_path is given"
    add("--splits", type=float, nargs="*", help=splits)
    near = "as in split.py (default: 0.8, and 0 above 200,000 samples)"
    add("--near_duplicate_threshold", type=float, help=near)
    add("--seed", type=int, default=1000, help="of the split (default: 1000)")
    left_out = "the share of rows that may be left out (default: 0.1)"
    add("--max_left_out", type=float, default=0.1, metavar="SHARE", help=left_out)
    trust = "the columns are texts and labels, whatever they look like"
    add("--trust_columns", action="store_true", help=trust)
    add("--force", action="store_true", help="replace files that --save_dir already has")
    flags = parse_argv(parser, argv)
    problems = []
    if not any((flags.input_file, flags.train_path, flags.dev_path, flags.test_path)):
        problems.append("give --input_file, or --train_path with --dev_path and --test_path where there are such")
    if flags.input_file and any((flags.train_path, flags.dev_path, flags.test_path)):
        problems.append("--input_file is split; give either it, or --train_path, --dev_path and --test_path")
    if not 0 <= flags.max_left_out <= 1:
        problems.append(f"--max_left_out {flags.max_left_out}: give a share from 0 to 1")
    if flags.encoding and codec_of(flags.encoding) is None:
        problems.append(f"--encoding {flags.encoding}: not known; give one such as gb18030, big5, shift_jis or euc-kr")
    if flags.separator is not None and (not flags.separator or "\n" in flags.separator):
        problems.append("--separator: give a character or more, or tab, comma, semicolon")
    if "\n" in flags.join or "\t" in flags.join:
        problems.append("--join: a tab or a line break cannot stand in a text; give another")
    if problems:
        raise UsageError("\n".join(problems))
    return flags


def sources_of(flags):
    """(part, Source) of all files: parts by flags, or by the files' and folders' names where all tell one.

    Raises:
        UsageError: no such file; some names tell a part and others do not.
    """
    given = [(part, getattr(flags, f"{part}_path")) for part in PARTS]
    if not flags.input_file:
        return [(part, source) for part, patterns in given for source in find_sources(patterns or ())]
    sources = find_sources(flags.input_file)
    if len(sources) > 1:
        data = [source for source in sources if not is_label_file(source)]
        for source in sources:
            if source not in data:
                print(f"{source.name}: names of labels, not samples")
        sources = data or sources
    layout = Layout(sources)
    if layout.is_folder_a_label():
        if layout.beside:
            print(layout.told())
        sources, parts = layout.texts, []  # names of texts tell nothing
    else:
        parts = [source.part for source in sources]
    if not any(parts):
        parts = parts_by_folder(sources) or [None] * len(sources)
    if "train" not in parts or len(set(parts)) == 1:
        return [(None, source) for source in sources]
    # data.txt of a data folder, unlabelled.json of FewCLUE: texts without labels, or, as is told, more for training.
    parts = [part or (is_unlabelled(source) and "train") or None for source, part in zip(sources, parts)]
    unknown = [source.name for source, part in zip(sources, parts) if part is None]
    if unknown:
        shown = " ".join(unknown[:5])
        raise UsageError(f"{shown}: train, dev or test? Say so with --train_path, --dev_path and --test_path")
    return list(zip(parts, sources))


def shares_of(flags, parts):
    """The shares of train, dev and test for the samples that are divided, and the parts that are.

    Raises:
        UsageError: --splits is no shares, or divides what is given.
    """
    from data.splitting import check_splits

    if None in parts:
        return check_splits(flags.splits or WHOLE), None
    if flags.splits is not None and parts == set(PARTS):
        raise UsageError("--splits: train, dev and test are given, so nothing is divided; leave it out")
    if "train" in parts and "dev" not in parts:
        shares = check_splits(flags.splits or REST)
        if "test" in parts and shares[2]:
            raise UsageError("--splits: test is given; give the shares of train and dev alone, such as 0.9 0.1")
        return shares, "train"
    return [1.0, 0.0, 0.0], None


def main(argv=None):
    flags = parse_flags(argv)
    sources = sources_of(flags)
    shares, divided = shares_of(flags, {part for part, _ in sources})
    if flags.save_dir:
        from data.conversion import OUTPUTS

        check_save_dir(flags.save_dir, OUTPUTS, flags.force)
    header = None if flags.header is None else flags.header == "yes"
    wishes = Wishes(
        Reading(flags.encoding, flags.separator, header, flags.sheet, flags.folder_labels),
        flags.text_column,
        flags.label_column,
        flags.label_names,
        flags.join,
        flags.clean,
        flags.trust_columns,
    )
    try:
        samples = Samples(sources, wishes)
    except Unsure as error:
        print("\n".join(error.seen))
        raise
    print("\n".join(samples.description()))
    print("wrong? Correct it with --text_column, --label_column, --label_names, --header, --encoding or --separator")
    if flags.save_dir is None:
        print("nothing was written: add --save_dir FOLDER")
        return
    write(flags, samples, shares, divided)


def write(flags, samples, shares, divided):
    """Write the data folder, and say what is in it."""
    from core.progress import progress_bar
    from data.conversion import convert, told
    from data.near_duplicates import check_threshold

    if flags.near_duplicate_threshold is not None:
        check_threshold(flags.near_duplicate_threshold)
    if divided:
        print(f"no dev data is given: {shares[1]:.0%} of train become dev")
        for one in samples.opened:
            one.part = None if one.part == divided else one.part
    with progress_bar(unit=" rows", desc="converting") as bar:
        done = convert(
            samples,
            flags.save_dir,
            shares,
            flags.seed,
            flags.near_duplicate_threshold,
            flags.max_left_out,
            flags.trust_columns,
            bar,
        )
    print("\n".join(told(done, flags.save_dir)), end="\n" * bool(done.reasons or done.unlabelled))
    if done.ids:
        print(f"next: python data/check.py --dataset_dir {shlex.quote(str(flags.save_dir))}")


if __name__ == "__main__":
    with exit_on_usage_error():
        main()
