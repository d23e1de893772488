"""From annotation tools to training data, and back: doccano and Label Studio.

    # An export of doccano (JSONL, JSON, or the zip it came in) or Label Studio (JSON, JSON-MIN) -> training data
    python data/doccano.py --doccano_file doccano.jsonl --save_dir ./data --splits 0.8 0.1 0.1

    # Texts that deserve a look -> a file to import into doccano, with the model's label and score
    python data/doccano.py --text_file data/bad_case.txt data/data.txt --export_model_dir checkpoint/export \\
        --export_file to_annotate.jsonl

    # The same for Label Studio: tasks with predictions, and the labelling interface that they are made for
    python data/doccano.py --text_file data/bad_case.txt --export_file tasks.json --export_format label_studio

    # The corrected export -> the data it came from; once is enough, twice changes nothing
    python data/doccano.py --doccano_file corrected.jsonl --merge_into ./data

Texts without a label go to data.txt. White space inside a text, line breaks too, becomes one space. Texts on whose
label annotators do not agree are listed and set aside in conflicts.txt; the exit code is 1 then.
"""

import argparse
import json
import re
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository's root
from core.arguments import boolean, parse_argv
from core.encodings import describe_encoding
from data.annotations import listed, merge_copies, not_in, one_line, read_records
from data.annotators import names_annotators
from data.label_studio import make_interface, make_tasks
from data.near_duplicates import check_threshold
from data.splitting import PART_FILES, check_splits, write_parts
from utils import (
    UsageError,
    check_save_dir,
    exit_on_usage_error,
    read_cases,
    read_labels,
    read_lines,
    shortened,
    staged_files,
    write_lines,
)

# So many texts may have different labels in the smallest export.
FEW_CONFLICTS = 3
# Changes, and conflicts, that are printed.
MAX_CHANGES = 200
# May stand before the first line of a file, and stays there.
BYTE_ORDER_MARK = "\ufeff"
# A line with what ends it.
LINE = re.compile("[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")

# ------------------------------------------------------------------------------------------------ to training data


def convert(args):
    """Write train/dev/test/label.txt, and data.txt where texts have no label."""
    if args.task_type != "multi_class":
        raise UsageError(f"--task_type {args.task_type}: only multi_class, one label a text, is supported here")
    shares = check_splits(args.splits)
    records_read = read_records(args.doccano_file, args.text_key, args.choice)
    records, conflicts = merge_copies(records_read)
    labelled = [record for record in records if record.label is not None]
    unlabelled = [record.text for record in records if record.label is None]
    labels = read_labels(args.label_file) if args.label_file else list(dict.fromkeys(r.label for r in labelled))
    label2id = {label: index for index, label in enumerate(labels)}
    # Of very few texts, or of many, it is not one annotator's mistake, but the project's, unless there are several.
    apart = bool(conflicts) and names_annotators(args.doccano_file, args.text_key, args.choice)
    many = len(conflicts) > max(FEW_CONFLICTS, (len(records) + len(conflicts)) / 10)
    if conflicts and (len(labels) < 2 or (many and not apart)):
        raise UsageError(listed(list(conflicts.values())))
    unknown = [
        f"{record.place}: {not_in(args.label_file, record)}" for record in labelled if record.label not in label2id
    ]
    if unknown:
        raise UsageError(listed(unknown))
    if len(labels) < 2:
        problem = f"{len(labels)} labels in {len(labelled)} labelled records"
        raise UsageError(f"{args.doccano_file}: {problem}; a classifier needs at least two")
    texts, ids = [record.text for record in labelled], [label2id[record.label] for record in labelled]
    more = {"label.txt": read_lines(args.label_file)} if args.label_file else {}  # label==word stays
    if unlabelled:
        more["data.txt"] = unlabelled
    if conflicts:
        more["conflicts.txt"] = [f"{text}\t{message}" for text, message in conflicts.items()]
    check_save_dir(args.save_dir, dict.fromkeys((*PART_FILES, *more)), args.force)
    options = {"seed": args.seed, "threshold": args.near_duplicate_threshold, "shuffle": args.is_shuffle, "more": more}
    write_parts(args.save_dir, texts, ids, labels, shares, **options)
    repeated = len(records_read) - len(records) - len(conflicts)
    print(
        f"{len(records_read):,} records: {len(labelled):,} labelled texts, {len(unlabelled):,} without a label "
        f"(data.txt), {repeated:,} repeated"
    )
    if conflicts:
        print(listed([f"conflict: {message}" for message in conflicts.values()]))
        print(
            f"{len(conflicts):,} texts set aside in {args.save_dir / 'conflicts.txt'}: decide, and --merge_into them"
        )
        if apart:
            print(f"for deciding: python data/agreement.py --doccano_file {shlex.quote(str(args.doccano_file))}")
    print_check(args.save_dir)
    return 1 if conflicts else 0


def print_check(folder):
    """Print the command that comes next for a data folder."""
    print(f"next: python data/check.py --dataset_dir {shlex.quote(str(folder))}")


