"""Annotated texts as doccano and Label Studio export them, in all their shapes: what doccano.py reads."""

import ast
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from core.encodings import describe_encoding
from data.label_studio import (
    META_KEYS,
    LabelStudioError,
    find_project,
    is_minimal,
    is_task,
    labels_of_minimal,
    labels_of_task,
)
from utils import UsageError, shortened

# Problems that are told at once; a file of another kind has one in every record.
MAX_PROBLEMS = 20

# What doccano calls the only file of a project with shared annotation, which does not say who gave which label.
SHARED = "all"

NEEDED = "this needs a text classification project"


@dataclass
class Record:
    """One annotated text.

    Attributes:
        place (str): where it stands.
        text (str): what it says.
        label (str | None): None: it is not annotated, or annotators do not agree.
        meta (dict): of META_KEYS.
        conflict (tuple[str, ...]): the labels where there is more than one.
    """

    place: str
    text: str
    label: str = None
    meta: dict = field(default_factory=dict)
    conflict: tuple = ()


class RecordError(Exception):
    """What is wrong with one record, without its place."""


def one_line(text):
    """The text with every run of white space as one space."""
    return " ".join(text.split())


def read_records(path, text_key=None, choice=None):
    """Read an export of doccano or Label Studio.

    Args:
        path (Path): .jsonl or .json, or a .zip with one such file, or with one of each annotator (see is_apart).
        text_key (str | None): the key of the text in Label Studio's data; None: to be found.
        choice (str | None): the name of the <Choices> that count where a project has several.

    Returns:
        list[Record]: in the order of the file.

    Raises:
        UsageError: not such a file, or, all at once, the records that are no text with labels.
    """
    files = _read_export(Path(path))
    where = files[0][0] if len(files) == 1 else path
    values = [item for place, data in files for item in parse_json(place, data)]
    project = find_project(where, [value for _, value in values], text_key, choice)
    records, problems = [], []
    for place, value in values:
        try:
            records.append(_to_record(place, value, project))
        except (RecordError, LabelStudioError) as error:
            problems.append(f"{place}: {error}")
    if problems:
        raise UsageError(listed(problems))
    if not records:
        raise UsageError(f"{where}: no records; export the project again")
    return records


def not_in(path, record):
    """What is wrong with a record whose label is unknown."""
    return f"label {record.label!r} is not in {path}; add it there, or correct the record"


def listed(problems):
    """The first MAX_PROBLEMS messages, a line each, and how many more there are."""
    more = len(problems) - MAX_PROBLEMS
    return "\n".join(problems[:MAX_PROBLEMS] + ([f"… and {more:,} more of this kind"] if more > 0 else []))


def is_apart(names):
    """Whether the files of a zip are annotators': doccano writes one each where they do not share the annotation."""
    return len(names) > 1 and SHARED not in {Path(name).stem for name in names}


def _read_export(path):
    """The name for messages and the bytes of each file of records of an export."""
    try:
        if not zipfile.is_zipfile(path):
            return [(path, path.read_bytes())]
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.lower().endswith((".json", ".jsonl"))]
            if len(names) != 1 and not is_apart(names):
                found = " ".join(names) or "none"
                raise UsageError(
                    f"{path}: {len(names)} files of records ({found}); doccano writes one file, or one an annotator "
                    "where they do not share the annotation: unpack it and give the one to use"
                )
            return [(f"{path}:{name}", archive.read(name)) for name in names]
    except (OSError, zipfile.BadZipFile, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path}: cannot be read ({reason}); give an export of doccano or Label Studio") from None


def parse_json(where, data):
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


def _to_record(place, value, project):
    """A Record of one JSON value.

    Raises:
        RecordError, LabelStudioError: the message says what it is and what to do.
    """
    if not isinstance(value, dict):
        raise RecordError("not a JSON object; export the project as JSONL or JSON")
    if is_task(value):
        data = value["data"]
        text, label, meta = data.get(project.text_key), label_of(labels_of_task(value, project)), _meta(data)
    elif is_minimal(value):
        text, label = value.get(project.text_key), label_of(labels_of_minimal(value, project))
        meta = _meta(value)
    else:
        text, label, meta = _from_doccano(value, project.text_key)
    if not isinstance(text, str) or not text.strip():
        raise RecordError(f'no text; every record needs one under "{project.text_key or "text"}"')
    if isinstance(label, tuple):
        return Record(place, one_line(text), None, meta, label)
    return Record(place, one_line(text), label, meta)


def _meta(data):
    return {key: data[key] for key in META_KEYS if isinstance(data.get(key), (str, int, float))}


def _from_doccano(value, text_key=None):
    """Text, label (see label_of) and meta data of a doccano record, of any version."""
    if "entities" in value or "relations" in value or "cats" in value:
        raise RecordError(f"spans, as a sequence labelling or intent project exports them; {NEEDED}")
    if "annotations" in value:
        why = 'label numbers instead of names ("annotations"), as doccano before 1.3 writes them'
        raise RecordError(f"{why}; update doccano and export again")
    # Versions 1.5 and 1.6 call the text "data".
    text = value.get(text_key) if text_key else value.get("text", value.get("data"))
    return text, label_of(value.get("label", value.get("labels"))), _meta(value)


def label_of(labels):
    """The label of a record; None for none, a tuple where there are several.

    Numbers are names too (0 and 1 of two classes); several annotators may have given the same label.
    """
    labels = [] if labels is None or labels == "" else labels if isinstance(labels, list) else [labels]
    labels = [name for label in labels for name in _listed_names(label)]
    if any(isinstance(label, (list, dict)) for label in labels):
        raise RecordError(f"spans instead of a label, as a sequence labelling project exports them; {NEEDED}")
    names = [str(label) if isinstance(label, int) and not isinstance(label, bool) else label for label in labels]
    for name in names:
        if not isinstance(name, str) or not name.strip():
            raise RecordError(f"the label {name!r} is not a name; give the labels names")
    names = tuple(dict.fromkeys(map(one_line, names)))
    return names if len(names) > 1 else next(iter(names), None)


def _listed_names(label):
    """The names in a label that is a list written as a text, as tables hold it: "[a, b]", "['a', 'b']"."""
    if not isinstance(label, str) or not (label.strip().startswith("[") and label.strip().endswith("]")):
        return [label]
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(label.strip())
            return found if isinstance(found, list) else [label]
        except (ValueError, SyntaxError):
            pass
    inner = label.strip()[1:-1]
    return [name.strip() for name in inner.replace("，", ",").split(",")] if "," in inner or "，" in inner else [label]


def merge_copies(records):
    """The records without repeated texts.

    Returns:
        tuple[list[Record], dict[str, str]]: one record a text, a labelled one where there is one, without the texts
        that have different labels; and of each of those text and message.
    """
    kept, problems = {}, {}
    for record in records:
        if record.conflict:
            names = ", ".join(record.conflict)
            problems[record.text] = (
                f"{record.place}: {len(record.conflict)} labels ({names}); multi_class needs exactly one, choose it"
            )
        first = kept.setdefault(record.text, record)
        if first.label is None:
            kept[record.text] = record
        elif record.label not in (None, first.label):
            problems[record.text] = (
                f"{record.place}: {shortened(record.text)!r} has the label {record.label!r}, but {first.label!r} in "
                f"{first.place}; decide which one is right"
            )
    return [record for text, record in kept.items() if text not in problems], problems
