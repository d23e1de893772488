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
import sys
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from split import PART_FILES, boolean, check_splits, check_threshold, write_parts  # noqa: E402

from utils import (  # noqa: E402
    UsageError,
    check_save_dir,
    describe_encoding,
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
# Problems that are told at once; a file of another kind has one in every record.
MAX_PROBLEMS = 20
# What export_texts adds to a record; doccano keeps it as meta data and exports it again.
META_KEYS = ("score", "given_label", "origin")
# Keys of Label Studio's JSON-MIN that are neither the text nor the answer.
LABEL_STUDIO_KEYS = {"id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", *META_KEYS}


@dataclass
class Record:
    """One annotated text: where it stands, what it says, its label (None: not annotated) and its meta data."""

    place: str
    text: str
    label: str = None
    meta: dict = field(default_factory=dict)


class RecordError(Exception):
    """What is wrong with one record, without its place."""


def one_line(text):
    """The text with every run of white space as one space."""
    return " ".join(text.split())


# -------------------------------------------------------------------------------------------- reading exports


def read_records(path):
    """Read an export of doccano or Label Studio.

    Args:
        path (Path): .jsonl or .json, or a .zip with one such file.

    Returns:
        list[Record]: in the order of the file.

    Raises:
        UsageError: not such a file, or, all at once, the records that are no text with at most one label.
    """
    where, data = _read_export(Path(path))
    records, problems = [], []
    for place, value in _parse_json(where, data):
        try:
            records.append(_to_record(place, value))
        except RecordError as error:
            problems.append(f"{place}: {error}")
    if problems:
        raise UsageError(_listed(problems))
    if not records:
        raise UsageError(f"{where}: no records; export the project again")
    return records


def not_in(path, record):
    """What is wrong with a record whose label is unknown."""
    return f"label {record.label!r} is not in {path}; add it there, or correct the record"


def _listed(problems):
    more = len(problems) - MAX_PROBLEMS
    return "\n".join(problems[:MAX_PROBLEMS] + ([f"… and {more:,} more of this kind"] if more > 0 else []))


def _read_export(path):
    """The name for messages and the bytes of an export; a zip must have one file of records."""
    try:
        if not zipfile.is_zipfile(path):
            return path, path.read_bytes()
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.lower().endswith((".json", ".jsonl"))]
            if len(names) != 1:
                found = " ".join(names) or "none"
                raise UsageError(
                    f"{path}: {len(names)} files of records ({found}); doccano writes one file an annotator unless "
                    "they share the annotation: unpack it and give the one to use"
                )
            return f"{path}:{names[0]}", archive.read(names[0])
    except (OSError, zipfile.BadZipFile, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path}: cannot be read ({reason}); give an export of doccano or Label Studio") from None


