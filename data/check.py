"""Check a data folder before training: what train.py would refuse, and what makes a model worse without a word.

    python data/check.py --dataset_dir data                                  # a report in the terminal
    python data/check.py --dataset_dir data --model_name_or_path checkpoint  # tokens counted by that model's tokenizer
    python data/check.py --dataset_dir data --html report.html --json report.json
    python data/check.py --dataset_dir data --fix data_clean                 # a cleaned copy and a list of the changes
    python data/check.py --train_path my.csv --dev_path my_dev.csv           # tables, as train.py reads them

Errors are what train.py refuses, all of them and not only the first, and columns that are no texts and labels: the
wrong way round, ids, names of columns. Warnings are duplicates, the same text with different labels, texts of dev or
test that training sees too, labels that are never or hardly used, imbalance, texts that are cut off or that the model
cannot read, and characters that do not belong there.

It ends with a recommendation, in the locale's language (English, or Chinese): which way to go with such data, the
command, what was measured, and in what these data differ from that (data/advice.py).

Exit code: 0 without errors (there may be warnings), 1 with errors, 2 when the check itself could not be run.

Memory: texts are not kept, but for those of dev.txt and test.txt, with which training texts are compared. These, and
the numbers of each line, are in temporary files where they are many. A million lines took 375 MB at most.
"""

import argparse
import json
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository's root
from analysis.report import locale_language
from core.arguments import at_least, parse_argv, require_packages
from core.encodings import codec_of
from core.origins import origin_lines, origins_of_files
from data.advice import advice_lines, advise
from data.findings import Check
from data.near_duplicates import check_threshold
from data.tokens import TokenCounter
from utils import UsageError, exit_on_usage_error, shortened, staged_files, write_json

ROWS_IN_TERMINAL = 5
# Files that may be given by themselves, as to train.py.
PATHS = ("train", "dev", "test", "label")
# --fix writes nothing where more of a file would be lost.
MAX_LEFT_OUT = 0.1


def report(summary):
    """The lines of the terminal's report."""
    folder, paths = summary["dataset_dir"], summary["paths"]
    for name, file in summary["files"].items():
        line = f"{paths.get(name, name)}: {file['samples']:,} samples"
        if "tokens" in file:
            tokens = file["tokens"]
            rate = tokens["over_max_length"] / file["samples"]
            line += (
                f", {tokens['mean']:.1f} tokens on average, {tokens['max']} at most ({summary['tokens']}); "
                f"{rate:.2%} over --max_length {summary['max_length']}"
            )
            if tokens["characters_unread"]:
                line += f", which leaves {tokens['characters_unread']:.2%} of all characters unread"
        yield line
    labels = paths.get("label.txt", "labels" if folder in paths.values() else "label.txt")
    yield f"{labels}: {len(summary['labels'])} labels"
    for finding in summary["findings"]:
        yield ""
        yield f"{finding['severity'].upper()} {finding['kind']} ({finding['count']:,}): {finding['meaning']}"
        for row in finding["rows"][:ROWS_IN_TERMINAL]:
            file = row["file"] if row["file"] in paths.values() else Path(folder) / row["file"]
            place = f"{file}" + (f":{row['line']}" if row["line"] else "")
            texts = [shortened(row[key], 50) for key in ("text", "other_text") if row[key]]
            yield printable(" | ".join([f"  {place}: {row['message']}", *texts]))
        if finding["count"] > ROWS_IN_TERMINAL:
            yield f"  … and {finding['count'] - min(ROWS_IN_TERMINAL, len(finding['rows'])):,} more (--json, --html)"
    yield ""
    yield from origin_lines(summary.get("origins", {}))
    yield totals(summary)


def totals(summary):
    """The last line of the report."""
    return f"{summary['errors']:,} errors, {summary['warnings']:,} warnings in {summary['dataset_dir']}"


