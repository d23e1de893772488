"""Annotated texts as doccano and Label Studio export them, in all their shapes: what doccano.py reads."""

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from core.encodings import describe_encoding
from utils import UsageError, shortened

# Problems that are told at once; a file of another kind has one in every record.
MAX_PROBLEMS = 20
# What doccano.py --text_file adds to a record; doccano keeps it as meta data and exports it again.
META_KEYS = ("score", "given_label", "origin")
# Keys of Label Studio's JSON-MIN that are neither the text nor the answer.
LABEL_STUDIO_KEYS = {"id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", *META_KEYS}

NEEDED = "this needs a text classification project"


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
        raise RecordError(f"spans, as a sequence labelling or intent project exports them; {NEEDED}")
    if "annotations" in value:
        why = 'label numbers instead of names ("annotations"), as doccano before 1.3 writes them'
        raise RecordError(f"{why}; update doccano and export again")
    labels = value.get("label", value.get("labels"))
    meta = {key: value[key] for key in META_KEYS if isinstance(value.get(key), (str, int, float))}
    # Versions 1.5 and 1.6 call the text "data".
    return value.get("text", value.get("data")), _only_label(labels), meta


def _only_label(labels):
    """The label of a record, None for none."""
    labels = [] if labels is None or labels == "" else labels if isinstance(labels, list) else [labels]
    if any(isinstance(label, (list, dict)) for label in labels):
        raise RecordError(f"spans instead of a label, as a sequence labelling project exports them; {NEEDED}")
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