# ------------------------------------------------------------------------------------------------- to the annotator


def export_texts(args):
    """Write a file for a tool's import: each text once, with the model's label and score where known."""
    files = [args.export_file.name]
    if args.export_format == "label_studio":
        files.append(f"{args.export_file.stem}.xml")
    check_save_dir(args.export_file.parent, files, args.force)
    rows = {}
    for path in args.text_file:
        for number, text, given_label, label, score in read_cases(path):
            row = {"text": text, "label": label, "score": score, "given_label": given_label}
            rows.setdefault(one_line(text), {**row, "origin": f"{path.name}:{number}"})
    rows, labels = list(rows.values()), read_labels(args.label_file) if args.label_file else []
    open_rows = [row for row in rows if not row["label"]]
    if args.export_model_dir and open_rows:
        from core.predictor import Predictor, plain_format

        predictor = Predictor(args.export_model_dir, plain_format(args.export_model_dir))
        labels = labels or predictor.labels
        for row, (label, score) in zip(open_rows, predictor.classify([row["text"] for row in open_rows])):
            row.update(label=label, score=f"{score:.4f}")
    labels = labels or list(dict.fromkeys(filter(None, (row["label"] or row["given_label"] for row in rows))))
    contents = contents_for_doccano(rows) if len(files) == 1 else contents_for_label_studio(args, rows, labels)
    write_lines(args.export_file.parent, dict(zip(files, contents)), "--export_file")
    labelled = sum(bool(row["label"]) for row in rows)
    print(f"{args.export_file}: {len(rows):,} texts, {labelled:,} with a label of the model")
    if args.export_format == "label_studio":
        interface = args.export_file.parent / files[1]
        print(f"{interface}: the labelling interface; put it into the project's settings, Labeling Interface, Code")
        print(f"next: import {files[0]} into that project, label it, and give its JSON export as --doccano_file")
    else:
        print(f"next: import {files[0]} into doccano as JSONL, label it, and give the export as --doccano_file")


def contents_for_doccano(rows):
    """The lines of a JSONL file."""
    lines = []
    for row in rows:
        label = row["label"] or row["given_label"]
        # All values are there and strings: doccano fills gaps between records with NaN.
        lines.append(json.dumps({**row, "label": [label] if label else []}, ensure_ascii=False))
    return [lines]


def contents_for_label_studio(args, rows, labels):
    """The lines of the tasks and of the labelling interface."""
    names = {"text_key": args.text_key or "text", "choice": args.choice or "label", "to_name": args.to_name}
    version = args.export_model_dir.as_posix() if args.export_model_dir else "predictions"
    tasks = make_tasks(rows, model_version=version, **names)
    lines = [json.dumps(task, ensure_ascii=False) + "," for task in tasks]
    return ["[", *lines[:-1], *(line[:-1] for line in lines[-1:]), "]"], make_interface(labels, **names)


# --------------------------------------------------------------------------------------------------------- merging


def merge(args):
    """Bring corrected labels into a data folder; see `plan_merge`.

    Returns:
        int: 1 where there are conflicts, else 0.
    """
    folder = args.merge_into
    labels = read_labels(folder / "label.txt")
    records, conflicts = merge_copies(read_records(args.doccano_file, args.text_key, args.choice))
    conflicts = list(conflicts.values())
    contents, changes, more = plan_merge(folder, records, labels)
    if contents:
        with staged_files(folder) as stage:
            for name, lines in contents.items():
                (stage / name).write_bytes("".join(lines).encode("utf-8"))
    conflicts += more
    for lines in (changes, [f"conflict: {conflict}" for conflict in conflicts]):
        hidden = len(lines) - MAX_CHANGES
        print("".join(f"{line}\n" for line in lines[:MAX_CHANGES]), end="")
        print(f"… and {hidden:,} more\n" if hidden > 0 else "", end="")
    labelled = sum(record.label is not None for record in records)
    counts = f"{labelled:,} labelled texts: {len(changes):,} changes, {len(conflicts):,} conflicts"
    print(f"{counts}; {len(records) - labelled:,} texts without a label")
    print_check(folder)
    return 1 if conflicts else 0


