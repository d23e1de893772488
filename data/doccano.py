"""From annotation tools to training data, and back: doccano, and Label Studio's exports.

    # An export of doccano (JSONL, JSON, or the zip it came in) or Label Studio (JSON, JSON-MIN) -> training data
    python data/doccano.py --doccano_file doccano.jsonl --save_dir ./data --splits 0.8 0.1 0.1

    # Texts that deserve a look -> a file to import into doccano, with the model's label and score
    python data/doccano.py --text_file data/bad_case.txt data/data.txt --export_model_dir checkpoint/export \\
        --export_file to_annotate.jsonl

    # The corrected export -> the data it came from; once is enough, twice changes nothing
    python data/doccano.py --doccano_file corrected.jsonl --merge_into ./data

Texts without a label go to data.txt. White space inside a text, line breaks too, becomes one space.
"""

import argparse
import json
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the repository's root
from core.arguments import boolean
from core.encodings import describe_encoding
from data.annotations import listed, merge_copies, not_in, one_line, read_records
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

# May stand before the first line of a file, and stays there.
BYTE_ORDER_MARK = "\ufeff"

# ------------------------------------------------------------------------------------------------ to training data


def convert(args):
    """Write train/dev/test/label.txt, and data.txt where texts have no label."""
    if args.task_type != "multi_class":
        raise UsageError(f"--task_type {args.task_type}: only multi_class, one label a text, is supported here")
    shares = check_splits(args.splits)
    records, problems = merge_copies(records_read := read_records(args.doccano_file))
    if problems:
        raise UsageError(listed(problems))
    labelled = [record for record in records if record.label is not None]
    unlabelled = [record.text for record in records if record.label is None]
    labels = read_labels(args.label_file) if args.label_file else list(dict.fromkeys(r.label for r in labelled))
    label2id = {label: index for index, label in enumerate(labels)}
    unknown = [
        f"{record.place}: {not_in(args.label_file, record)}" for record in labelled if record.label not in label2id
    ]
    if unknown:
        raise UsageError(listed(unknown))
    if len(labels) < 2:
        problem = f"{len(labels)} labels in {len(labelled)} labelled records"
        raise UsageError(f"{args.doccano_file}: {problem}; a classifier needs at least two")
    check_save_dir(args.save_dir, (*PART_FILES, *(["data.txt"] if unlabelled else [])), args.force)
    texts, ids = [record.text for record in labelled], [label2id[record.label] for record in labelled]
    more = {"label.txt": read_lines(args.label_file)} if args.label_file else {}  # label==word stays
    if unlabelled:
        more["data.txt"] = unlabelled
    options = {"seed": args.seed, "threshold": args.near_duplicate_threshold, "shuffle": args.is_shuffle, "more": more}
    write_parts(args.save_dir, texts, ids, labels, shares, **options)
    print(
        f"{len(records_read):,} records: {len(labelled):,} labelled texts, {len(unlabelled):,} without a label "
        f"(data.txt), {len(records_read) - len(records):,} repeated"
    )
    print_check(args.save_dir)


def print_check(folder):
    """Print the command that comes next for a data folder."""
    print(f"next: python data/check.py --dataset_dir {shlex.quote(str(folder))}")


# ------------------------------------------------------------------------------------------------- to the annotator


def export_texts(args):
    """Write a JSONL file for doccano's import: each text once, with the model's label and score where known."""
    check_save_dir(args.export_file.parent, [args.export_file.name], args.force)
    rows = {}
    for path in args.text_file:
        for number, text, given_label, label, score in read_cases(path):
            row = {"text": text, "label": label, "score": score, "given_label": given_label}
            rows.setdefault(one_line(text), {**row, "origin": f"{path.name}:{number}"})
    rows = list(rows.values())
    open_rows = [row for row in rows if not row["label"]]
    if args.export_model_dir and open_rows:
        from core.predictor import Predictor

        predictor = Predictor(args.export_model_dir)
        for row, (label, score) in zip(open_rows, predictor.classify([row["text"] for row in open_rows])):
            row.update(label=label, score=f"{score:.4f}")
    lines = []
    for row in rows:
        label = row["label"] or row["given_label"]
        # All values are there and strings: doccano fills gaps between records with NaN.
        lines.append(json.dumps({**row, "label": [label] if label else []}, ensure_ascii=False))
    write_lines(args.export_file.parent, {args.export_file.name: lines}, "--export_file")
    labelled = sum(bool(row["label"]) for row in rows)
    print(f"{args.export_file}: {len(lines):,} texts, {labelled:,} with a label of the model")
    print(
        f"next: import {args.export_file.name} into doccano as JSONL, label it, and give the export as --doccano_file"
    )


# --------------------------------------------------------------------------------------------------------- merging


def merge(args):
    """Bring corrected labels into a data folder; see `plan_merge`.

    Returns:
        int: 1 where there are conflicts, else 0.
    """
    folder = args.merge_into
    labels = read_labels(folder / "label.txt")
    records, conflicts = merge_copies(read_records(args.doccano_file))
    contents, changes, more = plan_merge(folder, records, labels)
    if contents:
        with staged_files(folder) as stage:
            for name, lines in contents.items():
                (stage / name).write_bytes("\n".join(lines).encode("utf-8"))
    conflicts += more
    for line in (*changes, *(f"conflict: {conflict}" for conflict in conflicts)):
        print(line)
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
        tuple[dict[str, list[str]], list[str], list[str]]: file name -> new lines for each file that changes, a
        message for each change, and one for each conflict.
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
            text, _, current = line.partition("\t")
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
            lines[index] = f"{text}\t{record.label}" + ("\r" if line.endswith("\r") else "")
            contents[name] = lines
            changes.append(f"{where}: {current!r} -> {record.label!r} | {shortened(record.text)}")
    added = [record for text, record in corrections.items() if text not in found]
    if added:
        lines = contents.get("train.txt") or raw_lines(folder / "train.txt")
        if lines and not lines[-1]:
            lines.pop()
        for number, record in enumerate(added, len(lines) + 1):
            changes.append(f"{folder / 'train.txt'}:{number}: added {record.label!r} | {shortened(record.text)}")
        contents["train.txt"] = [*lines, *(f"{record.text}\t{record.label}" for record in added), ""]
    unlabelled = raw_lines(folder / "data.txt")
    left = [line for line in unlabelled if one_line(line.lstrip(BYTE_ORDER_MARK)) not in corrections]
    if len(left) < len(unlabelled):
        contents["data.txt"] = left
        changes.append(f"{folder / 'data.txt'}: {len(unlabelled) - len(left)} texts that have a label now taken out")
    return contents, changes, conflicts


def raw_lines(path):
    """The lines of a UTF-8 file as they stand, with mark and empty last one; none where there is no file."""
    if not path.is_file():
        return []
    data = path.read_bytes()
    try:
        return data.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise UsageError(describe_encoding(path, data, error.start)) from None


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
    add("--export_file", type=Path, help="with --text_file: the JSONL file to import into doccano")
    add("--export_model_dir", type=Path, help="with --text_file: the exported model that labels them beforehand")
    add("--force", action="store_true", help="replace files that are there")
    args = parser.parse_args(argv)
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