def printable(text):
    """Control characters as escapes, so that data cannot steer the terminal."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def next_steps(summary, was_fixed, lang):
    """What to do now, as the last lines: mend the errors, or the way to go."""
    folder, kinds = summary["dataset_dir"], {finding["kind"] for finding in summary["findings"]}
    if "format" in kinds:
        return [f"next: python data/convert.py --input_file {shlex.quote(folder)} --save_dir {folder}_converted"]
    if "columns" in kinds:
        return ["next: put the columns right, or add --trust_columns where they are"]
    if "unreadable_data" in kinds:
        return ["next: choose a model that can read the texts, see unreadable_data above"]
    if summary["paths"]:
        if summary["errors"]:
            return ["next: mend the errors"]
        return [f"next: {convert_paths(summary['paths'])}"]
    if not summary["errors"]:
        return ["", *advice_lines(advise(summary, lang), lang)]
    fix = shlex.join(["python", "data/check.py", "--dataset_dir", folder, "--fix", f"{folder}_clean"])
    return ["next: mend the errors" + ("" if was_fixed else f", or have it done in a copy: {fix}")]


def convert_paths(paths):
    """The command that makes a data folder of files that were named one by one."""
    given = {name.removesuffix(".txt"): path for name, path in paths.items()}
    labels = ["--label_names", given.pop("label")] if "label" in given else []
    flags = [part for name, path in given.items() for part in (f"--{name}_path", path)]
    flags = ["--input_file", given["train"]] if list(given) == ["train"] else flags
    return shlex.join(["python", "data/convert.py", *flags, *labels, "--save_dir", "my_data"])


def token_counter(name, max_length):
    """A TokenCounter with the tokenizer of a model.

    Raises:
        UsageError: the model cannot be loaded.
    """
    from core.loading import load_config_and_tokenizer  # needs paddle, which takes seconds

    return TokenCounter(load_config_and_tokenizer(name)[1], max_length)


def check_folder(dataset_dir, **options):
    """Check a data folder.

    Args:
        dataset_dir (Path | None): the folder with train.txt, dev.txt, label.txt and, where there are such, test.txt
            and data.txt; None where `paths` has all files.
        options: those of Check.

    Returns:
        Check: with `findings` and `summary()`.

    Raises:
        UsageError: no such folder.
    """
    folder = dataset_dir and Path(dataset_dir)
    if folder and not folder.is_dir():
        raise UsageError(f"--dataset_dir {folder}: no such folder; give the one with train.txt, dev.txt and label.txt")
    return Check(folder, **options)


def parse_flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    folder = "train.txt, dev.txt, label.txt, … (default: data, where no file is given)"
    add("--dataset_dir", type=Path, help=folder)
    for name in PATHS:
        lines = "one label a line" if name == "label" else "a table as train.py reads it, or lines"
        add(f"--{name}_path", type=Path, metavar="FILE", help=f"in the place of the folder's {name}.txt: {lines}")
    add("--max_length", type=int, default=128, help="tokens that the model takes, as given to train.py (default: 128)")
    add("--model_name_or_path", help="count tokens with this model's tokenizer; default: an estimate")
    near = (
        "similarity, 0 to 1, from which texts of two files are nearly the same; 0: do not look for them (default: 0.8)"
    )
    add("--near_duplicate_threshold", type=float, default=0.8, help=near)
    add("--few_samples", type=int, default=10, help="fewer samples of a label are reported (default: 10)")
    add("--imbalance", type=float, default=10, help="most to least frequent label from which it is reported (10)")
    add("--max_listed", type=int, default=1000, help="places listed of each kind; all are counted (default: 1000)")
    add("--encoding", metavar="NAME", help="of what is not UTF-8, such as gb18030 or euc-kr; default: to be found")
    add("--trust_columns", action="store_true", help="the columns are texts and labels, whatever they look like")
    left_out = "--fix: the share of a file's lines that may be left out or joined (default: 0.1)"
    add("--max_left_out", type=float, default=MAX_LEFT_OUT, metavar="SHARE", help=left_out)
    add("--json", metavar="FILE", nargs="?", const="-", help="write the results; without FILE print them instead")
    add("--html", metavar="FILE", type=Path, help="write a page with plots (needs analysis/requirements.txt)")
    add("--fix", metavar="DIR", type=Path, help="write a cleaned copy into this new folder, with a list of changes")
    flags = parse_argv(parser, argv)
    problems = at_least(flags, max_length=3, max_listed=1)  # two tokens are [CLS] and [SEP]
    if not 0 <= flags.max_left_out <= 1:
        problems.append(f"--max_left_out {flags.max_left_out}: give a share from 0 to 1")
    flags.paths = {name: path for name in PATHS if (path := getattr(flags, f"{name}_path"))}
    if flags.paths and flags.fix:
        hint = "give a --dataset_dir alone, or make one: " + convert_paths(
            {f"{n}.txt": str(p) for n, p in flags.paths.items()}
        )
        problems.append(f"--fix {flags.fix}: cleans a folder; {hint}")
    if flags.dataset_dir is None and not flags.paths:
        flags.dataset_dir = Path("data")
    elif flags.dataset_dir is None and not set(flags.paths) - {"label"}:
        problems.append("--label_path: give --train_path or --dataset_dir, too")
    if flags.encoding and codec_of(flags.encoding) is None:
        problems.append(f"--encoding {flags.encoding}: not known; give one such as gb18030, big5, shift_jis or euc-kr")
    if problems:
        raise UsageError("\n".join(problems))
    check_threshold(flags.near_duplicate_threshold)
    return flags


def main(argv=None):
    flags = parse_flags(argv)
    if flags.html:
        require_packages("--html", "matplotlib")
    options = {
        "max_length": flags.max_length,
        "count_tokens": token_counter(flags.model_name_or_path, flags.max_length)
        if flags.model_name_or_path
        else None,
        "threshold": flags.near_duplicate_threshold,
        "few": flags.few_samples,
        "imbalance": flags.imbalance,
        "max_listed": flags.max_listed,
        "trust_columns": flags.trust_columns,
    }
    check = check_folder(flags.dataset_dir, encoding=flags.encoding, paths=flags.paths, **options)
    lang = locale_language()
    summary = check.summary()
    summary["advice"] = None if flags.paths else advise(summary, lang)
    if origins := origins_of_files(flags.dataset_dir, paths=flags.paths):
        summary["origins"] = origins
    if flags.json == "-":
        print(json.dumps(summary, ensure_ascii=False, indent=2))
    else:
        print("\n".join(report(summary)))
    if flags.json and flags.json != "-":
        with staged_files(Path(flags.json).parent) as stage:
            write_json(stage / Path(flags.json).name, summary)
    if flags.html:
        from data.check_report import write_html

        write_html(summary, flags.html)
        print(f"Report: {flags.html}", file=sys.stderr)
    if flags.fix:
        from data.clean import write_clean_copy

        check.forget_lines()
        write_clean_copy(flags.dataset_dir, flags.fix, check, flags.max_left_out)
        check = check_folder(flags.fix, **options)
        print(totals(check.summary()))
    if flags.json != "-":
        print("\n".join(next_steps(check.summary(), bool(flags.fix), lang)))
    return 1 if check.findings.number_of("error") else 0


if __name__ == "__main__":
    with exit_on_usage_error():
        sys.exit(main())