def plan_merge(folder, records, labels):
    """Find what a corrected export changes in a data folder.

    A text that is in train.txt, dev.txt or test.txt gets its new label there (and is not copied into another file); a
    new text is added to train.txt, and taken out of data.txt. A label that was changed in the folder since the text
    was exported, to another one than the annotator's, is a conflict.

    Args:
        folder (Path): the data folder; it is only read.
        records (list[Record]): one a text.
        labels (list[str]): those of label.txt.

    Returns:
        tuple[dict[str, list[str]], list[str], list[str]]: file name -> new lines with their ends for each file that
        changes, a message for each change, and one for each conflict.
    """
    contents, changes, conflicts = {}, [], []
    corrections = {record.text: record for record in records if record.label in labels}
    for record in records:
        if record.label is not None and record.label not in labels:
            conflicts.append(f"{record.place}: {not_in(folder / 'label.txt', record)}")
    found = set()
    for name in PART_FILES[:3]:
        lines = raw_lines(folder / name)
        for index, line in enumerate(lines):
            text, _, current = line.rstrip("\r\n").partition("\t")
            record = corrections.get(one_line(text.lstrip(BYTE_ORDER_MARK)))
            if record is None:
                continue
            found.add(record.text)
            current, given = current.strip(), record.meta.get("given_label")
            where = f"{folder / name}:{index + 1}"
            if record.label == current or (given and record.label == given != current):
                continue  # nothing new, or only the folder's label was changed since the export
            if given and current != given:
                both = f"label {current!r}, but {record.label!r} in {record.place}"
                conflicts.append(f"{where}: {both}; it was {given!r} when it was exported")
                continue
            lines[index] = f"{text}\t{record.label}{line_end(line)}"
            contents[name] = lines
            changes.append(f"{where}: {current!r} -> {record.label!r} | {shortened(record.text)}")
    added = [record for text, record in corrections.items() if text not in found]
    if added:
        lines = contents.get("train.txt") or raw_lines(folder / "train.txt")
        end = "\r" if lines and all(line_end(line) == "\r" for line in lines[:-1] or lines) else "\n"
        if lines and not line_end(lines[-1]):
            lines[-1] += end
        for number, record in enumerate(added, len(lines) + 1):
            changes.append(f"{folder / 'train.txt'}:{number}: added {record.label!r} | {shortened(record.text)}")
        contents["train.txt"] = [*lines, *(f"{record.text}\t{record.label}{end}" for record in added)]
    unlabelled = raw_lines(folder / "data.txt")
    left = [line for line in unlabelled if one_line(line.lstrip(BYTE_ORDER_MARK)) not in corrections]
    if len(left) < len(unlabelled):
        contents["data.txt"] = left
        changes.append(f"{folder / 'data.txt'}: {len(unlabelled) - len(left)} texts that have a label now taken out")
    return contents, changes, conflicts


def raw_lines(path):
    """The lines of a UTF-8 file as they stand, with mark and ends; none where there is no file."""
    if not path.is_file():
        return []
    data = path.read_bytes()
    try:
        return LINE.findall(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise UsageError(describe_encoding(path, data, error.start)) from None


def line_end(line):
    """What ends a line: LF, CRLF, CR or nothing."""
    return line[len(line.rstrip("\r\n")) :]


# ------------------------------------------------------------------------------------------------------------ main


def parse_flags(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--doccano_file", type=Path, help="an export of doccano (JSONL, JSON, zip) or Label Studio (JSON, JSON-MIN)")
    add("--save_dir", type=Path, default=Path("./data"), help="the folder for the files (default: ./data)")
    add("--splits", type=float, nargs="*", default=[0.8, 0.1, 0.1], help="shares of train, dev, test (0.8 0.1 0.1)")
    add("--task_type", default="multi_class", help="multi_class: exactly one label a text")
    shuffle = "False: fill train, dev, test in the file's order (default: True)"
    add("--is_shuffle", type=boolean, default=True, metavar="BOOL", help=shuffle)
    add("--seed", type=int, default=1000, help="of the order and the draws (default: 1000)")
    add("--label_file", type=Path, help="label.txt whose order to keep; default: the order of appearance")
    near = "similarity, 0 to 1, from which texts stay in one file; 0: only equal ones (default: 0.8)"
    add("--near_duplicate_threshold", type=float, default=0.8, help=near)
    add("--merge_into", type=Path, metavar="DIR", help="bring the labels of --doccano_file into this data folder")
    add("--text_file", type=Path, nargs="+", help="texts to annotate: bad_case.txt, sparse.txt, data.txt, …")
    add("--text_key", help="Label Studio: the key of the text in the data; default: found, or text")
    add(
        "--choice",
        metavar="NAME",
        help="Label Studio: the name of the <Choices> to use; default: the only one, or label",
    )
    add("--to_name", default="text", help="Label Studio: the name of the <Text> to label (default: text)")
    add("--export_file", type=Path, help="with --text_file: the file to import into doccano (JSONL) or Label Studio")
    format_help = "with --text_file: whose import (default: doccano)"
    add("--export_format", choices=("doccano", "label_studio"), default="doccano", help=format_help)
    add("--export_model_dir", type=Path, help="with --text_file: the exported model that labels them beforehand")
    add("--force", action="store_true", help="replace files that are there")
    args = parse_argv(parser, argv)
    if bool(args.doccano_file) == bool(args.text_file):
        raise UsageError(
            "give either --doccano_file (an export to read) or --text_file (texts to annotate); see --help"
        )
    if args.text_file and not args.export_file:
        raise UsageError("--text_file: say with --export_file where to write the file for doccano")
    check_threshold(args.near_duplicate_threshold)
    return args


def main(argv=None):
    args = parse_flags(argv)
    if args.text_file:
        return export_texts(args)
    return merge(args) if args.merge_into else convert(args)


if __name__ == "__main__":
    with exit_on_usage_error():
        sys.exit(main())