def _parse_json(where, data):
    """Yield (place, value) of each record: the lines of JSONL, the items of a JSON list."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(describe_encoding(where, data, error.start)) from None
    if text.lstrip().startswith("["):
        try:
            values = json.loads(text)
        except ValueError as error:
            raise UsageError(f"{where}: not readable as JSON ({error}); export the project again") from None
        yield from ((f"{where}: record {number}", value) for number, value in enumerate(values, 1))
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield f"{where}:{number}", json.loads(line)
            except ValueError as error:
                raise UsageError(
                    f"{where}:{number}: not readable as JSON ({error}); export the project as JSONL or JSON"
                ) from None


def _to_record(place, value):
    """A Record of one JSON value.

    Raises:
        RecordError: the message says what it is and what to do.
    """
    if not isinstance(value, dict):
        raise RecordError("not a JSON object; export the project as JSONL or JSON")
    if isinstance(value.get("data"), dict):
        text, label, meta = _from_label_studio(value)
    elif {"annotator", "annotation_id", "lead_time"} & set(value):
        text, label, meta = _from_label_studio_min(value)
    else:
        text, label, meta = _from_doccano(value)
    if not isinstance(text, str) or not text.strip():
        raise RecordError('no text; every record needs one under "text"')
    if label is not None and (not isinstance(label, str) or not label.strip()):
        raise RecordError(f"the label {label!r} is not a name; give the labels names")
    return Record(place, one_line(text), None if label is None else one_line(label), meta)


def _from_doccano(value):
    """Text, label and meta data of a doccano record, of any version."""
    if "entities" in value or "relations" in value or "cats" in value:
        raise RecordError("spans, as a sequence labelling or intent project exports them; this needs a text "
                          "classification project")  # fmt: skip
    if "annotations" in value:
        raise RecordError('label numbers instead of names ("annotations"), as doccano before 1.3 writes them; update '
                          "doccano and export again")  # fmt: skip
    labels = value.get("label", value.get("labels"))
    meta = {key: value[key] for key in META_KEYS if isinstance(value.get(key), (str, int, float))}
    # Versions 1.5 and 1.6 call the text "data".
    return value.get("text", value.get("data")), _only_label(labels), meta


def _only_label(labels):
    """The label of a record, None for none."""
    labels = [] if labels is None or labels == "" else labels if isinstance(labels, list) else [labels]
    if any(isinstance(label, (list, dict)) for label in labels):
        raise RecordError("spans instead of a label, as a sequence labelling project exports them; this needs a text "
                          "classification project")  # fmt: skip
    # Numbers are names too (0 and 1 of two classes); several annotators may have given the same label.
    names = [str(label) if isinstance(label, int) and not isinstance(label, bool) else label for label in labels]
    names = list(dict.fromkeys(names))
    if len(names) > 1:
        raise RecordError(
            f"{len(names)} labels ({', '.join(map(str, names))}); multi_class needs exactly one, choose it"
        )
    return names[0] if names else None


def _from_label_studio(value):
    """Text, label and meta data of a record of Label Studio's JSON."""
    annotations = value.get("annotations", value.get("completions")) or []
    labels = []
    for annotation in annotations if isinstance(annotations, list) else ():
        results = annotation.get("result", []) if isinstance(annotation, dict) else []
        if isinstance(annotation, dict) and not annotation.get("was_cancelled"):
            for result in results:
                content = result.get("value") if isinstance(result, dict) else None
                if not isinstance(content, dict) or "start" in content or "labels" in content:
                    raise RecordError("spans instead of choices; this needs a project with <Choices>")
                labels += content.get("choices") or []
    meta = {key: value["data"][key] for key in META_KEYS if key in value["data"]}
    return value["data"].get("text"), _only_label(labels), meta


def _from_label_studio_min(value):
    """Text, label and meta data of a record of JSON-MIN, where the control's name is the answer's key."""
    answers = {key: answer for key, answer in value.items() if key != "text" and key not in LABEL_STUDIO_KEYS}
    if len(answers) > 1:
        raise RecordError(f"several answers ({', '.join(answers)}); export it as JSON instead of JSON-MIN")
    answer = next(iter(answers.values()), None)
    label = answer.get("choices") if isinstance(answer, dict) else answer
    return value.get("text"), _only_label(label), {key: value[key] for key in META_KEYS if key in value}


def merge_copies(records):
    """The records without repeated texts.

    Returns:
        tuple[list[Record], list[str]]: one record a text, a labelled one where there is one, without the texts that
        have different labels; and a message for each of those.
    """
    kept, problems = {}, {}
    for record in records:
        first = kept.setdefault(record.text, record)
        if first.label is None:
            kept[record.text] = record
        elif record.label not in (None, first.label):
            problems[record.text] = (
                f"{record.place}: {shortened(record.text)!r} has the label {record.label!r}, but {first.label!r} in "
                f"{first.place}; decide which one is right"
            )
    return [record for text, record in kept.items() if text not in problems], list(problems.values())


# ------------------------------------------------------------------------------------------------ to training data


def convert(args):
    """Write train/dev/test/label.txt, and data.txt where texts have no label."""
    if args.task_type != "multi_class":
        raise UsageError(f"--task_type {args.task_type}: only multi_class, one label a text, is supported here")
    shares = check_splits(args.splits)
    records, problems = merge_copies(records_read := read_records(args.doccano_file))
    if problems:
        raise UsageError(_listed(problems))
    labelled = [record for record in records if record.label is not None]
    unlabelled = [record.text for record in records if record.label is None]
    labels = read_labels(args.label_file) if args.label_file else list(dict.fromkeys(r.label for r in labelled))
    label2id = {label: index for index, label in enumerate(labels)}
    unknown = [
        f"{record.place}: {not_in(args.label_file, record)}" for record in labelled if record.label not in label2id
    ]
    if unknown:
        raise UsageError(_listed(unknown))
    if len(labels) < 2:
        problem = f"{len(labels)} labels in {len(labelled)} labelled records"
        raise UsageError(f"{args.doccano_file}: {problem}; a classifier needs at least two")
    check_save_dir(args.save_dir, (*PART_FILES, *(["data.txt"] if unlabelled else [])), args.force)
    texts, ids = [record.text for record in labelled], [label2id[record.label] for record in labelled]
    more = {"label.txt": read_lines(args.label_file)} if args.label_file else {}  # label==word stays
    if unlabelled:
        more["data.txt"] = unlabelled
    write_parts(args.save_dir, texts, ids, labels, shares, args.seed, args.near_duplicate_threshold, args.is_shuffle,
                more)  # fmt: skip
    print(f"{len(records_read):,} records: {len(labelled):,} labelled texts, {len(unlabelled):,} without a label "
          f"(data.txt), {len(records_read) - len(records):,} repeated")  # fmt: skip


# ------------------------------------------------------------------------------------------------- to the annotator


def export_texts(args):
    """Write a JSONL file for doccano's import: each text once, with the model's label and score where known."""
    check_save_dir(args.export_file.parent, [args.export_file.name], args.force)
    rows = {}
    for path in args.text_file:
        for number, text, given_label, label, score in read_cases(path):
            row = {"text": text, "label": label, "score": score, "given_label": given_label,
                   "origin": f"{path.name}:{number}"}  # fmt: skip
            rows.setdefault(one_line(text), row)
    rows = list(rows.values())
    open_rows = [row for row in rows if not row["label"]]
    if args.export_model_dir and open_rows:
        from predictor import Predictor  # needs paddle, which takes seconds

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
    print(f"{labelled:,} labelled texts: {len(changes):,} changes, {len(conflicts):,} conflicts; "
          f"{len(records) - labelled:,} texts without a label")  # fmt: skip
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
        changes += [f"{folder / 'train.txt'}:{number}: added {record.label!r} | {shortened(record.text)}"
                    for number, record in enumerate(added, len(lines) + 1)]  # fmt: skip
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


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--doccano_file", type=Path, help="an export of doccano (JSONL, JSON, zip) or Label Studio (JSON, JSON-MIN)")
    add("--save_dir", type=Path, default=Path("./data"), help="the folder for the files (default: ./data)")
    add("--splits", type=float, nargs="*", default=[0.8, 0.1, 0.1], help="shares of train, dev, test (0.8 0.1 0.1)")
    add("--task_type", default="multi_class", help="multi_class: exactly one label a text")
    add("--is_shuffle", type=boolean, default=True, metavar="BOOL", help="False: fill train, dev, test in the file's "
        "order (default: True)")  # fmt: skip
    add("--seed", type=int, default=1000, help="of the order and the draws (default: 1000)")
    add("--label_file", type=Path, help="label.txt whose order to keep; default: the order of appearance")
    add("--near_duplicate_threshold", type=float, default=0.8,
        help="similarity, 0 to 1, from which texts stay in one file; 0: only equal ones (default: 0.8)")  # fmt: skip
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
    args = parse(argv)
    if args.text_file:
        return export_texts(args)
    return merge(args) if args.merge_into else convert(args)


if __name__ == "__main__":
    with exit_on_usage_error():
        sys.exit(main())
